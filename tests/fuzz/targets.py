"""What is fuzzed: every parser that we own, and the boundary to those that we do not. Each target takes bytes, and may
raise nothing but a FiligranaError; what it must keep besides is asserted in it.

`python -m filigrana.tests.fuzz TARGET [SECONDS]` runs one under atheris (coverage-guided); tests/fault/test_fuzz.py runs
all of them for a moment, on their seeds and on cuts, flips and splices of them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

from filigrana.errors import FiligranaError
from filigrana.tests.doubles import scene

Target = Callable[[bytes], None]
TARGETS: dict[str, tuple[Target, Callable[[], list[bytes]]]] = {}


def target(seeds: Callable[[], list[bytes]]) -> Callable[[Target], Target]:
    def register(function: Target) -> Target:
        TARGETS[function.__name__] = (function, seeds)
        return function

    return register


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="filigrana-fuzz-"))


def _file(data: bytes, name: str = "input") -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


# ── containers ───────────────────────────────────────────────────────────────────────────────────────────────────
@cache
def _clip() -> bytes:
    from filigrana.provenance.media import Frame, encode_clip

    path = _folder() / "seed.mp4"
    encode_clip((Frame(scene(1, 64, 64), Fraction(i, 10)) for i in range(3)), path, "video/mp4", rate=Fraction(10))
    return path.read_bytes()


def _with_xmp(mime: str) -> bytes:
    from filigrana.provenance.media import encode_picture

    return encode_picture(scene(1, 64, 64), mime, xmp=_XMP)


_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description Iptc4xmpExt:DigitalSourceType="http://x/digitalCapture" '
    'TC260:AIGC=\'{"Label":"1","ContentProducer":"a"}\' dcterms:provenance="https://x/y"><xmp:CreatorTool>tool</xmp:CreatorTool>'
    "<dc:identifier>urn:filigrana:asset:0123456789AB</dc:identifier></rdf:Description></rdf:RDF></x:xmpmeta>"
)
_WAV = (
    b"RIFF"
    + (60).to_bytes(4, "little")
    + b"WAVEfmt \x10\0\0\0\1\0\1\0@\x1f\0\0\x80>\0\0\2\0\x10\0_PMX\4\0\0\0<x/>data\4\0\0\0\0\1\2\3"
)


@target(lambda: [_clip(), _WAV, b"\0\0\0\x10ftypqt  \0\0\0\0\0\0\0\x10moov\0\0\0\x08trak"])
def bmff_boxes(data: bytes) -> None:
    from filigrana.provenance.media.boxes import check_boxes

    check_boxes(_file(data))


@target(lambda: [_WAV, b"RIFF\0\0\0\0WAVE", b"RF64" + _WAV[4:]])
def riff_chunks(data: bytes) -> None:
    from filigrana.provenance.media.xmp import riff_chunks as walk

    for _, (offset, length) in walk(_file(data)):
        assert offset + length <= len(data)


@target(lambda: [_with_xmp("image/gif"), b"GIF89a\1\0\1\0\0\0\0!\xff\x0bXMP DataXMP<x/>\1\0;"])
def gif_blocks(data: bytes) -> None:
    from filigrana.provenance.media.gif import gif_packets

    list(gif_packets(_file(data)))


@target(lambda: [_with_xmp("image/png"), _with_xmp("image/jpeg"), b"\xff\xd8\xff\xe1\0\4ab\xff\xda"])
def picture_packets(data: bytes) -> None:
    from filigrana.provenance.media.packets import jpeg_packets, png_texts, webp_packets

    list(webp_packets(_file(data)))
    assert sum(map(len, jpeg_packets(_file(data)))) <= 4 << 20
    assert sum(len(value) for _, value in png_texts(_file(data))) <= 4 << 20


@target(lambda: [b"ID3\4\0\0\0\0\0\x20PRIV\0\0\0\x0c\0\0XMP\0<x/>abc", b"ID3\3\0\x40\0\0\0\x08\0\0\0\4\0\0\0\0"])
def id3_frames(data: bytes) -> None:
    from filigrana.provenance.media.id3 import xmp_frames

    list(xmp_frames(_file(data)))


@target(lambda: [_with_xmp(m)[:64] for m in ("image/png", "image/jpeg", "image/webp", "image/tiff")] + [_clip()[:64]])
def sniffing(data: bytes) -> None:
    from filigrana.provenance.media import MIME_BY_SUFFIX, sniff

    found = sniff(data)
    assert found is None or found in {*MIME_BY_SUFFIX.values(), "image/heic", "image/heif"}


# ── labels ───────────────────────────────────────────────────────────────────────────────────────────────────────
@target(lambda: [_XMP.encode(), b"<a:AIGC>{&quot;Label&quot;:&quot;2&quot;}</a:AIGC>"])
def xmp_labels(data: bytes) -> None:
    from filigrana.provenance.foreign import ForeignLabels, from_xmp
    from filigrana.provenance.labels import read_label

    packet = data.decode("utf-8", "replace")
    read_label(packet)
    fields = from_xmp(packet)
    labels = ForeignLabels(**fields)
    assert all(value is None or len(value) <= 300 for key, value in fields.items() if key != "aigc")
    _ = labels.source_term, labels.aigc_label, labels.anything


@target(lambda: [b'{"AIGC":{"Label":"1","ContentProducer":"x"}}', b'{"Label":1}', b"[[[[[[[["])
def aigc_label(data: bytes) -> None:
    from filigrana.provenance.foreign import parse_aigc

    assert len(parse_aigc(data.decode("utf-8", "replace"))) <= 16


# ── what c2pa-rs hands us ────────────────────────────────────────────────────────────────────────────────────────
_LABEL = "urn:c2pa:a"
_DOCUMENT = {
    "active_manifest": _LABEL,
    "manifests": {
        _LABEL: {
            "claim": {"dc:title": "t", "claim_generator_info": {"name": "n", "version": "1"}},
            "signature": {"common_name": "who", "time": "2026-01-01T00:00:00+00:00"},
            "assertion_store": {
                "c2pa.actions.v2": {"actions": [{"action": "c2pa.created", "softwareAgent": {"name": "a"}}]},
                "c2pa.soft-binding": {"alg": "x", "blocks": [{"value": [65, 66]}]},
                "c2pa.ingredient.v3": {
                    "relationship": "parentOf",
                    "activeManifest": {"url": f"self#jumbf=/c2pa/{_LABEL}"},
                    "validationResults": {"activeManifest": {"failure": [{"code": "x"}]}},
                },
                "org.filigrana.record": {"assetId": "0123456789AB"},
            },
        }
    },
}


@target(lambda: [json.dumps([_DOCUMENT, {"activeManifest": {"failure": [], "success": []}}, "Trusted"]).encode()])
def credentials_document(data: bytes) -> None:
    """The detailed document is our input too: each value in it may be of any kind. A TypeError ends in `damaged`."""
    from filigrana.provenance.credentials import Credentials, _interpret
    from filigrana.provenance.foreign import ForeignLabels
    from filigrana.provenance.madeby import made_by
    from filigrana.provenance.observed import Observed, claimed_id
    from filigrana.provenance.weighing import weigh

    try:
        document, results, state = json.loads(data)
    except (ValueError, TypeError, RecursionError):
        return
    if not isinstance(document, dict) or not isinstance(results, dict):
        return
    try:
        found: Credentials = _interpret(state, results, document)
    except (KeyError, TypeError, AttributeError, ValueError):
        return  # `read_credentials` catches these and says `damaged`
    assert found.state != "trusted", "nothing here names a list of ours"
    assert len(found.history.nodes) <= 200
    claimed_id(found)
    made_by(found, ForeignLabels())
    weigh(Observed(found))
    json.dumps(found.history.as_dict(), allow_nan=True)


# ── the boundary, and what other catalogs say ────────────────────────────────────────────────────────────────────
@target(
    lambda: [
        b'{"resolver":0,"ask":"by_binding","with":["a","b"]}',
        b'{"resolver":0,"ask":"preview","with":["0123456789AB"]}',
    ]
)
def child_questions(data: bytes) -> None:
    from filigrana.provenance.isolation.wire import answer
    from filigrana.tests.fault.test_isolation import Knowing

    message = _json(data)
    if not isinstance(message, dict):
        return
    try:
        answer([Knowing()], message)
    except ValueError:
        return  # ends the conversation


@target(lambda: [json.dumps({"finding": "unmarked", "trust": "none", "match": None, "signer": None, "time": None, "made_by": None,
    "history": {"nodes": [], "edges": [], "truncated": False}, "media": None, "record": None, "crjson": None, "asset_id": None, "regions": [], "thumbnail": None,
    "evidence": [{"technique": "x", "status": "ok", "detail": ""}]}).encode()])  # fmt: skip
def child_findings(data: bytes) -> None:
    from filigrana.provenance.isolation.wire import finding_in

    try:
        found = finding_in(_json(data), Path("x"), 0.0, None)
    except ValueError:
        return
    assert found.trust in ("c2pa", "configured", "development", "none")


@target(lambda: [json.dumps({"asset_id": "0123456789AB", "media": "image", "mime": "image/png", "sha256": "00", "byte_count": 1,
    "source_type": "ai", "width": 1, "height": 2, "duration": 0.5, "log_index": 3, "created_at": "2026-01-01T00:00:00+00:00"}).encode()])  # fmt: skip
def remote_record(data: bytes) -> None:
    from filigrana.provenance.isolation.wire import record_in, record_out

    value = _json(data)
    if isinstance(value, dict):
        record_out(record_in(value))


@target(lambda: [b"https://x.example", b"https://x.example log.example+3b1f0c2a+BAAA", b"http://[::1]:99999/"])
def catalog_setting(data: bytes) -> None:
    from filigrana.provenance.remote import RemoteResolver

    RemoteResolver.from_setting(data.decode("utf-8", "replace"))


@target(lambda: [b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def trust_list(data: bytes) -> None:
    import datetime as dt

    from filigrana.provenance.trust_store import read_list

    read_list(data, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


# ── the log's texts ──────────────────────────────────────────────────────────────────────────────────────────────
@target(lambda: [b"c2sp.org/tlog-proof@v1\nindex 3\nAAAA\n\nexample.com/log\n4\nAAAA\n\n\xe2\x80\x94 a AAAA\n"])
def log_proof(data: bytes) -> None:
    from filigrana.provenance.log.proof import LogProof

    text = data.decode("utf-8", "replace")
    proof = LogProof.parse(text)
    assert LogProof.parse(str(proof)) == proof


@target(lambda: [b"example.com/log\n4\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\xe2\x80\x94 a AAAA\n"])
def signed_note(data: bytes) -> None:
    from filigrana.provenance.log.note import Note

    Note.parse(data.decode("utf-8", "replace"))


@target(lambda: [b'{"type":"release","asset_id":"0123456789AB"}'])
def log_entry(data: bytes) -> None:
    from filigrana.provenance.log.canonical import decode, encode

    assert encode(decode(data)) == data


@target(lambda: [b"PK\5\6" + bytes(18)])
def evidence_bundle(data: bytes) -> None:
    from filigrana.provenance.log.bundle_format import unpack

    unpack(data)


# ── whole files ──────────────────────────────────────────────────────────────────────────────────────────────────
@target(lambda: [_with_xmp(m) for m in ("image/png", "image/jpeg", "image/webp", "image/gif")] + [_clip(), _WAV])
def opened_media(data: bytes) -> None:
    """Header, labels and metadata of a whole file, as the confined child reads them, short of its pixels."""
    from filigrana.provenance.foreign import read_foreign
    from filigrana.provenance.media import Limits, open_media, read_xmp

    path = _file(data)
    media = open_media(path, Limits(pixels=1 << 20, seconds=60))
    packet = read_xmp(path, media.info.mime)
    read_foreign(path, media.info.mime, packet, media.limits)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def run(name: str, data: bytes) -> None:
    """One input. FiligranaErrors are answers; everything else is a find."""
    try:
        TARGETS[name][0](data)
    except FiligranaError:
        return
