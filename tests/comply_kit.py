"""Files that fulfil the rules of laws, and files that break one of them: made with a real installation's keys."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.parts import Parts
from filigrana.pipeline.settings import load_settings
from filigrana.provenance.asked import Asked
from filigrana.provenance.identity import AssetId
from filigrana.provenance.labelling.aigc import Aigc
from filigrana.provenance.labelling.visible import Labeller, Wanted
from filigrana.provenance.labels import xmp_packet
from filigrana.provenance.manifest import Model, Statement, definition
from filigrana.provenance.media import Frame, SoundBlock, SoundInfo, encode_clip, encode_picture, write_wav
from filigrana.provenance.reports.facts import FileFacts
from filigrana.provenance.signing import sign_file
from filigrana.provenance.watermark.registry import codec
from filigrana.tests.doubles import FakeGenerator, calm, noise, quiet_classifier, scene

ALL = ("eu", "us-ca", "us-ny", "cn", "in", "kr")
WHEN = dt.datetime(2026, 11, 30, 12, tzinfo=dt.UTC)
GUARDS = [{"guard": "nsfw", "model": "0" * 64, "inputs": 1}]


def house_of(folder: Path, **settings: Any) -> Installation:
    return Installation(load_settings(data_dir=folder / "data", **settings))


def engine_of(house: Installation, **changes: Any) -> Engine:
    """Real keys, log, store, codec and signer; doubles where models would be."""
    parts = Parts(
        ledger=house.ledger,
        pack=house.pack,
        generator=FakeGenerator(),
        text_guards=(quiet_classifier(),),
        frame_guards=lambda _generated: calm(),
        finisher=house.finisher,
        staging=house.staging,
        store=house.store,
        clock=house.clock,
        guard_timeout=30.0,
        stage_timeout=120.0,
    )
    return Engine(replace(parts, **changes))


class Listener:
    """A recogniser of speech that hears nothing said."""

    name = "speech"
    model = quiet_classifier().model

    def transcribe(self, speech: Any) -> list[str]:
        return ["" for _ in speech]


def sound(seconds: float = 6.0, rate: int = 44_100) -> list[SoundBlock]:
    """Something like music: partials that move, over noise."""
    time = np.arange(int(seconds * rate)) / rate
    tones = sum(0.1 * np.sin(2 * np.pi * f * time * (1 + 0.01 * np.sin(time))) for f in (220, 330, 554, 1320))
    mixed = tones + 0.05 * np.random.default_rng(1).normal(size=len(time))
    return [SoundBlock(np.stack([mixed, mixed], 1).astype(np.float32), rate)]


def wav(path: Path, seconds: float = 6.0) -> Path:
    write_wav(sound(seconds), path, SoundInfo(44_100, 2))
    return path


def clip(path: Path, seconds: float = 3.0, *, heard: bool = False) -> Path:
    frames = (Frame(scene(1, 320, 256), Fraction(i, 8)) for i in range(int(seconds * 8)))
    encode_clip(frames, path, "video/mp4", rate=Fraction(8), sound=sound(seconds) if heard else None)
    return path


def record_of(label: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "policy": {"id": "newsroom", "version": "1.0.0", "digest": "0" * 64},
        "verdict": "allow",
        "decisions": [{"side": "output", "verdict": "allow", "guards": GUARDS}],
        "provider": "Filigrana",
        "system": "double 1",
        "declared": "generated",
    }
    return said | ({"label": label} if label is not None else {}) | changes


class Crafted:
    """Makes one signed picture after another, each of which may be wrong in one way."""

    def __init__(self, house: Installation, folder: Path, ident: AssetId) -> None:
        self.house, self.folder, self.ident, self._count = house, folder, ident, 0

    def picture(
        self,
        *,
        ident: AssetId | None = None,
        marked: AssetId | bool | None = True,
        wanted: Wanted | None = Wanted(("AI生成",), 0.05, "top-right"),  # noqa: B008  a frozen value
        paint: Callable[[Any, tuple[int, int, int, int]], Any] | None = None,
        xmp: Callable[[str], str | None] = lambda text: text,
        aigc: str | None = "",
        record: dict[str, Any] | None = None,
        edit: Callable[[dict[str, Any]], dict[str, Any]] = lambda made: made,
        signed: bool = True,
        stamped: bool = True,
        source_type: Any = "generated",
        parent: Path | None = None,
        mime: str = "image/png",
    ) -> Path:
        """``marked``: whose mark, True for the asset's own. ``paint``: changes the pixels, given the label's box."""
        self._count += 1
        own = ident or self.ident
        frame, label = Frame(scene(5)), None
        if wanted is not None:
            labeller = Labeller(wanted)
            frame = next(labeller.frames([frame]))
            assert labeller.drawn is not None
            label = labeller.drawn.record()
            if paint is not None:
                frame = Frame(paint(frame.rgb.copy(), labeller.drawn.box))
        mark = own if marked is True else marked
        if mark:
            frame = next(iter(codec().embed([frame], mark)))
        text = Aigc.first("Filigrana", str(own)).text() if aigc == "" else aigc
        packet = xmp(xmp_packet(own, source_type, WHEN, system="double", version="1", aigc=text))
        source, target = self.folder / f"c{self._count}.src", self.folder / f"c{self._count}{_SUFFIX[mime]}"
        source.write_bytes(encode_picture(frame.rgb, mime, xmp=packet))
        if not signed:
            return source.rename(target)
        statement = Statement(
            own, str(own), mime, source_type, WHEN, "0.1.0",
            record if record is not None else record_of(label),
            (("org.filigrana.dft.1", str(own)),), Model("double", "1", "sha256:00", "00", "MIT", "procedural"),
        )  # fmt: skip
        made = edit(definition(statement))
        if not stamped:
            nobody: Any = None
            sign_file(source, target, mime, made, self.house.signer(), tsa_url=nobody, parent=_parent(parent))
            return target
        with self.house.tsa() as url:
            sign_file(source, target, mime, made, self.house.signer(), tsa_url=url, parent=_parent(parent))
        return target

    def facts(self, path: Path) -> FileFacts:
        found = self.house.verifier().verify(path, Asked(facts=True)).facts
        assert found is not None
        return FileFacts.from_json(found)


_SUFFIX = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}


def _parent(path: Path | None) -> tuple[Path, str] | None:
    return None if path is None else (path, "image/png")


def assertion(made: dict[str, Any], label: str) -> dict[str, Any]:
    """The data of an assertion, to be changed in place."""
    return next(one["data"] for one in made["assertions"] if one["label"].startswith(label))


def without(made: dict[str, Any], *labels: str) -> dict[str, Any]:
    made["assertions"] = [one for one in made["assertions"] if not one["label"].startswith(labels)]
    return made


def grey(rgb: Any, box: tuple[int, int, int, int], low: int, high: int) -> Any:
    """The label's own pixels squeezed between two greys, so that its contrast is what they make of it."""
    left, top, right, bottom = box
    part = rgb[top:bottom, left:right].astype(np.float32) / 255
    rgb[top:bottom, left:right] = np.rint(low + part * (high - low)).astype(np.uint8)
    return rgb


def covered(rgb: Any, box: tuple[int, int, int, int]) -> Any:
    left, top, right, bottom = box
    rgb[top:bottom, left:right] = noise(3, (bottom - top, right - left, 3)) // 8 + 100
    return rgb


__all__ = ["ALL", "Crafted", "Listener", "assertion", "clip", "covered", "engine_of", "grey", "house_of", "record_of",
           "sound", "wav", "without"]  # fmt: skip
