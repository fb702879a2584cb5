"""The plain labels of any maker: IPTC and XMP fields, China's AIGC label, EXIF, and what image generators leave in PNG.

All of it is text that anybody can write. It names what a file says of itself; it never decides a finding. The readers
here take whatever stands there: both shapes of the AIGC object, fields as elements or attributes; damage is absence.
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from ..errors import MediaError
from .history import text
from .media import Limits
from .media.files import open_container
from .media.pictures import open_picture
from .media.values import kind_of_mime
from .media.xmp import riff_chunks

_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
AI_SOURCES = frozenset({"trainedAlgorithmicMedia", "algorithmicMedia"})
COMPOSITE_SOURCES = frozenset({"compositeWithTrainedAlgorithmicMedia", "compositeSynthetic", "algorithmicallyEnhanced"})
CAMERA_SOURCES = frozenset({"digitalCapture", "computationalCapture", "negativeFilm", "positiveFilm", "print"})
_AIGC_BYTES = 8 << 10
_VALUE = 4 << 10
_EXIF_SOFTWARE, _EXIF_MAKE, _EXIF_MODEL, _EXIF_COMMENT = 0x0131, 0x010F, 0x0110, 0x9286


@dataclass(frozen=True, slots=True)
class ForeignLabels:
    """What a file's plain labels say. ``source_type``: the IPTC URI or term. ``system``: the AI system (IPTC 2025.1).
    ``software``: the program that wrote the file. ``camera``: make and model. ``aigc``: the TC260 object's fields.
    ``generator``: of an image generator that leaves its settings in the file. ``remote``: the address at which the
    file says that its credentials lie; nothing is fetched from there."""

    source_type: str | None = None
    system: str | None = None
    system_version: str | None = None
    software: str | None = None
    camera: str | None = None
    aigc: tuple[tuple[str, str], ...] = ()
    generator: str | None = None
    remote: str | None = None

    @property
    def source_term(self) -> str | None:
        """The last part of the source type: `trainedAlgorithmicMedia`."""
        return None if self.source_type is None else self.source_type.rstrip("/").rsplit("/", 1)[-1]

    @property
    def aigc_label(self) -> str | None:
        """1: is AI-made, 2: possibly, 3: suspected (GB 45438-2025)."""
        return dict(self.aigc).get("Label")

    @property
    def anything(self) -> bool:
        return self != ForeignLabels()


def _field(packet: str, name: str) -> str | None:
    """An XMP property by its local name, as element or attribute. A pattern, not a parser: nothing is expanded."""
    found = re.search(rf"[:\s<]{name}\s*=\s*(\"[^\"]*\"|'[^']*')", packet)
    if found:
        return text(html.unescape(found.group(1)[1:-1]).strip())
    opening = re.search(rf"<(?:[\w.-]{{1,40}}:)?{name}(?:\s[^>]{{0,400}})?>", packet)
    if not opening:
        return None
    # The end is searched once, with `find`: a pattern over both would take time in the square of a hostile packet.
    end = packet.find(f"{name}>", opening.end())
    value = packet[opening.end() : end][:_VALUE] if end >= 0 else ""
    inner = re.search(r"<rdf:li[^>]{0,200}>([^<]*)<", value)
    return text(html.unescape(inner.group(1) if inner else re.sub(r"<[^>]*>?", "", value)).strip())


def from_xmp(packet: str | None) -> dict[str, Any]:
    if not packet:
        return {}
    return {
        "source_type": _field(packet, "DigitalSourceType"),
        "system": _field(packet, "AISystemUsed"),
        "system_version": _field(packet, "AISystemVersionUsed"),
        "software": _field(packet, "CreatorTool"),
        "remote": _field(packet, "provenance"),
        "aigc": parse_aigc(_raw_field(packet, "AIGC")),
    }


def _raw_field(packet: str, name: str) -> str | None:
    found = re.search(rf"[:\s<]{name}\s*=\s*(\"[^\"]*\"|'[^']*')", packet)
    if found:
        return html.unescape(found.group(1)[1:-1])
    found = re.search(rf"<(?:[\w.-]+:)?{name}(?:\s[^>]*)?>([^<]*)</", packet)
    return html.unescape(found.group(1)) if found else None


def parse_aigc(value: str | None) -> tuple[tuple[str, str], ...]:
    """The label's fields, from `{"AIGC": {…}}` or the inner object alone; empty for what is neither."""
    if not value or len(value) > _AIGC_BYTES:
        return ()
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return ()
    inner = found.get("AIGC", found) if isinstance(found, dict) else None
    if not isinstance(inner, dict) or "Label" not in inner:
        return ()
    return tuple((str(key)[:64], text(item) or "") for key, item in list(inner.items())[:16])


