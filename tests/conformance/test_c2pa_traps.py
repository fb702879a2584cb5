"""The traps of c2pa-python 0.38.1 (c2pa-rs 0.91.3), each with a test that it stays closed here.

Where a trap is the library's, a control shows that it is still there: when it goes, our guard can go too.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import struct
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import c2pa
import pytest

from filigrana.errors import ManifestError, TimestampError
from filigrana.provenance.credentials import read_credentials
from filigrana.provenance.manifest import definition
from filigrana.provenance.media import Frame, encode_clip, encode_picture
from filigrana.provenance.trust import TrustList, TrustLists, base_settings
from filigrana.tests.doubles import scene
from filigrana.tests.signing_kit import Kit, statement


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit.make(tmp_path)


@pytest.fixture
def signed(kit: Kit, tmp_path: Path) -> Path:
    return kit.picture(tmp_path)


def read(path: Path, trust: TrustLists, mime: str = "image/jpeg"):  # type: ignore[no-untyped-def]
    return read_credentials(path, mime, trust)


# 1 ── claim and time-stamp trust are apart
def test_a_signed_picture_is_trusted_with_both_lists(kit: Kit, signed: Path) -> None:
    found = read(signed, kit.trust)
    assert (found.state, found.trust, found.time_trust) == ("trusted", "development", "development")


def test_a_time_stamp_root_does_not_make_a_signer_trusted(kit: Kit, signed: Path) -> None:
    wrong = TrustLists(claim=(), tsa=(TrustList("c2pa", kit.claim_root), TrustList("c2pa", kit.tsa_root)))
    control = c2pa.Reader("image/jpeg", io.BytesIO(signed.read_bytes()), None, c2pa.Context.from_dict(wrong.settings()))
    assert control.get_validation_state() == "Trusted", "the library enforces trust_kind now: our guard may go"
    found = read(signed, wrong)
    assert (found.state, found.trust) == ("valid", "none")


def test_a_claim_root_does_not_make_a_time_stamp_trusted(kit: Kit, signed: Path) -> None:
    wrong = TrustLists(claim=(TrustList("configured", kit.claim_root), TrustList("configured", kit.tsa_root)), tsa=())
    found = read(signed, wrong)
    assert (found.trust, found.time_trust) == ("configured", "none")


def test_nobody_is_trusted_without_lists(signed: Path) -> None:
    found = read(signed, TrustLists())
    assert (found.state, found.trust, found.time_trust) == ("valid", "none", "none")


# 2 ── free and skip boxes
def test_a_box_appended_to_an_mp4_is_seen(kit: Kit, tmp_path: Path) -> None:
    source, target = tmp_path / "clip", tmp_path / "clip.mp4"
    encode_clip((Frame(scene(1, 256, 256), Fraction(i, 10)) for i in range(4)), source, "video/mp4", rate=Fraction(10))
    kit.sign(source, target, "video/mp4", definition(statement("video/mp4")))
    assert read(target, kit.trust, "video/mp4").state == "trusted"
    with target.open("ab") as stream:
        stream.write(struct.pack(">I4s", 16, b"free") + b"12345678")
    assert read(target, kit.trust, "video/mp4").state == "invalid"


# 4 ── source and target
def test_signing_a_file_onto_itself_is_refused_and_loses_nothing(kit: Kit, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encode_picture(scene(1), "image/jpeg"))
    before = path.read_bytes()
    with pytest.raises(ManifestError):
        kit.sign(path, path, "image/jpeg", definition(statement()))
    assert path.read_bytes() == before


# 5 ── no network while reading
def test_reading_fetches_no_remote_manifest(kit: Kit, tmp_path: Path) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *args: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/manifest.c2pa"
    out = io.BytesIO()
    builder = c2pa.Builder(definition(statement()), context=c2pa.Context.from_dict(base_settings()))
    builder.set_no_embed()
    builder.set_remote_url(url)
    key = kit.keys.claim()
    from filigrana.provenance.signers import FileSigner

    with kit.tsa() as tsa:
        signer = c2pa.Signer.from_callback(FileSigner(key).sign, c2pa.C2paSigningAlg.ES256, key.chain_pem, tsa)
        builder.sign(signer, "image/jpeg", io.BytesIO(encode_picture(scene(1), "image/jpeg")), out)
    path = tmp_path / "remote.jpg"
    path.write_bytes(out.getvalue())
    found = read(path, kit.trust)
    assert found.state in ("absent", "damaged")
    assert asked == []
    # Control: with its defaults the library does ask.
    with pytest.raises(c2pa.C2paError):
        c2pa.Reader("image/jpeg", io.BytesIO(out.getvalue()), None, c2pa.Context.from_dict({}))
    server.shutdown()
    server.server_close()
    assert asked


# 7 ── thumbnails
def test_no_thumbnail_is_made(kit: Kit, signed: Path) -> None:
    reader = c2pa.Reader(
        "image/jpeg", io.BytesIO(signed.read_bytes()), None, c2pa.Context.from_dict(kit.trust.settings())
    )
    assert "thumbnail" not in reader.json()


# 8 ── soft-binding values in any shape
@pytest.mark.parametrize("value", ["ABC", b"ABC", [65, 66, 67]])
def test_soft_binding_values_are_read_in_every_shape(value: object) -> None:
    from filigrana.provenance.credentials import _soft_bindings

    store = {"c2pa.soft-binding": {"alg": "x", "blocks": [{"scope": {}, "value": value}]}}
    assert _soft_bindings(store) == [("x", "ABC")]


@pytest.mark.parametrize(
    "block", [{}, {"value": None}, {"value": {"a": 1}}, {"value": [300]}, {"value": [True, "x"]}, 5]
)
def test_soft_binding_values_that_are_none_are_left_out(block: object) -> None:
    from filigrana.provenance.credentials import _soft_bindings

    assert _soft_bindings({"c2pa.soft-binding": {"alg": "x", "blocks": [block]}}) in ([], [("x", "\x01x")])


# 9 ── damage never raises
def test_flipping_bytes_anywhere_never_raises_and_never_verifies_changed_pixels(
    kit: Kit, signed: Path, tmp_path: Path
) -> None:
    data, states = signed.read_bytes(), set()
    for position in range(0, len(data), max(1, len(data) // 150)):
        path = tmp_path / "flipped.jpg"
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :])
        found = read(path, kit.trust)
        states.add(found.state)
        if position > 20 + 15_000:  # behind the manifest: picture data
            assert found.state in ("invalid", "damaged"), position
    assert {"invalid", "damaged"} & states


def test_every_cut_is_seen(kit: Kit, signed: Path, tmp_path: Path) -> None:
    data = signed.read_bytes()
    for length in range(4, len(data), len(data) // 40):
        path = tmp_path / "cut.jpg"
        path.write_bytes(data[:length])
        assert read(path, kit.trust).state in ("invalid", "damaged", "absent")


# 10 ── valid is not trusted, stripped is absent, unknown settings are found
def test_a_stripped_file_has_no_credentials(kit: Kit, tmp_path: Path) -> None:
    path = tmp_path / "plain.jpg"
    path.write_bytes(encode_picture(scene(2), "image/jpeg"))
    assert read(path, kit.trust).state == "absent"


def test_another_installation_s_signature_is_intact_and_untrusted(signed: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Kit.make(tmp_path / "other")
    assert read(signed, other.trust).state == "valid"


def test_every_settings_key_is_one_that_the_library_knows() -> None:
    """A typo would be ignored without a word: every leaf must be accepted by name and refused with a wrong type."""
    for section, values in base_settings().items():
        if section == "version":
            continue
        for key, value in values.items():
            if isinstance(value, dict):
                wrong: object = dict.fromkeys(value, "not a bool")
            else:
                wrong = {"x": 1} if not isinstance(value, list) else "not a list"
            with pytest.raises(c2pa.C2paError):
                c2pa.Context.from_dict({section: {key: wrong}})


# 11 ── time
def test_without_a_time_stamp_authority_nothing_is_signed(kit: Kit, tmp_path: Path) -> None:
    source, target = tmp_path / "a.jpg", tmp_path / "b.jpg"
    source.write_bytes(encode_picture(scene(1), "image/jpeg"))
    with pytest.raises(TimestampError):
        kit.sign(source, target, "image/jpeg", definition(statement()), tsa_url="http://127.0.0.1:9")
    assert not target.exists()


def test_an_expired_certificate_signs_nothing_that_is_trusted(tmp_path: Path) -> None:
    kit = Kit.make(tmp_path, dt.datetime.now(dt.UTC) - dt.timedelta(days=800))
    try:
        path = kit.picture(tmp_path)
    except ManifestError:
        return
    assert read(path, kit.trust).state != "trusted"


# 12 ── the store is never compared byte for byte
def test_two_signatures_of_one_picture_differ_and_both_hold(kit: Kit, tmp_path: Path) -> None:
    first, second = kit.picture(tmp_path), kit.picture(tmp_path)
    assert first.read_bytes() != second.read_bytes()
    assert read(first, kit.trust).state == read(second, kit.trust).state == "trusted"


# 13 ── a recovered manifest fails the hard binding of a stripped copy
def test_a_store_put_back_onto_a_re_encoded_copy_is_not_verified(kit: Kit, tmp_path: Path) -> None:
    source, target = tmp_path / "s.jpg", tmp_path / "t.jpg"
    source.write_bytes(encode_picture(scene(2), "image/jpeg"))
    store = kit.sign(source, target, "image/jpeg", definition(statement()))
    copy = tmp_path / "copy.png"
    copy.write_bytes(encode_picture(scene(2), "image/png"))
    assert read_credentials(copy, "image/png", kit.trust, manifest_store=store).state in ("invalid", "damaged")


# the manifest ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_failing_key_is_named(kit: Kit, tmp_path: Path) -> None:
    from filigrana.provenance.signing import sign_file

    class Broken:
        chain_pem = kit.keys.claim().chain_pem

        def sign(self, data: bytes) -> bytes:
            raise RuntimeError("token removed")

    source, target = tmp_path / "a.jpg", tmp_path / "b.jpg"
    source.write_bytes(encode_picture(scene(1), "image/jpeg"))
    with kit.tsa() as url, pytest.raises(ManifestError) as caught:
        sign_file(source, target, "image/jpeg", definition(statement()), Broken(), tsa_url=url)
    assert caught.value.code == "provenance.signer"
    assert not target.exists()


def test_the_stored_manifest_says_what_the_statement_says(kit: Kit, signed: Path) -> None:
    reader = c2pa.Reader(
        "image/jpeg", io.BytesIO(signed.read_bytes()), None, c2pa.Context.from_dict(kit.trust.settings())
    )
    document = json.loads(reader.detailed_json())
    active = document["manifests"][document["active_manifest"]]
    assert active["claim"]["claim_version"] == 2
    assert active["claim"]["claim_generator_info"]["specVersion"] == "2.4.0"
    actions = active["assertion_store"]["c2pa.actions.v2"]
    assert actions["allActionsIncluded"] is True
    assert [a["action"] for a in actions["actions"]] == ["c2pa.created", "c2pa.watermarked.bound"]
    assert "c2pa.ai-disclosure" in active["assertion_store"]
    assert "cawg.training-mining" in active["assertion_store"]


# 3 ── a fragmented MP4 is hashed whole, and what was signed is read again
def test_a_fragmented_mp4_is_signed_over_its_whole_content(kit: Kit, tmp_path: Path) -> None:
    import av

    whole, source, target = tmp_path / "whole.mp4", tmp_path / "fragments.mp4", tmp_path / "signed.mp4"
    encode_clip((Frame(scene(1, 256, 256), Fraction(i, 10)) for i in range(8)), whole, "video/mp4", rate=Fraction(10))
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "200000"}
    with av.open(str(whole)) as given, av.open(str(source), "w", format="mp4", options=options) as made:
        stream = given.streams.video[0]
        copied = made.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.dts is not None:
                packet.stream = copied
                made.mux(packet)
    assert source.read_bytes().count(b"moof") > 1
    kit.sign(source, target, "video/mp4", definition(statement("video/mp4")))
    assert read(target, kit.trust, "video/mp4").state == "trusted"
    data = bytearray(target.read_bytes())
    data[data.rindex(b"mdat") + 40] ^= 1
    target.write_bytes(data)
    assert read(target, kit.trust, "video/mp4").state == "invalid"


# 14 ── the library believes any source type and any claimed mark
def test_a_source_type_and_a_mark_that_are_invented_are_trusted_by_the_library_and_not_by_us(
    kit: Kit, tmp_path: Path
) -> None:
    from filigrana.provenance.verify import Verifier
    from filigrana.provenance.watermark.registry import all_codecs

    manifest = definition(statement("image/jpeg"))
    manifest["assertions"][0]["data"]["actions"][0]["digitalSourceType"] = "http://example.org/invented"
    source, target = tmp_path / "s.jpg", tmp_path / "t.jpg"
    source.write_bytes(encode_picture(scene(2), "image/jpeg"))
    kit.sign(source, target, "image/jpeg", manifest)
    assert read(target, kit.trust).state == "trusted", "the library checks neither"
    finding = Verifier(kit.trust, all_codecs(None)).verify(target)
    assert finding.finding == "contradicted"
    assert any("there is none in the pixels" in e.detail for e in finding.evidence)
    assert finding.made_by is not None
    assert finding.made_by["ai"] is not False, "an invented source type makes nothing a photograph"


# 16 ── no place for credentials in WebM and Ogg
@pytest.mark.parametrize("mime", ["video/webm", "audio/ogg"])
def test_webm_and_ogg_embed_nothing(kit: Kit, tmp_path: Path, mime: str) -> None:
    path = tmp_path / "source"
    path.write_bytes(b"\x1aE\xdf\xa3" + bytes(64))
    with pytest.raises(ManifestError):
        kit.sign(path, tmp_path / "target", mime, definition(statement(mime)))
    assert not (tmp_path / "target").exists()
