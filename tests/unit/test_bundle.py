"""The auditor's bundle: what is in it, what its verifier finds, and that it runs with `cryptography` alone."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cryptography
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from filigrana.errors import InputError, LogError, TamperError
from filigrana.provenance.log import merkle
from filigrana.provenance.log.bundle import Enclosures, make_bundle, same_code, same_readme
from filigrana.provenance.log.bundle_enclosed import read_json, read_record
from filigrana.provenance.log.bundle_format import SUMS, _zip, good_name, pack, unpack
from filigrana.provenance.log.bundle_main import as_text
from filigrana.provenance.log.bundle_proof import prove_all, root_from
from filigrana.provenance.log.bundle_verifier import BundleReport, checkpoint_name, verify_bundle
from filigrana.provenance.log.cosignature import MAX_AHEAD, cosign
from filigrana.provenance.log.note import Checkpoint, Note, Signature, VerifierKey
from filigrana.provenance.log.places import FolderPlace
from filigrana.provenance.log.publishers import PlacePublisher
from filigrana.provenance.log.publishing import Publishing
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.log.signatures import ED25519_COSIGNATURE
from filigrana.provenance.log.signer import CosignerKey, Ed25519LogSigner
from filigrana.provenance.log.site_export import export
from filigrana.provenance.log.site_reader import verify_site
from filigrana.provenance.record import note_digest, open_record, signed_record
from filigrana.tests.small_bundle import ASSET, SmallAudit, small_audit

# ── one proof for many entries ───────────────────────────────────────────────────────────────────────────────────
HASHES = [merkle.leaf_hash(bytes([number])) for number in range(40)]


def over(low: int, high: int) -> bytes:
    return merkle.root_of(HASHES[low:high])


def test_every_set_of_entries_of_small_trees_is_proved() -> None:
    for size in range(1, 10):
        root = over(0, size)
        for chosen in range(1 << size):
            indexes = [at for at in range(size) if chosen >> at & 1]
            proof = prove_all(indexes, size, over)
            hashes = [HASHES[at] for at in indexes]
            assert root_from(indexes, hashes, size, proof) == root
            for wrong in (proof[:-1], [*proof, bytes(32)]):
                if wrong != proof:
                    with pytest.raises(TamperError):
                        root_from(indexes, hashes, size, wrong)


@given(st.data(), st.integers(1, 40))
def test_a_changed_proof_or_entry_leads_elsewhere(data: st.DataObject, size: int) -> None:
    indexes = sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1)))
    proof = prove_all(indexes, size, over)
    hashes = [HASHES[at] for at in indexes]
    assert root_from(indexes, hashes, size, proof) == over(0, size)
    items = [*hashes, *proof]
    at = data.draw(st.integers(0, len(items) - 1))
    items[at] = bytes([items[at][0] ^ 1]) + items[at][1:]
    assert root_from(indexes, items[: len(hashes)], size, items[len(hashes) :]) != over(0, size)


@given(
    st.lists(st.integers(-5, 50), max_size=8),
    st.integers(-2, 40),
    st.lists(st.binary(min_size=31, max_size=32), max_size=8),
)
def test_no_indexes_or_hashes_are_an_error_of_another_kind(indexes: list[int], size: int, proof: list[bytes]) -> None:
    try:
        root_from(indexes, [bytes(32)] * len(indexes), size, proof)
    except TamperError:
        pass


def test_a_slice_needs_few_hashes() -> None:
    size = 1 << 20
    assert len(prove_all(list(range(1000, 2000)), size, lambda *_: bytes(32))) <= 40
    assert len(prove_all([77], size, lambda *_: bytes(32))) == 20, "one entry: its inclusion proof"
    assert root_from([], [], 0, []) == merkle.EMPTY_ROOT


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_other_programs_read_the_file() -> None:
    members = {"a.txt": b"one", "b/c.txt": b"", "__main__.py": b"print('ran')"}
    with zipfile.ZipFile(io.BytesIO(pack(members))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist() if name != SUMS} == members


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9_][a-z0-9._-]{0,8}(/[a-z0-9_]{1,5})?", fullmatch=True),
        st.binary(max_size=60),
        max_size=5,
    )
)
def test_what_is_packed_is_unpacked(members: dict[str, bytes]) -> None:
    found = unpack(pack(members))
    assert found.pop(SUMS).decode().count("\n") == len(members)
    assert found == members


@given(st.binary(max_size=400), st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06"]))
def test_no_bytes_are_an_error_of_another_kind(data: bytes, start: bytes) -> None:
    report = verify_bundle(start + data)
    assert not report.ok
    assert report.problems


@pytest.mark.parametrize(
    "name", ["", "/a", "../a", "a/../b", "a//b", "a/", ".hidden", "a/.b", "a\\b", "C:a", "é", "a\n", "a" * 201, "-rf"]
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    assert not good_name(name)
    with pytest.raises(ValueError):
        pack({name: b""})


def hostile() -> Iterator[tuple[str, bytes]]:
    def archive(write: Any, **options: Any) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", **options) as made:
            write(made)
        return stream.getvalue()

    good = pack({"a": b"1"})
    yield "a bomb", archive(lambda z: z.writestr("a", bytes(50_000_000)), compression=zipfile.ZIP_DEFLATED)
    yield "a way up", archive(lambda z: z.writestr("../../etc/passwd", b"x"))
    yield "an absolute path", archive(lambda z: z.writestr("/etc/passwd", b"x"))
    yield "a plain zip", archive(lambda z: z.writestr("a", b"x"))
    yield "something before it", b"#!/bin/sh\n" + good
    yield "something behind it", good + b"x"
    yield "half of it", good[: len(good) // 2]
    yield "nothing", b""
    huge = bytearray(good)
    huge[18:22] = huge[22:26] = (0xFFFFFFFF).to_bytes(4, "little")
    yield "an absurd size", bytes(huge)


@pytest.mark.parametrize(("what", "data"), [pytest.param(what, data, id=what) for what, data in hostile()])
def test_hostile_archives_are_refused_without_being_unpacked(what: str, data: bytes) -> None:
    with pytest.raises(TamperError):
        unpack(data)


# ── the whole ────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def audit(tmp_path: Path) -> Iterator[SmallAudit]:
    made = small_audit(tmp_path)
    yield made
    made.log.close()


def test_a_bundle_holds_and_says_what_it_shows(audit: SmallAudit) -> None:
    bundle = audit.bundle()
    assert (bundle.size, bundle.entries, bundle.checkpoints) == (8, 5, 3)
    report = verify_bundle(bundle.data, [audit.signer.verifier_key])
    assert (report.ok, report.pinned, report.size, report.indexes) == (True, True, 8, (2, 3, 4, 5, 6))
    assert (report.root, report.origin) == (audit.log.root(), "example.com/log")
    said = "\n".join(report.checked)
    for words in (
        "3 checkpoints",
        "only grew",
        "5 entries (2 to 6)",
        "1 decision records",
        "1 C2PA manifests",
        "1 policy packs",
    ):
        assert words in said, words
    left = "\n".join(report.unchecked)
    for words in ("whole log was rewritten", "no witness", "1 certificates", "released files"):
        assert words in left, words
    assert report.finding.startswith("INTACT:")


def test_without_a_key_it_says_that_this_proves_little(audit: SmallAudit) -> None:
    report = verify_bundle(audit.bundle().data)
    assert report.ok
    assert not report.pinned
    assert "INTACT IN ITSELF" in report.finding
    assert "Whose log this is" in report.unchecked[0]


def test_another_key_is_not_enough(audit: SmallAudit, tmp_path: Path) -> None:
    stranger = Ed25519LogSigner.create(tmp_path / "other.pem", "example.com/log")
    assert not verify_bundle(audit.bundle().data, [stranger.verifier_key]).ok


def test_equal_slices_are_equal_files(audit: SmallAudit) -> None:
    first = audit.bundle()
    audit.log.append({"type": "later"})
    assert audit.bundle().data == first.data, "entries that no checkpoint covers change nothing"
    assert audit.bundle([6, 5, 4, 3, 2, 2]).data == first.data
    assert make_bundle(audit.log, [2]).data != make_bundle(audit.log, [3]).data
    assert make_bundle(audit.log, [2]).data == make_bundle(audit.log, [2]).data


@pytest.mark.parametrize("indexes", [[0], [7], [0, 7], [0, 3, 4, 6], list(range(8))])
def test_scattered_entries_are_proved_too(audit: SmallAudit, indexes: list[int]) -> None:
    bundle = make_bundle(audit.log, indexes)
    report = verify_bundle(bundle.data, [audit.signer.verifier_key])
    assert (report.ok, report.indexes) == (True, tuple(indexes))


def test_what_cannot_be_bundled_is_refused(audit: SmallAudit) -> None:
    audit.log.append({"type": "later"})
    for indexes, kind in (([], InputError), ([-1], InputError), ([8], LogError), ([99], LogError)):
        with pytest.raises(kind):
            make_bundle(audit.log, indexes)
    wrong = Enclosures(records={ASSET: signed_record({}, {}, audit.signer)})
    with pytest.raises(TamperError, match="would not hold"):
        make_bundle(audit.log, [6], wrong)


def test_a_kept_checkpoint_is_held_against_the_log(audit: SmallAudit, tmp_path: Path) -> None:
    key = [audit.signer.verifier_key]
    bundle = audit.bundle()
    members = unpack(bundle.data)
    kept = members[checkpoint_name(5)].decode()
    report = verify_bundle(bundle.data, key, [kept])
    assert report.ok
    assert any("still contains" in line for line in report.checked)
    rewritten = Checkpoint("example.com/log", 5, bytes(32)).sign(audit.signer)
    beyond = Checkpoint("example.com/log", 99, bytes(32)).sign(audit.signer)
    between = Checkpoint("example.com/log", 4, audit_root(audit.log, 4)).sign(audit.signer)
    for note, words in ((rewritten, "rewritten"), (forged(kept), "cannot be used"), ("junk", "cannot be used")):
        found = verify_bundle(bundle.data, key, [note])
        assert (found.ok, found.exit_code) == (False, 5)
        assert words in found.problems[0]
    for note, words in ((beyond, "is over 99 entries"), (between, "does not lead")):
        found = verify_bundle(bundle.data, key, [kept, note])
        assert (found.ok, found.compared, found.exit_code, found.problems) == (True, False, 1, ())
        assert any("Your checkpoint 2 cannot be compared" in line and words in line for line in found.unchecked)
        assert found.finding.startswith("NOT COMPARED")
    empty = Checkpoint("example.com/log", 0, merkle.EMPTY_ROOT).sign(audit.signer)
    assert verify_bundle(audit.bundle(kept=[empty]).data, key, [empty]).exit_code == 0
    asked = audit.bundle(kept=[between])
    assert verify_bundle(asked.data, key, [between, kept]).ok
    with pytest.raises(TamperError):
        audit.bundle(kept=[Checkpoint("example.com/log", 4, bytes(32)).sign(audit.signer)])


def audit_root(log: AuditLog, size: int) -> bytes:
    return merkle.root_of(merkle.leaf_hash(log.leaf(index)) for index in range(size))


def test_a_log_rewritten_under_the_same_key_is_caught_by_a_kept_checkpoint(audit: SmallAudit, tmp_path: Path) -> None:
    kept = audit.log.checkpoint()
    with AuditLog(f"sqlite:///{tmp_path / 'new.db'}", signer=audit.signer) as other:
        other.extend({"type": "other", "n": number} for number in range(8))
        other.checkpoint()
        data = make_bundle(other, [1, 2]).data
    key = [audit.signer.verifier_key]
    assert verify_bundle(data, key).ok, "nothing inside shows it"
    assert "rewritten" in verify_bundle(data, key, [kept]).problems[0]


def forged(note: str) -> str:
    """With a signature of the log's own key that does not hold."""
    parsed = Note.parse(note)
    line = parsed.signatures[0]
    wrong = Signature(line.name, line.key_id, bytes([line.signature[0] ^ 1]) + line.signature[1:])
    return str(Note(parsed.text, (wrong, *parsed.signatures[1:])))


