"""Cosignatures against real ones: checkpoints of public logs that public witnesses cosigned (Ed25519 and
ML-DSA-44), the ML-DSA-44 log and the requests in the tests of filippo.io/torchwood, and the layouts of
c2sp.org/tlog-cosignature by hand.

The checkpoints of arche2025h1 and coachandhorses2026h1 were read in the tests of tlog-scales, the torchwood files
in its cmd/litewitness/testdata/mldsa.txt and internal/witness/witness_test.go.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from filigrana.errors import LogError, TamperError
from filigrana.provenance.log import signatures
from filigrana.provenance.log.cosignature import Cosignature, WitnessPolicy, cosign, cosignatures
from filigrana.provenance.log.note import Checkpoint, Note, VerifierKey, _b64
from filigrana.provenance.log.signer import CosignerKey
from filigrana.provenance.log.witness import SIZE_TYPE, Witness, format_request, parse_request

FILES = Path(__file__).parent / "cosignatures"
ARCHE = (FILES / "arche2025h1.note").read_text("utf-8")
HORSES = (FILES / "coachandhorses2026h1.note").read_text("utf-8")
TORCHWOOD = (FILES / "torchwood.note").read_text("utf-8")

ARCHE_KEY = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
ARCHE_WITNESSES = (
    "witness.stagemole.eu+67f7aea0+BEqSG3yu9YrmcM3BHvQYTxwFj3uSWakQepafafpUqklv",
    "transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM",
    "witness1.smartit.nu/witness1+a48c820f+BPSFWg9G6KPiO7QPryYO5Xq4oYJJ+kAvLKLSimDhoxMO",
    "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
)
NAVIGLI = "witness.navigli.sunlight.geomys.org+a3e00fe2+BNy/co4C1Hn1p+INwJrfUlgz7W55dSZReusH/GhUhJ/G"
NAVIGLI_MLDSA = (FILES / "navigli.vkey").read_text("utf-8")
TORCHWOOD_KEY = (FILES / "torchwood.vkey").read_text("utf-8")
SOFA = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"


def keys(*texts: str) -> tuple[VerifierKey, ...]:
    return tuple(VerifierKey.parse(text) for text in texts)


def ed25519(name: str, seed: int = 1) -> CosignerKey:
    return CosignerKey(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


def mldsa44(name: str, seed: int = 1) -> CosignerKey:
    return CosignerKey(name, MLDSA44PrivateKey.from_seed_bytes(bytes([seed]) * 32))


@pytest.mark.parametrize("text", [ARCHE_KEY, *ARCHE_WITNESSES, NAVIGLI, NAVIGLI_MLDSA, TORCHWOOD_KEY])
def test_keys_made_by_others_read_and_write_the_same(text: str) -> None:
    key = VerifierKey.parse(text)
    assert str(key) == text.strip()
    assert key.key_id.hex() == text.split("+")[1]


@pytest.mark.parametrize("text", ARCHE_WITNESSES)
def test_ed25519_cosignatures_of_public_witnesses(text: str) -> None:
    (key,) = keys(text)
    assert cosignatures(ARCHE, [key]) == (Cosignature(key, 1779573024),)
    with pytest.raises(TamperError):
        cosignatures(ARCHE.replace("\n1432088532\n", "\n1432088533\n"), [key])


def test_a_public_checkpoint_with_a_policy() -> None:
    """The log, four witnesses, and a line of a type that we do not know (0x05), which is ignored."""
    checkpoint = Checkpoint.open(ARCHE, keys(ARCHE_KEY))
    assert (checkpoint.size, len(Note.parse(ARCHE).signatures)) == (1432088532, 6)
    assert len(WitnessPolicy(keys(*ARCHE_WITNESSES), 4).check(ARCHE, now=1779573024)) == 4
    with pytest.raises(TamperError, match="4 of the required 5"):
        WitnessPolicy(keys(*ARCHE_WITNESSES, NAVIGLI), 5).check(ARCHE)
    with pytest.raises(TamperError, match="0 of the required 1"):
        WitnessPolicy(keys(*ARCHE_WITNESSES), 1).check(ARCHE, now=1779573024 - 301)
    with pytest.raises(TamperError, match="another log"):
        Checkpoint.open(ARCHE, keys(*ARCHE_WITNESSES))


def test_an_mldsa44_cosignature_of_a_public_witness() -> None:
    both = keys(NAVIGLI, NAVIGLI_MLDSA)
    assert [(item.key.kind, item.time) for item in cosignatures(HORSES, both)] == [
        (0x04, 1785704691),
        (0x06, 1785704691),
    ]
    with pytest.raises(TamperError):
        cosignatures(HORSES.replace("\n185550722\n", "\n185550723\n"), both[1:])


def test_one_witness_with_two_keys_counts_once() -> None:
    both = keys(NAVIGLI, NAVIGLI_MLDSA)
    assert len(WitnessPolicy(both, 1).check(HORSES)) == 2
    with pytest.raises(LogError, match="number of witnesses"):
        WitnessPolicy(both, 2)
    with pytest.raises(TamperError, match="1 of the required 2"):
        WitnessPolicy((*both, *keys(ARCHE_WITNESSES[0])), 2).check(HORSES)


def test_a_log_that_signs_with_mldsa44_and_states_no_time() -> None:
    (key,) = keys(TORCHWOOD_KEY)
    assert Checkpoint.open(TORCHWOOD, [key]).size == 1
    assert key.verify(Note.parse(TORCHWOOD).text.encode(), Note.parse(TORCHWOOD).signatures[0].signature) == 0
    assert cosignatures(TORCHWOOD, [key]) == ()  # no time, so no witness's word


@pytest.mark.parametrize(("note", "key"), [(HORSES, NAVIGLI_MLDSA), (TORCHWOOD, TORCHWOOD_KEY)])
def test_no_bit_of_an_mldsa44_cosignature_can_be_changed(note: str, key: str) -> None:
    (known,) = keys(key)
    parsed = Note.parse(note)
    line = next(item for item in parsed.signatures if item.key_id == known.key_id)
    text = parsed.text.encode()
    known.verify(text, line.signature)
    for at in [*range(12), *range(12, len(line.signature), 97), len(line.signature) - 1]:
        changed = bytearray(line.signature)
        changed[at] ^= 1
        with pytest.raises(TamperError):
            known.verify(text, bytes(changed))
    for other in (line.signature[:-1], line.signature + b"\0", line.signature[8:], b""):
        with pytest.raises(TamperError):
            known.verify(text, other)


def test_the_ed25519_message_is_that_of_the_specification() -> None:
    expected = "cosignature/v1\ntime 1679315147\n" + SOFA
    assert signatures.ed25519_message(SOFA.encode(), 1679315147) == expected.encode()
    note = cosign(f"{SOFA}\n— a AAAAAAAA\n", ed25519("witness.example.com/w1"), 1679315147)
    blob = Note.parse(note).signatures[-1].signature
    assert blob[:8].hex() == "00000000641850cb"
    Ed25519PrivateKey.from_private_bytes(b"\1" * 32).public_key().verify(blob[8:], expected.encode())


def test_the_mldsa44_message_is_that_of_the_specification() -> None:
    root = Checkpoint.parse_text(SOFA).root
    expected = (
        b"subtree/v1\n\0"
        + b"\x16witness.example.com/w1"
        + bytes.fromhex("00000000641850cb")
        + b"\x1bexample.com/behind-the-sofa"
        + bytes.fromhex("0000000000000000")
        + bytes.fromhex("00000000013e2dc3")
        + root
    )
    assert (
        signatures.mldsa44_message("witness.example.com/w1", 1679315147, "example.com/behind-the-sofa", 20852163, root)
        == expected
    )
    note = cosign(f"{SOFA}\n— a AAAAAAAA\n", mldsa44("witness.example.com/w1"), 1679315147)
    blob = Note.parse(note).signatures[-1].signature
    assert blob[:8].hex() == "00000000641850cb"
    MLDSA44PrivateKey.from_seed_bytes(b"\1" * 32).public_key().verify(blob[8:], expected)


@pytest.mark.parametrize("kind", [0x04, 0x06])
def test_key_ids_are_those_of_the_specification(kind: int) -> None:
    key = (ed25519 if kind == 4 else mldsa44)("witness.example/w1").verifier_key
    assert key.key_id == sha256(b"witness.example/w1\n" + bytes([kind]) + key.public_key).digest()[:4]
    assert VerifierKey.parse(str(key)) == key


def test_the_same_key_under_another_type_does_not_verify() -> None:
    """One key, three types: a cosignature is no log's signature, and the other way round."""
    witness = ed25519("w.example")
    note = cosign(f"{SOFA}\n— a AAAAAAAA\n", witness, 5)
    line = Note.parse(note).signatures[-1]
    as_log = VerifierKey("w.example", witness.verifier_key.public_key)
    assert as_log.key_id != witness.verifier_key.key_id
    with pytest.raises(TamperError):
        as_log.verify(SOFA.encode(), line.signature)
    with pytest.raises(TamperError):
        as_log.verify(SOFA.encode(), line.signature[8:])
    with pytest.raises(TamperError):
        Note.parse(note).verified_by([as_log])
    with pytest.raises(LogError, match="0x04 or 0x06"):
        cosignatures(note, [as_log])


