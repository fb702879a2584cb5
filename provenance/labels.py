"""Labels that travel in metadata: IPTC 2025.1 and C2PA-consistent source types in one XMP packet.

The packet is written before signing, so that the signature covers it. The prompt's text is in it only where its
author asked for that. China's label is a property of it in formats that have no other place for it; what people see
and hear is made in `labelling`.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from .identity import AssetId
from .labelling.aigc import NAMESPACE
from .manifest import SOURCE_TYPE_URI, SourceType

_NS = {
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
}
_SOURCE = re.compile(r"DigitalSourceType(?:>|\s*=\s*[\"'])\s*([^<\"'\s]+)")
_ID = re.compile(r"urn:filigrana:asset:([0-9A-Za-z]{12})")


@dataclass(frozen=True)
class MetadataLabel:
    """What an XMP packet says that we check: the source type's URI and our asset id."""

    source_type: str | None
    asset_id: str | None


def xmp_packet(
    asset_id: AssetId,
    source_type: SourceType,
    made_at: dt.datetime,
    *,
    system: str,
    version: str,
    prompt: str | None = None,
    writer: str | None = None,
    aigc: str | None = None,
) -> str:
    """The XMP packet. ``system`` and ``version``: the AI system that made it, written for AI source types only.
    ``writer``: who wrote the prompt, where the prompt is published. ``aigc``: an AIGC label's text."""
    uri = SOURCE_TYPE_URI[source_type]
    fields = [("dc:identifier", f"urn:filigrana:asset:{asset_id}")]
    if uri is not None:
        fields.append(("Iptc4xmpExt:DigitalSourceType", uri))
    if source_type == "generated":
        fields += [
            ("Iptc4xmpExt:AISystemUsed", system),
            ("Iptc4xmpExt:AISystemVersionUsed", version),
            ("xmp:CreateDate", made_at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")),
        ]
        if prompt is not None:
            fields.append(("Iptc4xmpExt:AIPromptInformation", prompt))
            if writer is not None:
                fields.append(("Iptc4xmpExt:AIPromptWriterName", writer))
    spaces = dict(_NS)
    if aigc is not None:
        spaces["TC260"] = NAMESPACE
        fields.append(("TC260:AIGC", aigc))
    names = " ".join(f"xmlns:{prefix}={quoteattr(uri)}" for prefix, uri in spaces.items())
    body = "".join(f"<{name}>{escape(_clean(text))}</{name}>" for name, text in fields)
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {names}>{body}</rdf:Description></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="r"?>'
    )


def _clean(text: str) -> str:
    """XML 1.0 cannot carry most control characters, not even escaped."""
    return "".join(
        c
        for c in text
        if c in "\t\n\r" or (ord(c) >= 32 and not 0xD800 <= ord(c) <= 0xDFFF and c not in "\ufffe\uffff")
    )


def read_label(packet: str) -> MetadataLabel:
    """Finds our fields in any packet, as element or attribute. A pattern, not a parser: nothing is expanded."""
    source, ident = _SOURCE.search(packet), _ID.search(packet)
    return MetadataLabel(source.group(1) if source else None, ident.group(1).upper() if ident else None)
