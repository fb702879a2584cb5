"""Test clips made from photographs, and what happens to clips: encoders, trims, lost and shuffled frames.

A clip pans and zooms slowly over a photograph while textured discs move across it and each frame gets its own
noise: still areas, motion, and new detail, without a download. It has its photograph's licence.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...provenance.media.values import Frame
from .pictures import RGB
from .screens import another

RATE = Fraction(25)
WIDTH, HEIGHT = 1280, 720
_SPRITES = 3
Plane = NDArray[Any]


def clip(photo: RGB, seed: int, seconds: float, width: int = WIDTH, height: int = HEIGHT) -> Iterator[Frame]:
    """``seconds`` of ``width`` x ``height`` px at 25 frames/s, the same for the same seed. ``photo`` is best 10 %
    larger than the frame."""
    rng = np.random.default_rng([seed, 720])
    h, w = photo.shape[:2]
    base = min(w / width, h / height)
    zooms = base * rng.uniform(0.75, 0.95, 2)  # photo px per frame px, at the start and after ten seconds
    path = rng.uniform(0, 1, (2, 2))
    sprites = [_sprite(rng, width, height) for _ in range(_SPRITES)]
    for number in range(round(seconds * RATE)):
        time = Fraction(number) / RATE
        along = min(1.0, float(time) / 10)
        zoom = zooms[0] + (zooms[1] - zooms[0]) * along
        free = np.array([w - zoom * width, h - zoom * height])
        left, top = (path[0] + (path[1] - path[0]) * along) * free
        view = np.array([[zoom, 0, left], [0, zoom, top]])
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        frame = np.asarray(cv2.warpAffine(photo, view, (width, height), flags=how), np.uint8)
        for texture, mask, start, speed in sprites:
            x, y = (start + speed * float(time)).astype(int)
            _lay(frame, texture, mask, int(x), int(y))
        # One channel of noise for all three, as luma noise of a camera is mostly.
        grain = rng.standard_normal((height, width, 1), np.float32) * 2
        yield Frame(np.clip(np.rint(frame + grain), 0, 255).astype(np.uint8), time)


def _sprite(rng: np.random.Generator, width: int, height: int) -> tuple[RGB, Plane, Plane, Plane]:
    side = int(height * rng.uniform(0.12, 0.3))
    texture = another(rng, side, side)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    mask = np.clip(side / 2 - np.hypot(x, y), 0, 1)[..., None].astype(np.float32)
    start = rng.uniform(0, 1, 2) * [width - side, height - side]
    return texture, mask, start, rng.uniform(-90, 90, 2)


def _lay(frame: RGB, texture: RGB, mask: Plane, x: int, y: int) -> None:
    """Mixes a sprite into the frame, in place, cut at the frame's edges."""
    left, top = max(0, x), max(0, y)
    right, bottom = min(frame.shape[1], x + texture.shape[1]), min(frame.shape[0], y + texture.shape[0])
    if right <= left or bottom <= top:
        return
    inside = (slice(top - y, bottom - y), slice(left - x, right - x))
    place = frame[top:bottom, left:right]
    place[:] = np.rint(place + (texture[inside].astype(np.float32) - place) * mask[inside])


def encoded(frames: Iterable[Frame], codec: str, crf: int, scale: float = 1.0) -> bytes:
    """The frames as a file: H.264, H.265, VP9 or AV1 at a constant quality, 4:2:0, one thread. ``codec``: FFmpeg's
    name of the encoder. Frame times are kept to 1/90,000 s."""
    import av

    options: dict[str, str] = {
        "libx264": {"crf": str(crf), "preset": "medium"},
        "libx265": {"crf": str(crf), "preset": "fast", "x265-params": "log-level=error:pools=1:frame-threads=1"},
        "libvpx-vp9": {"crf": str(crf), "b": "0", "deadline": "good", "cpu-used": "5"},
        "libsvtav1": {"crf": str(crf), "preset": "8", "svtav1-params": "lp=1"},
    }[codec]
    os.environ.setdefault("SVT_LOG", "0")  # it writes its settings to standard error
    out = io.BytesIO()
    base = Fraction(1, 90_000)
    with av.open(out, "w", format="matroska") as container:
        stream: Any = container.add_stream(codec, rate=RATE)
        stream.pix_fmt, stream.options = "yuv420p", options
        stream.codec_context.time_base = base
        stream.codec_context.thread_count = 1
        first = True
        for frame in frames:
            rgb = frame.rgb
            if scale != 1:
                size = (round(rgb.shape[1] * scale / 2) * 2, round(rgb.shape[0] * scale / 2) * 2)
                rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
            if first:
                stream.width, stream.height, first = rgb.shape[1], rgb.shape[0], False
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")
            picture.pts, picture.time_base = round(frame.time / base), base
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return out.getvalue()


