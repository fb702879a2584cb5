"""Encoding finished frames and sound into a file, before it is labelled and signed."""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from ...errors import MediaError
from .files import MediaFile
from .gif import with_xmp
from .sound import write_wav
from .track import MarkedSoundTrack
from .values import Frame, SoundBlock
from .xmp import write_xmp

JPEG_QUALITY = 95
VIDEO_CRF = 18
WEBM_CRF = 24
AIGC_BESIDE = frozenset({"video/mp4", "video/quicktime", "audio/mp4", "audio/wav", "audio/mpeg"})
"""Formats in which the AIGC label has a place of its own (TC260); in the others it is a property of the XMP packet."""
TAGGED = frozenset({"video/webm", "audio/ogg"})
"""Their XMP is a tag of the container, which the muxer writes; the others get theirs afterwards."""
_TIME_BASE = Fraction(1, 90_000)
_COLOURS = {"colorspace": 6, "color_range": 1, "color_primaries": 1, "color_trc": 1}
"""How FFmpeg turns RGB into YUV: the matrix of BT.601, 16 to 235; primaries and transfer of BT.709 (ITU-T H.273).
Players guess the matrix by the size where nothing says it, and show another red."""


def encode_picture(
    rgb: NDArray[np.uint8], mime: str, *, xmp: str | None = None, keep: dict[str, Any] | None = None
) -> bytes:
    """``rgb``: (h, w, 3) uint8. ``keep``: alpha, icc and exif as ``MediaFile.picture`` gives them. Returns the file."""
    keep = keep or {}
    pixels = rgb
    if "alpha" in keep:
        if mime == "image/jpeg":
            raise MediaError("JPEG cannot hold transparency", code="input.media.alpha", hint="Write PNG or WebP.")
        pixels = np.dstack([rgb, keep["alpha"]])
    image, out = Image.fromarray(pixels), io.BytesIO()
    if mime == "image/gif":
        return _encode_gif(image, xmp, keep)
    options: dict[str, Any] = {}
    if "icc" in keep:
        options["icc_profile"] = keep["icc"]
    if "exif" in keep:
        options["exif"] = keep["exif"]
    if mime == "image/png":
        info = PngImagePlugin.PngInfo()
        if xmp:
            info.add_itxt("XML:com.adobe.xmp", xmp)
        image.save(out, "PNG", pnginfo=info, compress_level=6, **options)
    elif mime == "image/tiff":
        # Tag 700 is XMP's (Adobe's XMP Specification Part 3, 1.1.6).
        tags = {700: xmp.encode()} if xmp else {}
        image.save(out, "TIFF", compression="tiff_adobe_deflate", tiffinfo=tags, **options)
    elif mime in ("image/jpeg", "image/webp", "image/avif"):
        if xmp:
            options["xmp"] = xmp.encode()
        if mime == "image/jpeg":
            image.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0, **options)
        elif mime == "image/webp":
            image.save(out, "WEBP", quality=92, method=4, exact=True, **options)
        else:
            image.save(out, "AVIF", quality=85, subsampling="4:4:4", speed=7, **options)
    else:
        raise MediaError(f"pictures are not written as {mime}", code="input.media.format")
    return out.getvalue()


def _encode_gif(image: Image.Image, xmp: str | None, keep: dict[str, Any]) -> bytes:
    """256 colours, dithered, one of them for what is transparent. EXIF has no place in a GIF, and orientation is
    applied before; a colour profile would be lost, and the colours with it."""
    if "icc" in keep:
        raise MediaError("GIF cannot hold a colour profile", code="input.media.icc", hint="Write PNG or TIFF.")
    alpha, out = keep.get("alpha"), io.BytesIO()
    if alpha is None:
        image.quantize(256).save(out, "GIF")
    else:
        if not np.isin(alpha, (0, 255)).all():
            raise MediaError("GIF cannot hold half transparency", code="input.media.alpha", hint="Write PNG or WebP.")
        flat = image.convert("RGB").quantize(255)
        indices = np.where(alpha == 0, 255, np.asarray(flat)).astype(np.uint8)
        clear = Image.fromarray(indices).convert("P")
        clear.putpalette([*(flat.getpalette() or [])[:765], 0, 0, 0])
        clear.save(out, "GIF", transparency=255, optimize=False)
    data = out.getvalue()
    return with_xmp(data, xmp.encode()) if xmp else data


def _movflags(aigc: str | None) -> dict[str, str]:
    """FFmpeg then writes its tags as `moov.udta.meta` with keys, where the AIGC label belongs."""
    return {"movflags": "+faststart+use_metadata_tags" if aigc else "+faststart"}


