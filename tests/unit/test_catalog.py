"""The catalog and the vault: found again by id, hash or mark; committed, sealed, and erased for good."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from filigrana.errors import InputError, KeyStoreError, ProvenanceError, TamperError
from filigrana.provenance.catalog import AssetRecord, Catalog, PreviewImage
from filigrana.provenance.database import reclaim, session
from filigrana.provenance.identity import AssetId
from filigrana.provenance.log.sequencer import AuditLog
from filigrana.provenance.tables import Intent, SealedText, SubjectKey, TenantKey, now
from filigrana.provenance.vault import Vault


@pytest.fixture
def log(database_url: str) -> Iterator[AuditLog]:
    with AuditLog(database_url) as log:
        yield log


def record(asset_id: AssetId, seed: int = 0, **more: object) -> AssetRecord:
    return AssetRecord(
        asset_id=asset_id,
        media="image",
        mime="image/png",
        sha256=bytes([seed]) * 32,
        byte_count=123,
        source_type="trainedAlgorithmicMedia",
        **more,  # type: ignore[arg-type]
    )


def test_an_asset_is_found_by_everything_that_names_it(log: AuditLog) -> None:
    preview = PreviewImage("image/webp", b"preview", 64, 48)
    with log.transaction() as transaction:
        catalog = Catalog(transaction.session)
        intent = Intent(kind="generate", request={})
        transaction.session.add(intent)
        asset_id = catalog.draw_asset_id()
        intent.asset_id = asset_id.value
        transaction.session.flush()
        index = transaction.append({"type": "release", "asset": str(asset_id)})
        catalog.add(
            record(asset_id, intent_id=intent.id, log_index=index, width=512, height=512, public_name="boat.png"),
            manifests={"urn:c2pa:1": b"store"},
            bindings=[("mark", str(asset_id)), ("dhash", "abcd"), ("dhash", "abcd")],
            preview=preview,
        )
    with session(log.engine) as reading:
        catalog = Catalog(reading)
        found = catalog.by_asset_id(asset_id)
        assert found is not None
        assert (found.asset_id, found.log_index, found.public_name) == (asset_id, index, "boat.png")
        assert catalog.by_sha256(bytes(32)) == found
        assert catalog.by_binding("mark", str(asset_id)) == (found,)
        assert catalog.by_manifest("urn:c2pa:1") == found
        assert catalog.newest() == (found,)
        assert catalog.manifests(asset_id) == {"urn:c2pa:1": b"store"}
        assert catalog.bindings(asset_id) == (("mark", str(asset_id)), ("dhash", "abcd"))
        assert catalog.preview(asset_id) == preview
        other = AssetId.random()
        assert catalog.by_asset_id(other) is None
        assert catalog.by_sha256(b"x") is None
        assert catalog.preview(other) is None
        assert catalog.by_binding("mark", "0") == ()


def test_two_assets_may_share_a_fingerprint_but_not_an_id_a_hash_or_an_intent(log: AuditLog) -> None:
    first, second = AssetId(1), AssetId(2**60 - 1)
    with log.transaction() as transaction:
        catalog = Catalog(transaction.session)
        catalog.add(record(first, 1), bindings=[("dhash", "abcd")])
        catalog.add(record(second, 2), bindings=[("dhash", "abcd")])
        assert {item.asset_id for item in catalog.by_binding("dhash", "abcd")} == {first, second}
    for wrong in (record(first, 3), record(AssetId(3), 1)):
        with pytest.raises(IntegrityError), log.transaction() as transaction:
            Catalog(transaction.session).add(wrong)


def test_an_id_that_is_taken_is_drawn_again(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter([AssetId(5), AssetId(6), AssetId(7)])
    monkeypatch.setattr(AssetId, "random", lambda: next(draws))
    with log.transaction() as transaction:
        catalog = Catalog(transaction.session)
        catalog.add(record(AssetId(5)))
        transaction.session.add(Intent(kind="seal", request={}, asset_id=6))
        transaction.session.flush()
        assert catalog.draw_asset_id() == AssetId(7)
        monkeypatch.setattr(AssetId, "random", lambda: AssetId(5))
        with pytest.raises(ProvenanceError):
            catalog.draw_asset_id()


@pytest.mark.parametrize("values", [{"kind": "steal"}, {"state": "gone"}])
def test_the_database_knows_the_words_of_an_intent(log: AuditLog, values: dict[str, str]) -> None:
    with pytest.raises(IntegrityError), log.transaction() as transaction:  # noqa: PT012
        transaction.session.add(Intent(**{"kind": "seal", "request": {}, **values}))
        transaction.session.flush()


def test_a_commitment_is_to_one_text_under_one_key(log: AuditLog) -> None:
    with log.transaction() as transaction:
        vault = Vault(transaction.session)
        first = vault.commit_text("a red sailboat")
        assert first == vault.commit_text("a red sailboat")
        assert first != vault.commit_text("a red sailboat ")
        scheme, key_id, digest = first.split(":")
        assert (scheme, len(key_id), len(digest)) == ("hmac-sha256", 12, 64)
        vault.rotate()
        second = vault.commit_text("a red sailboat")
        assert second != first
        assert vault.check("a red sailboat", first)
        assert vault.check("a red sailboat", second)
        assert not vault.check("a blue sailboat", first)
        assert Vault(transaction.session, "other").commit_text("a red sailboat") not in (first, second)
        for unknown in ("", "hmac-sha256:ffffffffffff:00", "sha256:1:2"):
            with pytest.raises(KeyStoreError):
                vault.check("a red sailboat", unknown)


def test_a_sealed_text_opens_until_its_subject_is_erased(log: AuditLog) -> None:
    with log.transaction() as transaction:
        intent = Intent(kind="generate", request={})
        transaction.session.add(intent)
        transaction.session.flush()
        vault = Vault(transaction.session)
        mine, commitment = vault.seal_text("alice", "a red sailboat é", intent_id=intent.id)
        theirs, _ = vault.seal_text("bob", "a blue sailboat")
        transaction.append({"type": "intent", "prompt": commitment})
        assert vault.check("a red sailboat é", commitment)
        assert not vault.check("a blue sailboat", commitment)
        assert vault.texts_of_intent(intent.id) == {"prompt": mine}
    root = log.root()
    with session(log.engine) as reading:
        vault = Vault(reading)
        assert (vault.open_text(mine), vault.open_text(theirs)) == ("a red sailboat é", "a blue sailboat")
    with log.transaction() as transaction:
        entry = Vault(transaction.session).erase("alice")
        index = transaction.append(entry)
    reclaim(log.engine)
    assert log.entry(index)["texts"] == 1
    assert "alice" not in str(log.entry(index))
    with log.transaction() as transaction:
        vault = Vault(transaction.session)
        with pytest.raises(KeyStoreError) as caught:
            vault.open_text(mine)
        assert caught.value.code == "provenance.erased"
        with pytest.raises(KeyStoreError) as caught:
            vault.check("a red sailboat é", commitment)
        assert caught.value.code == "provenance.erased"
        with pytest.raises(InputError):
            vault.erase("alice")
        again, _ = vault.seal_text("alice", "a new request")
        assert vault.open_text(again) == "a new request"
        assert vault.open_text(theirs) == "a blue sailboat"
    report = log.verify()
    assert report.ok
    assert log.leaf(0)
    assert root != log.root()


def test_a_destroyed_key_is_nowhere_in_the_files(sqlite_url: str) -> None:
    log = AuditLog(sqlite_url)
    with log.transaction() as transaction:
        Vault(transaction.session).seal_text("alice", "a red sailboat")
        key = transaction.session.get_one(SubjectKey, "alice").key
    assert key is not None
    files = [Path(str(log.engine.url.database) + suffix) for suffix in ("", "-wal")]
    assert any(key in file.read_bytes() for file in files if file.exists())
    with log.transaction() as transaction:
        transaction.append(Vault(transaction.session).erase("alice"))
    reclaim(log.engine)
    assert not any(key in file.read_bytes() for file in files if file.exists())


def test_after_erasure_no_key_and_no_guess_leads_back_to_the_text(log: AuditLog) -> None:
    """Short prompts can be guessed. What is left in the database must not tell whether a guess was right."""
    with log.transaction() as transaction:
        vault = Vault(transaction.session)
        _, first = vault.seal_text("alice", "a red sailboat")
        _, second = vault.seal_text("alice", "a red sailboat")
        assert first != second
        transaction.append(vault.erase("alice"))
    with session(log.engine) as reading:
        key = reading.scalars(select(TenantKey)).one()
        rows = reading.scalars(select(SealedText)).all()
        left = [key.key, *(part for row in rows for part in (row.nonce, row.ciphertext, row.id.bytes))]
        salts = [b"", *left, *(part[at : at + 16] for part in left for at in range(len(part)))]
        guesses = {hmac.new(key.key, salt + b"a red sailboat", "sha256").hexdigest() for salt in salts}
        assert not guesses & {first.split(":")[2], second.split(":")[2]}
        assert not [row for row in rows if "alice" in row.subject]
        assert not [row for row in reading.scalars(select(SubjectKey)) if row.key is not None]


def test_texts_expire_and_their_keys_with_them(log: AuditLog) -> None:
    with log.transaction() as transaction:
        vault = Vault(transaction.session)
        old, _ = vault.seal_text("alice", "old")
        for table in (SealedText, SubjectKey):
            transaction.session.execute(update(table).values(created_at=now() - timedelta(days=400)))
        new, _ = vault.seal_text("bob", "new")
        limit = now() - timedelta(days=365)
        assert vault.kept_before(limit) == 1
        entry = vault.expire(limit)
        assert entry is not None
        assert (entry["type"], entry["texts"], entry["keys"]) == ("expire", 1, 1)
        transaction.append(entry)
        assert vault.expire(limit) is None
        with pytest.raises(KeyStoreError):
            vault.open_text(old)
        assert vault.open_text(new) == "new"
        assert [row.subject for row in transaction.session.scalars(select(SubjectKey))] == ["bob"]


def test_keys_without_texts_expire_too_and_the_young_stay(log: AuditLog) -> None:
    with log.transaction() as transaction:
        vault = Vault(transaction.session)
        vault.actor("old")
        transaction.session.execute(update(SubjectKey).values(created_at=now() - timedelta(days=400)))
        vault.actor("young")
        entry = vault.expire(now() - timedelta(days=365))
        assert entry is not None
        assert (entry["texts"], entry["keys"]) == (0, 1)
        assert vault.known_actor("old") is None
        assert vault.known_actor("young") == vault.actor("young")


def test_statistics_of_the_server_keep_no_key_and_no_name(postgres_url: str) -> None:
    """ANALYZE copies common values and borders of columns into pg_statistic, where an erasure does not reach."""
    with AuditLog(postgres_url) as log:
        with log.transaction() as transaction:
            for number in range(200):
                Vault(transaction.session).seal_text(f"alice{number:03}", f"text {number}")
        with log.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.exec_driver_sql("ANALYZE")
            kept = connection.exec_driver_sql(
                "SELECT tablename, attname FROM pg_stats WHERE tablename IN ('subject_keys', 'sealed_texts', 'tenant_keys')"
                " AND attname IN ('subject', 'key', 'nonce', 'ciphertext', 'commitment')"
            ).all()
        assert kept == []


def test_what_could_not_be_removed_yet_is_said_and_removed_later(database_url: str) -> None:
    with AuditLog(database_url) as log:
        with log.transaction() as transaction:
            Vault(transaction.session).seal_text("alice", "a red sailboat")
        assert reclaim(log.engine)
        with log.engine.connect() as reader:
            if reader.dialect.name == "postgresql":
                reader.exec_driver_sql("COMMIT; BEGIN ISOLATION LEVEL REPEATABLE READ")
            else:
                with log.engine.connect() as short:
                    short.exec_driver_sql("PRAGMA busy_timeout=100")
            reader.exec_driver_sql("SELECT count(*) FROM subject_keys").all()
            with log.transaction() as transaction:
                transaction.append(Vault(transaction.session).erase("alice"))
            assert not reclaim(log.engine)
        assert reclaim(log.engine)


def test_a_text_sealed_by_the_first_release_still_opens_and_still_refuses_after_its_erasure(log: AuditLog) -> None:
    with log.transaction() as transaction:
        vault = Vault(transaction.session)
        identity, nonce, key = uuid4(), bytes(12), bytes(range(32))
        commitment = vault.commit_text("a red sailboat")
        bound = "\x00".join(("filigrana.text.v1", identity.hex, "alice", "prompt", commitment)).encode()
        transaction.session.add(SubjectKey(subject="alice", key=key))
        transaction.session.add(SubjectKey(subject="eve", key=None, destroyed_at=now()))
        transaction.session.flush()
        sealed = AESGCM(key).encrypt(nonce, b"a red sailboat", bound)
        transaction.session.add(
            SealedText(
                id=identity, subject="alice", kind="prompt", nonce=nonce, ciphertext=sealed, commitment=commitment
            )
        )
        transaction.session.flush()
        assert vault.open_text(identity) == "a red sailboat"
        with pytest.raises(KeyStoreError):
            vault.seal_text("eve", "again")


def test_a_sealed_text_cannot_be_moved_or_changed(log: AuditLog) -> None:
    with log.transaction() as transaction:
        vault = Vault(transaction.session)
        identity, _ = vault.seal_text("alice", "a red sailboat")
        for change in (
            {"kind": "note"},
            {"commitment": "x"},
            {"ciphertext": bytes(30)},
            {"nonce": bytes(12)},
        ):
            savepoint = transaction.session.begin_nested()
            transaction.session.execute(update(SealedText).values(**change))
            with pytest.raises(TamperError):
                vault.open_text(identity)
            savepoint.rollback()
            transaction.session.expire_all()
        assert vault.open_text(identity) == "a red sailboat"
        with pytest.raises(KeyStoreError):
            vault.open_text(UUID(int=0))
