"""The recovery API: from a mark to the manifest that a copy lost, by the shapes of the specification."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from filigrana.errors import ManifestError
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import Release
from filigrana.pipeline.web.app import create_app
from filigrana.pipeline.web.records_routes import ASSET_FIELDS
from filigrana.provenance.catalog import Catalog
from filigrana.provenance.database import session
from filigrana.provenance.log.proof import LogProof
from filigrana.provenance.manifest_store import labels, only
from filigrana.provenance.repository import spellings
from filigrana.tests.serving import installed, released, running

TOKEN = {"Authorization": "Bearer 0123456789abcdef"}
STORE = {"Content-Type": "application/c2pa"}
ALG = "org.filigrana.dft.1"
BASE = "/c2pa/v1"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, Release]]:
    opened = installed(tmp_path_factory.mktemp("recovery") / "data", resolver_token="0123456789abcdef")
    release = released(opened)
    yield opened, release
    opened.close()


@pytest.fixture(scope="module")
def client(house: tuple[Installation, Release]) -> Iterator[httpx.Client]:
    with running(house[0]) as url, httpx.Client(base_url=url, timeout=30) as opened:
        yield opened


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes, str]:
    """(label, store, bound value) of a manifest that another installation made."""
    other = installed(tmp_path_factory.mktemp("other") / "data")
    release = released(other, seed=9)
    with session(other.log.engine) as opened:
        label, store = next(iter(Catalog(opened).manifests(release.asset_id).items()))
    other.close()
    return label, store, str(release.asset_id)


def encoded(value: object) -> str:
    return base64.b64encode(str(value).encode()).decode()


def matches(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert set(found) == {"matches"}
    for match in found["matches"]:
        assert set(match) <= {"manifestId", "similarityScore", "endpoint"}
        assert isinstance(match["similarityScore"], int)
        assert 0 <= match["similarityScore"] <= 100
    return [match["manifestId"] for match in found["matches"]]


def label_of(house: tuple[Installation, Release]) -> str:
    with session(house[0].log.engine) as opened:
        return next(iter(Catalog(opened).manifests(house[1].asset_id)))


# ── query and fetch ──────────────────────────────────────────────────────────────────────────────────────────────
def test_a_binding_leads_to_its_manifest_in_base64_and_plain(client: httpx.Client, house: Any) -> None:
    label, value = label_of(house), str(house[1].asset_id)
    for spelt in (encoded(value), value):
        query = {"alg": ALG, "value": spelt}
        assert matches(client.get(f"{BASE}/matches/byBinding", params=query)) == [label]
        assert matches(client.post(f"{BASE}/matches/byBinding", json=query)) == [label]
    for query in ({"alg": ALG, "value": "AAAAAAAAAAAA"}, {"alg": "org.filigrana.sound.1", "value": value}):
        assert matches(client.get(f"{BASE}/matches/byBinding", params=query)) == []


def test_a_manifest_that_does_not_carry_the_binding_is_no_match(tmp_path: Path) -> None:
    """The catalog's rows alone lead nowhere: the manifest itself must name alg and value."""
    from filigrana.provenance.tables import Binding

    installation = installed(tmp_path / "data")
    release = released(installation)
    with session(installation.log.engine, write=True) as opened:
        opened.add(Binding(alg="com.example.other", value="42", asset_id=release.asset_id.value))
    with running(installation) as url:
        query = {"alg": "com.example.other", "value": "42"}
        assert matches(httpx.get(f"{url}{BASE}/matches/byBinding", params=query)) == []


def test_a_stripped_copy_leads_to_its_manifest(client: httpx.Client, house: Any) -> None:
    with Image.open(house[1].file) as opened:
        copy = io.BytesIO()
        opened.convert("RGB").resize((400, 400)).save(copy, "JPEG", quality=80)
    raw = client.post(f"{BASE}/matches/byContent", content=copy.getvalue(), headers={"Content-Type": "image/jpeg"})
    form = client.post(f"{BASE}/matches/byContent", files={"file": ("a.jpg", copy.getvalue())})
    assert matches(raw) == matches(form) == [label_of(house)]


