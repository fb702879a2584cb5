"""Keys for the service: what they open and until when, and what is written of them, which is no secret and no name."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from filigrana.errors import AccessError, InputError
from filigrana.pipeline import access
from filigrana.pipeline.access import ROLES, SCOPES, ApiKeys, scopes_of
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.settings import load_settings
from filigrana.tests.doubles import FakeClock

runner = CliRunner()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def house(tmp_path: Path, database_url: str, clock: FakeClock) -> Iterator[Installation]:
    opened = Installation(load_settings(data_dir=tmp_path / "data", database=database_url), clock)
    yield opened
    opened.close()


@pytest.fixture
def keys(house: Installation) -> ApiKeys:
    return house.access


def test_a_key_opens_what_it_was_made_for_and_is_nowhere_in_the_database(keys: ApiKeys, house: Installation) -> None:
    key, secret = keys.add("press", "ana", ["creator"])
    assert len(secret) == len("fg_") + 12 + 1 + 43
    caller = keys.find(secret)
    assert caller is not None
    assert (caller.key, caller.tenant, caller.subject) == (key.id, "press", "ana")
    assert caller.scopes == {"generate", "read"}
    assert caller.may("review", "read")
    assert not caller.may("admin")
    with house.log.engine.connect() as connection:
        row = str(connection.execute(text("SELECT * FROM api_keys")).one())
    assert secret.rpartition("_")[2] not in row
    assert secret[16:] not in row


@pytest.mark.parametrize(
    "wrong", ["", "fg_", "sk-1", "fg_abcdefghijkl_short", "fg_ABCDEFGHIJKL_" + "a" * 43, "fg_abcdefghijkl_" + "a" * 44]
)
def test_what_is_no_key_opens_nothing(keys: ApiKeys, wrong: str) -> None:
    keys.add("press", "ana", ["admin"])
    assert keys.find(wrong) is None


def test_another_secret_under_a_known_id_opens_nothing(keys: ApiKeys) -> None:
    key, secret = keys.add("press", "ana", ["admin"])
    _, other = keys.add("press", "ana", ["admin"])
    assert keys.find(f"fg_{key.id}_{other[16:]}") is None
    assert keys.find(secret[:-1] + ("A" if secret[-1] != "A" else "B")) is None
    assert keys.find(secret + "\n") is None


def test_a_key_ends_at_its_time(keys: ApiKeys, clock: FakeClock) -> None:
    key, secret = keys.add("press", "ana", ["creator"], days=1)
    clock.jump(hours=23)
    assert keys.find(secret) is not None
    clock.jump(hours=1)
    assert keys.find(secret) is None
    assert keys.get(key.id).state(clock()) == "expired"
    with pytest.raises(AccessError):
        keys.rotate(key.id)


def test_a_revoked_key_opens_nothing_and_is_revoked_once(keys: ApiKeys, house: Installation) -> None:
    key, secret = keys.add("press", "ana", ["creator"])
    keys.revoke(key.id)
    assert keys.find(secret) is None
    assert keys.revoke(key.id).revoked_at is not None
    acts = [entry["act"] for _, entry in house.log.entries() if entry["type"] == "access"]
    assert acts == ["added", "revoked"]
    with pytest.raises(AccessError) as error:
        keys.revoke("nobody")
    assert error.value.code == "access.unknown"


def test_after_a_rotation_both_open_for_a_while_and_then_the_new_one_alone(keys: ApiKeys, clock: FakeClock) -> None:
    old, first = keys.add("press", "ana", ["reviewer"], days=10)
    clock.jump(days=5)
    new, second = keys.rotate(old.id, grace=60)
    assert new.id != old.id
    assert new.scopes == old.scopes
    assert new.expires_at == clock() + dt.timedelta(days=10)
    assert keys.find(first) is not None
    assert keys.find(second) is not None
    clock.jump(seconds=61)
    assert keys.find(first) is None
    assert keys.find(second) is not None


def test_a_grace_period_makes_no_key_last_longer(keys: ApiKeys, clock: FakeClock) -> None:
    old, first = keys.add("press", "ana", ["creator"], days=1)
    clock.jump(hours=23)
    keys.rotate(old.id, grace=7200)
    clock.jump(hours=1)
    assert keys.find(first) is None


def test_the_log_has_what_became_of_keys_and_neither_secret_nor_name(keys: ApiKeys, house: Installation) -> None:
    key, secret = keys.add("press", "Ana Lind", ["creator"])
    new, newer = keys.rotate(key.id, 60)
    keys.revoke(new.id)
    entries = [entry for _, entry in house.log.entries() if entry["type"] == "access"]
    assert [(e["act"], e["key"], e["tenant"]) for e in entries] == [
        ("added", key.id, "press"), ("rotated", new.id, "press"), ("revoked", new.id, "press"),
    ]  # fmt: skip
    assert entries[1]["old"] == key.id
    said = json.dumps(entries)
    assert all(part not in said for part in (secret[16:], newer[16:], "Ana", "Lind"))
    assert len({e["actor"] for e in entries}) == 1
    assert house.log.verify().ok


def test_a_wrong_secret_is_compared_in_constant_time_also_where_there_is_no_such_key(
    keys: ApiKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    class Watched:
        @staticmethod
        def compare_digest(a: bytes, b: bytes) -> bool:
            seen.append((len(a), len(b)))
            return a == b

    monkeypatch.setattr(access, "hmac", Watched)
    key, secret = keys.add("press", "ana", ["creator"])
    assert keys.find(secret) is not None
    assert keys.find(f"fg_{key.id}_{'x' * 43}") is None
    assert keys.find(f"fg_{'z' * 12}_{'x' * 43}") is None
    assert seen == [(32, 32)] * 3


def test_who_is_erased_has_no_key_any_more(keys: ApiKeys, house: Installation) -> None:
    _, secret = keys.add("press", "ana", ["creator"])
    _, other = keys.add("press", "ben", ["creator"])
    house.ledger.erase("ana")
    assert keys.find(secret) is None
    assert keys.find(other) is not None
    assert [key.subject for key in keys.list()] == ["ben"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"tenant": ""}, {"tenant": "UPPER"}, {"tenant": "a" * 65}, {"subject": ""}, {"subject": "a/b"}, {"subject": "a\n"},
        {"subject": "oidc:7"}, {"subject": "ＯＩＤＣ:7"},
        {"scopes": []}, {"scopes": ["root"]}, {"days": 0}, {"days": -1}, {"days": 1e9}, {"days": float("nan")},
    ],
)  # fmt: skip
def test_keys_that_make_no_sense_are_not_made(keys: ApiKeys, wrong: dict[str, Any]) -> None:
    given = {"tenant": "press", "subject": "ana", "scopes": ["creator"], **wrong}
    with pytest.raises(InputError):
        keys.add(given["tenant"], given["subject"], given["scopes"], given.get("days"))


def test_roles_are_names_for_scopes() -> None:
    for role, scopes in ROLES.items():
        assert scopes_of([role]) == tuple(scope for scope in SCOPES if scope in scopes)
    assert scopes_of(["read", "generate", "read"]) == ("generate", "read")
    assert scopes_of(["admin"]) == SCOPES


def test_keys_on_the_command_line() -> None:
    made = runner.invoke(app, ["access", "add", "--tenant", "press", "--subject", "ana", "--days", "30", "--json"])
    said = json.loads(made.stdout)
    assert said["scopes"] == ["generate", "read"]
    assert said["secret"].startswith(f"fg_{said['key']}_")
    listed = runner.invoke(app, ["access", "list", "--json"])
    assert said["secret"][16:] not in listed.stdout
    assert [key["key"] for key in json.loads(listed.stdout)] == [said["key"]]
    new = json.loads(runner.invoke(app, ["access", "rotate", said["key"], "--grace", "5", "--json"]).stdout)
    assert new["key"] != said["key"]
    assert runner.invoke(app, ["access", "revoke", new["key"]]).exit_code == 0
    shown = runner.invoke(app, ["access", "add", "--scope", "auditor"])
    assert shown.stdout.splitlines()[0].startswith("fg_")
    assert runner.invoke(app, ["access", "list", "--tenant", "press"]).stdout.count("ana") == 2
