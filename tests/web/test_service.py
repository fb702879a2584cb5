"""The service as strangers meet it: what it answers, what it refuses, and what it keeps, which is nothing."""

from __future__ import annotations

import asyncio
import io
import logging
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from filigrana.errors import ServiceError
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import Release
from filigrana.pipeline.web.desk import ASKING, Desk
from filigrana.pipeline.web.inspecting import HouseInspector
from filigrana.pipeline.web.rating import MOST, Clients, Rate
from filigrana.pipeline.web.service import plain, shown_name
from filigrana.pipeline.web.showing import moment_text
from filigrana.pipeline.web.spooling import Spool
from filigrana.tests.doubles import scene
from filigrana.tests.serving import installed, released, running, uploads_left


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, Release]]:
    opened = installed(tmp_path_factory.mktemp("service") / "data", serve_max_bytes=1 << 20, fetch_seconds=2)
    release = released(opened)
    yield opened, release
    opened.close()


@pytest.fixture(scope="module")
def url(house: tuple[Installation, Release]) -> Iterator[str]:
    with running(house[0]) as found:
        yield found


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30) as opened:
        yield opened


def error(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()["error"]
    assert set(body) == {"message", "type", "param", "code"}
    return answer.status_code, body["code"]


# ── what it answers ──────────────────────────────────────────────────────────────────────────────────────────────
def test_an_upload_is_verified(client: httpx.Client, house: tuple[Installation, Release]) -> None:
    installation, release = house
    answer = client.post("/v1/verify", files={"file": ("boat.png", release.file.read_bytes())})
    found = answer.json()
    assert (answer.status_code, found["finding"], found["asset_id"], found["file"]) == (
        200, "verified", str(release.asset_id), "boat.png",
    )  # fmt: skip
    assert found["evidence"][0].keys() == {"technique", "status", "detail", "meaning"}
    assert uploads_left(installation) == []


def test_rubbish_is_unreadable_and_no_error(client: httpx.Client) -> None:
    found = client.post("/v1/verify", files={"file": ("x.png", b"not a picture")}).json()
    assert found["finding"] == "unreadable"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "GIF"])
def test_pictures_of_every_kind_are_read_by_the_confined_inspector(client: httpx.Client, kind: str) -> None:
    out = io.BytesIO()
    Image.fromarray(scene(3, 256, 256)).save(out, kind)
    found = client.post("/v1/verify", files={"file": ("a", out.getvalue())}).json()
    assert found["finding"] == "unmarked", found["evidence"]


