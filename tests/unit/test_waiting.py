"""The queue for time-stamps: what is finished waits while no authority answers, and nothing is released unstamped."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner

from filigrana.errors import FiligranaError, ManifestError, PolicyError, ReleaseError, TimestampError
from filigrana.pipeline import waiting
from filigrana.pipeline.api import Pipeline
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.engine import Engine
from filigrana.pipeline.finish import Finisher
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import GenerateRequest, Held, Release, SealRequest
from filigrana.pipeline.staging import Staging
from filigrana.pipeline.waiting import Stamped, stamp, stamp_quietly, stamping_parts
from filigrana.provenance.credentials import read_credentials
from filigrana.provenance.database import session
from filigrana.provenance.identity import AssetId
from filigrana.provenance.media import Frame, encode_picture
from filigrana.provenance.record import facts_digest, open_record
from filigrana.provenance.sidecar import read_sidecar
from filigrana.provenance.stamping import DOWN
from filigrana.provenance.tables import Intent
from filigrana.safety.policy import load_pack, parse_pack
from filigrana.tests.conftest import MakeEngine
from filigrana.tests.doubles import FakeGenerator, calm, scene
from filigrana.tests.signing_kit import Kit
from filigrana.tests.stamp_kit import Authority

PROMPT = "a red sailboat on a blue sea"
REQUEST = GenerateRequest(PROMPT, seed=7)
PLATFORM = load_pack("platform")


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit.make(tmp_path_factory.mktemp("kit"))


@pytest.fixture
def authority(kit: Kit, tmp_path: Path) -> Iterator[Authority]:
    made = Authority(kit, tmp_path)
    yield made
    made.stop()


class House:
    def __init__(self, opened: Installation, make: MakeEngine) -> None:
        self.opened, self._make = opened, make
        self.folder = opened.folder

    def engine(self, **changes: Any) -> Engine:
        opened = self.opened
        small = FakeGenerator(fault=lambda sampling, _progress: (Frame(scene(sampling.seed, 320, 320)),))
        parts = {"ledger": opened.ledger, "finisher": opened.finisher, "staging": opened.staging,
                 "store": opened.store, "pack": opened.pack, "generator": small}  # fmt: skip
        return self._make(**(parts | changes))

    def held(self, **changes: Any) -> Held:
        outcome = self.engine(**changes).generate(REQUEST)
        assert isinstance(outcome, Held)
        assert outcome.code == "timestamp.waiting"
        return outcome

    def stamp(self, **changes: Any) -> list[Stamped]:
        return list(stamp(replace(stamping_parts(self.opened), **changes)))

    def pending(self) -> list[Path]:
        return sorted(p for p in (self.folder / "pending").glob("*") if not p.name.startswith("."))

    def public(self) -> list[Path]:
        return sorted(p for p in (self.folder / "assets").rglob("*") if p.is_file())

    def types(self) -> list[str]:
        assert self.opened.log.verify().ok
        return [entry["type"] for _, entry in self.opened.log.entries()]

    def last(self) -> dict[str, Any]:
        return [entry for _, entry in self.opened.log.entries()][-1]

    def assert_refused(self, found: list[Stamped], code: str) -> None:
        assert [(one.status, one.code) for one in found] == [("refused", code)]
        assert self.pending() == self.public() == []
        assert (self.types()[-1], self.last()["code"]) == ("failed", code)
        assert self.opened.ledger.waiting() == []
        assert self.stamp() == []


@pytest.fixture
def house(authority: Authority, tmp_path: Path, furnished: Path, make_engine: MakeEngine) -> Iterator[House]:
    shutil.copytree(furnished, tmp_path / "house")
    opened = authority.installation(tmp_path / "house")
    yield House(opened, make_engine)
    opened.close()


@pytest.fixture
def either(authority: Authority, tmp_path: Path, database_url: str, make_engine: MakeEngine) -> Iterator[House]:
    """On SQLite and on PostgreSQL."""
    opened = authority.installation(tmp_path / "house", database=database_url)
    yield House(opened, make_engine)
    opened.close()


# ── the policy ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_strict_pack_lets_nothing_wait() -> None:
    assert not load_pack("newsroom").holds_for_timestamps
    assert PLATFORM.holds_for_timestamps


def test_the_field_is_part_of_the_digest_and_has_two_values(tmp_path: Path) -> None:
    from importlib import resources

    text = (resources.files("filigrana.safety") / "packs/platform.yaml").read_text("utf-8")
    other = parse_pack(text.replace("timestamps: hold", "timestamps: refuse").encode())
    assert not other.holds_for_timestamps
    assert other.ref.digest != PLATFORM.ref.digest
    assert not parse_pack(text.replace("timestamps: hold\n", "").encode()).holds_for_timestamps
    for wrong in ("release", "yes", "[hold]", "''"):
        with pytest.raises(PolicyError):
            parse_pack(text.replace("timestamps: hold", f"timestamps: {wrong}").encode())


def test_under_the_strict_pack_the_request_fails(house: House) -> None:
    with pytest.raises(TimestampError) as caught:
        house.engine(pack=load_pack("newsroom")).generate(REQUEST)
    assert caught.value.code == DOWN
    assert house.types()[-1] == "failed"
    assert house.pending() == house.public() == []
    assert house.opened.ledger.waiting() == []


def test_a_wrong_stamp_is_not_waited_for(house: House) -> None:
    """Only authorities that are out of reach are: a strange one deserves a look."""

    def wrong(*_: Any) -> Any:
        raise TimestampError("no time-stamp authority gave a time-stamp", code="provenance.timestamp")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Finisher, "sign", wrong)
        with pytest.raises(TimestampError):
            house.engine().generate(REQUEST)
    assert house.types()[-1] == "failed"
    assert house.pending() == []


# ── hold, and finish ─────────────────────────────────────────────────────────────────────────────────────────────
def test_it_waits_and_is_released_when_the_authority_is_back(either: House, authority: Authority) -> None:
    outcome = either.held()
    assert not outcome.released
    assert either.types() == ["intent", "decision", "decision", "held"]
    assert either.last()["code"] == "timestamp.waiting"
    assert either.public() == []
    assert "stamp-pending" in " ".join(outcome.reasons)
    assert outcome.as_dict()["code"] == "timestamp.waiting"
    [waits] = either.opened.ledger.waiting()
    assert str(waits.intent) == outcome.intent
    assert [p.name for p in either.pending()] == [outcome.intent]

    [still] = either.stamp()
    assert (still.status, still.code) == ("waiting", DOWN)
    assert either.types()[-1] == "held"
    assert [p.name for p in either.pending()] == [outcome.intent]

    authority.start()
    [found] = either.stamp()
    assert found.status == "released", found
    assert found.file is not None
    assert either.public() == [found.file]
    assert either.types() == ["intent", "decision", "decision", "held", "result", "release"]
    assert either.last()["asset_id"] == str(found.asset_id)
    assert either.pending() == []
    credentials = read_credentials(found.file, "image/png", either.opened.trust)
    assert (credentials.state, credentials.time_trust) == ("trusted", "configured")
    finding = either.opened.verifier().verify(found.file)
    assert (finding.finding, finding.asset_id) == ("verified", found.asset_id)
    assert either.opened.ledger.state(waits.intent) == "released"
    assert either.opened.ledger.waiting() == either.opened.ledger.unfinished() == []
    assert either.stamp() == []
    assert either.public() == [found.file]


def untimed(fact: Any) -> Any:
    """A part of a record without how long each guard took, and without commitments, which are salted."""
    if isinstance(fact, dict):
        kept = {k: v for k, v in fact.items() if k != "milliseconds" and not str(v).startswith("hmac-")}
        return {name: untimed(value) for name, value in kept.items()}
    return [untimed(one) for one in fact] if isinstance(fact, list) else fact


def test_it_becomes_what_it_would_have_become(house: House, authority: Authority) -> None:
    """The same claims and the same decision record, but for times and what time changes."""
    house.held()
    authority.start()
    [found] = house.stamp()
    direct = house.engine().generate(REQUEST)
    assert isinstance(direct, Release)
    from filigrana.pipeline.released import released_asset

    one, two = (released_asset(house.opened.log, ident) for ident in (found.asset_id, direct.asset_id))
    assert one.entry.keys() == two.entry.keys()
    assert one.note is not None
    assert two.note is not None
    first, second = (open_record(note, house.opened.log.keys) for note in (one.note, two.note))
    assert first["before"].keys() == second["before"].keys()
    for name in ("decisions", "policy", "inputs", "sampling", "kind", "actor", "commitments"):
        assert (untimed(first["before"][name]) == untimed(second["before"][name])) or name == "commitments"
    assert first["after"].keys() == second["after"].keys()
    row = house.opened.ledger.row(one.row.intent_id)
    assert row is not None
    assert row.result is not None
    assert row.result["sampling"]["seed"] == 7
    assert facts_digest(first["before"]).startswith("sha256:")


def test_what_waits_is_for_its_owner_alone_and_has_no_prompt(house: House) -> None:
    house.held()
    [kept] = house.pending()
    assert (house.folder / "pending").stat().st_mode & 0o077 == 0
    assert kept.stat().st_mode & 0o077 == 0
    assert (kept / "pending.json").stat().st_mode & 0o077 == 0
    for path in kept.rglob("*"):
        if path.is_file():
            assert b"sailboat" not in path.read_bytes(), path.name
    said = json.loads((kept / "pending.json").read_text())
    assert said["commitments"]["prompt"]


def test_a_published_prompt_is_refused_once_it_was_erased(house: House, authority: Authority) -> None:
    house.held(publish_prompt=True)
    assert b"sailboat" in (house.pending()[0] / "pending.json").read_bytes()
    house.opened.ledger.erase("local")
    authority.start()
    house.assert_refused(house.stamp(), "provenance.erased")


def test_an_erasure_takes_along_the_files_in_which_the_prompt_stands(house: House) -> None:
    house.held(publish_prompt=True)
    other = house.engine().generate(replace(REQUEST, subject="ben"))
    assert isinstance(other, Held)
    words = ["--data-dir", str(house.folder), "audit", "erase", "local", "--yes", "--json"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert [path.name for path in house.pending()] == [other.intent]
    assert (house.types()[-1], house.last()["code"]) == ("failed", "provenance.erased")


def test_an_erased_prompt_that_is_not_published_stops_nothing(house: House, authority: Authority) -> None:
    house.held()
    house.opened.ledger.erase("local")
    authority.start()
    assert [one.status for one in house.stamp()] == ["released"]


def test_a_sealed_photograph_keeps_its_parent_and_components(
    house: House, authority: Authority, tmp_path: Path
) -> None:
    photo, logo = tmp_path / "my photo.jpg", tmp_path / "logo.png"
    photo.write_bytes(encode_picture(scene(3, 320, 320), "image/jpeg"))
    logo.write_bytes(encode_picture(scene(4, 128, 128), "image/png"))
    outcome = house.engine().seal(SealRequest(photo, "camera", components=(logo,)))
    assert isinstance(outcome, Held)
    photo.unlink()
    logo.unlink()
    authority.start()
    [found] = house.stamp()
    assert found.status == "released", found
    assert found.file is not None
    assert found.file.suffix == ".jpg"
    credentials = read_credentials(found.file, "image/jpeg", house.opened.trust)
    assert credentials.state == "trusted"
    assert house.types() == ["intent", "decision", "held", "result", "release"]
    assert house.opened.verifier().verify(found.file).finding == "verified"


def test_credentials_in_a_sidecar(house: House, authority: Authority) -> None:
    def detached() -> Finisher:
        return replace(house.opened.finisher(), embed_limit=0)

    house.held(finisher=detached)
    authority.start()
    [found] = house.stamp(finisher=detached)
    assert found.status == "released", found
    assert found.file is not None
    assert house.public() == sorted([found.file, found.file.with_suffix(".c2pa")])
    store = read_sidecar(found.file.with_suffix(".c2pa"))
    assert read_credentials(found.file, "image/png", house.opened.trust, manifest_store=store).state == "trusted"


def test_several_wait_and_one_vain_attempt_is_enough(
    house: House, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        house.held()
    tried = []
    sign = Finisher.sign

    def counting(self: Finisher, *rest: Any) -> bytes:
        tried.append(1)
        return sign(self, *rest)

    monkeypatch.setattr(Finisher, "sign", counting)
    assert [one.status for one in house.stamp()] == ["waiting"] * 3
    assert len(tried) == 1
    authority.start()
    found = house.stamp()
    assert [one.status for one in found] == ["released"] * 3
    assert len({one.asset_id for one in found}) == 3
    assert len(house.public()) == 3


def test_the_tree_of_recovery_leaves_what_waits(house: House, authority: Authority) -> None:
    house.held()
    for _ in range(2):
        found = house.opened.staging.recover(house.opened.ledger, house.opened.store)
        assert found.published == found.abandoned == ()
    assert len(house.pending()) == 1
    authority.start()
    assert [one.status for one in house.stamp()] == ["released"]


def test_four_at_once_release_it_once(house: House, authority: Authority) -> None:
    house.held()
    authority.start()
    found: list[Stamped] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            with_own = Installation(house.opened.settings)
            found.extend(stamp(stamping_parts(with_own)))
            with_own.close()
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [one.status for one in found].count("released") == 1
    assert {one.code for one in found if one.status == "waiting"} <= {"release.busy"}
    assert house.types().count("release") == 1
    assert len(house.public()) == 1
    assert house.pending() == []


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────
def bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def said_otherwise(path: Path) -> None:
    path.write_text(path.read_text().replace('"generated"', '"camera"'))


def linked(kept: Path) -> None:
    (kept / "encoded").rename(kept / "other")
    (kept / "encoded").symlink_to("other")


def piped(kept: Path) -> None:
    (kept / "encoded").unlink()
    os.mkfifo(kept / "encoded")


TAMPERING: dict[str, tuple[Callable[[Path], Any], str]] = {
    "one bit of the file": (lambda kept: bit(kept / "encoded"), "release.pending.changed"),
    "another picture": (
        lambda kept: (kept / "encoded").write_bytes(encode_picture(scene(9, 320, 320), "image/png")),
        "release.pending.changed",
    ),
    "the file is gone": (lambda kept: (kept / "encoded").unlink(), "release.pending.lost"),
    "the file is a link": (linked, "release.pending.lost"),
    "the file is a pipe": (piped, "release.pending.lost"),
    "the description says camera": (lambda kept: said_otherwise(kept / "pending.json"), "release.pending.changed"),
    "the description is empty": (lambda kept: (kept / "pending.json").write_text(""), "release.pending.changed"),
    "the description is gone": (lambda kept: (kept / "pending.json").unlink(), "release.pending.lost"),
    "all of it is gone": (shutil.rmtree, "release.pending.lost"),
}


@pytest.mark.parametrize("how", TAMPERING)
def test_what_changed_while_it_waited_is_refused(house: House, authority: Authority, how: str) -> None:
    house.held()
    change, code = TAMPERING[how]
    change(house.pending()[0])
    authority.start()
    house.assert_refused(house.stamp(), code)


def test_a_description_with_a_file_that_fit_each_other_does_not_fit_the_log(house: House, authority: Authority) -> None:
    """Whoever can write both, and the database's row, still cannot write the log."""
    import hashlib

    outcome = house.held()
    [kept] = house.pending()
    said_otherwise(kept / "pending.json")
    digest = "sha256:" + hashlib.sha256((kept / "pending.json").read_bytes()).hexdigest()
    with session(house.opened.log.engine, write=True) as rows:
        [row] = rows.query(Intent).all()
        assert str(row.id) == outcome.intent
        row.result = {"held": {**row.result["held"], "pending": digest}}  # type: ignore[index]
    authority.start()
    [found] = house.stamp()
    assert (found.status, found.code) == ("waiting", "log.tamper")
    assert house.public() == []
    assert "release" not in house.types()


