"""Sealing over HTTP: a file comes in, or is fetched, and becomes a job whose release is checked like any other."""

from __future__ import annotations

import datetime as dt
import http.server
import io
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.incoming import YOUNG
from filigrana.pipeline.jobs.model import Order
from filigrana.pipeline.jobs.pruning import prune
from filigrana.tests.doubles import scene
from filigrana.tests.serving import installed, running
from filigrana.tests.working import until, working


def photo(seed: int = 3) -> bytes:
    out = io.BytesIO()
    Image.fromarray(scene(seed, 320, 320)).save(out, "JPEG", quality=92)
    return out.getvalue()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    opened = installed(tmp_path_factory.mktemp("sealing") / "data")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def url(house: Installation) -> Iterator[str]:
    house.ensure_keys()
    with running(house) as found, working(house):
        yield found


@pytest.fixture(scope="module")
def client(house: Installation, url: str) -> Iterator[httpx.Client]:
    _, secret = house.access.add("press", "ana", ["creator"])
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as opened:
        yield opened


def ended(client: httpx.Client, job: str) -> dict[str, Any]:
    def look() -> Any:
        told = client.get(f"/v1/jobs/{job}").json()
        return told if told["state"] not in ("queued", "running") else None

    found: dict[str, Any] = until(look)
    return found


