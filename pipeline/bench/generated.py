"""Flat art from the embedded generator: large even areas leave a mark nowhere to hide. Needs the extra `generate`."""

from __future__ import annotations

import hashlib
import json
import os
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FiligranaError
from .pictures import Picture, decode

_COLOURS = ("", "red ", "blue ", "green ", "yellow ", "purple ", "orange ")
_SIZES = ("small ", "", "large ")
_PLACES = ("", " on the left", " on the right")
_BACKGROUNDS = (
    "on a blue sea", "on a green hill", "under a night sky", "on a pink background", "in the snow",
    "on a white background", "in the desert", "at sunset", "in the city", "on a grey background", "in the forest",
    "under water",
)  # fmt: skip


def captions(count: int, seed: int = 0) -> list[str]:
    """``count`` captions in the embedded model's own words, every object about as often. More captions of a seed
    begin with the fewer."""
    text = (resources.files("filigrana.models") / "shot" / "training_data.json").read_text("utf-8")
    objects = [sprite["name"] for sprite in json.loads(text)["sprites"] if sprite["style"] == "flat"]
    found = []
    for number in range(count):
        turn, place = divmod(number, len(objects))
        thing = objects[int(np.random.default_rng([seed, 0, turn]).permutation(len(objects))[place])]
        rng = np.random.default_rng([seed, 1, number])
        size, colour, ground, where = (rng.choice(words) for words in (_SIZES, _COLOURS, _BACKGROUNDS, _PLACES))
        found.append(f"a {size}{colour}{thing} {ground}{where}")
    return found


def generated(count: int, folder: Path, seed: int = 0) -> list[Picture]:
    """``count`` pictures of 512 x 512 px by the embedded generator, kept in ``folder`` and read from there next time.

    The cache is named by the captions, the seed and the model's weights. Raises FiligranaError `bench.generate`
    where the extra `generate` is not installed.
    """
    from ..generators.folder import EMBEDDED, ModelFolder

    wanted, digest = captions(count, seed), ModelFolder(EMBEDDED).model.digest[:12]
    folder.mkdir(parents=True, exist_ok=True)
    keys = [hashlib.sha256(f"{digest}|{seed}|{i}|{text}".encode()).hexdigest()[:24] for i, text in enumerate(wanted)]
    files = [folder / f"{key}.png" for key in keys]
    absent = [i for i, file in enumerate(files) if not file.is_file()]
    if absent:
        _draw([(wanted[i], seed * 1_000_003 + i, files[i]) for i in absent])
    return [
        Picture(f"{text} #{i}", decode(file), "Apache-2.0", "the embedded generator", "filigrana", "test", "generated")
        for i, (text, file) in enumerate(zip(wanted, files, strict=True))
    ]


def _draw(work: list[tuple[str, int, Path]]) -> None:
    try:
        import torch
        from diffusers.utils import logging as diffusers_logging

        from ..generators.embedded.shot import FiligranaShotPipeline
    except ImportError as error:
        raise FiligranaError(
            "the embedded generator needs torch and diffusers",
            code="bench.generate",
            hint="pip install 'filigrana[generate]', or run with --generated 0",
        ) from error
    from PIL import Image

    from ..generators.folder import embedded_folder

    diffusers_logging.disable_progress_bar()
    pipeline: Any = FiligranaShotPipeline.from_pretrained(str(embedded_folder()))
    pipeline.set_progress_bar_config(disable=True)
    for start in range(0, len(work), 8):
        part = work[start : start + 8]
        generators = [torch.Generator().manual_seed(seed) for _, seed, _ in part]
        images = pipeline([text for text, _, _ in part], generator=generators, output_type="np").images
        for image, (_, _, file) in zip(np.asarray(images), part, strict=True):
            partial = file.with_suffix(f".{os.getpid()}.part")
            Image.fromarray(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)).save(partial, "PNG")
            partial.replace(file)