def test_a_picture_of_nobody_leads_nowhere(client: httpx.Client) -> None:
    copy = io.BytesIO()
    Image.fromarray(np.full((200, 200, 3), 90, np.uint8)).save(copy, "PNG")
    assert matches(client.post(f"{BASE}/matches/byContent", content=copy.getvalue())) == []
    assert client.post(f"{BASE}/matches/byContent", content=b"").status_code == 400


def test_a_transplanted_mark_is_no_match_of_the_content(client: httpx.Client, house: Any) -> None:
    from filigrana.provenance.watermark.dft import Dft
    from filigrana.tests.doubles import put, scene

    copy = io.BytesIO()
    Image.fromarray(put(Dft(), scene(77), house[1].asset_id)).save(copy, "PNG")
    assert matches(client.post(f"{BASE}/matches/byContent", content=copy.getvalue())) == []


def test_by_reference_fetches_with_the_same_defence(tmp_path: Path) -> None:
    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = release.file.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None: ...

    site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=site.serve_forever, args=(0.02,), daemon=True).start()
    place = f"127.0.0.1:{site.server_address[1]}"
    installation = installed(tmp_path / "data", fetch_allow=[place])
    release = released(installation)
    with running(installation) as url:
        ask = lambda **query: httpx.post(f"{url}{BASE}/matches/byReference", json=query)  # noqa: E731
        size = release.file.stat().st_size
        assert matches(ask(referenceUrl=f"http://{place}/a.png", assetLength=size)) == [
            label_of((installation, release))
        ]
        small = ask(referenceUrl=f"http://{place}/a.png", assetLength=1000)
        assert small.json()["error"]["code"] == "input.url.too_large"
        refused = ask(referenceUrl="http://169.254.169.254/a.png", assetLength=9)
        assert refused.json()["error"]["code"] == "input.url.private"
        # and `POST /v1/verify` by the same way
        assert httpx.post(f"{url}/v1/verify", json={"url": f"http://{place}/a.png"}).json()["finding"] == "verified"
    site.shutdown()
    site.server_close()


def test_a_manifest_is_served_as_c2pa(client: httpx.Client, house: Any) -> None:
    label = label_of(house)
    answer = client.get(f"{BASE}/manifests/{label}")
    assert answer.headers["content-type"] == "application/c2pa"
    assert labels(answer.content) == [label]
    alone = client.get(f"{BASE}/manifests/{label}", params={"returnActiveManifest": "true"})
    assert labels(alone.content) == [label]
    for unknown in ("urn:c2pa:none", "x" * 300, "%00", "'; DROP TABLE assets; --"):
        assert client.get(f"{BASE}/manifests/{unknown}").status_code in (404, 400)


def test_a_receipt_proves_the_release_and_a_changed_one_does_not(
    client: httpx.Client, house: Any, foreign: Any
) -> None:
    label = label_of(house)
    place = f"{BASE}/manifests/{label}/receipts"
    receipt = client.get(place).json()
    assert set(receipt) == {"@context", "@type", "repository", "anchor"}
    proof = receipt["anchor"]["proof"]["tlogProof"]
    entry = LogProof.parse(proof).verify(house[0].log.keys)
    assert entry.size > 0
    assert client.post(place, json=receipt).json()["verified"] is True
    for path, value in (
        (("anchor", "proof"), {"tlogProof": proof.replace("index ", "index 1")}),
        (("anchor", "proof"), {"tlogProof": "rubbish"}),
        (("anchor", "proof"), {}),
        (("repository", "manifestId"), "urn:c2pa:other"),
    ):
        changed = json.loads(json.dumps(receipt))
        changed[path[0]][path[1]] = value
        answer = client.post(place, json=changed).json()
        assert answer["verified"] is False
        assert answer["error"]
    assert client.get(f"{BASE}/manifests/{foreign[0]}/receipts").status_code == 404