def test_a_sidecar_and_a_time_reach_the_inspector(tmp_path: Path) -> None:
    asked: list[Any] = []

    class Seen:
        def inspect(self, path: Path, **what: Any) -> dict[str, Any]:
            asked.append((path.read_bytes(), what["at"], what["sidecar"].read_bytes()))
            return HouseInspector(installation).inspect(path, **what)

    installation = installed(tmp_path / "data")
    with running(installation, Seen()) as url:
        files = {"file": ("a.png", b"picture"), "sidecar": ("a.c2pa", b"store")}
        answer = httpx.post(f"{url}/v1/verify", files=files, params={"at": "2026-01-02T03:04:05+01:00"})
    assert answer.status_code == 200
    assert asked == [(b"picture", datetime.fromisoformat("2026-01-02T02:04:05+00:00"), b"store")]


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\\b\\c.png", "\u202egnp.exe", "x" * 500, "a\nb", "<img src=x>"])
def test_names_are_shown_and_never_used(client: httpx.Client, name: str, house: tuple[Installation, Release]) -> None:
    head = f'Content-Disposition: form-data; name="file"; filename="{name}"'.replace("\n", "%0A").encode()
    body = b"--b\r\n" + head + b"\r\n\r\nrubbish\r\n--b--\r\n"
    answer = client.post("/v1/verify", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    shown = answer.json()["file"]
    assert "/" not in shown
    assert "\u202e" not in shown
    assert len(shown) <= 121
    assert uploads_left(house[0]) == []


def test_headers_keep_a_browser_safe_everywhere(client: httpx.Client) -> None:
    for answer in (client.get("/"), client.get("/nothing"), client.post("/v1/verify"), client.get("/openapi.json")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "camera=()" in answer.headers["permissions-policy"]
        assert "set-cookie" not in answer.headers
        assert "server" not in answer.headers


# ── what it refuses ──────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"data": {"x": "y"}}, "service.media_type"),
        ({"files": {"other": ("a", b"b")}}, "service.multipart"),
        ({"files": {"sidecar": ("a", b"b")}}, "service.file"),
        ({"files": {"file": ("a", b"b")}, "data": {"url": "http://example.org"}}, "service.file"),
        ({"files": {"file": ("a", b"b")}, "data": {"note": "x" * 5000}}, "service.multipart"),
        ({"files": [("file", ("a", b"b")), ("file", ("c", b"d"))]}, "service.multipart"),
        ({"content": b"--b\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, "service.multipart"),
        ({"content": b"--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nhalf",
          "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, "service.multipart"),
        ({"content": b"[]", "headers": {"Content-Type": "application/json"}}, "service.json"),
        ({"content": b"[" * 50_000, "headers": {"Content-Type": "application/json"}}, "service.json"),
        ({"content": b'{"url": "http://a.example/", "url": "http://b.example/"}',
          "headers": {"Content-Type": "application/json"}}, "service.json"),
        ({"files": {"file": ("a", b"b")}, "data": {"at": ["2026-01-01", "2027-01-01"]}}, "service.multipart"),
        ({"json": {"uri": "x"}}, "service.url"),
        ({"json": {"url": "http://127.0.0.1/"}}, "input.url.private"),
        ({"json": {"url": "http://[::ffff:169.254.169.254]/"}}, "input.url.private"),
        ({"json": {"url": "file:///etc/passwd"}}, "input.url.scheme"),
    ],
)  # fmt: skip
def test_what_is_no_question_is_refused(
    client: httpx.Client, house: tuple[Installation, Release], parts: dict[str, Any], code: str
) -> None:
    status, found = error(client.post("/v1/verify", **parts))
    assert (status in (400, 415), found) == (True, code)
    assert uploads_left(house[0]) == []


@pytest.mark.parametrize(
    "query",
    [
        "at=yesterday", "at=2026-01-01T00:00:00", "lang=xx",
        "at=0001-01-01T00:00:00%2B14:00", "at=9999-12-31T23:59:59-14:00",
    ],
)  # fmt: skip
def test_parameters_are_checked(client: httpx.Client, query: str) -> None:
    assert error(client.post(f"/v1/verify?{query}", files={"file": b"x"}))[0] == 400


def raw(url: str, data: bytes, seconds: float = 20) -> bytes:
    """Sends bytes as they are, and reads to the end."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        received = b""
        try:
            connection.sendall(data)
            while block := connection.recv(65536):
                received += block
        except OSError:
            pass
        return received


def test_a_body_is_counted_whatever_its_length_says(url: str, house: tuple[Installation, Release]) -> None:
    head = b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    part = b"--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n"
    assert b" 413 " in raw(url, head + b"Content-Length: 1073741824\r\n\r\n" + part)
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    endless = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%s\r\n" % (len(part), part) + chunk * 40
    assert b" 413 " in raw(url, endless)
    assert uploads_left(house[0]) == []


def test_a_body_with_two_lengths_is_none(url: str) -> None:
    """Else what one of two servers takes for its end is the next request to the other."""
    head = b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    smuggled = b"2\r\n{}\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = raw(url, head + b"Transfer-Encoding: chunked\r\n\r\n" + smuggled)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(("size", "status"), [(8 << 10, b"200"), (70_000, b"400")])
def test_a_head_is_bounded_also_where_it_comes_at_once(url: str, size: int, status: bytes) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " + b"a" * size + b"\r\n\r\n"
    assert raw(url, head).startswith(b"HTTP/1.1 " + status)


def test_a_body_that_dribbles_is_ended(tmp_path: Path) -> None:
    installation = installed(tmp_path / "data", serve_seconds=1.0)
    with running(installation) as url:
        head = b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000\r\n\r\n"
        started = time.monotonic()
        answer = raw(url, head + b"--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n", 10)
        assert b" 408 " in answer
        assert time.monotonic() - started < 5
        assert uploads_left(installation) == []


def test_a_head_that_dribbles_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from filigrana.pipeline.web.server import PatientProtocol

    monkeypatch.setattr(PatientProtocol, "head_seconds", 0.5)
    with running(installed(tmp_path / "data")) as url:
        host, port = url.removeprefix("http://").split(":")
        for first in (b"", b"GET / HT"):
            with socket.create_connection((host, int(port)), timeout=5) as connection:
                connection.sendall(first)
                started, ended = time.monotonic(), False
                while time.monotonic() - started < 4 and not ended:
                    try:
                        connection.sendall(b"X" if first else b"")
                        connection.settimeout(0.1)
                        ended = connection.recv(100) == b""
                    except TimeoutError:
                        continue
                    except OSError:
                        ended = True
                assert ended, "a connection without a request stays open"


def test_one_address_has_so_many_connections_and_others_are_still_served(tmp_path: Path) -> None:
    with running(installed(tmp_path / "data", serve_connections=40)) as url:
        host, port = url.removeprefix("http://").split(":")
        held = [socket.create_connection((host, int(port)), timeout=5) for _ in range(30)]
        time.sleep(0.3)
        try:
            over = 0
            for connection in held:
                connection.settimeout(0.05)
                try:
                    over += connection.recv(1) == b""
                except TimeoutError:
                    pass
                except OSError:
                    over += 1
            assert over == 20, "ten of forty may be one address's"
        finally:
            for connection in held:
                connection.close()
        time.sleep(0.3)
        assert httpx.get(f"{url}/c2pa/v1/services/status").status_code == 200


def test_a_client_that_goes_away_leaves_nothing(url: str, house: tuple[Installation, Release]) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 90000\r\n\r\n"
        connection.sendall(head + b"--b\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n" + b"x" * 9000)
        time.sleep(0.3)
    deadline = time.monotonic() + 5
    while uploads_left(house[0]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert uploads_left(house[0]) == []


def test_more_than_can_be_done_is_told_to_come_back(tmp_path: Path) -> None:
    release = threading.Event()

    class Slow:
        def inspect(self, path: Path, **what: Any) -> dict[str, Any]:
            release.wait(20)
            return HouseInspector(installation).inspect(path, **what)

    installation = installed(tmp_path / "data", verify_workers=1, serve_queue=1)
    with running(installation, Slow()) as url:
        answers: list[int] = []
        ask = lambda: answers.append(httpx.post(f"{url}/v1/verify", files={"file": b"x"}, timeout=30).status_code)  # noqa: E731
        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 10
        while httpx.get(f"{url}/c2pa/v1/services/status").json()["status"] == "ok" and time.monotonic() < deadline:
            time.sleep(0.02)
        third = httpx.post(f"{url}/v1/verify", files={"file": b"x"})
        assert error(third) == (503, "service.busy")
        assert int(third.headers["retry-after"]) > 0
        release.set()
        for thread in threads:
            thread.join()
        assert answers == [200, 200]


def test_addresses_that_never_answer_delay_no_file_that_is_here(tmp_path: Path) -> None:
    class Quick:
        def inspect(self, path: Path, **_: Any) -> dict[str, Any]:
            return {"finding": "unmarked"}

    with closing(socket.create_server(("127.0.0.1", 0), backlog=16)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        installation = installed(tmp_path / "data", fetch_allow=[place], fetch_seconds=6.0, verify_workers=1)
        with running(installation, Quick()) as url:
            def ask() -> httpx.Response:
                return httpx.post(f"{url}/v1/verify", json={"url": f"http://{place}/"}, timeout=60)

            with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
                asked = [pool.submit(ask) for _ in range(3)]
                for _ in range(3):
                    stack.enter_context(silent.accept()[0])  # and not a word
                started = time.monotonic()
                assert httpx.post(f"{url}/v1/verify", files={"file": b"x"}, timeout=60).status_code == 200
                assert time.monotonic() - started < 5
                assert {error(each.result()) for each in asked} == {(400, "input.url.time")}


def test_a_fault_inside_says_nothing_of_the_inside(tmp_path: Path) -> None:
    class Broken:
        def inspect(self, path: Path, **_: Any) -> dict[str, Any]:
            raise RuntimeError(f"secret {path}")

    installation = installed(tmp_path / "data")
    with running(installation, Broken()) as url:
        answer = httpx.post(f"{url}/v1/verify", files={"file": b"x"})
    assert error(answer) == (500, "internal")
    assert answer.headers["connection"] == "close", "the server ends it: the next request goes over another one"
    assert "secret" not in answer.text
    assert uploads_left(installation) == []


def test_who_asks_too_often_waits(tmp_path: Path) -> None:
    with running(installed(tmp_path / "data", serve_rate=10)) as url:
        codes = [httpx.post(f"{url}/v1/verify", files={"file": b"x"}) for _ in range(7)]
    refused = [a for a in codes if a.status_code == 429]
    assert [a.status_code for a in codes[:5]] == [200] * 5
    assert error(refused[0]) == (429, "service.rate")
    assert 1 <= int(refused[0].headers["retry-after"]) <= 7


# ── what it keeps ────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_log_of_the_service_names_no_file_and_no_content(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        client.post(
            "/v1/verify?at=2026-01-01T00:00:00Z", files={"file": ("very-private-name.png", b"very private content")}
        )
        client.get("/v1/records/4G7K2M9PQX0T?private=1")
    ours = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith(("filigrana", "uvicorn")))
    assert "POST /v1/verify 200" in ours
    assert "GET /v1/records/{asset_id} 404" in ours
    for word in ("private", "4G7K2M9PQX0T", "127.0.0.1"):
        assert word not in ours


def test_what_a_killed_process_leaves_is_removed_by_the_next_one(tmp_path: Path) -> None:
    dead, alive = Spool(tmp_path / "spool"), Spool(tmp_path / "spool")
    with dead.open() as folder:
        (folder / "file").write_bytes(b"private")
        import os

        os.close(dead._lock)  # what the kernel does for a process that died
        (alive.own / "kept").write_bytes(b"in use")
        Spool(tmp_path / "spool").close()
        assert not dead.own.exists()
        assert (alive.own / "kept").exists()
    assert oct((tmp_path / "spool").stat().st_mode & 0o777) == oct(0o700)
    alive.close()


# ── its parts ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_bucket_fills_again_and_memory_is_bounded() -> None:
    now = [0.0]
    rate = Rate(60, 2, clock=lambda: now[0])
    assert [rate.take("a"), rate.take("a"), rate.take("a")] == [None, None, 1]
    now[0] += 1
    assert (rate.take("a"), rate.take("a")) == (None, 1)
    for number in range(MOST + 500):
        rate.take(f"address {number}")
    assert len(rate) == MOST


@pytest.mark.parametrize(
    ("peer", "forwarded", "who"),
    [
        ("203.0.113.9", ["1.2.3.4"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4, 10.0.0.2"], "1.2.3.4"),
        ("10.0.0.1", ["rubbish"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"),
        ("::ffff:1.2.3.4", [], "1.2.3.4"),
    ],
)
def test_only_trusted_proxies_say_who_asks(peer: str, forwarded: list[str], who: str) -> None:
    assert Clients(["10.0.0.0/24"]).who(peer, forwarded) == who


def test_head_is_answered_as_get_without_the_body(client: httpx.Client, house: tuple[Installation, Release]) -> None:
    record = f"/v1/records/{house[1].asset_id}"
    for path in ("/", "/healthz", "/readyz", record, "/static/page.css", "/openapi.json"):
        head, whole = client.head(path), client.get(path)
        assert (head.status_code, head.content) == (200, b""), path
        assert head.headers["content-type"] == whole.headers["content-type"]
        assert head.headers["content-length"] == str(len(whole.content)), path
    assert client.head("/v1/records/nothing").status_code == 400
    assert client.head("/v1/verify").status_code == 405


def test_media_types_are_the_same_in_capitals(client: httpx.Client) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nxyz\r\n--b--\r\n'
    answer = client.post("/v1/verify", content=body, headers={"Content-Type": "Multipart/Form-Data; boundary=b"})
    assert answer.json()["finding"] == "unreadable"
    asked = client.post("/v1/verify", content=b'{"url": "file:///a"}', headers={"Content-Type": "Application/JSON"})
    assert error(asked) == (400, "input.url.scheme")


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "soon"])
def test_a_time_that_there_is_not_in_utc_is_shown_as_it_stands(text: str) -> None:
    assert moment_text(text) == text


def test_hostile_text_is_shown_and_not_obeyed() -> None:
    assert plain("a\u202eb\x1b[31m\u2028c\x00") == "a⟨202E⟩b⟨001B⟩[31m⟨2028⟩c⟨0000⟩"
    assert plain("x" * 400) == "x" * 300 + "…"
    assert shown_name("") == "file"


def _in_a_loop_of_its_own(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """In a thread of its own, too: a browser test may have left a loop in this one."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert failures == []


def test_one_address_does_not_take_the_whole_desk() -> None:
    """Files that take all the time that is allowed, as many as wait at once, and nobody else is served for hours."""

    async def scenario() -> None:
        desk, go = Desk(1, 15), threading.Event()
        ASKING.set("192.0.2.1")
        tasks = [asyncio.create_task(desk.do(lambda: go.wait(10))) for _ in range(4)]
        await asyncio.sleep(0.05)
        with pytest.raises(ServiceError):
            desk.check()
        ASKING.set("192.0.2.2")
        desk.check()
        go.set()
        await asyncio.gather(*tasks)
        await asyncio.sleep(0.05)
        ASKING.set("192.0.2.1")
        desk.check()
        desk.close()

    _in_a_loop_of_its_own(scenario)


def test_a_desk_counts_work_also_when_its_asker_is_gone() -> None:
    async def main() -> None:
        desk, go = Desk(1, 0), threading.Event()
        task = asyncio.create_task(desk.do(lambda: go.wait(10)))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.sleep(0.05)
        with pytest.raises(ServiceError):
            desk.check()
        go.set()
        await asyncio.sleep(0.2)
        desk.check()
        desk.close()

    _in_a_loop_of_its_own(main)