def read_foreign(path: Path, mime: str, packet: str | None, limits: Limits) -> ForeignLabels:
    """All plain labels of a file that was opened before. Damage in a label is its absence, never an error."""
    fields = {key: value for key, value in from_xmp(packet).items() if value}
    try:
        more = _from_picture(path, mime) if kind_of_mime(mime) == "image" else _from_stream(path, mime, limits)
    except (MediaError, OSError, ValueError):
        more = {}
    return ForeignLabels(**({key: value for key, value in more.items() if value} | fields))


def _from_picture(path: Path, mime: str) -> dict[str, Any]:
    with open_picture(path, mime) as image:
        info = dict(image.info)
        exif: Any = {} if mime == "image/png" and "exif" not in info else image.getexif()
        make, model = text(exif.get(_EXIF_MAKE)), text(exif.get(_EXIF_MODEL))
        comment = exif.get_ifd(0x8769).get(_EXIF_COMMENT) if exif else None
    aigc = info.get("AIGC") or info.get("TC260:AIGC")
    if not isinstance(aigc, str) and isinstance(comment, bytes):
        aigc = comment[8:].decode("utf-8", "replace").strip("\0 ") if len(comment) < _AIGC_BYTES else None
    return {
        "software": text(exif.get(_EXIF_SOFTWARE)) or text(info.get("Software")),
        "camera": " ".join(dict.fromkeys(part.strip() for part in (make, model) if part)) or None,
        "aigc": parse_aigc(aigc if isinstance(aigc, str) else None),
        "generator": _generator(info),
    }


def _generator(info: dict[Any, Any]) -> str | None:
    """What common image generators leave in a PNG: their settings as text chunks."""
    if isinstance(info.get("parameters"), str):
        found = re.search(r"\bModel: ([^,\n]{1,80})", info["parameters"][:20_000])
        return f"an image generator's settings{f' (model {found.group(1)})' if found else ''}"
    if isinstance(info.get("workflow"), str) or isinstance(info.get("prompt"), str):
        return "a node graph of an image generator (ComfyUI)"
    if isinstance(info.get("invokeai_metadata"), str):
        return "InvokeAI"
    if "Dream" in info:
        return "Dream"
    return None


def _from_stream(path: Path, mime: str, limits: Limits) -> dict[str, Any]:
    try:
        with open_container(path, mime, limits) as container:
            tags = {str(key).lower(): str(value) for key, value in container.metadata.items()}
    except av.error.FFmpegError:
        return {}
    aigc = tags.get("aigc")
    if aigc is None and mime == "audio/wav":
        where = next((place for name, place in riff_chunks(path) if name == b"AIGC"), None)
        if where is not None and where[1] <= _AIGC_BYTES:
            with path.open("rb") as stream:
                stream.seek(where[0])
                aigc = stream.read(where[1]).decode("utf-8", "replace").strip("\0 ")
    camera = " ".join(filter(None, (tags.get("com.apple.quicktime.make"), tags.get("com.apple.quicktime.model"))))
    return {
        "software": text(tags.get("encoder") or tags.get("software") or tags.get("com.apple.quicktime.software")),
        "camera": text(camera),
        "aigc": parse_aigc(aigc),
        "system": text(tags.get("ai_system") or tags.get("generator")),
    }