NOW = 1_800_000_000


def archive(folder: Path, *notes: str) -> Path:
    """As publishing keeps them."""
    folder.mkdir(exist_ok=True)
    for note in notes:
        (folder / note.split("\n")[1]).write_text(note)
    return folder


def witness_of(folder: Path, name: str = "witness.example/w1") -> CosignerKey:
    return CosignerKey.create(folder / f"{name[-2:]}.pem", name, ED25519_COSIGNATURE)


def test_only_cosignatures_by_given_keys_count(audit: SmallAudit, tmp_path: Path) -> None:
    witness, other = witness_of(tmp_path), witness_of(tmp_path, "witness.example/w2")
    folder = archive(tmp_path / "kept", cosign(audit.log.checkpoint(), witness, NOW))
    bundle = audit.bundle(witnesses=[witness.verifier_key], cosigned=folder)
    key = [audit.signer.verifier_key]
    for known in ([], [other.verifier_key]):
        report = verify_bundle(bundle.data, key, witnesses=known, now=NOW)
        assert (report.ok, report.cosigned) == (True, 0)
        assert not any("cosigned" in line for line in report.checked)
        left = "\n".join(report.unchecked)
        assert "somebody that the bundle calls witness.example/w1; give --witness KEY to check it" in left
        assert "Whether others are shown the same log" in left
        assert ("by: witness.example/w2." in left) == bool(known)
    report = verify_bundle(bundle.data, key, witnesses=[witness.verifier_key], now=NOW)
    assert report.cosigned == 8
    said = "cosigned up to entry 7 (the checkpoint over 8 entries) by witness.example/w1, at 2027-01-15 08:00:00 UTC"
    assert said in report.checked
    assert not any("same log" in line or "somebody" in line for line in report.unchecked)
    early = verify_bundle(bundle.data, key, witnesses=[witness.verifier_key], now=NOW - MAX_AHEAD - 1)
    assert (early.ok, early.cosigned) == (True, 0)
    assert any("lies ahead" in line for line in early.unchecked)
    assert verify_bundle(bundle.data, key, witnesses=[witness.verifier_key], now=NOW - MAX_AHEAD).cosigned == 8