# ── store ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_nobody_writes_without_the_token(client: httpx.Client, house: Any, foreign: Any, tmp_path: Path) -> None:
    label, store, value = foreign
    calls = [
        ("POST", "/manifests", {"content": store, "headers": STORE}),
        ("DELETE", f"/manifests/{label_of(house)}", {}),
        ("POST", "/bindings", {"json": {"bindingValue": value, "manifestId": label}}),
        ("PUT", "/bindings", {"json": {"bindingValue": value, "manifestId": label}}),
    ]
    for method, path, parts in calls:
        for shown in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic 0123456789abcdef"},
            {"Authorization": "Bearer x"},
        ):
            headers = {**parts.get("headers", {}), **shown}
            answer = client.request(method, BASE + path, **{**parts, "headers": headers})
            assert answer.status_code == 403, (method, path)
    with running(installed(tmp_path / "none")) as url:  # no token set: nobody may
        assert httpx.post(f"{url}{BASE}/manifests", content=store, headers=STORE | TOKEN).status_code == 403
        assert (
            httpx.post(
                f"{url}{BASE}/manifests", content=store, headers=STORE | {"Authorization": "Bearer x"}
            ).status_code
            == 403
        )


def test_what_was_released_cannot_be_deleted_rebound_or_rewritten(client: httpx.Client, house: Any) -> None:
    label = label_of(house)
    assert client.delete(f"{BASE}/manifests/{label}", headers=TOKEN).status_code == 409
    body = {"bindingValue": str(house[1].asset_id), "manifestId": label, "alg": ALG}
    for method in ("POST", "PUT"):
        assert client.request(method, f"{BASE}/bindings", json=body, headers=TOKEN).status_code == 409
    store = client.get(f"{BASE}/manifests/{label}").content
    other = store[:-40] + bytes(40)
    assert client.post(f"{BASE}/manifests", content=other, headers=STORE | TOKEN).status_code in (400, 409)
    assert client.get(f"{BASE}/manifests/{label}").content == store


def test_a_foreign_manifest_is_stored_bound_found_proven_and_given_up(
    client: httpx.Client, house: Any, foreign: Any
) -> None:
    label, store, value = foreign
    made = client.post(f"{BASE}/manifests", content=store, headers=STORE | TOKEN, params={"returnReceipt": "true"})
    assert made.status_code == 201, made.text
    assert made.json()["manifestId"] == label
    place = f"{BASE}/manifests/{label}"
    assert client.post(f"{place}/receipts", json=made.json()["receipt"]).json()["verified"] is True
    assert client.get(place).content == store
    query = {"alg": ALG, "value": encoded(value)}
    assert matches(client.get(f"{BASE}/matches/byBinding", params=query)) == []
    bind = lambda method, **other: client.request(  # noqa: E731
        method, f"{BASE}/bindings", headers=TOKEN, json={"bindingValue": encoded(value), "manifestId": label, **other}
    )
    assert bind("POST").status_code == 201
    assert bind("POST").status_code == 409
    assert bind("PUT").status_code == 200
    assert bind("POST", bindingValue="other").status_code == 400
    assert bind("POST", alg="com.example.other").status_code == 400
    assert bind("POST", manifestId="urn:c2pa:none").status_code == 404
    assert matches(client.get(f"{BASE}/matches/byBinding", params=query)) == [label]
    assert client.delete(place, headers=TOKEN).status_code == 204
    assert client.get(place).status_code == 404
    assert matches(client.get(f"{BASE}/matches/byBinding", params=query)) == []
    types = [entry["type"] for _, entry in house[0].log.entries()]
    assert types[-2:] == ["manifest.stored", "manifest.deleted"]


