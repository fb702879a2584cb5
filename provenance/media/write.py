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
from .sound import MarkedSoundTrack
from .values import Frame, SoundBlock

JPEG_QUALITY = 95
VIDEO_CRF = 18
_TIME_BASE = Fraction(1, 90_000)


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


def encode_clip(
    frames: Iterable[Frame], target: Path, mime: str, *, rate: Fraction, sound: Iterable[SoundBlock] | None = None
) -> int:
    """Writes H.264 (yuv420p, constant quality) frame by frame, and ``sound`` as AAC in step with it. An odd last row or
    column is left out, since 4:2:0 needs even sides. Returns the number of frames written; raises MediaError when
    there were none."""
    container_format = {"video/mp4": "mp4", "video/quicktime": "mov"}.get(mime)
    if container_format is None:
        raise MediaError(f"clips are not written as {mime}", code="input.media.format")
    count = 0
    try:
        with av.open(str(target), "w", format=container_format, options={"movflags": "+faststart"}) as out:
            video = out.add_stream("libx264", rate=rate)
            video.pix_fmt = "yuv420p"
            video.options = {"crf": str(VIDEO_CRF), "preset": "veryfast"}
            video.codec_context.time_base = _TIME_BASE
            track = None if sound is None else MarkedSoundTrack(out, sound)
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
    return count
