"""Sound as a stream of float blocks: out of sound files and clips, and back into WAV."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from ...errors import MediaError
from .files import MediaFile, open_container
from .id3 import tag_length
from .values import SoundBlock, SoundInfo
from .xmp import riff_chunks

Samples = NDArray[np.float32]

_FULL_SCALE = {"u1": 2.0**7, "i2": 2.0**15, "i4": 2.0**31, "i8": 2.0**63}
_SLACK = 0.02
"""Seconds by which time stamps may jitter before a gap is taken for one."""
_MOST_BYTES = (1 << 32) - 1


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────
def read_sound(media: MediaFile) -> Iterator[SoundBlock]:
    """The samples of a WAV file, or of the first sound track of a clip, frame by frame as they are decoded. Time 0 is
    that of the first picture in a clip: a track that begins later begins with silence here, and what lies before is
    left out; so are gaps filled. Raises MediaError where there is no sound, and where the file is damaged, breaks
    off, changes its form, or is longer than its limits."""
    if media.info.mime == "audio/wav" and not any(name == b"data" for name, _ in riff_chunks(media.path)):
        raise MediaError(f"{media.path.name} has no samples", code="input.media.damaged")
    with open_container(media.path, media.info.mime, media.limits) as container:
        if not container.streams.audio:
            raise MediaError(f"{media.path.name} has no sound in it", code="input.media.empty")
        stream = container.streams.audio[0]
        start = _first_picture(container) if media.info.kind == "video" else None
        form: tuple[int, int] | None = None
        done = 0
        for frame in _decoded(media, container, stream):
            samples = _floats(frame)
            if form not in (None, (frame.sample_rate, samples.shape[1])):
                raise MediaError(f"{media.path.name} changes its form in the middle", code="input.media.damaged")
            form = frame.sample_rate, samples.shape[1]
            samples = _placed(frame, samples, start, done)
            done += len(samples)
            if done > (media.limits.seconds + 1) * frame.sample_rate:
                raise MediaError(f"{media.path.name} goes on beyond its limit", code="input.media.too_long")
            if len(samples):
                yield SoundBlock(samples, frame.sample_rate)
        if form is None:
            raise MediaError(f"{media.path.name} holds no sound that can be decoded", code="input.media.empty")
        said = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        if media.info.mime == "audio/mpeg" and not _states_its_length(media.path):
            said = 0.0  # FFmpeg's guess from the first frame's bit rate
        if done / form[0] < said * 0.98 - 0.5:
            raise MediaError(
                f"the sound of {media.path.name} breaks off after {done / form[0]:.1f} of {said:.1f} s",
                code="input.media.cut_off",
            )


def _states_its_length(path: Path) -> bool:
    """Whether an MP3's first frame is one of those that say how many follow."""
    with path.open("rb") as stream:
        stream.seek(tag_length(stream.read(10)))
        head = stream.read(256)
    return any(name in head for name in (b"Xing", b"Info", b"VBRI"))


def _first_picture(container: av.container.InputContainer) -> Fraction | None:
    """The presentation time of the first picture, as far as the container says."""
    if not container.streams.video:
        return None
    video = container.streams.video[0]
    return Fraction(video.start_time * video.time_base) if video.start_time is not None and video.time_base else None


def _decoded(media: MediaFile, container: av.container.InputContainer, stream: Any) -> Iterator[Any]:
    try:
        yield from container.decode(stream)
    except (ValueError, TypeError, NotImplementedError, MemoryError) as error:
        raise MediaError(f"{media.path.name} is damaged: {error}", code="input.media.damaged") from error


def _floats(frame: Any) -> Samples:
    """(n, channels) float32 of any sample format. 24-bit samples, which FFmpeg gives as 32, come out exact."""
    array, channels = frame.to_ndarray(), frame.layout.nb_channels
    planar = array if frame.format.is_planar else array.reshape(-1, channels).T
    scale = _FULL_SCALE.get(array.dtype.str[1:])
    if scale is None:
        return np.ascontiguousarray(planar.T, np.float32)
    middle = scale if array.dtype == np.uint8 else 0.0
    return np.ascontiguousarray((planar.T - np.float64(middle)) / scale, np.float32)