@pytest.mark.parametrize("what", ["rubbish", "cut", "signature", "empty", "deep"])
def test_a_store_that_does_not_hold_is_not_kept(client: httpx.Client, foreign: Any, what: str) -> None:
    label, store, _ = foreign
    at = store.find(b"org.filigrana")
    bad = {
        "rubbish": b"rubbish" * 100,
        "cut": store[: len(store) // 2],
        "signature": store[:at] + b"X" + store[at + 1 :],
        "empty": b"",
        "deep": b"\x00\x00\x00\x08jumb" * 9000,
    }[what]
    answer = client.post(f"{BASE}/manifests", content=bad, headers=STORE | TOKEN)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "provenance.manifest.bad"
    assert client.get(f"{BASE}/manifests/{label}").status_code == 404


def test_values_are_looked_up_as_they_are_and_as_base64() -> None:
    assert spellings(encoded("hello")) == ["hello", encoded("hello")]
    assert spellings("VSAJK41NJ92G")[-1] == "VSAJK41NJ92G"
    assert spellings("not base64!") == ["not base64!"]


def test_one_manifest_is_taken_out_of_a_store() -> None:
    def box(kind: bytes, content: bytes) -> bytes:
        return (len(content) + 8).to_bytes(4, "big") + kind + content

    def described(label: str) -> bytes:
        return box(b"jumd", bytes(16) + b"\x03" + label.encode() + b"\0")

    parts = [box(b"jumb", described(name) + box(b"json", b"{}")) for name in ("one", "two")]
    store = box(b"jumb", described("c2pa") + b"".join(parts))
    assert labels(store) == ["one", "two"]
    assert labels(only(store, "two")) == ["two"]
    assert only(only(store, "two"), "two") == only(store, "two")
    for bad in (store[:-1], b"", box(b"jumb", described("other")), store + b"\0\0\0"):
        with pytest.raises(ManifestError):
            only(bad, "three")


# ── records ──────────────────────────────────────────────────────────────────────────────────────────────────────
PERSONAL = {"public_name", "intent_id", "prompt", "subject", "request", "decision_record", "file"}


def test_a_record_says_what_a_remote_verifier_needs_and_nothing_of_a_person(client: httpx.Client, house: Any) -> None:
    installation, release = house
    found = client.get(f"/v1/records/{release.asset_id}").json()
    assert set(found) == {"asset", "bindings", "manifest_id", "preview", "proof", "log_keys", "revocation"}
    assert tuple(found["asset"]) == ASSET_FIELDS
    assert not PERSONAL & set(ASSET_FIELDS)
    assert found["bindings"] == [[ALG, str(release.asset_id)]]
    assert found["manifest_id"] == label_of(house)
    assert base64.b64decode(found["preview"]["data"])[:2] == b"\xff\xd8"
    assert LogProof.parse(found["proof"]).verify(installation.log.keys)
    text = json.dumps(found) + (LogProof.parse(found["proof"]).extra or b"").decode()
    assert "sailboat" not in text
    by_hash = client.get("/v1/records", params={"sha256": found["asset"]["sha256"]}).json()
    by_mark = client.get("/v1/records", params={"alg": ALG, "value": str(release.asset_id)}).json()
    assert by_hash["asset"] == by_mark["asset"] == found["asset"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("/nonsense!", 400),
        ("/4G7K2M9PQX0T", 404),
        ("", 400),
        ("?sha256=xyz", 400),
        (f"?sha256={'0' * 64}", 404),
        ("?alg=a", 400),
        ("?alg=a&value=b", 404),
    ],
)
def test_records_that_are_not_there(client: httpx.Client, query: str, status: int) -> None:
    assert client.get(f"/v1/records{query}").status_code == status


def test_looking_makes_no_log(tmp_path: Path) -> None:
    installation = installed(tmp_path / "data")
    with running(installation) as url:
        assert httpx.get(f"{url}/v1/records/4G7K2M9PQX0T").status_code == 404
        assert matches(httpx.get(f"{url}{BASE}/matches/byBinding", params={"alg": ALG, "value": "A"})) == []
    assert not (tmp_path / "data" / "audit.db").exists()
    assert not (tmp_path / "data" / "keys").exists()