def test_a_witness_that_the_bundle_makes_up_does_not_count(audit: SmallAudit, tmp_path: Path) -> None:
    """Another key under the name of a witness that the auditor knows; and a line of its own key that does not hold."""
    real = witness_of(tmp_path)
    (tmp_path / "x").mkdir()
    false = witness_of(tmp_path / "x")
    folder = archive(tmp_path / "kept", cosign(audit.log.checkpoint(), false, NOW))
    data = audit.bundle(witnesses=[false.verifier_key], cosigned=folder).data
    key, given = [audit.signer.verifier_key], [real.verifier_key]
    report = verify_bundle(data, key, witnesses=given, now=NOW)
    assert report.cosigned == 0
    assert any("by: witness.example/w1." in line for line in report.unchecked)
    members = unpack(data)
    del members[SUMS]
    note = Note.parse(members[checkpoint_name(8)].decode())
    lines = [Signature(x.name, real.verifier_key.key_id, x.signature) if x.name == false.verifier_key.name else x
             for x in note.signatures]  # fmt: skip
    members[checkpoint_name(8)] = str(Note(note.text, tuple(lines))).encode()
    assert verify_bundle(pack(members), key, witnesses=given, now=NOW).exit_code == 5


def test_keys_that_can_be_no_witness_are_refused(audit: SmallAudit) -> None:
    key = audit.signer.verifier_key
    own = VerifierKey("w.example", key.public_key, ED25519_COSIGNATURE)
    for wrong in (key, own):
        with pytest.raises(LogError, match="key"):
            verify_bundle(audit.bundle().data, [key], witnesses=[wrong])
    assert not verify_bundle(audit.bundle().data, witnesses=[own]).ok


