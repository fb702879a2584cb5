"""Every byte of a bundle flipped: as the file stands, and by somebody who makes the digests right again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from filigrana.provenance.log.bundle_format import SUMS, pack, unpack
from filigrana.provenance.log.bundle_verifier import checkpoint_name, verify_bundle
from filigrana.tests.small_bundle import ASSET, SmallAudit, small_audit

FREE = ("README.txt", "__main__.py", "filigrana/", "certificates/")
"""What no entry names: words, the verifier's code (see `same_code`) and certificates, which are for reading."""


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[SmallAudit]:
    made = small_audit(tmp_path)
    yield made
    made.log.close()


def is_code(name: str) -> bool:
    return name.startswith("filigrana/")


def test_every_flipped_byte_of_the_file_is_caught(audit: SmallAudit) -> None:
    """In the members that carry evidence, in the digests and in all of the archive's own bytes."""
    data = audit.bundle().data
    key = [audit.signer.verifier_key]
    members = unpack(data)
    places = set(range(len(data)))
    for name, body in members.items():
        if is_code(name):  # its bytes are like any other's to this check: every 50th is tried
            start = data.index(body) if body else 0
            places -= {at for at in range(start, start + len(body)) if at % 50}
    for at in sorted(places):
        assert not verify_bundle(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], key).ok, at


def test_every_flipped_byte_of_the_evidence_is_caught_even_with_right_digests(audit: SmallAudit) -> None:
    """Somebody without the log's key changes a member and repairs the archive."""
    key = [audit.signer.verifier_key]
    members = unpack(audit.bundle().data)
    del members[SUMS]
    harmless = []
    for name, body in members.items():
        if name.startswith(FREE):
            continue
        for at in range(len(body)):
            changed = {**members, name: body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]}
            if verify_bundle(pack(changed), key).ok:
                harmless.append((name, at))
    assert harmless == []


def test_what_is_free_to_change_is_said_to_be_unchecked(audit: SmallAudit) -> None:
    """The negative control of the list above: these changes pass, and the report never counted on them."""
    key = [audit.signer.verifier_key]
    members = unpack(audit.bundle().data)
    del members[SUMS]
    for name in members:
        if name.startswith(FREE) and members[name] and not name.endswith(".pem"):
            report = verify_bundle(pack({**members, name: members[name] + b"\n"}), key)
            assert report.ok, name
    said = "\n".join(report.checked)
    assert "certificate" not in said
    assert "verifier" not in said


def test_members_left_out_added_or_swapped_are_caught(audit: SmallAudit) -> None:
    key = [audit.signer.verifier_key]
    members = unpack(audit.bundle().data)
    del members[SUMS]
    for name in members:
        if name.startswith(FREE):
            continue
        report = verify_bundle(pack({other: body for other, body in members.items() if other != name}), key)
        if name.startswith(("records/", "policies/", "manifests/")):
            whole = verify_bundle(pack(members), key)
            assert len(report.checked) < len(whole.checked), f"{name}: it is not said any more that it was checked"
            if name.startswith("manifests/"):
                assert any("C2PA manifests that" in line and ASSET in line for line in report.unchecked)
        else:
            assert not report.ok, name
            assert "Error" not in report.problems[0]
            assert name.startswith("checkpoints/") or report.problems == (f"the bundle has no {name}",)
    for name in ("records/ZZZZZZZZZZZZ.note", "policies/x.yaml", "checkpoints/1.note", "records/x.txt", "other.txt"):
        assert not verify_bundle(pack({**members, name: b"x"}), key).ok, name
    lines = members["entries.jsonl"].split(b"\n")
    lines[0], lines[1] = lines[1], lines[0]
    assert not verify_bundle(pack({**members, "entries.jsonl": b"\n".join(lines)}), key).ok


def test_a_described_history_that_is_not_the_logs_is_caught(audit: SmallAudit) -> None:
    key = [audit.signer.verifier_key]
    members = unpack(audit.bundle().data)
    del members[SUMS]
    facts = json.loads(members["bundle.json"])

    def changed(**values: object) -> bool:
        return verify_bundle(pack({**members, "bundle.json": json.dumps({**facts, **values}).encode()}), key).ok

    assert changed(), "the control: the same facts, written another way"
    for name in facts:
        left = json.dumps({other: value for other, value in facts.items() if other != name}).encode()
        said = verify_bundle(pack({**members, "bundle.json": left}), key).problems
        assert said == (
            "this is a bundle of another version" if name == "format" else
            f"the bundle's description does not say: {name}",
        )  # fmt: skip
    links = facts["checkpoints"]
    wrong: tuple[dict[str, object], ...] = (
        {"runs": [[1, 6]]}, {"runs": [[2, 8]]}, {"runs": [[6, 2]]}, {"runs": [[0, 10**12]]}, {"runs": [[2, True]]},
        {"runs": []}, {"runs": "x"}, {"runs": [[2.0, 7.0]]}, {"proof": []}, {"proof": [*facts["proof"], facts["proof"][0]]},
        {"proof": facts["proof"][::-1]}, {"checkpoints": []}, {"checkpoints": links[::-1]}, {"checkpoints": links[:-1]},
        {"checkpoints": [*links, links[-1]]}, {"checkpoints": [{**links[0], "size": -1}]}, {"format": "x"},
        {"checkpoints": [links[0], {**links[1], "consistency": []}, links[2]]}, {"witness_keys": ["x"]}, {"log_keys": None},
        {"assets": ["ZZZZZZZZZZZZ"]}, {"assets": [ASSET, ASSET]}, {"assets": ASSET}, {"assets": [1]},
        {"checkpoints": [{"size": 3}, *links[1:]]},
    )  # fmt: skip
    for values in wrong:
        assert not changed(**values), values
    assert checkpoint_name(8) in members
    for junk in (
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"format":1,"format":2}',
        b"[" * 100_000,
        b'{"format":' + b"1" * 10_000 + b"}",
    ):
        assert not verify_bundle(pack({**members, "bundle.json": junk}), key).ok
