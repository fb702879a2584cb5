"""What the register of protected works finds again, and how often it takes one picture for another.

    python benchmarks/copies.py [--works 60] [--others 3000] [--generated N] [--json]

Works are random compositions and, with scikit-image installed, its photographs; each is changed in all the ways below
and held against itself. False matches: every one of ``--others`` further compositions, and of N pictures by the
embedded model of different things on different grounds, against all works. The threshold is .6, as in the packs.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from filigrana.safety.vision.calibrating import Share
from filigrana.safety.vision.copies import CopyIndex, Work
from filigrana.safety.vision.prints import fingerprint
from filigrana.tests.doubles import scene

LEAST = 0.6
Change = Callable[[Image.Image], Image.Image]
GROUNDS = ["on a white background", "on a blue sea", "on a green hill", "in the snow", "in a night sky"]


def jpeg(picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=30)
    return Image.open(buffer).convert("RGB")


def crop(share: float, left: float, top: float) -> Change:
    def cut(picture: Image.Image) -> Image.Image:
        width, height = (round(side * share**0.5) for side in picture.size)
        x, y = round((picture.width - width) * left), round((picture.height - height) * top)
        return picture.crop((x, y, x + width, y + height))

    return cut


def caption(picture: Image.Image) -> Image.Image:
    made = picture.copy()
    draw, (width, height) = ImageDraw.Draw(made), picture.size
    draw.rectangle((0, round(height * 0.82), width, height), fill="black")
    draw.text((10, round(height * 0.84)), "WHEN MONDAY COMES", font=ImageFont.load_default(height // 12), fill="white")
    return made


def framed(picture: Image.Image) -> Image.Image:
    made = Image.new("RGB", (round(picture.width * 1.25), round(picture.height * 1.35)), (250, 250, 250))
    made.paste(picture, (round(picture.width * 0.12), round(picture.height * 0.05)))
    return made


CHANGES: dict[str, Change] = {
    "same": lambda p: p,
    "JPEG 30": jpeg,
    "a third of the size": lambda p: p.resize((p.width // 3, p.height // 3)),
    "flip": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "quarter turn": lambda p: p.rotate(90, expand=True),
    **{f"turn {n}": lambda p, n=n: p.rotate(n, Image.Resampling.BICUBIC) for n in (3, 10, 30)},  # type: ignore[misc]
    **{f"crop {n} %": crop(n / 100, 0.5, 0.5) for n in (90, 75, 60, 50)},
    **{f"corner {n} %": crop(n / 100, 0, 0) for n in (90, 75, 60, 50)},
    "caption": caption,
    "border": framed,
    "brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.4),
    "less contrast": lambda p: ImageEnhance.Contrast(p).enhance(0.6),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "channels swapped": lambda p: Image.merge("RGB", p.split()[::-1]),
    "flipped corner 75 %, JPEG 30": lambda p: jpeg(crop(0.75, 1, 0)(ImageOps.mirror(p))),
}


def photographs() -> list[Image.Image]:
    try:
        from skimage import data
    except ImportError:
        return []
    names = ("astronaut", "chelsea", "coffee", "rocket", "camera", "coins", "page", "moon", "grass", "brick", "text")
    found = []
    for name in names:
        try:
            found.append(Image.fromarray(getattr(data, name)()).convert("RGB"))
        except Exception as error:  # noqa: BLE001  some are fetched, and there may be no network
            print(f"without {name}: {type(error).__name__}")
    return found


def generated(count: int) -> list[tuple[int, Any]]:
    """Pictures by the embedded model, each with the number of what it shows."""
    if not count:
        return []
    from filigrana.pipeline.generators.base import Sampling
    from filigrana.pipeline.generators.diffusers import DiffusersGenerator
    from filigrana.pipeline.generators.folder import EMBEDDED, embedded_folder

    things = json.loads((embedded_folder().parent / "clip" / "labels.json").read_text())["negatives"]
    model = DiffusersGenerator(EMBEDDED)

    def made(number: int) -> Any:
        text = f"{things[number % len(things)]} {GROUNDS[(number * 7 + number // len(things)) % len(GROUNDS)]}"
        return next(iter(model.generate(Sampling(text, number, 8), lambda *_: None).frames)).rgb

    return [(number % len(things), made(number)) for number in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--works", type=int, default=60)
    parser.add_argument("--others", type=int, default=3000)
    parser.add_argument("--generated", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    pictures = [*photographs(), *(Image.fromarray(scene(n, 400 + 10 * (n % 9), 320)) for n in range(options.works))]
    drawn = generated(options.generated)
    registered = [np.asarray(picture) for picture in pictures] + [rgb for _, rgb in drawn[: len(drawn) // 4]]
    works = [Work(n, str(n), "", "", (fingerprint(rgb),)) for n, rgb in enumerate(registered)]
    index = CopyIndex(works, "")
    report: dict[str, Any] = {"works": len(works), "found": {}}
    for name, change in CHANGES.items():
        found = 0
        for number, rgb in enumerate(registered):
            score, work = index.nearest(np.asarray(change(Image.fromarray(rgb))))
            found += score >= LEAST and work is works[number]
        share = Share.of(found, len(registered))
        report["found"][name] = [share.count, share.total, round(share.low, 3)]
        print(f"{name:<30} {share.count} of {share.total}, at least {share.low:.0%}", flush=True)
    started, false = time.process_time(), 0
    for number in range(options.others):
        false += index.nearest(scene(50_000 + number, 320, 256))[0] >= LEAST
    report["compositions"] = [false, options.others]
    report["cpu_ms"] = round((time.process_time() - started) / max(1, options.others) * 1e3, 1)
    first = len(registered) - len(drawn) // 4
    wrong = same = 0
    for thing, rgb in drawn[len(drawn) // 4 :]:
        score, work = index.nearest(rgb)
        if score >= LEAST and work is not None:
            alike = work.number >= first and drawn[work.number - first][0] == thing
            wrong, same = wrong + (not alike), same + alike
    report["generated"] = {"other_thing": wrong, "same_thing": same, "of": len(drawn) - len(drawn) // 4}
    print(
        json.dumps(report) if options.json else json.dumps({k: v for k, v in report.items() if k != "found"}, indent=1)
    )


if __name__ == "__main__":
    main()
