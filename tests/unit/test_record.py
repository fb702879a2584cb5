"""The decision record: signed, named by the log, and held against the released file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import c2pa
import pytest

from filigrana.errors import LogError, TamperError
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import GenerateRequest, Release, SealRequest
from filigrana.provenance.catalog import Catalog
from filigrana.provenance.database import session
from filigrana.provenance.identity import AssetId
from filigrana.provenance.log.note import Checkpoint, VerifierKey
from filigrana.provenance.log.search import Query
from filigrana.provenance.log.signer import Ed25519LogSigner
from filigrana.provenance.manifest import RECORD_LABEL
from filigrana.provenance.record import (
    check_against_file,
    facts_digest,
    note_digest,
    open_record,
    records_key,
    redacted,
    signed_record,
)
from filigrana.tests.conftest import MakeEngine

REVIEWER = {"role": "reviewer", "side": "prompt", "actor": "actor:1", "log": 3}
BEFORE = {"asset_id": "ABCDEFGHJKMN", "decisions": [], "approved_by": []}
AFTER = {"sha256": "aa" * 32}


@pytest.fixture
def signer(tmp_path: Path) -> Ed25519LogSigner:
    return Ed25519LogSigner.create(tmp_path / "log.key", "example.com/log")


def stored(installation: Installation, asset_id: AssetId) -> str:
    with session(installation.log.engine) as rows:
        note = Catalog(rows).decision_record(asset_id)
    assert note is not None
    return note


def assertion(path: Path, mime: str = "image/png") -> dict[str, Any]:
    with path.open("rb") as stream, c2pa.Reader(mime, stream) as reader:
        document = json.loads(reader.json())
    active = document["manifests"][document["active_manifest"]]
    found: dict[str, Any] = next(a["data"] for a in active["assertions"] if a["label"] == RECORD_LABEL)
    return found


def test_a_generated_asset_has_a_record_of_everything_from_the_verdict_to_the_file(
    installation: Installation, make_engine: MakeEngine
) -> None:
    outcome = make_engine().generate(GenerateRequest("a red sailboat on a blue sea", seed=7, subject="alice"))
    assert isinstance(outcome, Release)
    note = stored(installation, outcome.asset_id)
    record = open_record(note, installation.log.keys)
    before, after = record["before"], record["after"]
    assert [decision["side"] for decision in before["decisions"]] == ["prompt", "output"]
    guards = [guard for decision in before["decisions"] for guard in decision["guards"]]
    assert {guard["guard"] for guard in guards} == {"lexicon", "classifier", "nsfw", "clip", "ocr", "copies", "flashes"}
    assert all(guard["model"] is None or len(guard["model"]["digest"]) >= 8 for guard in guards)
    assert any(guard["scores"] for guard in guards)
    assert before["decisions"][1]["thresholds"]
    assert before["policy"]["digest"] == installation.pack.ref.digest
    assert (before["sampling"]["seed"], before["sampling"]["pixel_digest"]) == (7, before["inputs"]["pixels"])
    assert before["sampling"]["model"]["digest"]
    assert before["energy"]["joules"] is not None
    assert before["approved_by"] == []
    assert after["sha256"] == hashlib.sha256(outcome.file.read_bytes()).hexdigest()
    assert after["bindings"] == [["org.filigrana.dft.1", str(outcome.asset_id)]]
    with session(installation.log.engine) as rows:
        stores = Catalog(rows).manifests(outcome.asset_id)
    assert after["manifest_sha256"] == hashlib.sha256(stores[after["manifest"]]).hexdigest()
    assert (after["signer"], after["timestamp"]) == (outcome.signer, outcome.timestamp)
    # In the log by its digest; without the words, and without the name of who asked.
    entry = installation.log.entry(outcome.log.index)
    assert entry["record"] == note_digest(note)
    log = json.dumps([entry for _, entry in installation.log.entries()]) + note
    assert "sailboat" not in log
    assert "alice" not in log
    assert [e["actor"] for _, e in installation.log.search(Query(type="intent"))] == [before["actor"]]


def test_the_released_file_says_the_same_with_less(installation: Installation, make_engine: MakeEngine) -> None:
    outcome = make_engine().generate(GenerateRequest("a red sailboat on a blue sea", seed=7))
    assert isinstance(outcome, Release)
    record = open_record(stored(installation, outcome.asset_id), installation.log.keys)
    said = assertion(outcome.file)
    assert said["facts"] == facts_digest(record["before"])
    assert [(d["side"], d["verdict"]) for d in said["decisions"]] == [("prompt", "allow"), ("output", "allow")]
    assert "scores" not in json.dumps(said)
    assert "thresholds" not in json.dumps(said)
    assert outcome.asset_id.value  # the manifest is signed before its own digest is known
    assert record["after"]["manifest_sha256"] not in json.dumps(said)
    check_against_file(record, said, hashlib.sha256(outcome.file.read_bytes()).hexdigest())
    with pytest.raises(TamperError):
        check_against_file(record, said, "00" * 32)
    record["before"]["sampling"]["seed"] = 8
    with pytest.raises(TamperError):
        check_against_file(record, said, None)


def test_a_sealed_asset_has_one_too(installation: Installation, make_engine: MakeEngine, sealed_photo: Path) -> None:
    outcome = make_engine().seal(SealRequest(sealed_photo.with_name("photo.jpg"), "camera"))
    assert isinstance(outcome, Release)
    before = open_record(stored(installation, outcome.asset_id), installation.log.keys)["before"]
    source = hashlib.sha256(sealed_photo.with_name("photo.jpg").read_bytes()).hexdigest()
    assert (before["kind"], before["source_type"], before["inputs"]) == ("seal", "camera", {"source_sha256": source})
    assert assertion(outcome.file, outcome.mime)["facts"] == facts_digest(before)


def test_no_byte_of_a_record_can_be_changed(signer: Ed25519LogSigner) -> None:
    note = signed_record(BEFORE, AFTER, signer)
    assert open_record(note, [signer.verifier_key]) == {
        "type": "filigrana.decision-record.v1",
        "before": BEFORE,
        "after": AFTER,
    }
    data = note.encode()
    for place in range(len(data)):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises((TamperError, LogError)):
            open_record(changed.decode("utf-8", "replace"), [signer.verifier_key])


def test_a_record_is_no_checkpoint_and_a_checkpoint_no_record(signer: Ed25519LogSigner, tmp_path: Path) -> None:
    key = signer.verifier_key
    assert records_key(key) == VerifierKey("example.com/log/records", key.public_key)
    note = signed_record(BEFORE, AFTER, signer)
    with pytest.raises((TamperError, LogError)):
        Checkpoint.open(note, [key, records_key(key)])
    with pytest.raises((TamperError, LogError)):
        open_record(Checkpoint("example.com/log", 1, bytes(32)).sign(signer), [key])
    other = Ed25519LogSigner.create(tmp_path / "other.key", "example.com/log")
    with pytest.raises(TamperError):
        open_record(note, [other.verifier_key])


@pytest.mark.parametrize(
    "text",
    [
        "[]\n",
        "{}\n",
        "null\n",
        '{"type":"filigrana.decision-record.v1"}\n',
        "x\n",
        '{"after":{},"before":{},"type":"filigrana.decision-record.v1" }\n',
        "[" * 5000 + "\n",
    ],
)
def test_what_is_signed_but_no_record_is_refused(signer: Ed25519LogSigner, text: str) -> None:
    from filigrana.provenance.log.note import Renamed, sign

    with pytest.raises(LogError):
        open_record(sign(text, Renamed(signer, "/records")), [signer.verifier_key])


def test_the_redacted_form_hangs_on_every_fact() -> None:
    digests = {
        redacted({**BEFORE, **change})["facts"]
        for change in ({}, {"seed": 1}, {"seed": 2}, {"approved_by": [REVIEWER]})
    }
    assert len(digests) == 4