@pytest.mark.parametrize("make", [ed25519, mldsa44])
def test_cosigning_again_replaces_the_line(make: object) -> None:
    witness = make("w.example")  # type: ignore[operator]
    once = cosign(f"{SOFA}\n— a AAAAAAAA\n", witness, 5)
    twice = cosign(once, witness, 9)
    assert [item.time for item in cosignatures(twice, [witness.verifier_key])] == [9]
    assert [item.name for item in Note.parse(twice).signatures] == ["a", "w.example"]


def test_of_two_lines_of_one_key_the_later_time_counts() -> None:
    witness = ed25519("w.example")
    lines = [cosign(f"{SOFA}\n— a AAAAAAAA\n", witness, time).splitlines()[-1] for time in (9, 5)]
    note = f"{SOFA}\n{lines[0]}\n{lines[1]}\n"
    assert cosignatures(note, [witness.verifier_key]) == (Cosignature(witness.verifier_key, 9),)


def test_a_signer_that_signs_wrongly_is_noticed() -> None:
    class Broken:
        verifier_key = ed25519("w.example").verifier_key

        def sign(self, message: bytes) -> bytes:
            return ed25519("w.example").sign(message + b"?")

    with pytest.raises(TamperError):
        cosign(f"{SOFA}\n— a AAAAAAAA\n", Broken(), 5)