@contextmanager
def shelf(data: bytes) -> Iterator[str]:
    """A server on loopback that has one file."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/photo.jpg"
    finally:
        server.shutdown()
        server.server_close()


def test_an_uploaded_photograph_is_sealed_and_verifies(client: httpx.Client, house: Installation) -> None:
    answer = client.post("/v1/seal", files={"file": ("p.jpg", photo(), "image/jpeg")}, data={"source_type": "camera"})
    assert answer.status_code == 202, answer.text
    told = ended(client, answer.json()["id"])
    assert (told["kind"], told["state"]) == ("seal", "released"), told
    file = client.get(f"/v1/assets/{told['outcome']['asset_id']}/content")
    assert sha256(file.content).hexdigest() == told["outcome"]["sha256"]
    found = httpx.post(f"{client.base_url}/v1/verify", files={"file": ("s.jpg", file.content)}, timeout=60).json()
    assert (found["finding"], found["asset_id"]) == ("verified", told["outcome"]["asset_id"])
    record = client.get(f"/v1/assets/{told['outcome']['asset_id']}").json()["asset"]
    assert "trainedAlgorithmicMedia" not in record["source_type"], "a photograph is never called AI-made"
    assert told["outcome"]["energy"]["joules"] >= 0
    assert "stages" in told["outcome"]


def test_the_same_file_under_the_same_key_is_one_job(client: httpx.Client, house: Installation) -> None:
    def send(seed: int) -> httpx.Response:
        return client.post(
            "/v1/seal", files={"file": ("p.jpg", photo(seed))}, data={"source_type": "camera"},
            headers={"Idempotency-Key": "one"},
        )  # fmt: skip

    first, again, other = send(11), send(11), send(12)
    assert first.json()["id"] == again.json()["id"]
    assert (other.status_code, other.json()["error"]["code"]) == (409, "jobs.key_reused")
    assert ended(client, first.json()["id"])["state"] == "released"


@pytest.mark.parametrize(
    ("data", "files", "code"),
    [
        ({"source_type": "camera"}, {}, "service.file"),
        ({"source_type": "painting"}, {"file": ("p.jpg", b"x")}, "service.parameter"),
        ({}, {"file": ("p.jpg", b"x")}, "service.parameter"),
        ({"source_type": "camera", "url": "http://a.example/x"}, {"file": ("p.jpg", b"x")}, "service.file"),
        ({"source_type": "camera", "typo": "1"}, {"file": ("p.jpg", b"x")}, "service.parameter"),
        ({"source_type": "camera", "format": "exe"}, {"file": ("p.jpg", b"x")}, "service.parameter"),
        ({"source_type": "camera"}, {"other": ("p.jpg", b"x")}, "service.multipart"),
        ({"source_type": "ai", "profiles": ["eu", "cn"]}, {"file": ("p.jpg", b"x")}, "service.multipart"),
    ],
)
def test_what_is_no_order_to_seal_is_not_taken(
    client: httpx.Client, house: Installation, data: Any, files: Any, code: str
) -> None:
    before = sum(house.jobs.counts().values())
    # an empty part keeps the form a multipart one where there is no file
    answer = client.post("/v1/seal", data=data, files=files or {"none": (None, "")})
    assert (answer.status_code, answer.json()["error"]["code"]) in ((400, code), (400, "service.parameter"))
    assert sum(house.jobs.counts().values()) == before


def test_what_is_no_picture_fails_in_its_job(client: httpx.Client) -> None:
    job = client.post("/v1/seal", files={"file": ("p.jpg", b"not a picture")}, data={"source_type": "camera"}).json()
    told = ended(client, job["id"])
    assert told["state"] == "failed"
    assert told["outcome"]["code"].startswith("input.media")


def test_a_picture_that_cannot_carry_a_mark_is_told_why(client: httpx.Client) -> None:
    small = io.BytesIO()
    Image.fromarray(scene(3, 200, 160)).save(small, "JPEG")
    job = client.post("/v1/seal", files={"file": ("p.jpg", small.getvalue())}, data={"source_type": "camera"}).json()
    told = ended(client, job["id"])["outcome"]
    assert told["code"] == "provenance.watermark.too_small"
    assert "256 px" in told["message"]
    assert told["hint"] == "Seal a larger version of the picture."


def test_an_address_inside_is_never_asked(client: httpx.Client, house: Installation) -> None:
    with shelf(photo()) as place:
        answer = client.post("/v1/seal", json={"url": place, "source_type": "camera"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "input.url.port")
        answer = client.post("/v1/seal", json={"url": "http://127.0.0.1/p.jpg", "source_type": "camera"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "input.url.private")


def test_an_allowed_address_is_fetched_and_sealed(tmp_path: Any) -> None:
    with shelf(photo(21)) as place:
        house = installed(tmp_path / "data", fetch_allow=[urlsplit(place).netloc])
        try:
            _, secret = house.access.add("press", "ana", ["creator"])
            with (
                running(house) as url,
                working(house),
                httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as client,
            ):
                answer = client.post("/v1/seal", json={"url": place, "source_type": "ai"})
                assert answer.status_code == 202, answer.text
                assert ended(client, answer.json()["id"])["state"] == "released"
        finally:
            house.close()


def test_files_that_no_job_needs_are_forgotten(client: httpx.Client, house: Installation) -> None:
    answer = client.post("/v1/seal", files={"file": ("p.jpg", photo(31))}, data={"source_type": "camera"})
    ended(client, answer.json()["id"])
    name = sha256(photo(31)).hexdigest()
    assert (house.folder / "incoming" / name).exists()
    assert prune(house).files == 0, "what is young may be about to be named by a job"
    wanted = {str(job.request.get("_file")) for job in house.jobs.list(state="failed", limit=100)}
    assert house.incoming.sweep(wanted, time.time() + YOUNG + 1) >= 1
    assert not (house.folder / "incoming" / name).exists()
    for kept in wanted - {"None"}:
        assert (house.folder / "incoming" / kept).exists(), "a job that failed may be tried again"


def test_a_file_whose_job_failed_stays_as_long_as_another_try_may_help(tmp_path: Any) -> None:
    house = installed(tmp_path / "data")
    try:
        kept: dict[str, Any] = {}
        codes = {"ana": "engine.timeout", "ben": "input.media", "eve": "engine.timeout",
                 "tom": "provenance.watermark.too_small"}  # fmt: skip
        for number, (who, code) in enumerate(codes.items()):
            file = tmp_path / "upload"
            file.write_bytes(photo(50 + number))
            name = house.incoming.take(file)
            house.jobs.put(Order("press", who, "seal", {"source_type": "camera", "mime": None, "_file": name}))
            lease = house.jobs.lease("w")
            assert lease is not None
            house.jobs.finish(lease, "failed", {"code": code})
            kept[who] = house.folder / "incoming" / name
        house.ledger.erase("eve")
        for path in kept.values():
            os.utime(path, (0, 0))
        assert prune(house).files == 3
        assert [who for who, path in kept.items() if path.exists()] == ["ana"]
        house.clock = lambda: dt.datetime.now(dt.UTC) + dt.timedelta(days=8)
        assert prune(house).files == 1
    finally:
        house.close()


def test_no_file_is_kept_for_an_order_that_is_not_taken(tmp_path: Any) -> None:
    house = installed(tmp_path / "data", key_in_flight=1)
    try:
        _, secret = house.access.add("press", "ana", ["creator"])
        with (
            running(house) as url,
            httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as client,
        ):
            def send(seed: int, key: str, **more: str) -> httpx.Response:
                return client.post(
                    "/v1/seal", files={"file": ("p.jpg", photo(seed))}, data={"source_type": "camera", **more},
                    headers={"Idempotency-Key": key},
                )  # fmt: skip

            first = send(61, "one")
            assert first.status_code == 202
            assert send(61, "one").json()["id"] == first.json()["id"], "what was taken is found, also where no more is"
            assert send(62, "two").json()["error"]["code"] == "access.in_flight"
            assert send(63, "three", priority="9").json()["error"]["code"] == "access.priority"
            assert send(64, "one").json()["error"]["code"] == "jobs.key_reused"
            waits = [path.name for path in (house.folder / "incoming").iterdir()]
            assert waits == [sha256(photo(61)).hexdigest()]
    finally:
        house.close()


def test_a_file_that_was_changed_while_it_waited_is_not_sealed(tmp_path: Any) -> None:
    house = installed(tmp_path / "data")
    try:
        _, secret = house.access.add("press", "ana", ["creator"])
        with (
            running(house) as url,
            httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as client,
        ):
            job = client.post("/v1/seal", files={"file": ("p.jpg", photo(41))}, data={"source_type": "camera"}).json()
            path = house.folder / "incoming" / sha256(photo(41)).hexdigest()
            path.write_bytes(photo(42))
            with working(house):
                told = ended(client, job["id"])
            assert (told["state"], told["outcome"]["code"]) == ("failed", "input.job_file")
    finally:
        house.close()