def decoded(data: bytes, start: float = 0.0, seconds: float = float("inf")) -> Iterator[Frame]:
    """The frames of a file from ``start`` on, for ``seconds``; their times begin at 0 again, as in a trimmed copy."""
    import av

    container: Any
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        first: Fraction | None = None
        for frame in container.decode(stream):
            time = Fraction(frame.pts or 0) * (frame.time_base or Fraction(1, 1000))
            # Matroska keeps milliseconds: half a frame of tolerance at both ends.
            if float(time) < start - 0.01:
                continue
            first = time if first is None else first
            if float(time - first) >= seconds - 0.01:
                return
            yield Frame(frame.to_ndarray(format="rgb24"), time - first)


Change = Callable[[Iterator[Frame], np.random.Generator], Iterator[Frame]]


def _dropped(frames: Iterator[Frame], rng: np.random.Generator) -> Iterator[Frame]:
    """Three of ten frames are lost; the others keep their times."""
    return (frame for frame in frames if rng.random() >= 0.3)


def _shuffled(frames: Iterator[Frame], rng: np.random.Generator) -> Iterator[Frame]:
    """Within each group of five the pictures change places; the times still run forward."""
    group: list[Frame] = []
    for frame in frames:
        group.append(frame)
        if len(group) == 5:
            yield from (Frame(group[i].rgb, at.time) for i, at in zip(rng.permutation(5), group, strict=True))
            group = []
    yield from group


def _faster(frames: Iterator[Frame], _rng: np.random.Generator) -> Iterator[Frame]:
    """Played at 30 frames/s instead of 25."""
    return (Frame(frame.rgb, frame.time * RATE / 30) for frame in frames)


def _variable(frames: Iterator[Frame], rng: np.random.Generator) -> Iterator[Frame]:
    """A variable frame rate: every time moves by up to 15 ms."""
    for frame in frames:
        yield Frame(frame.rgb, max(Fraction(0), frame.time + Fraction(int(rng.integers(-15, 16)), 1000)))


@dataclass(frozen=True, slots=True)
class VideoAttack:
    """``seconds``: how much of the copy the detector is given (0: one frame), from random places. ``bar``: the
    exact-id rate it is held to, None where it is only reported."""

    name: str
    bar: float | None
    seconds: float
    codec: str
    crf: int
    scale: float = 1.0
    change: Change | None = None

    @property
    def encoding(self) -> tuple[str, int, float]:
        return self.codec, self.crf, self.scale

    def rng(self, seed: int, name: str) -> np.random.Generator:
        return np.random.default_rng([seed, zlib.crc32(self.name.encode()), zlib.crc32(name.encode())])

    def copy(self, data: bytes, start: float, rng: np.random.Generator) -> Iterator[Frame]:
        """What the detector sees of the encoded file ``data``."""
        frames = decoded(data, start, self.seconds or 0.03)
        return frames if self.change is None else self.change(frames, rng)


VIDEO_ATTACKS = (
    VideoAttack("h264-28, one frame", 0.98, 0, "libx264", 28),
    VideoAttack("h264-35, 1 s", 0.98, 1, "libx264", 35),
    VideoAttack("half size + h264-30, 2 s", 0.98, 2, "libx264", 30, 0.5),
    VideoAttack("h264-40, 5 s", 0.90, 5, "libx264", 40),
    VideoAttack("h264-28, 1 s, 30 % of frames lost", None, 1, "libx264", 28, change=_dropped),
    VideoAttack("h264-28, 2 s, shuffled", None, 2, "libx264", 28, change=_shuffled),
    VideoAttack("h264-28, 5 s, at 30 frames/s", None, 5, "libx264", 28, change=_faster),
    VideoAttack("h264-28, 1 s, variable rate", None, 1, "libx264", 28, change=_variable),
    VideoAttack("h265-28, 1 s", None, 1, "libx265", 28),
    VideoAttack("vp9-36, 1 s", None, 1, "libvpx-vp9", 36),
    VideoAttack("av1-38, 1 s", None, 1, "libsvtav1", 38),
)