def test_extension_lines_are_signed_by_ed25519_only() -> None:
    extended = SOFA + "extension\n"
    witness, other = ed25519("w.example"), mldsa44("v.example")
    note = cosign(cosign(f"{extended}\n— a AAAAAAAA\n", witness, 5), other, 5)
    changed = note.replace("\nextension\n", "\nextensioN\n")
    assert cosignatures(changed, [other.verifier_key]) == (Cosignature(other.verifier_key, 5),)
    with pytest.raises(TamperError):
        cosignatures(changed, [witness.verifier_key])


def test_a_log_does_not_leave_its_extension_lines_unsigned() -> None:
    own = mldsa44("example.com/behind-the-sofa")
    with pytest.raises(LogError, match="extension"):
        cosign(f"{SOFA}extension\n\n— a AAAAAAAA\n", own, 5)
    # Made by someone who does: the head is signed, the extension is not.
    bare = cosign(f"{SOFA}\n— a AAAAAAAA\n", own, 5)
    assert Checkpoint.open(bare, [own.verifier_key]).extensions == ()
    with pytest.raises(TamperError, match="extension"):
        Checkpoint.open(bare.replace("2I=\n\n", "2I=\nextension\n\n"), [own.verifier_key])


def test_a_log_signs_with_both_types() -> None:
    origin = "example.com/behind-the-sofa"
    own = mldsa44(origin)
    log = ed25519("unused")  # only its private key's form is needed below
    signer_key = Ed25519PrivateKey.from_private_bytes(b"\2" * 32)
    ed_key = VerifierKey(origin, signer_key.public_key().public_bytes_raw())
    line = f"— {origin} {_b64(ed_key.key_id + signer_key.sign(SOFA.encode()))}\n"
    note = cosign(f"{SOFA}\n{line}", own, 0)
    for known in ([ed_key], [own.verifier_key], [ed_key, own.verifier_key]):
        assert Checkpoint.open(note, known).size == 20852163
    with pytest.raises(LogError, match="POSIX"):
        cosign(note, log, 0)
    with pytest.raises(LogError, match="no witness of itself"):
        WitnessPolicy((own.verifier_key,), 1).check(cosign(note, own, 7))


def test_an_ed25519_cosignature_is_never_the_logs_signature() -> None:
    own = ed25519("example.com/behind-the-sofa")
    note = cosign(f"{SOFA}\n— a AAAAAAAA\n", own, 5)
    with pytest.raises(TamperError, match="another log"):
        Checkpoint.open(note, [own.verifier_key])


def test_a_false_line_of_a_trusted_witness_spoils_the_note() -> None:
    witness, other = ed25519("w.example"), ed25519("v.example", 2)
    note = cosign(cosign(f"{SOFA}\n— a AAAAAAAA\n", witness, 5), other, 5)
    false = Note.parse(note).signatures[-1]
    lied = note.replace(_b64(false.key_id + false.signature), _b64(false.key_id + bytes(72)))
    assert len(cosignatures(lied, [witness.verifier_key])) == 1  # whoever does not know the other ignores it
    with pytest.raises(TamperError):
        WitnessPolicy((witness.verifier_key, other.verifier_key), 1).check(lied)