def test_cosignatures_of_older_checkpoints_go_with_it(audit: SmallAudit, tmp_path: Path) -> None:
    """On a live log the newest checkpoint is seldom cosigned already; and the cosigned one may be none of the stored."""
    first, second = witness_of(tmp_path), witness_of(tmp_path, "witness.example/w2")
    at = {size: Checkpoint("example.com/log", size, audit_root(audit.log, size)).sign(audit.signer) for size in (3, 4)}
    notes = cosign(at[3], first, NOW - 60), cosign(at[4], second, NOW)
    folder = archive(tmp_path / "kept", *notes)
    for name, text in (("7", "junk"), ("07", "x"), ("4.tsr", "x"), ("99", notes[0]), ("6", notes[0])):
        (folder / name).write_text(text)
    keys = [first.verifier_key, second.verifier_key]
    for known in (keys, []):
        bundle = audit.bundle(witnesses=known, cosigned=folder)
        assert bundle.checkpoints == 4
        report = verify_bundle(bundle.data, [audit.signer.verifier_key], witnesses=keys, now=NOW)
        assert (report.ok, report.cosigned) == (True, 4)
        said = "\n".join(report.checked)
        assert "cosigned up to entry 2 (the checkpoint over 3 entries) by witness.example/w1" in said
        assert "cosigned up to entry 3 (the checkpoint over 4 entries) by witness.example/w2" in said
        assert any("same log after entry 3" in line for line in report.unchecked)
    assert audit.bundle(cosigned=tmp_path / "nowhere").checkpoints == 3


