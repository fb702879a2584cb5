"""Several processes of one house and one key folder: at their first start, and while somebody changes who signs."""

from __future__ import annotations

import datetime as dt
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from filigrana.provenance import keys, rotation
from filigrana.provenance.certificates import make_claim_chain
from filigrana.provenance.keys import KeyStore
from filigrana.tests.dying import Died, dying

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
PEM = serialization.Encoding.PEM


def files() -> dict[str, bytes]:
    chain = make_claim_chain(NOW)
    return {
        "claim-root.pem": chain.root.public_bytes(PEM),
        "claim.pem": chain.leaf.certificate_pem() + chain.intermediate.public_bytes(PEM),
        "claim.key": chain.leaf.key_pem(),
    }


def meeting(parties: int) -> Callable[[], None]:
    """Where threads wait for each other, unless something keeps one of them from coming."""
    barrier = threading.Barrier(parties)

    def meet() -> None:
        with suppress(threading.BrokenBarrierError):
            barrier.wait(1)

    return meet


def test_of_two_that_start_for_the_first_time_one_makes_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meet, real = meeting(2), keys.make_claim_chain

    def slow(*words: Any) -> Any:
        made = real(*words)
        meet()
        return made

    monkeypatch.setattr(keys, "make_claim_chain", slow)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: KeyStore(tmp_path / "keys").ensure(NOW), range(2)))
    assert sorted(map(len, made)) == [0, 6]
    store = KeyStore(tmp_path / "keys")
    assert store.claim().development
    store.tsa()


@pytest.mark.parametrize("step", range(20))
def test_who_dies_at_the_first_start_leaves_nothing_that_stays_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    counted: Any = dying(step)
    with monkeypatch.context() as patch:
        for name in ("link", "rename", "replace"):
            patch.setattr(os, name, counted(getattr(os, name)))
        patch.setattr(rotation.shutil, "rmtree", counted(rotation.shutil.rmtree))
        with suppress(Died):
            KeyStore(tmp_path / "keys").ensure(NOW)
    store = KeyStore(tmp_path / "keys")
    rotation.finish(store.folder)
    store.ensure(NOW)
    assert store.claim().development
    store.tsa()


def test_who_reads_while_the_keys_change_sees_one_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = KeyStore(tmp_path / "keys")
    store.ensure(NOW)
    before, reading, real = store.claim().leaf, list[Any](), os.replace
    with ThreadPoolExecutor(4) as pool:

        def slowly(source: Any, target: Any) -> None:
            real(source, target)
            if Path(target).parent == store.folder:
                reading.append(pool.submit(lambda: KeyStore(store.folder).claim().leaf))
                threading.Event().wait(0.2)

        monkeypatch.setattr(os, "replace", slowly)
        rotation.install(store.folder, files())
        found = [one.result(10) for one in reading]
    assert len(found) == 3
    assert set(found) <= {before, store.claim().leaf}


def test_of_two_changes_at_once_each_takes_the_place_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = KeyStore(tmp_path / "keys")
    store.ensure(NOW)
    meet, real = meeting(2), rotation.write_private

    def slow(path: Path, data: bytes) -> None:
        if path.name == "claim.key":
            meet()
        real(path, data)

    monkeypatch.setattr(rotation, "write_private", slow)
    with ThreadPoolExecutor(2) as pool:
        old = list(pool.map(lambda _: rotation.install(store.folder, files()), range(2)))
    assert len(set(old)) == 2, "the first one's key was archived by the second, not lost"
    assert set(old) == set(rotation.old_leaves(store.folder))
    store.claim()