def test_a_mark_that_cannot_be_read_back_is_refused(
    house: House, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filigrana.errors import ReadBackError

    house.held()
    authority.start()

    def unreadable(*_: Any) -> Any:
        raise ReadBackError("the watermark cannot be read back", code="provenance.readback.watermark")

    with monkeypatch.context() as patch:
        patch.setattr(Finisher, "read_back", unreadable)
        found = house.stamp()
    house.assert_refused(found, "provenance.readback.watermark")


def test_a_revoked_certificate_signs_nothing_that_waited(house: House, authority: Authority) -> None:
    house.held()
    authority.start()

    def revoked() -> None:
        raise ManifestError("the certificate is revoked", code="provenance.ocsp.revoked")

    house.assert_refused(
        house.stamp(finisher=lambda: replace(house.opened.finisher(), before_signing=revoked)),
        "provenance.ocsp.revoked",
    )


def test_a_policy_that_changed_since_lets_nothing_of_it_out(house: House, authority: Authority, tmp_path: Path) -> None:
    from importlib import resources

    house.held()
    authority.start()
    text = (resources.files("filigrana.safety") / "packs/platform.yaml").read_text("utf-8")
    newer = parse_pack(re.sub(r"(?m)^version: .*$", "version: 9.0.0", text).encode())
    parts = replace(stamping_parts(house.opened), pack=newer)
    [kept] = list(stamp(parts, refuse_changed_policy=False))
    assert (kept.status, kept.code) == ("waiting", "release.pending.policy")
    house.assert_refused(house.stamp(pack=newer), "release.pending.changed_policy")


def test_under_another_pack_it_goes_on_waiting(house: House, authority: Authority) -> None:
    house.held()
    authority.start()
    [found] = house.stamp(pack=load_pack("newsroom"))
    assert (found.status, found.code) == ("waiting", "release.pending.policy")
    assert "--policy" in found.detail
    assert house.public() == []
    assert [one.status for one in house.stamp()] == ["released"]


@pytest.mark.parametrize(
    "error",
    [
        ManifestError("no answer", code="provenance.signer.timeout"),
        ManifestError("no answer", code="provenance.ocsp"),
        ManifestError("disk", code="provenance.io"),
        TimestampError("strange", code="provenance.timestamp"),
        OSError(28, "No space left on device"),
    ],
)
def test_trouble_that_says_nothing_against_it_lets_it_wait(
    house: House, authority: Authority, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    house.held()
    authority.start()

    def troubled(*_: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Finisher, "sign", troubled)
        assert [one.status for one in house.stamp()] == ["waiting"]
    assert house.types()[-1] == "held"
    assert [one.status for one in house.stamp()] == ["released"]


# ── what was held for a human ────────────────────────────────────────────────────────────────────────────────────
def test_what_is_held_for_a_human_is_not_released_this_way(either: House, authority: Authority) -> None:
    from filigrana.pipeline.ledger import Ledger

    engine = either.engine(frame_guards=lambda _generated: calm("clip"))
    outcome = engine.generate(REQUEST)
    assert isinstance(outcome, Held)
    assert outcome.code == "output.guard_failed"
    authority.start()
    assert either.stamp() == []
    ledger: Ledger = either.opened.ledger
    with session(either.opened.log.engine) as rows:
        [row] = rows.query(Intent).all()
    for state in ("result", "failed", "released"):
        result = {"name": "x", "sampling": {}} if state == "result" else None
        with pytest.raises(ReleaseError) as caught, ledger._writing() as transaction:
            ledger._advance(transaction, row.id, state, result)
        assert caught.value.code == "release.state"
    # A row that says otherwise is held against the log, which has the last word.
    held = next(i for i, entry in either.opened.log.entries() if entry["type"] == "held")
    with session(either.opened.log.engine, write=True) as rows:
        changed = rows.get(Intent, row.id)
        assert changed is not None
        changed.result = {"held": {"code": "timestamp.waiting", "pending": "sha256:00", "log_index": held}}
    [found] = either.stamp()
    assert (found.status, found.code) == ("waiting", "log.tamper")
    assert either.public() == []
    assert "release" not in either.types()


def test_what_people_approved_may_wait_for_a_time_stamp_too(either: House, authority: Authority) -> None:
    from uuid import UUID

    from filigrana.pipeline.reasons import statement
    from filigrana.pipeline.resuming import approve, go_on
    from filigrana.pipeline.review import Desk

    engine = either.engine(frame_guards=lambda _generated: calm("clip"))
    outcome = engine.generate(REQUEST)
    assert isinstance(outcome, Held)
    intent = UUID(outcome.intent)
    waits = approve(engine, intent, "ruth", "a boat")
    assert isinstance(waits, Held)
    assert waits.code == "timestamp.waiting"
    assert not Desk(either.opened.ledger, PLATFORM).case(intent).goes_on, "it waits for a stamp, and for nobody"
    with pytest.raises(ReleaseError):
        go_on(engine, intent)
    assert not (either.folder / "review" / outcome.intent).exists()
    assert [path.name for path in either.pending()] == [outcome.intent]
    assert statement(Desk(either.opened.ledger, PLATFORM), intent)["code"] == "output.guard_failed"
    authority.start()
    [found] = either.stamp()
    assert found.status == "released"
    assert either.types()[-3:] == ["held", "result", "release"]
    assert either.pending() == []


def test_a_request_that_waits_moves_only_forward(either: House, authority: Authority) -> None:
    ledger = either.opened.ledger
    either.held()
    [item] = ledger.waiting()
    for state in ("held", "refused", "abandoned"):
        with pytest.raises(ReleaseError, match="cannot become"):
            ledger.close(item.intent, state, code="x")
    authority.start()
    assert [one.status for one in either.stamp()] == ["released"]
    for state in ("held", "failed", "refused", "abandoned"):
        with pytest.raises(ReleaseError, match="cannot become"):
            ledger.close(item.intent, state, code="x")
    with pytest.raises(ReleaseError, match="cannot become"):
        ledger.result(item.intent, {"name": "x", "sampling": {}}, {})


# ── where there is no room ───────────────────────────────────────────────────────────────────────────────────────
def test_a_folder_that_cannot_be_made_fails_the_request(house: House, authority: Authority) -> None:
    (house.folder / "pending").write_text("in the way")
    with pytest.raises(FiligranaError) as caught:
        house.engine().generate(REQUEST)
    assert caught.value.code == "release.pending"
    assert (house.types()[-1], house.last()["code"]) == ("failed", "release.pending")
    assert house.public() == []
    assert house.opened.ledger.waiting() == house.opened.ledger.unfinished() == []
    (house.folder / "pending").unlink()
    authority.start()
    assert isinstance(house.engine().generate(REQUEST), Release)


@pytest.mark.parametrize("call", ["link", "fsync", "rename", "mkdir"])
def test_a_disk_that_is_full_fails_the_request(house: House, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    from filigrana.pipeline import pending

    real_keep = pending.keep

    def keep(*given: Any) -> str:
        def full(*_: Any, **__: Any) -> Any:
            raise OSError(28, "No space left on device")

        with pytest.MonkeyPatch.context() as patch:
            if call == "link":
                patch.setattr(shutil, "copyfile", full)
            patch.setattr(Path if call == "mkdir" else os, call, full)
            return real_keep(*given)

    with monkeypatch.context() as patch:
        patch.setattr(waiting, "keep", keep)
        with pytest.raises(FiligranaError) as caught:
            house.engine().generate(REQUEST)
    assert caught.value.code == "release.pending"
    assert house.types()[-1] == "failed"
    assert list((house.folder / "pending").glob("*")) == house.public() == []
    assert house.opened.ledger.waiting() == []


def test_a_log_that_does_not_take_the_hold_fails_the_request(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from filigrana.pipeline.ledger import Ledger

    def broken(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "hold", broken)
        with pytest.raises(FiligranaError) as caught:
            house.engine().generate(REQUEST)
    assert caught.value.code == "engine.hold"
    assert house.types()[-1] == "failed"
    assert house.pending() == house.public() == []


def test_a_folder_of_another_database_is_left_alone(house: House) -> None:
    from uuid import uuid4

    strange = house.folder / "pending" / str(uuid4())
    strange.mkdir(parents=True)
    house.opened.staging.recover(house.opened.ledger, house.opened.store)
    assert strange.is_dir()
    assert house.stamp() == []


def test_a_request_that_somebody_works_on_keeps_its_folder(tmp_path: Path) -> None:
    from uuid import uuid4

    staging, intent = Staging(tmp_path / "staging"), uuid4()
    with staging.open(intent) as work:
        (work / "finished").write_bytes(b"x")
        with pytest.raises(ReleaseError) as caught, staging.open(intent):
            pass
        assert caught.value.code == "release.busy"
        assert (work / "finished").exists()


# ── before another request, and on the command line ──────────────────────────────────────────────────────────────
@pytest.fixture
def doubles(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    small = FakeGenerator(fault=lambda sampling, _progress: (Frame(scene(sampling.seed, 320, 320)),))
    guards = calm()
    monkeypatch.setattr(Pipeline, "generator", property(lambda _self: small))
    monkeypatch.setattr(Installation, "frame_guards", lambda _self, _generated, _pack=None: guards)
    monkeypatch.setattr(Installation, "agreement", lambda _self: None)
    monkeypatch.setenv("FILIGRANA_TSA_URL", authority.url)
    monkeypatch.setenv("FILIGRANA_TSA_TRUST", json.dumps([str(authority.root)]))


def test_the_next_request_takes_up_a_few(
    house: House, authority: Authority, doubles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        house.held()
    authority.start()
    with Pipeline(house.opened.settings) as pipeline:
        assert isinstance(pipeline.generate(PROMPT, seed=7), Release)
        assert house.types().count("release") == 1  # it was tried a moment ago, and in vain
        monkeypatch.setattr(waiting, "PAUSE", 0.0)
        assert isinstance(pipeline.generate(PROMPT, seed=7), Release)
        assert house.types().count("release") == 2 + waiting.AT_ONCE
        assert isinstance(pipeline.generate(PROMPT, seed=7), Release)
        assert house.types().count("release") == 8
        assert house.pending() == []
        assert pipeline.stamp_pending() == []


@pytest.mark.parametrize("where", ["ledger", "folder", "finisher"])
def test_trouble_with_what_waits_fails_no_other_request(
    house: House, authority: Authority, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    house.held()
    monkeypatch.setattr(waiting, "PAUSE", 0.0)
    authority.start()

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("told to fail")

    parts = stamping_parts(house.opened)
    with monkeypatch.context() as patch:
        if where == "ledger":
            patch.setattr(type(parts.ledger), "waiting", broken)
        elif where == "folder":
            patch.setattr(Path, "iterdir", broken)
        else:
            parts = replace(parts, finisher=broken)
        stamp_quietly(parts)
    assert house.public() == []
    assert len(house.pending()) == 1
    stamp_quietly(stamping_parts(house.opened))
    assert len(house.public()) == 1


def test_the_command_line(house: House, authority: Authority, doubles: None, tmp_path: Path) -> None:
    house.opened.close()

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["--data-dir", str(house.folder), "--policy", "platform", *words])

    result = run("generate", PROMPT, "-o", str(tmp_path / "boat.png"), "--seed", "7", "--json")
    assert result.exit_code == 11, (result.output, result.exception)
    told = json.loads(result.stdout)
    assert (told["released"], told["code"], told["rewrite"]) == (False, "timestamp.waiting", None)
    assert "stamp-pending" in " ".join(told["reasons"])
    assert not (tmp_path / "boat.png").exists()

    result = run("generate", PROMPT, "-o", str(tmp_path / "boat.png"), "--seed", "7")
    assert result.exit_code == 11
    assert "held for a time-stamp" in result.stderr

    result = run("keys", "stamp-pending", "--json")
    assert result.exit_code == 5
    told = json.loads(result.stdout)
    assert (told["released"], told["waiting"]) == (0, 2)
    assert {one["code"] for one in told["requests"]} == {DOWN}

    authority.start()
    result = run("keys", "stamp-pending", "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    told = json.loads(result.stdout)
    assert [one["status"] for one in told["requests"]] == ["released", "released"]
    for one in told["requests"]:
        assert Path(one["file"]).is_file()
        assert AssetId.parse(one["asset_id"])
    result = run("keys", "stamp-pending")
    assert result.exit_code == 0
    assert "0 waited" in result.stdout
    assert run("audit", "verify").exit_code == 0


def test_looking_makes_no_installation(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--data-dir", str(tmp_path / "none"), "keys", "stamp-pending"])
    assert result.exit_code == 1
    assert not (tmp_path / "none").exists()