def test_a_bundle_about_an_asset_has_its_release(audit: SmallAudit) -> None:
    key = [audit.signer.verifier_key]
    report = verify_bundle(audit.bundle().data, key, assets=[ASSET])
    assert report.assets == (ASSET,)
    assert any(line.startswith(f"it was made about {ASSET}") for line in report.checked)
    assert any(line.startswith(f"the asset {ASSET} that you asked about") for line in report.checked)
    other = verify_bundle(audit.bundle().data, key, assets=["ZZZZZZZZZZZZ"])
    assert other.exit_code == 5
    assert "ZZZZZZZZZZZZ that you asked about has 0 releases" in other.problems[0]
    with pytest.raises(TamperError, match="0 releases"):
        make_bundle(audit.log, [2], assets=[ASSET])
    members = unpack(audit.bundle(assets=[]).data)
    del members[SUMS]
    facts = json.loads(members["bundle.json"]) | {"assets": ["ZZZZZZZZZZZZ"]}
    assert not verify_bundle(pack({**members, "bundle.json": json.dumps(facts).encode()}), key).ok


def test_another_readme_is_told(audit: SmallAudit) -> None:
    data = audit.bundle().data
    members = unpack(data)
    report = verify_bundle(data)
    assert same_readme(members, report)
    assert not same_readme({**members, "README.txt": b"All is well."}, report)
    assert not same_readme({}, report)


def test_both_kinds_of_database_make_bundles_and_publish(database_url: str, tmp_path: Path) -> None:
    signer = Ed25519LogSigner.create(tmp_path / "log.pem", "example.com/log")
    with AuditLog(database_url, signer=signer, guard_path=tmp_path / "guard") as log:
        log.extend({"type": "test", "n": number} for number in range(300))
        publishing = Publishing([PlacePublisher(FolderPlace(tmp_path / "out"))], tmp_path)
        first = publishing.run(log)
        log.append({"type": "test"})
        second = publishing.run(log)
        data = make_bundle(log, range(250, 260)).data
    assert first.ok
    assert second.ok
    assert verify_bundle(data, [signer.verifier_key], [first.note, second.note]).ok


def test_many_checkpoints_are_thinned_but_the_oldest_and_the_newest_stay(audit: SmallAudit) -> None:
    for number in range(300):
        audit.log.append({"type": "more", "n": number})
        audit.log.checkpoint()
    bundle = audit.bundle()
    sizes = [int(name[12:32]) for name in sorted(unpack(bundle.data)) if name.startswith("checkpoints/")]
    assert len(sizes) <= 256
    assert (sizes[0], sizes[-1]) == (3, 308)


def test_records_are_read_as_the_rest_of_filigrana_reads_them(audit: SmallAudit) -> None:
    note = audit.enclosures.records[ASSET]
    keys = [audit.signer.verifier_key]
    assert read_record(note, keys) == open_record(note, keys)
    for wrong in (note.replace("urn", "urx"), audit.log.checkpoint()):
        for read in (read_record, open_record):
            with pytest.raises(LogError):
                read(wrong, keys)


def test_a_record_that_is_signed_but_not_the_one_of_the_log_is_caught(audit: SmallAudit) -> None:
    members = unpack(audit.bundle().data)
    del members[SUMS]
    after = read_record(audit.enclosures.records[ASSET], [audit.signer.verifier_key])["after"]
    members[f"records/{ASSET}.note"] = signed_record({"actor": "somebody else"}, after, audit.signer).encode()
    report = verify_bundle(pack(members), [audit.signer.verifier_key])
    assert "is not the one that the log names" in report.problems[0]


