"""Fetching a stranger's URL: which addresses are asked, and what an answer may cost."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from filigrana.errors import FetchError
from filigrana.pipeline import fetching
from filigrana.pipeline.fetching import Allowed, FetchLimits, check_url, fetch_to, is_public

Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def site() -> Iterator[tuple[str, dict[str, Answer], list[str]]]:
    """(host:port, answers by path, requests seen)."""
    answers: dict[str, Answer] = {}
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(f"{self.headers['Host']}{self.path}")
            answers[self.path](self)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}", answers, seen
    server.shutdown()
    server.server_close()


def sends(body: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def limits(place: str, **other: Any) -> FetchLimits:
    return FetchLimits(allowed=Allowed.parse([place]), **other)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.0.1", "0.0.0.0",  # noqa: S104
        "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1",
        "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd00::1", "ff02::1", "fec0::1", "2001:db8::1", "::127.0.0.1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::a00:1",
        "192.0.0.192", "192.0.0.8", "192.88.99.1", "168.63.129.16", "::ffff:192.0.0.192", "64:ff9b::192.0.0.192", "2002:c000:c0::1",
        "2001:2::1", "2001:20::1", "3fff::1", "5f00::1", "4000::1", "100::1", "200::1",
        "2002:7f00:1::", "2002:a00:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2606:4700::5efe:a00:1", "fe80::1%eth0",
    ],
)  # fmt: skip
def test_addresses_that_are_not_the_public_internet(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_public_addresses(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/a", "file:///etc/passwd", "gopher://example.org", "javascript:alert(1)", "//example.org/a", "", "x",
        "http://user:pw@example.org/", "http://user@example.org/", "http://example.org:22/", "http://example.org:0/", "http:///a",
        "http://exa mple.org/", "http://example.org/a\r\nHost: x", "http://example.org\\@127.0.0.1/", "http://[::1", "http://example.org:99999/",
        "http://example.org/" + "a" * 3000, "http://127.0.0.1/", "http://[::1]/", "http://[::ffff:10.0.0.1]/", "http://192.0.0.192/",
    ],
)  # fmt: skip
def test_urls_that_are_not_asked(url: str) -> None:
    with pytest.raises(FetchError):
        check_url(url)


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"],
)
def test_every_spelling_of_this_machine_is_refused(host: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError) as caught:
        fetch_to(tmp_path / "f", f"http://{host}/")
    assert caught.value.code in ("input.url.private", "input.url.host")


def test_an_address_is_asked_where_its_place_or_network_is_allowed() -> None:
    allowed = Allowed.parse(["127.0.0.1:8080", "10.0.0.0/8", "[::1]:80"])
    for url in ("http://127.0.0.1:8080/", "https://10.2.3.4/", "http://[::1]/"):
        assert check_url(url, allowed).hostname
    for url in ("http://127.0.0.1/", "http://[::1]:443/", "http://11.0.0.1:8080/"):
        with pytest.raises(FetchError):
            check_url(url, allowed)


def test_a_file_is_fetched_from_a_place_that_is_allowed(site: Any, tmp_path: Path) -> None:
    place, answers, seen = site
    answers["/a.png?x=1"] = sends(b"picture", Content_Type="image/png")
    got = fetch_to(tmp_path / "f", f"http://{place}/a.png?x=1#part", limits(place))
    assert ((tmp_path / "f").read_bytes(), got.mime, got.bytes) == (b"picture", "image/png", 7)
    assert seen == [f"{place}/a.png?x=1"]


def test_one_private_address_among_public_ones_refuses_the_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def mixed(*_: Any, **__: Any) -> list[Any]:
        return [(0, 0, 0, "", ("93.184.215.14", 80)), (0, 0, 0, "", ("10.0.0.7", 80))]

    monkeypatch.setattr(fetching.socket, "getaddrinfo", mixed)
    with pytest.raises(FetchError) as caught:
        fetch_to(tmp_path / "f", "http://rebinding.example/")
    assert caught.value.code == "input.url.private"
    assert "fetch_allow" in caught.value.hint


def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """DNS rebinding: the second answer would be this machine."""
    asked: list[str] = []
    connected: list[Any] = []

    def changing(name: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(name)
        return [(0, 0, 0, "", ("93.184.215.14" if len(asked) == 1 else "127.0.0.1", 80))]

    def connect(address: Any, **_: Any) -> Any:
        connected.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(fetching.socket, "getaddrinfo", changing)
    monkeypatch.setattr(fetching.socket, "create_connection", connect)
    with pytest.raises(FetchError):
        fetch_to(tmp_path / "f", "http://rebinding.example/")
    assert asked == ["rebinding.example"]
    assert connected == [("93.184.215.14", 80)]


@pytest.mark.parametrize(
    "where",
    ["http://127.0.0.1:1/x", "http://169.254.169.254/latest/", "ftp://x/", "//10.0.0.1/", "http://u:p@a.example/"],
)
def test_redirects_go_through_the_same_door(site: Any, tmp_path: Path, where: str) -> None:
    place, answers, _ = site
    answers["/"] = sends(b"", 302, Location=where)
    with pytest.raises(FetchError):
        fetch_to(tmp_path / "f", f"http://{place}/", limits(place))


def test_redirects_are_followed_three_times(site: Any, tmp_path: Path) -> None:
    place, answers, seen = site
    for i in range(4):
        answers[f"/{i}"] = sends(b"", 302, Location=f"/{i + 1}")
    answers["/4"] = sends(b"end")
    assert fetch_to(tmp_path / "f", f"http://{place}/1", limits(place)).url.endswith("/4")
    seen.clear()
    with pytest.raises(FetchError) as caught:
        fetch_to(tmp_path / "f", f"http://{place}/0", limits(place))
    assert caught.value.code == "input.url.redirect"
    assert len(seen) == 4


def test_no_proxy_of_the_environment_is_used(site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, answers, _ = site
    answers["/"] = sends(b"direct")
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch_to(tmp_path / "f", f"http://{place}/", limits(place)).bytes == 6


def test_sizes_are_counted_and_not_believed(site: Any, tmp_path: Path) -> None:
    place, answers, _ = site

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
        except OSError:
            pass

    answers["/endless"] = endless
    answers["/says"] = sends(b"x" * 2000)
    answers["/lies"] = lambda handler: sends(b"short", **{"Content-Length": "50"})(handler)
    for path, code in (("/endless", "input.url.too_large"), ("/says", "input.url.too_large")):
        with pytest.raises(FetchError) as caught:
            fetch_to(tmp_path / "f", f"http://{place}{path}", limits(place, bytes=1000))
        assert caught.value.code == code
    with pytest.raises(FetchError):
        fetch_to(tmp_path / "f", f"http://{place}/lies", limits(place, seconds=1.0))


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_server_that_dribbles_is_cut_off(tmp_path: Path, part: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def dribble() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + (b"" if part == "head" else b"Content-Length: 1000\r\n\r\n"))
            while True:
                connection.sendall(b"X")
                time.sleep(0.1)

    threading.Thread(target=dribble, daemon=True).start()
    place = f"127.0.0.1:{listener.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(FetchError) as caught:
        fetch_to(tmp_path / "f", f"http://{place}/", limits(place, seconds=1.0))
    assert caught.value.code == "input.url.time"
    assert time.monotonic() - started < 4
    listener.close()


def test_what_is_no_200_or_compressed_is_refused(site: Any, tmp_path: Path) -> None:
    place, answers, _ = site
    answers["/404"] = sends(b"no", 404)
    answers["/gz"] = sends(b"\x1f\x8b", Content_Encoding="gzip")
    for path, code in (("/404", "input.url.status"), ("/gz", "input.url.encoding")):
        with pytest.raises(FetchError) as caught:
            fetch_to(tmp_path / "f", f"http://{place}{path}", limits(place))
        assert caught.value.code == code


@pytest.mark.parametrize("text", ["example.org", "example.org:0", "example.org:x", "10.0.0.0/99", ":80"])
def test_a_place_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        Allowed.parse([text])


def test_a_network_that_is_allowed_opens_its_addresses_and_not_other_ports(site: Any, tmp_path: Path) -> None:
    place, _, _ = site
    with pytest.raises(FetchError) as caught:
        fetch_to(tmp_path / "f", f"http://{place}/", FetchLimits(allowed=Allowed.parse(["127.0.0.0/8"])))
    assert caught.value.code == "input.url.port"
    assert "fetch_allow" in caught.value.hint
