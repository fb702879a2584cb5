"""Fetching what a stranger's URL names, without becoming the stranger's hand inside this network.

A name is resolved once, every address that it has is checked, and the connection goes to one of these very addresses:
a second answer of the name server changes nothing. Redirects go through the same door. No proxy, no cookie and no
credential of this machine is used.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from ..errors import FetchError
from .public_internet import Address, is_public

_OWN = "Places of your own are named in the setting `fetch_allow`, such as `127.0.0.1:8080`."
PORTS = {"http": 80, "https": 443}
_MAX_URL = 2048
_BLOCK = 1 << 16
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the setting `fetch_allow` names: ``places`` are (host, port), ``networks`` are addresses' networks."""

    places: frozenset[tuple[str, int]] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Allowed:
        """From `HOST:PORT` (an IPv6 address in brackets) or `NETWORK/BITS`. Raises ValueError."""
        places, networks = set(), []
        for text in texts:
            if "/" in text:
                networks.append(ip_network(text, strict=False))
                continue
            host, colon, port = text.rpartition(":")
            if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"{text!r} is neither HOST:PORT nor a network")
            places.add((host.strip("[]").lower(), int(port)))
        return cls(frozenset(places), tuple(networks))


class FetchSettings(Protocol):
    """The settings that say how much may be fetched, and from where."""

    @property
    def fetch_allow(self) -> list[str]: ...
    @property
    def fetch_max_bytes(self) -> int: ...
    @property
    def fetch_seconds(self) -> float: ...


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """``bytes``: of the file. ``seconds``: for everything together, from the name to the last byte. ``accept``: what
    is asked for, where a server has several forms of one file."""

    bytes: int = 64 << 20
    seconds: float = 20.0
    redirects: int = 3
    allowed: Allowed = field(default_factory=Allowed)
    accept: str = "*/*"

    @classmethod
    def of(cls, settings: FetchSettings) -> FetchLimits:
        return cls(settings.fetch_max_bytes, settings.fetch_seconds, allowed=Allowed.parse(settings.fetch_allow))


@dataclass(frozen=True, slots=True)
class Fetched:
    """``url``: where it came from in the end. ``mime``: as the server says, which proves nothing."""

    url: str
    mime: str | None
    bytes: int


def fetch_to(path: Path, url: str, limits: FetchLimits | FetchSettings | None = None) -> Fetched:
    """Writes what ``url`` names to ``path``, which is empty or new. Blocks. Raises FetchError; a part may then lie at
    ``path``."""
    if not isinstance(limits, FetchLimits):
        limits = FetchLimits() if limits is None else FetchLimits.of(limits)
    until = time.monotonic() + limits.seconds
    for _ in range(limits.redirects + 1):
        found = fetch_once(path, url, limits, until)
        if isinstance(found, Fetched):
            return found
        url = found
    raise FetchError(f"more than {limits.redirects} redirects", code="input.url.redirect")


def fetch_once(path: Path, url: str, limits: FetchLimits, until: float | None = None) -> Fetched | str:
    """As :func:`fetch_to`, without following: where a redirect leads, for whoever asks first whether it may."""
    until = time.monotonic() + limits.seconds if until is None else until
    parts = check_url(url, limits.allowed)
    headers = {"Accept": limits.accept}
    with asked(parts, addresses_of(parts, limits.allowed, until), until, headers=headers) as (answer, clock):
        if answer.status in _REDIRECTS and (place := answer.getheader("Location")):
            # Latin-1 is how http.client reads headers; bytes that are not ASCII are escaped, as browsers do.
            try:
                further = urljoin(url, quote(place.encode("latin-1"), safe="%/:=&?~#+!$,;'@()*[]"))
            except ValueError:
                raise FetchError("a redirect leads to no address", code="input.url.redirect") from None
            if parts.scheme == "https" and not further.lower().startswith("https:"):
                raise FetchError("a redirect leads from https to something less", code="input.url.redirect")
            return further
        if answer.status != 200:
            refused = FetchError(f"the address answers {answer.status}", code="input.url.status")
            refused.status = answer.status
            raise refused
        if (answer.getheader("Content-Encoding") or "identity").lower() != "identity":
            raise FetchError("the answer is compressed although that was not asked for", code="input.url.encoding")
        size = _copy(answer, path, limits.bytes, clock)
        return Fetched(url, answer.getheader("Content-Type"), size)


def check_url(url: str, allowed: Allowed | None = None) -> SplitResult:
    """The URL in parts, if it is one that may be asked for at all; what its name leads to is checked later. Raises
    FetchError."""
    if len(url) > _MAX_URL or any(c <= " " or c == "\\" or c == "\x7f" for c in url):
        raise FetchError("the address is too long, or has characters that an address has not")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise FetchError("the address does not parse") from None
    if parts.scheme not in PORTS or not host:
        raise FetchError("only http and https addresses are fetched", code="input.url.scheme")
    if parts.username is not None or parts.password is not None:
        raise FetchError("an address with a name and password in it is not fetched", code="input.url.credentials")
    port = port if port is not None else PORTS[parts.scheme]
    allowed = allowed or Allowed()
    if port not in PORTS.values() and (host, port) not in allowed.places:
        raise FetchError("only the ports 80 and 443 are asked", code="input.url.port", hint=_OWN)
    try:
        address = ip_address(host)
    except ValueError:
        return parts  # a name
    if (host, port) not in allowed.places:
        _checked(address, allowed)
    return parts