def test_a_verifier_elsewhere_gets_all_that_it_needs(house: Any) -> None:
    from filigrana.provenance.credentials import read_stored
    from filigrana.provenance.remote import RemoteResolver

    installation, release = house
    with running(installation) as url:
        remote = RemoteResolver(url, installation.log.keys[0])
        record = remote.by_binding(ALG, str(release.asset_id))
        assert record is not None
        assert record.asset_id == release.asset_id
        assert remote.by_sha256(record.sha256) == remote.by_asset_id(release.asset_id) == record
        assert remote.log_evidence(record).ok
        assert remote.preview(release.asset_id) is not None
        assert remote.revoked(release.asset_id, None) is None
        manifest = remote.manifest(release.asset_id)
        assert manifest is not None
        assert read_stored(manifest.store, installation.trust).state == "trusted"


# ── the description ──────────────────────────────────────────────────────────────────────────────────────────────
EXPECTED = {
    "/matches/byBinding": {"get", "post"},
    "/matches/byContent": {"post"},
    "/matches/byReference": {"post"},
    "/manifests": {"post"},
    "/manifests/{manifestId}": {"get", "delete"},
    "/manifests/{manifestId}/receipts": {"get", "post"},
    "/bindings": {"post", "put"},
    "/services/supportedAlgorithms": {"get"},
    "/services/status": {"get"},
    "/services/capabilities": {"get"},
}


WITHOUT_BODY = {
    f"/v1/webhooks/{{webhook_id}}/{act}" for act in ("secret", "test", "deliveries/{delivery_id}/retry")
}  # the address says all of it


def test_the_openapi_describes_every_route_with_its_errors_and_bodies(house: Any) -> None:
    described = create_app(house[0]).openapi()
    paths = described["paths"]
    assert {p.removeprefix(BASE): set(i) for p, i in paths.items() if p.startswith(BASE)} == EXPECTED
    assert {"/v1/verify", "/v1/records", "/v1/records/{asset_id}", "/.well-known/c2pa-soft-binding-resolution"} <= set(
        paths
    )
    names = [operation["operationId"] for item in paths.values() for operation in item.values()]
    assert len(names) == len(set(names))
    for path, item in paths.items():
        for method, operation in item.items():
            assert operation.get("description"), (method, path)
            if method in ("post", "put") and path not in WITHOUT_BODY:
                assert operation["requestBody"]["content"], (method, path)
            if path.startswith(BASE) and method != "get":
                assert "400" in operation["responses"], (method, path)
    examples = json.dumps(described)
    assert examples.count('"example') > 8
    writes = [
        paths[f"{BASE}{p}"][m]
        for p, m in (
            ("/manifests", "post"),
            ("/manifests/{manifestId}", "delete"),
            ("/bindings", "post"),
            ("/bindings", "put"),
        )
    ]
    assert all(operation["security"] for operation in writes)


def test_answers_have_the_shapes_that_are_described(client: httpx.Client, house: Any) -> None:
    """Each JSON answer against its own schema: the required keys are there, and no others."""
    described = create_app(house[0]).openapi()
    label = label_of(house)
    answers = {
        "/matches/byBinding": client.get(
            f"{BASE}/matches/byBinding", params={"alg": ALG, "value": str(house[1].asset_id)}
        ),
        "/manifests/{manifestId}/receipts": client.get(f"{BASE}/manifests/{label}/receipts"),
        "/services/supportedAlgorithms": client.get(f"{BASE}/services/supportedAlgorithms"),
        "/services/status": client.get(f"{BASE}/services/status"),
        "/services/capabilities": client.get(f"{BASE}/services/capabilities"),
    }
    for path, answer in answers.items():
        schema = described["paths"][BASE + path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        shape = described["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
        assert set(shape["required"]) <= set(answer.json()) <= set(shape["properties"]), path