@pytest.mark.parametrize(("threshold", "match"), [(0, "threshold"), (3, "threshold"), (-1, "threshold")])
def test_policies_that_nothing_or_anything_fulfils_are_refused(threshold: int, match: str) -> None:
    known = (ed25519("a").verifier_key, ed25519("b", 2).verifier_key)
    with pytest.raises(LogError, match=match):
        WitnessPolicy(known, threshold)
    with pytest.raises(LogError, match="they are one"):
        WitnessPolicy((known[0], VerifierKey("b", known[0].public_key, 0x04)), 1)
    with pytest.raises(LogError, match="0x04 or 0x06"):
        WitnessPolicy((VerifierKey("a", known[0].public_key),), 1)


@pytest.mark.parametrize("time", [0, -1, 2**63])
def test_times_outside_of_posix_are_refused(time: int) -> None:
    with pytest.raises(LogError):
        cosign(f"{SOFA}\n— a AAAAAAAA\n", ed25519("w"), time)


def test_a_time_beyond_63_bits_is_refused_even_when_signed() -> None:
    key = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
    known = VerifierKey("w", key.public_key().public_bytes_raw(), 0x04)
    for time in (2**63 - 1, 2**63):
        blob = time.to_bytes(8, "big") + key.sign(f"cosignature/v1\ntime {time}\n{SOFA}".encode())
        if time < 2**63:
            assert known.verify(SOFA.encode(), blob) == time
        else:
            with pytest.raises(TamperError, match=r"2\*\*63"):
                known.verify(SOFA.encode(), blob)


def test_without_mldsa_nothing_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older `cryptography`: a clear error, for the log's line as for a witness's."""
    monkeypatch.setattr(signatures, "mldsa", None)
    with pytest.raises(LogError) as caught:
        cosignatures(HORSES, keys(NAVIGLI_MLDSA))
    assert caught.value.code == "log.mldsa"
    with pytest.raises(LogError) as caught:
        Checkpoint.open(TORCHWOOD, keys(TORCHWOOD_KEY))
    assert caught.value.code == "log.mldsa"
    assert len(cosignatures(HORSES, keys(NAVIGLI))) == 1


@pytest.mark.parametrize("kind", [0x00, 0x02, 0x03, 0x05, 0xFF])
def test_keys_of_other_types_are_refused(kind: int) -> None:
    with pytest.raises(LogError):
        VerifierKey.parse(f"w+00000000+{_b64(bytes([kind]) + bytes(32))}")
    with pytest.raises(LogError):
        VerifierKey("w", bytes(32), kind)


# torchwood, internal/witness: the requests of TestRace. The log's key, and what it sent.
RACE_KEY = bytes.fromhex("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f")
RACE = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562"
RACE_TO_1 = f"""old 0

{RACE}
1
KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

— {RACE} UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY=
"""
RACE_TO_3 = f"""old 1
KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

{RACE}
3
RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=

— {RACE} UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6go=
"""
RACE_TO_5 = f"""old 1
KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
+fUDV+k970B4I3uKrqJM4aP1lloPZP8mvr2Z4wRw2LI=
KgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

{RACE}
5
QrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY=

— {RACE} UgIomw/EOJmWi0i1FQsOj+etB7F8IccFam/jgd6wzRns4QPVmyEZtdvl1U2KEmLOZ/ASRcWJi0tW90dJWAShei7sDww=
"""


def test_requests_of_another_implementation(tmp_path: Path) -> None:
    """Accepted as they stand; and the later one that comes second does not roll the witness back."""
    Witness.create(tmp_path / "w", "witness.example/w1")
    witness = Witness.open(tmp_path / "w", [VerifierKey(RACE, RACE_KEY)])
    first = witness.answer(RACE_TO_1.encode())
    assert (first.status, first.body.count("\n"), first.body[:21]) == (200, 2, "— witness.example/w1 ")
    assert witness.answer(RACE_TO_5.encode()).status == 200
    late = witness.answer(RACE_TO_3.encode())
    assert (late.status, late.body, late.content_type) == (409, "5\n", SIZE_TYPE)
    assert [item.checkpoint.size for item in witness.seen()] == [5]
    for request in (RACE_TO_1, RACE_TO_3, RACE_TO_5):
        assert format_request(*parse_request(request.encode())).decode() == request


@given(st.binary(max_size=400))
def test_no_bytes_break_the_parser(body: bytes) -> None:
    try:
        old_size, proof, note = parse_request(body)
    except LogError:
        return
    assert format_request(old_size, proof, note) == body


@given(st.integers(0, len(RACE_TO_5.encode()) - 1), st.integers(0, 255))
def test_a_changed_request_is_read_as_it_stands_or_refused(at: int, value: int) -> None:
    body = bytearray(RACE_TO_5.encode())
    body[at] = value
    try:
        again = format_request(*parse_request(bytes(body)))
    except LogError:
        return
    assert again == bytes(body)
