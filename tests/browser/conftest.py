"""Real files, a real service, and a real Chromium that may reach nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.web.inspecting import HouseInspector
from filigrana.tests.serving import installed, released, running

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield opened
        opened.close()


@dataclass
class Altering:
    """The real inspector, whose answer a test can change before it is shown."""

    inner: HouseInspector
    change: Callable[[dict[str, Any]], Any] | None = None

    def inspect(self, path: Path, **asked: Any) -> dict[str, Any]:
        answer = copy.deepcopy(self.inner.inspect(path, **asked))
        if self.change is not None:
            self.change(answer)
        return answer


@dataclass
class Site:
    url: str
    files: dict[str, Path]
    inspector: Altering
    installation: Installation
    seen: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("page")
    own = installed(folder / "data")
    release = released(own)
    other = installed(folder / "other")
    files = pictures(folder, release.file, released(other, seed=8).file)
    other.close()
    inspector = Altering(HouseInspector(own))
    with running(own, inspector) as url:
        yield Site(url, files, inspector, own)
    own.close()


def pictures(folder: Path, original: Path, foreign: Path) -> dict[str, Path]:
    """One file for each finding, made as strangers make them."""
    from filigrana.provenance.identity import AssetId
    from filigrana.provenance.watermark.dft import Dft
    from filigrana.tests.doubles import put, scene

    made = {name: folder / file for name, file in {
        "verified": "boat.png", "recovered": "copy.jpg", "altered": "painted.png", "unmarked": "photo.png",
        "intact": "other.png", "contradicted": "transplanted.png", "unreadable": "broken.png",
    }.items()}  # fmt: skip
    made["verified"].write_bytes(original.read_bytes())
    made["intact"].write_bytes(foreign.read_bytes())
    with Image.open(original) as opened:
        picture = opened.convert("RGB")
    picture.save(made["recovered"], quality=80)
    rgb = np.asarray(picture).copy()
    rgb[100:200, 280:400] = (250, 60, 40)
    Image.fromarray(rgb).save(made["altered"])
    Image.fromarray(scene(99)).save(made["unmarked"])
    mark = Dft().detect(iter([_frame(np.asarray(picture))])).asset_id or AssetId(1)
    Image.fromarray(put(Dft(), scene(5), mark)).save(made["contradicted"])
    made["unreadable"].write_bytes(b"\x89PNG\r\n\x1a\n" + b"broken")
    return made


def _frame(rgb: Any) -> Any:
    from filigrana.provenance.media import Frame

    return Frame(rgb)


@pytest.fixture
def open_page(browser: Any, site: Site) -> Iterator[Callable[..., Any]]:
    """``open_page(path, **context)``: a page in a fresh profile. Fails at the end when a script failed, or a request
    went anywhere but to the service."""
    contexts: list[Any] = []
    troubles: list[str] = []

    def start(path: str = "/", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1000, "height": 900}, "locale": "en-GB", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: troubles.append(f"script: {error}"))
        # Chromium writes a line for an answer of 400 itself: tests of errors look at the answer.
        page.on(
            "console",
            lambda m: troubles.append(m.text) if m.type == "error" and "status of 400" not in m.text else None,
        )
        page.on("dialog", lambda dialog: (troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))  # type: ignore[func-returns-value]
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((site.url, "data:", "blob:")) else troubles.append(request.url)
            ),
        )
        page.goto(site.url + path)
        return page

    yield start
    for context in contexts:
        context.close()
    site.inspector.change = None
    assert troubles == []
