"""Frames and sound to and from pictures, clips and sounds, as streams. A picture is a clip of one frame.

Every reader here is meant for files that strangers send: formats are an allow-list decided by the first bytes and
never by the name, pixels, bytes and seconds are capped before anything is decoded, and damage is a ``MediaError``.
"""

from .files import MediaFile, held, open_media, sniff
from .meter import SoundMeter
from .sound import read_sound, write_wav
from .values import (
    MIME_BY_SUFFIX,
    SIDECAR_MIMES,
    WRITTEN_AS,
    Frame,
    Kind,
    Limits,
    MediaInfo,
    SoundBlock,
    SoundInfo,
    kind_of_mime,
)
from .write import AIGC_BESIDE, encode_clip, encode_picture, encode_sound
from .xmp import read_xmp, write_xmp

__all__ = [
    "AIGC_BESIDE",
    "MIME_BY_SUFFIX",
    "SIDECAR_MIMES",
    "WRITTEN_AS",
    "Frame",
    "Kind",
    "Limits",
    "MediaFile",
    "MediaInfo",
    "SoundBlock",
    "SoundInfo",
    "SoundMeter",
    "encode_clip",
    "encode_picture",
    "encode_sound",
    "held",
    "kind_of_mime",
    "open_media",
    "read_sound",
    "read_xmp",
    "sniff",
    "write_wav",
    "write_xmp",
]
