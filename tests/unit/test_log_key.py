"""A log goes on under its own key, or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import pytest

from filigrana.errors import KeyStoreError
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.settings import load_settings
from filigrana.tests.serving import installed, released, running


def test_a_log_whose_key_is_gone_gets_no_new_one(tmp_path: Path) -> None:
    house = installed(tmp_path / "data")
    released(house)
    secret = house.access.add("press", "ana", ["creator"])[1]
    entries = house.log.size()
    house.close()
    key = house.keys.folder / "log.key"
    key.rename(tmp_path / "log.key")

    again = installed(tmp_path / "data")
    with pytest.raises(KeyStoreError) as caught:
        _ = again.log
    assert caught.value.code == "provenance.keys.log"
    assert "log.key" in caught.value.hint
    assert not key.exists()
    with running(again) as url:
        answer = httpx.get(f"{url}/readyz")
        assert (answer.status_code, answer.json()["failed"]) == (503, ["keys"])
        answer = httpx.get(f"{url}/v1/videos", headers={"Authorization": f"Bearer {secret}"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "provenance.keys.log"), "no wrong key"
        assert not key.exists()
        shutil.copy(tmp_path / "log.key", key)
        assert httpx.get(f"{url}/readyz").status_code == 200, "and nothing has to be started anew"
        assert httpx.get(f"{url}/v1/videos", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    assert again.log.size() == entries
    again.close()


@pytest.mark.parametrize("own_keys", [False, True])
def test_a_worker_elsewhere_brings_the_logs_key_with_it(tmp_path: Path, database_url: str, own_keys: bool) -> None:
    """Another machine that sees the database, and not the data folder."""
    first = Installation(load_settings(data_dir=tmp_path / "one", database=database_url))
    released(first)
    entries = first.log.size()
    if own_keys:
        alone = Installation(load_settings(data_dir=tmp_path / "two"))
        released(alone)
        alone.close()
    second = Installation(load_settings(data_dir=tmp_path / "two", database=database_url))
    with pytest.raises(KeyStoreError) as caught:
        _ = second.log
    assert caught.value.code == "provenance.keys.log"
    second.close()
    assert first.log.size() == entries
    shutil.copytree(tmp_path / "one" / "keys", tmp_path / "two" / "keys", dirs_exist_ok=True)
    with_keys = Installation(load_settings(data_dir=tmp_path / "two", database=database_url))
    assert with_keys.log.size() == entries
    with_keys.close()
    first.close()