def test_a_record_about_another_file_than_its_release_is_caught(audit: SmallAudit) -> None:
    note = signed_record({}, {"asset_id": ASSET, "sha256": "00" * 32}, audit.signer)
    release = {"type": "release", "asset_id": ASSET, "sha256": "11" * 32, "record": note_digest(note)}
    index = audit.log.append(release)
    audit.log.checkpoint()
    with pytest.raises(TamperError, match="about another file"):
        make_bundle(audit.log, [index], Enclosures({ASSET: note}))


@pytest.mark.parametrize(
    "data", [b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":Infinity}', b"[1]", b"1", b"", b"{", b"\xff", b"[" * 99_999]
)
def test_json_that_can_be_read_in_two_ways_is_refused(data: bytes) -> None:
    with pytest.raises(TamperError):
        read_json(data)


def test_wrong_digests_in_a_well_formed_archive_are_refused() -> None:
    good = unpack(pack({"a": b"1"}))
    for wrong in (b"", good[SUMS] * 2, good[SUMS].replace(b"  a", b"  b"), b"0" * 64 + good[SUMS][64:]):
        with pytest.raises(TamperError, match="digests"):
            unpack(_zip({"a": b"1", SUMS: wrong}))
    with pytest.raises(TamperError, match="digests"):
        unpack(_zip({"a": b"1"}))


def test_hostile_text_does_not_reach_the_terminal() -> None:
    report = BundleReport(False, False, "", 0, "", (), ("\x1b[2Jgone\r\u202e",), (), ("a\nb",))
    text = as_text(report)
    assert "\x1b" not in text
    assert "\r" not in text
    assert "\u202e" not in text


# ── the bundle runs by itself ────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def file(audit: SmallAudit, tmp_path: Path) -> Path:
    path = tmp_path / "out" / "bundle.pyz"
    path.parent.mkdir()
    path.write_bytes(audit.bundle().data)
    return path


def test_the_bundle_checks_itself(audit: SmallAudit, file: Path, tmp_path: Path) -> None:
    key = str(audit.signer.verifier_key)
    (file.parent / "key").write_text(key + "\n")
    (file.parent / "kept").write_text(audit.log.checkpoint())

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", *map(str, words)], capture_output=True, text=True, check=False, cwd="/", timeout=30
        )

    done = run(file, "--key", key, "--checkpoint", file.parent / "kept")
    assert done.returncode == 0, done
    assert "INTACT: these entries" in done.stdout
    assert "still contains" in done.stdout
    said = json.loads(run(file, "--key", file.parent / "key", "--json").stdout)
    assert (said["ok"], said["pinned"], said["entries"]) == (True, True, 5)
    assert "INTACT IN ITSELF" in run(file).stdout
    assert run(file, "--key", "junk").returncode == 1
    assert run(file, "--witness", "junk").returncode == 1
    assert run(file, "--key", key, "--witness", key).returncode == 1
    beyond = Checkpoint("example.com/log", 99, bytes(32)).sign(audit.signer)
    (file.parent / "beyond").write_text(beyond)
    done = run(file, "--key", key, "--checkpoint", file.parent / "beyond")
    assert done.returncode == 1
    assert "cannot be compared" in done.stdout
    witness = witness_of(tmp_path)
    folder = archive(tmp_path / "notes", cosign(audit.log.checkpoint(), witness, NOW - 10_000_000))
    cosigned = file.parent / "cosigned.pyz"
    cosigned.write_bytes(audit.bundle(cosigned=folder).data)
    words = ["--key", key, "--witness", witness.verifier_key, "--asset", ASSET.lower()]
    assert "cosigned up to entry 7" in run(cosigned, *words).stdout
    assert run(cosigned, *words).returncode == 0
    assert run(cosigned, "--asset", "0123456789AB").returncode == 5
    assert run(file, "--nonsense").returncode == 1
    assert run(file, "--checkpoint", "/nowhere").returncode == 1
    bad = file.parent / "bad.pyz"
    members = unpack(file.read_bytes())
    del members[SUMS]
    members["entries.jsonl"] = members["entries.jsonl"].replace(b"intent", b"intend")
    bad.write_bytes(pack(members))
    done = run(bad, "--key", key)
    assert done.returncode == 5
    assert "NOT INTACT" in done.stdout


def test_the_bundle_needs_cryptography_and_nothing_else(audit: SmallAudit, file: Path, tmp_path: Path) -> None:
    """A path with `cryptography` alone, no site packages, and a hook that refuses every other import."""
    library = tmp_path / "library"
    library.mkdir()
    packages = Path(cryptography.__file__).parents[1]
    for item in packages.iterdir():
        if item.name in ("cryptography", "cffi") or item.name.startswith("_cffi_backend"):
            (library / item.name).symlink_to(item)
    script = f"""
import sys, runpy
class Block:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in ("cryptography", "_cffi_backend", "cffi", "filigrana", "__main__"):
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
sys.path.append({str(library)!r})
sys.argv = [{str(file)!r}, "--key", {str(audit.signer.verifier_key)!r}]
try:
    runpy.run_path({str(file)!r}, run_name="__main__")
except SystemExit as end:
    code = end.code
ours = [m for n, m in sys.modules.items() if n.startswith("filigrana")]
assert ours and all(m.__file__.startswith({str(file)!r}) for m in ours), ours
for name in ("rfc8785", "sqlalchemy", "httpx", "numpy"):
    assert name not in sys.modules, name
sys.exit(code)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done
    assert "INTACT" in done.stdout


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_make_and_verify_with_a_real_release(installation: Any, make_engine: Any, tmp_path: Path) -> None:
    from filigrana.pipeline.cli.audit_bundle import app
    from filigrana.pipeline.request import GenerateRequest

    outcome = make_engine().generate(GenerateRequest("a red sailboat on a blue sea", seed=7))
    installation.log.append({"type": "later"})
    kept = tmp_path / "kept"
    kept.write_text(installation.log.checkpoint())
    installation.log.append({"type": "later"})
    file = tmp_path / "b.pyz"
    runner = CliRunner()
    made = runner.invoke(app, ["make", str(outcome.asset_id), "-o", str(file), "--checkpoint", str(kept), "--json"])
    assert made.exit_code == 0, made.output
    said = json.loads(made.stdout)
    assert (said["entries"], said["size"]) == (5, 7)
    key = ["--key", said["verifier_key"]]
    good = runner.invoke(app, ["verify", str(file), *key, "--checkpoint", str(kept), "--json"])
    assert good.exit_code == 0, good.output
    report = json.loads(good.stdout)
    assert report["same_verifier"]
    assert {"1 decision records", "1 C2PA manifests", "1 policy packs"} <= {
        " ".join(line.split(" ")[:3]).rstrip(":") for line in report["checked"]
    }
    names = unpack(file.read_bytes())
    assert f"records/{outcome.asset_id}.note" in names
    assert b"sailboat" not in file.read_bytes(), "no prompt in a bundle"
    sliced = runner.invoke(app, ["make", "--from", "1", "--to", "3", "-o", str(tmp_path / "s.pyz"), "--json"])
    assert json.loads(sliced.stdout)["entries"] == 2
    whole = runner.invoke(app, ["make", "-o", str(tmp_path / "w.pyz"), "--json"])
    assert json.loads(whole.stdout)["entries"] == 7
    assert (report["same_readme"], report["assets"]) == (True, [str(outcome.asset_id)])
    beyond = runner.invoke(app, ["make", "--from", "5", "--to", "99", "-o", str(tmp_path / "c.pyz"), "--json"])
    assert (json.loads(beyond.stdout)["clamped_to"], json.loads(beyond.stdout)["entries"]) == (7, 2)
    beyond = runner.invoke(app, ["make", "--from", "5", "--to", "99", "-o", str(tmp_path / "d.pyz")])
    assert "--to 99 is beyond the log: the bundle goes up to 7" in " ".join(beyond.output.split())
    for words, message in ((["--from", "7", "--to", "5"], "not below --to"), (["--from", "7"], "beyond the log")):
        refused = runner.invoke(app, ["make", *words, "-o", str(tmp_path / "e.pyz")])
        assert isinstance(refused.exception, InputError)
        assert message in refused.exception.message
    assert runner.invoke(app, ["verify", str(file), *key, "--asset", str(outcome.asset_id)]).exit_code == 0
    assert runner.invoke(app, ["verify", str(file), *key, "--asset", "0123456789AB"]).exit_code == 5
    assert isinstance(runner.invoke(app, ["verify", str(file), "--witness", "x"]).exception, InputError)
    newer = tmp_path / "newer"
    installation.log.append({"type": "later"})
    newer.write_text(installation.log.checkpoint())
    assert runner.invoke(app, ["verify", str(file), *key, "--checkpoint", str(newer)]).exit_code == 1
    members = unpack(file.read_bytes())
    del members[SUMS]
    file.write_bytes(pack({**members, "README.txt": b"Trust this."}))
    assert "README.txt inside" in runner.invoke(app, ["verify", str(file), *key]).output
    file.write_bytes(file.read_bytes()[:-1])
    bad = runner.invoke(app, ["verify", str(file), *key])
    assert bad.exit_code == 5
    assert "do not run it" in bad.output
    assert isinstance(runner.invoke(app, ["verify", str(tmp_path / "nowhere")]).exception, InputError)
    assert isinstance(runner.invoke(app, ["make", "0123456789AB", "-o", str(tmp_path / "x")]).exception, InputError)


def test_a_log_that_is_written_to_meanwhile_is_bundled_up_to_its_checkpoint(
    installation: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filigrana.pipeline.cli.audit_bundle import app

    installation.log.extend({"type": "test", "n": number} for number in range(5))
    sign = AuditLog.checkpoint

    def then_append(log: AuditLog) -> str:
        note = sign(log)
        log.append({"type": "meanwhile"})
        return note

    monkeypatch.setattr(AuditLog, "checkpoint", then_append)
    done = CliRunner().invoke(app, ["make", "-o", str(tmp_path / "b.pyz"), "--json"])
    assert done.exit_code == 0, done.exception
    assert (json.loads(done.stdout)["entries"], json.loads(done.stdout)["size"]) == (5, 5)


def test_cosignatures_of_static_files_count_by_given_keys_only(audit: SmallAudit, tmp_path: Path) -> None:
    import typer

    from filigrana.pipeline.cli.audit_site import verify_site as command

    witness, other = witness_of(tmp_path), witness_of(tmp_path, "witness.example/w2")
    then = NOW - 10_000_000
    folder = archive(tmp_path / "kept", cosign(audit.log.checkpoint(), witness, then))
    export(audit.log, str(tmp_path / "site"), cosigned=folder)
    key, given = [audit.signer.verifier_key], [witness.verifier_key]
    assert verify_site(tmp_path / "site", key).cosigned == ()
    assert verify_site(tmp_path / "site", key, witnesses=[other.verifier_key]).cosigned == ()
    found = verify_site(tmp_path / "site", key, witnesses=given).cosigned
    assert [(item.key, item.time) for item in found] == [(witness.verifier_key, then)]
    assert verify_site(tmp_path / "site", key, witnesses=given, now=then - MAX_AHEAD - 1).cosigned == ()
    with pytest.raises(LogError):
        verify_site(tmp_path / "site", key, witnesses=key)
    app = typer.Typer()
    app.command()(command)
    words = [str(tmp_path / "site"), "--key", str(key[0]), "--witness", str(given[0])]
    assert json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)["cosigned"] == [
        {"witness": "witness.example/w1", "time": then}
    ]
    said = " ".join(CliRunner().invoke(app, [*words, "--witness", str(other.verifier_key)]).output.split())
    assert "cosigned up to entry 7 by witness.example/w1, at 2026-09-21 14:13:20 UTC" in said
    assert "no cosignature that counts by witness.example/w2" in said
    wrong = (tmp_path / "site/checkpoint").read_text()
    line = next(line for line in wrong.splitlines() if "witness" in line)
    (tmp_path / "site/checkpoint").write_text(wrong.replace(line, line[:-8] + "AAAAAAA="))
    assert verify_site(tmp_path / "site", key).ok
    assert not verify_site(tmp_path / "site", key, witnesses=given).ok


def test_another_verifier_inside_is_told(audit: SmallAudit) -> None:
    members = unpack(audit.bundle().data)
    assert same_code(members)
    members["filigrana/provenance/log/bundle_main.py"] += b"\n"
    assert not same_code(members)
    del members[SUMS]
    assert verify_bundle(pack(members), [audit.signer.verifier_key]).ok, "code is not evidence"
    members["cryptography/__init__.py"] = b""
    assert not verify_bundle(pack(members), [audit.signer.verifier_key]).ok
