"""The plain labels of any maker: IPTC and XMP fields, China's AIGC label, EXIF, and what image generators leave in PNG.

All of it is text that anybody can write. It names what a file says of itself; it never decides a finding. The readers
here take whatever stands there: both shapes of the AIGC object, fields as elements or attributes; damage is absence.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from ..errors import MediaError
from .history import text
from .labelling.aigc import parse
from .labelling.places import read_all
from .media import Limits
from .media.files import open_container
from .media.pictures import open_picture
from .media.values import kind_of_mime
from .media.xmp import plain_xml

_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
AI_SOURCES = frozenset({"trainedAlgorithmicMedia", "algorithmicMedia"})
COMPOSITE_SOURCES = frozenset({"compositeWithTrainedAlgorithmicMedia", "compositeSynthetic", "algorithmicallyEnhanced"})
CAMERA_SOURCES = frozenset({"digitalCapture", "computationalCapture", "negativeFilm", "positiveFilm", "print"})
_VALUE = 4 << 10
_EXIF_SOFTWARE, _EXIF_MAKE, _EXIF_MODEL = 0x0131, 0x010F, 0x0110


@dataclass(frozen=True, slots=True)
class ForeignLabels:
    """What a file's plain labels say. ``source_type``: the IPTC URI or term. ``system``: the AI system (IPTC 2025.1).
    ``software``: the program that wrote the file. ``camera``: make and model. ``aigc``: the TC260 object's fields,
    ``aigc_labels`` how many such objects there are. ``prompt`` and ``prompt_writer``: IPTC's prompt and its author.
    ``generator``: of an image generator that leaves its settings in the file. ``remote``: the address at which the
    file says that its credentials lie; nothing is fetched from there."""

    source_type: str | None = None
    system: str | None = None
    system_version: str | None = None
    software: str | None = None
    camera: str | None = None
    aigc: tuple[tuple[str, str], ...] = ()
    aigc_labels: int = 0
    prompt: str | None = None
    prompt_writer: str | None = None
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


_MOST_VALUES = 8


def _values(packet: str, name: str) -> list[str]:
    """An XMP property's values by its local name, as attributes or elements: the first ones, each once. Patterns, not
    a parser: nothing is expanded."""
    found = [match.group(1)[1:-1] for match in re.finditer(rf"[:\s<]{name}\s*=\s*(\"[^\"]*\"|'[^']*')", packet)]
    for opening in re.finditer(rf"<(?:[\w.-]{{1,40}}:)?{name}(\s[^>]{{0,400}})?>", packet):
        if len(found) >= _MOST_VALUES:
            break
        resource = re.search(r"rdf:resource\s*=\s*[\"']([^\"']*)", opening.group(1) or "")
        if resource or opening.group(0).endswith("/>"):
            found += [resource.group(1)] if resource else []
            continue
        # The end is searched with `find`: a pattern over both would take time in the square of a hostile packet.
        end = packet.find(f"{name}>", opening.end())
        value = packet[opening.end() : end][:_VALUE] if end >= 0 else ""
        inner = re.search(r"<rdf:li[^>]{0,200}>([^<]*)<", value)
        found.append(inner.group(1) if inner else re.sub(r"<[^>]*>?", "", value))
    read = (text(html.unescape(value).strip()) for value in found[:_MOST_VALUES])
    return list(dict.fromkeys(value for value in read if value))


def source_types(packet: str | None) -> list[str]:
    """Every digital source type that an XMP packet names: of several, no reader knows which one is meant."""
    return _values(plain_xml(packet), "DigitalSourceType") if packet else []


def from_xmp(packet: str | None) -> dict[str, Any]:
    if not packet:
        return {}
    packet = plain_xml(packet)
    names = {
        "source_type": "DigitalSourceType",
        "system": "AISystemUsed",
        "system_version": "AISystemVersionUsed",
        "software": "CreatorTool",
        "prompt": "AIPromptInformation",
        "prompt_writer": "AIPromptWriterName",
        "remote": "provenance",
    }
    return {field: next(iter(_values(packet, name)), None) for field, name in names.items()}


def parse_aigc(value: str | None) -> tuple[tuple[str, str], ...]:
    """The label's fields, from `{"AIGC": {…}}` or the inner object alone; empty for what is neither."""
    inner = parse(value)
    if inner is None:
        return ()
    return tuple((str(key)[:64], text(item) or "") for key, item in list(inner.items())[:16])


def read_foreign(path: Path, mime: str, packet: str | None, limits: Limits) -> ForeignLabels:
    """All plain labels of a file that was opened before. Damage in a label is its absence, never an error."""
    fields = {key: value for key, value in from_xmp(packet).items() if value}
    found = read_all(path, mime, packet, limits)
    fields["aigc"] = next((label for _, value in found if (label := parse_aigc(value))), ())
    fields["aigc_labels"] = len(found)
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
    return {
        "software": text(exif.get(_EXIF_SOFTWARE)) or text(info.get("Software")),
        "camera": " ".join(dict.fromkeys(part.strip() for part in (make, model) if part)) or None,
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
    camera = " ".join(filter(None, (tags.get("com.apple.quicktime.make"), tags.get("com.apple.quicktime.model"))))
    return {
        "software": text(tags.get("encoder") or tags.get("software") or tags.get("com.apple.quicktime.software")),
        "camera": text(camera),
        "system": text(tags.get("ai_system") or tags.get("generator")),
    }