_CLIPS: dict[str, tuple[str, str, str, dict[str, str]]] = {
    # MIME type: container, picture codec, sound codec, picture codec's options
    "video/mp4": ("mp4", "libx264", "aac", {"crf": str(VIDEO_CRF), "preset": "veryfast"}),
    "video/quicktime": ("mov", "libx264", "aac", {"crf": str(VIDEO_CRF), "preset": "veryfast"}),
    "video/webm": ("webm", "libvpx-vp9", "libopus", {"crf": str(WEBM_CRF), "b": "0", "cpu-used": "6", "row-mt": "1"}),
}
_SOUNDS = {
    "audio/mp4": ("ipod", "aac", {}),
    "audio/mpeg": ("mp3", "libmp3lame", {"id3v2_version": "0", "write_id3v1": "0"}),
    "audio/flac": ("flac", "flac", {}),
    "audio/ogg": ("ogg", "libopus", {}),
}


def encode_clip(
    frames: Iterable[Frame],
    target: Path,
    mime: str,
    *,
    rate: Fraction,
    sound: Iterable[SoundBlock] | None = None,
    xmp: str | None = None,
    aigc: str | None = None,
) -> int:
    """Writes H.264 (VP9 in WebM; yuv420p, constant quality) frame by frame, and ``sound`` as AAC (Opus in WebM) in step
    with it. An odd last row or column is left out, since 4:2:0 needs even sides. ``aigc``: an AIGC label, for the
    formats in `AIGC_BESIDE`. Returns the number of frames written; raises MediaError when there were none."""
    if mime not in _CLIPS:
        raise MediaError(f"clips are not written as {mime}", code="input.media.format")
    container_format, codec, sound_codec, options = _CLIPS[mime]
    muxing = {} if container_format == "webm" else _movflags(aigc)
    count = 0
    try:
        with av.open(str(target), "w", format=container_format, options=muxing) as out:
            if xmp and mime in TAGGED:
                out.metadata["XMP"] = xmp
            if aigc and mime in AIGC_BESIDE:
                out.metadata["AIGC"] = aigc
            video: Any = out.add_stream(codec, rate=rate)
            video.pix_fmt = "yuv420p"
            video.options = options
            video.codec_context.time_base = _TIME_BASE
            for name, value in _COLOURS.items():
                setattr(video.codec_context, name, value)
            track = None if sound is None else MarkedSoundTrack(out, sound, sound_codec)
            last = -1
            for frame in frames:
                height, width = (side // 2 * 2 for side in frame.rgb.shape[:2])
                if count == 0:
                    video.width, video.height = width, height
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.rgb[:height, :width]), "rgb24")
                last = max(last + 1, round(frame.time / _TIME_BASE))
                picture.pts, picture.time_base = last, _TIME_BASE
                out.mux(video.encode(picture))
                count += 1
                if track is not None:
                    track.write_until(float(frame.time))
            if count:
                out.mux(video.encode(None))
            if track is not None:
                track.write_until(float("inf"))
    except av.error.FFmpegError as error:
        raise MediaError(f"the clip could not be encoded: {error}", code="input.media.encode") from error
    if count == 0:
        raise MediaError("there is no frame to encode", code="input.media.empty")
    if xmp and mime not in TAGGED:
        write_xmp(target, mime, xmp)
    return count


def encode_sound(
    blocks: Iterable[SoundBlock],
    target: Path,
    mime: str,
    source: MediaFile,
    *,
    xmp: str | None = None,
    aigc: str | None = None,
) -> int:
    """Writes WAV, M4A (AAC), MP3, FLAC or Ogg (Opus). ``source``: where the sound is from; WAV stays in its sample
    format, FLAC keeps its 16 or 24 bits. Returns the number of samples a channel; raises MediaError for none, and for
    channels or rates that the format has not."""
    form = source.info.sound
    if form is None:
        raise MediaError(f"{source.path.name} has no sound in it", code="input.media.empty")
    if mime == "audio/wav":
        count = write_wav(blocks, target, source.path if source.info.mime == mime else form)
        if xmp:
            write_xmp(target, mime, xmp, aigc=aigc)
        return count
    if mime not in _SOUNDS:
        raise MediaError(f"sounds are not written as {mime}", code="input.media.format")
    container_format, codec, muxing = _SOUNDS[mime]
    if mime == "audio/mp4":
        muxing = _movflags(aigc)
    try:
        with av.open(str(target), "w", format=container_format, options=muxing) as out:
            if xmp and mime in TAGGED:
                out.metadata["XMP"] = xmp
            if aigc and mime == "audio/mp4":
                out.metadata["AIGC"] = aigc
            track = MarkedSoundTrack(out, blocks, codec, bits=form.bits)
            track.write_until(float("inf"))
    except av.error.FFmpegError as error:
        raise MediaError(f"the sound could not be encoded: {error}", code="input.media.encode") from error
    if track.samples == 0:
        raise MediaError("there is no sound to encode", code="input.media.empty")
    if xmp and mime not in TAGGED:
        write_xmp(target, mime, xmp, aigc=aigc)
    return track.samples
