"""A zero byte in whatever a stranger may name: PostgreSQL takes none in text, and must not be asked."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from filigrana.pipeline.installation import Installation
from filigrana.provenance.catalog import Catalog
from filigrana.provenance.database import session
from filigrana.provenance.repository import Repository
from filigrana.tests.serving import installed, running

MATCHES = "/c2pa/v1/matches/byBinding"


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    opened = installed(tmp_path / "data", database=database_url)
    yield opened
    opened.close()


def test_no_route_fails_on_one(house: Installation) -> None:
    headers = {"Authorization": f"Bearer {house.access.add('press', 'ana', ['admin'])[1]}"}
    with running(house) as url, httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        described = client.get("/openapi.json").json()["paths"]
        for path, operations in described.items():
            for method, operation in operations.items():
                given = operation.get("parameters", [])
                names = {one["name"]: "a%00b" for one in given if one["in"] == "path"}
                asked = [path.format(**names)] if names else []
                for one in given:
                    if one["in"] == "query":
                        asked.append(f"{path.format(**dict.fromkeys(names, 'x'))}?{one['name']}=a%00b")
                for each in asked:
                    answer = client.request(method, each, json={} if method in ("post", "put") else None)
                    assert answer.status_code == 400, (method, each, answer.text)
                    assert answer.json()["error"]["code"] == "service.parameter"
        # In a body, and in what a value is the base64 of, it is a binding that nothing has.
        zero = base64.b64encode(b"\0\0\0").decode()
        for body in ({"alg": "a\0b", "value": "x"}, {"alg": "x", "value": "a\0b"}, {"alg": "x", "value": zero}):
            answer = client.post(MATCHES, json=body)
            assert answer.json() == {"matches": []}, (body, answer.text)
        assert client.get(MATCHES, params={"alg": "x", "value": zero}).json() == {"matches": []}
        assert client.get("/v1/records", params={"alg": "x", "value": zero}).status_code == 404


def test_a_file_that_claims_a_binding_with_one_finds_nothing(house: Installation) -> None:
    with session(house.log.engine) as opened:
        assert Catalog(opened).by_binding("mark", "a\0b") == ()
    assert Repository(house.log).manifest("urn:c2pa:\0") is None
