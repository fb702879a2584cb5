"""Writes docs/images/verify-<finding>.png: real files, through the real page, in real Chromium.

python docs/screenshots.py
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT.parent))

from filigrana.pipeline.api import Pipeline  # noqa: E402
from filigrana.pipeline.request import Release  # noqa: E402
from filigrana.pipeline.settings import load_settings  # noqa: E402
from filigrana.tests.browser.conftest import CHROMIUM, FLAGS, pictures  # noqa: E402
from filigrana.tests.serving import installed, released, running  # noqa: E402

FINDINGS = ("verified", "recovered", "intact", "altered", "contradicted", "unmarked", "unreadable")
EXTRA = {"verified-zh-dark": ("verified", "zh-CN", "dark", 1000), "altered-narrow": ("altered", "en-GB", "light", 390)}


def main() -> None:
    out = ROOT / "docs" / "images"
    out.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = made(folder)
        keys = folder / "data" / "keys"
        # As where an organisation's own root is configured: a development key would be called one.
        root = (keys / "claim-root.pem").rename(folder / "root.pem")
        trusted = {"claim_trust": [root], "tsa_trust": [keys / "tsa-root.pem"]}
        house = installed(folder / "data", organisation="Filigrana", **trusted)
        with running(house) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
            for finding in FINDINGS:
                shoot(browser, url, files[finding], out / f"verify-{finding}.png", finding, "en-GB", "light", 1000)
            for title, (finding, locale, scheme, width) in EXTRA.items():
                shoot(browser, url, files[finding], out / f"verify-{title}.png", finding, locale, scheme, width)
            context = browser.new_context(viewport={"width": 1000, "height": 900}, locale="en-GB")
            page = context.new_page()
            page.goto(url)
            save(page.screenshot(), out / "verify-page.png")
            browser.close()
        house.close()


def made(folder: Path) -> dict[str, Path]:
    with Pipeline(load_settings(data_dir=folder / "data")) as pipeline:
        outcome = pipeline.generate("a red sailboat on a blue sea", seed=7)
        if not isinstance(outcome, Release):
            raise SystemExit("the example was not released")
        other = installed(folder / "other")
        files = pictures(folder, outcome.file, released(other, seed=8).file)
        other.close()
    return files


def shoot(
    browser: Any, url: str, file: Path, target: Path, finding: str, locale: str, scheme: str, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 1150}, locale=locale, color_scheme=scheme)
    page = context.new_page()
    page.goto(url)
    page.set_input_files("#file", str(file))
    page.wait_for_selector(f"[data-finding={finding}]")
    page.evaluate("window.scrollTo(0, 0)")
    save(page.screenshot(), target)
    context.close()


def save(png: bytes, target: Path) -> None:
    """In 128 colours: a fifth of the size, and nobody sees it."""
    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    picture.quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)
    print(target.relative_to(ROOT), target.stat().st_size // 1024, "kB")


if __name__ == "__main__":
    main()