def _placed(frame: Any, samples: Samples, start: Fraction | None, done: int) -> Samples:
    """The samples with the silence before them that their time stamp asks for, or without what lies before 0."""
    if start is None or frame.pts is None or frame.time_base is None:
        return samples
    ahead = round((frame.pts * frame.time_base - start) * frame.sample_rate) - done
    if ahead > _SLACK * frame.sample_rate or (done == 0 and ahead > 0):
        # Ten minutes at most: a time stamp is only a number in a stranger's file.
        silence = np.zeros((min(ahead, 600 * frame.sample_rate), samples.shape[1]), np.float32)
        return np.concatenate([silence, samples])
    if done == 0 and ahead < 0:
        return samples[min(-ahead, len(samples)) :]
    return samples


# ── WAV ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class _Form:
    """A `fmt ` chunk: ``kind`` is 1 for integers and 3 for floats."""

    chunk: bytes
    kind: int
    channels: int
    rate: int
    bits: int


def _form(path: Path) -> _Form:
    where = next((where for name, where in riff_chunks(path) if name == b"fmt "), None)
    if where is None or not 16 <= where[1] <= 1024:
        raise MediaError(f"{path.name} does not say how its samples are written", code="input.media.damaged")
    with path.open("rb") as stream:
        stream.seek(where[0])
        chunk = stream.read(where[1])
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
    if kind == 0xFFFE and len(chunk) >= 26:
        # WAVE_FORMAT_EXTENSIBLE: the first two bytes of the sub-format's GUID are the tag.
        kind = struct.unpack("<H", chunk[24:26])[0]
    if (kind, bits) not in {(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)}:
        raise MediaError(
            f"WAV files of format {kind} with {bits} bits are not written",
            code="input.media.format",
            hint="Convert it to 16 or 24 bits PCM first.",
        )
    return _Form(chunk, kind, channels, rate, bits)


def _pcm(info: SoundInfo) -> _Form:
    frame = info.bits // 8 * info.channels
    chunk = struct.pack("<HHIIHH", 1, info.channels, info.rate, info.rate * frame, frame, info.bits)
    return _Form(chunk, 1, info.channels, info.rate, info.bits)


def _written(samples: Samples, form: _Form) -> bytes:
    """Rounded to nearest, held to full scale. What `read_sound` gave comes back bit for bit, up to 24 bits."""
    if form.kind == 3:
        return samples.astype("<f4" if form.bits == 32 else "<f8").tobytes()
    scale = 2.0 ** (form.bits - 1)
    whole = np.clip(np.rint(samples.astype(np.float64) * scale), -scale, scale - 1)
    if form.bits == 8:
        return (whole + 128).astype(np.uint8).tobytes()
    if form.bits == 24:
        return whole.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    return whole.astype(f"<i{form.bits // 8}").tobytes()


def write_wav(blocks: Iterable[SoundBlock], target: Path, like: Path | SoundInfo) -> int:
    """Writes ``blocks`` as a WAV file with the sample format, rate and channels of ``like``, one block after another;
    16 or 24 bits PCM where that is not a WAV file. Returns the number of samples a channel. Raises MediaError for other
    rates or channels than ``like`` has, for formats other than 8 to 32 bits PCM and 32 or 64 bits float, and for more
    than the 4 GiB that WAV can hold."""
    form = _pcm(like) if isinstance(like, SoundInfo) else _form(like)
    name = "its source" if isinstance(like, SoundInfo) else like.name
    written = 0
    with target.open("wb") as stream:
        stream.write(b"RIFF\0\0\0\0WAVE")
        _chunk(stream, b"fmt ", form.chunk)
        if form.kind == 3:
            _chunk(stream, b"fact", b"\0\0\0\0")
        stream.write(b"data\0\0\0\0")
        start = stream.tell()
        for block in blocks:
            if (block.rate, block.samples.shape[1]) != (form.rate, form.channels):
                raise MediaError(
                    f"sound of {block.rate} Hz and {block.samples.shape[1]} channels does not fit {name}",
                    code="input.media.format",
                )
            data = _written(block.samples, form)
            if stream.tell() + len(data) + 1 > _MOST_BYTES:
                raise MediaError(
                    "a WAV file holds 4 GiB at most", code="input.media.too_large", hint="Split it, or use fewer bits."
                )
            stream.write(data)
            written += len(block.samples)
        length = stream.tell() - start
        stream.write(b"\0" * (length % 2))
        total = stream.tell()
        for place, value in ((4, total - 8), (start - 4, length)):
            stream.seek(place)
            stream.write(struct.pack("<I", value))
        if form.kind == 3:
            stream.seek(start - 12)
            stream.write(struct.pack("<I", written))
    return written


def _chunk(stream: BinaryIO, name: bytes, data: bytes) -> None:
    stream.write(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2))
