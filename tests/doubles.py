"""In-memory doubles of every port, each of which can be told to fail."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filigrana.pipeline.generators.base import Generated, Sampling, StepProgress
from filigrana.provenance.identity import AssetId
from filigrana.provenance.manifest import Model
from filigrana.provenance.media import Frame, Kind, SoundBlock
from filigrana.provenance.preview import Preview, PreviewMaker
from filigrana.provenance.watermark.base import RGB, Detection
from filigrana.provenance.watermark.dft import Dft
from filigrana.provenance.watermark.registry import sound_codec
from filigrana.safety.decision import HAZARDS, ModelRef


def scene(seed: int = 0, width: int = 512, height: int = 512) -> RGB:
    """A picture with texture, edges and colour, in the manner of a photograph; the same for the same seed."""
    return _scene(seed, width, height).copy()


@cache
def _scene(seed: int, width: int, height: int) -> RGB:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    base = np.stack([60 + 100 * y / height, 90 + 60 * x / width, 150 - 70 * y / height], -1)
    for _ in range(14):
        cx, cy, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(20, 110)
        inside = np.clip((r - np.hypot(x - cx, y - cy)) / 3, 0, 1)[..., None]
        base = base * (1 - inside) + rng.uniform(40, 210, 3) * inside
    noise = rng.normal(0, 5, (height, width, 1)) + rng.normal(0, 2, (height, width, 3))
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def preview_of(*frames: RGB) -> Preview:
    """What the catalog keeps of these frames."""
    maker = PreviewMaker()
    for frame in frames:
        maker.look(frame)
    made = maker.preview()
    assert made is not None
    return made


class Failing:
    """Raises, hangs, or answers with something that is not an answer."""

    def __init__(self, how: str = "raise") -> None:
        self.how = how

    def __call__(self, *_: Any, **__: Any) -> Any:
        if self.how == "raise":
            raise RuntimeError("told to fail")
        if self.how == "hang":
            time.sleep(60)
        if self.how == "nan":
            return float("nan")
        return None


@dataclass
class FakeGenerator:
    """Draws `scene(seed)`. ``fault``: called instead of drawing."""

    fault: Callable[..., Any] | None = None
    kinds: frozenset[Kind] = frozenset({"image"})
    calls: list[Sampling] = field(default_factory=list)
    model: Model = field(
        default_factory=lambda: Model("double", "1", "sha256:" + "0" * 64, "0" * 64, "none", "procedural")
    )

    def generate(self, sampling: Sampling, progress: StepProgress) -> Generated:
        self.calls.append(sampling)
        progress(0, 1)
        frames: Iterable[Frame] = (Frame(scene(sampling.seed)),)
        if self.fault is not None:
            frames = self.fault(sampling, progress) or ()
        width, height = sampling.size or (512, 512)
        used = {"seed": sampling.seed, "steps": 1, "width": width, "height": height, "versions": {}}
        return Generated("image", frames, sampling=used)


@dataclass
class FakeGuard:
    """A guard of either side that answers with fixed scores, or fails."""

    name: str = "nsfw"
    scores: Mapping[str, float] = field(default_factory=lambda: {"sxc": 0.01})
    fault: Callable[..., Any] | None = None
    model: ModelRef | None = field(default_factory=lambda: ModelRef("double", "1", "0" * 64))
    seen: int = 0

    def score(self, _subject: Any) -> Mapping[str, float]:
        self.seen += 1
        if self.fault is not None:
            answer: Any = self.fault()
            return {"sxc": answer} if isinstance(answer, float) else answer
        return dict(self.scores)


def quiet_classifier() -> FakeGuard:
    """A prompt classifier that finds nothing, for tests of what comes after it."""
    return FakeGuard("classifier", dict.fromkeys(HAZARDS, 0.01))


@dataclass
class FakeReader:
    """A guard that reads text in frames: the same lines in each, or what ``fault`` answers."""

    name: str = "ocr"
    lines: Sequence[tuple[str, ...]] = ()
    fault: Callable[..., Any] | None = None
    model: ModelRef | None = field(default_factory=lambda: ModelRef("double", "1", "0" * 64))
    seen: int = 0

    def read(self, _frame: Any, _side: int = 0) -> Any:
        self.seen += 1
        return list(self.lines) if self.fault is None else self.fault()


def calm(*without: str) -> list[Any]:
    """Every guard that the packs ask for, each of which finds nothing; ``without``: names to leave out."""
    guards: list[Any] = [
        FakeGuard("nsfw"),
        FakeGuard("clip", {"iwp": 0.01, "gore": 0.01, "sub": 0.01}),
        FakeReader("ocr"),
        FakeGuard("copies", {"ipv": 0.0}),
        FakeGuard("flashes", {"seq": 0.0}),
    ]
    return [guard for guard in guards if guard.name not in without]


def put(codec: Any, picture: RGB, asset_id: AssetId) -> RGB:
    """One picture, marked."""
    made: Frame = next(iter(codec.embed([Frame(picture)], asset_id)))
    return made.rgb


def look(codec: Any, *pictures: RGB) -> Detection:
    """What a codec finds in pictures, taken as the frames of one clip at 25 a second."""
    found: Detection = codec.detect(Frame(p, Fraction(i, 25)) for i, p in enumerate(pictures))
    return found


class FakeCodec:
    """The real codec, whose embedding or detection can be replaced."""

    def __init__(self, *, embed: Callable[..., Any] | None = None, detect: Callable[..., Any] | None = None) -> None:
        self._real, self._embed, self._detect = Dft(), embed, detect
        self.alg = self._real.alg

    def embed(self, frames: Iterable[Frame], asset_id: AssetId) -> Iterator[Frame]:
        if self._embed is not None:
            answer = self._embed(frames, asset_id)
            yield from answer if answer is not None else ()
            return
        yield from self._real.embed(frames, asset_id)

    def detect(self, frames: Iterable[Frame]) -> Detection:
        if self._detect is not None:
            answer: Any = self._detect(frames)
            return answer  # type: ignore[no-any-return]
        return self._real.detect(frames)


class FakeSoundCodec:
    """The real sound codec, whose embedding or detection can be replaced."""

    def __init__(self, *, embed: Callable[..., Any] | None = None, detect: Callable[..., Any] | None = None) -> None:
        self._real, self._embed, self._detect = sound_codec(), embed, detect
        self.alg = self._real.alg

    def embed(self, blocks: Iterable[SoundBlock], asset_id: AssetId) -> Iterator[SoundBlock]:
        if self._embed is not None:
            answer = self._embed(blocks, asset_id)
            yield from answer if answer is not None else ()
            return
        yield from self._real.embed(blocks, asset_id)

    def detect(self, blocks: Iterable[SoundBlock]) -> Detection:
        if self._detect is not None:
            answer: Any = self._detect(blocks)
            return answer  # type: ignore[no-any-return]
        return self._real.detect(blocks)


@dataclass
class FakeClock:
    """Stands still until it is moved, forwards or backwards."""

    now: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    def __call__(self) -> dt.datetime:
        return self.now

    def jump(self, **by: float) -> None:
        self.now += dt.timedelta(**by)


@contextmanager
def failing_tsa() -> Iterator[str]:
    """A time-stamp authority that nobody answers at."""
    yield "http://127.0.0.1:9"


def noise(seed: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