def post(url: str, body: bytes, headers: Mapping[str, str], limits: FetchLimits) -> int:
    """Sends ``body`` through the same door, and gives the answer's status; no redirect is followed. Raises
    FetchError."""
    until = time.monotonic() + limits.seconds
    parts = check_url(url, limits.allowed)
    with asked(parts, addresses_of(parts, limits.allowed, until), until, body, headers) as (answer, _):
        return answer.status


def addresses_of(parts: SplitResult, allowed: Allowed, until: float) -> list[Address]:
    """Every address of the host, each of them checked: one that is not public refuses the whole name."""
    host, port = str(parts.hostname), parts.port or PORTS[parts.scheme]
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        raise FetchError("the address's host name is not one") from None
    found: list[Address] = []
    for info in _looked_up(name, port, until):
        try:
            address = ip_address(str(info[4][0]))
        except ValueError:
            raise FetchError("the address's host cannot be resolved", code="input.url.host") from None
        if address not in found:
            found.append(address)
    if not found:
        raise FetchError("the address's host cannot be resolved", code="input.url.host")
    open_place = (host, port) in allowed.places
    for address in found:
        if not open_place:
            _checked(address, allowed)
    return found


def _checked(address: Address, allowed: Allowed) -> None:
    if not is_public(address) and not any(address in net for net in allowed.networks):
        # Nothing more is said: whoever asks must not learn what this network resolves or holds.
        raise FetchError("the address is not on the public internet", code="input.url.private", hint=_OWN)


def _looked_up(name: str, port: int, until: float) -> list[tuple[Any, ...]]:
    """getaddrinfo knows no time limit: a thread waits for it."""
    answers: list[list[tuple[Any, ...]]] = []

    def ask() -> None:
        try:
            answers.append(list(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)))
        except (OSError, UnicodeError, ValueError):
            answers.append([])

    thread = threading.Thread(target=ask, name="filigrana-resolve", daemon=True)
    thread.start()
    thread.join(max(0.0, until - time.monotonic()))
    if not answers:
        raise FetchError("the address's host cannot be resolved in time", code="input.url.time")
    return answers[0]


class _Clock:
    """Cuts the connection when time is up: a server that sends a byte now and then gains nothing."""

    def __init__(self, until: float) -> None:
        self._timer = threading.Timer(max(0.01, until - time.monotonic()), self._cut)
        self._timer.daemon = True
        self._socket: socket.socket | None = None
        self.up = False
        self._timer.start()

    def watch(self, connection: socket.socket) -> None:
        self._socket = connection
        if self.up:
            self._cut()

    def _cut(self) -> None:
        self.up = True
        if self._socket is not None:
            try:
                # The plain socket's: TLS would want to say good-bye first, and wait for the answer.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            except OSError:
                pass

    def stop(self) -> None:
        self._timer.cancel()


@contextmanager
def asked(
    parts: SplitResult,
    addresses: list[Address],
    until: float,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[tuple[http.client.HTTPResponse, _Clock]]:
    """The answer of one of these very addresses: to GET, or to POST with ``body``. Raises FetchError."""
    clock = _Clock(until)
    answer: http.client.HTTPResponse | None = None
    sock: socket.socket | None = None
    try:
        sock = _connected(parts, addresses, until)
        clock.watch(sock)
        if parts.scheme == "https":
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=str(parts.hostname))
            clock.watch(sock)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port or PORTS[parts.scheme])
        connection.sock = sock
        target = quote(parts.path or "/", safe="%/:=&~+!$,;'@()*[]")
        target += f"?{quote(parts.query, safe='%/:=&?~+!$,;@()*[]')}" if parts.query else ""
        host = str(parts.hostname)
        host = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
        port = f":{parts.port}" if parts.port not in (None, PORTS[parts.scheme]) else ""
        connection.putrequest("GET" if body is None else "POST", target, skip_host=True, skip_accept_encoding=True)
        said = {"Host": host + port, "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
        said["User-Agent"] = "Filigrana (checks where a file is from)"
        said |= {} if body is None else {"Content-Length": str(len(body))}
        for name, value in {**said, **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        yield answer, clock
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        if clock.up or isinstance(error, TimeoutError):
            raise FetchError("the address takes too long to answer", code="input.url.time") from error
        raise FetchError("the address does not answer as it should", code="input.url.answer") from error
    finally:
        clock.stop()
        if answer is not None:
            answer.close()
        if sock is not None:
            sock.close()


def _connected(parts: SplitResult, addresses: list[Address], until: float) -> socket.socket:
    last: OSError | None = None
    for address in addresses[:4]:
        try:
            left = max(0.01, until - time.monotonic())
            return socket.create_connection((str(address), parts.port or PORTS[parts.scheme]), timeout=left)
        except OSError as error:
            last = error
    raise last or OSError("no address")


def _copy(answer: http.client.HTTPResponse, path: Path, most: int, clock: _Clock) -> int:
    declared = answer.getheader("Content-Length")
    if declared is not None and declared.isdigit() and int(declared) > most:
        raise FetchError(f"the file is larger than {most >> 20} MiB", code="input.url.too_large")
    size = 0
    with path.open("wb") as out:
        while block := answer.read(_BLOCK):
            size += len(block)
            if size > most:
                raise FetchError(f"the file is larger than {most >> 20} MiB", code="input.url.too_large")
            out.write(block)
    if clock.up:
        raise FetchError("the address takes too long to answer", code="input.url.time")
    if declared is not None and declared.isdigit() and size != int(declared):
        raise FetchError("the answer broke off", code="input.url.answer")
    return size
