"""Walking a page or a site map for the files that it shows, as a polite stranger.

Addresses go through the same door as everywhere (`fetching`): public places alone, bounded bytes and seconds. Pages
are read on the host that was named, files wherever its pages point; `robots.txt` is obeyed, also where a redirect
leads; one request at a time, with a pause between them. Whatever was left out is a note.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ..errors import FetchError
from ..provenance.scratch import ScratchFolder
from .fetching import Fetched, FetchLimits, check_url, fetch_once
from .robots import Robots
from .site_links import MOST_LINKS, PAGE_BYTES, Links, decoded, inline, is_media, of_map, of_page, of_sheet, unpacked

AGENT = "Filigrana"
_PATIENCE = 3
"""So many times in a row a host may let us wait in vain; all hosts together that only pages name, so often:"""
_MOST_LATE = 30
_HEAD = 4096
_SHOWN = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
"""What browsers say that they show: many servers send them another form of a picture than they send to others."""
_ROBOTS_REDIRECTS = 5  # RFC 9309, 2.3.1.2
_LEAST_INLINE = 256
"""Bytes of a file in a `data:` address below which it is a placeholder, and can carry no mark."""
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<body")
_MAPS = (b"<?xml", b"<urlset", b"<sitemapindex")
Kind = Literal["page", "media", "sheet"]
Fetch = Callable[[Path, str, FetchLimits], Fetched | str]


@dataclass(frozen=True)
class Bounds:
    """How far a walk goes. ``pause``: seconds between two requests."""

    pages: int = 50
    files: int = 500
    pause: float = 0.5


@dataclass
class Walk:
    """Fetches one thing after another. ``fetch``: as :func:`.fetching.fetch_once`."""

    limits: FetchLimits
    bounds: Bounds = field(default_factory=Bounds)
    fetch: Fetch = fetch_once
    sleep: Callable[[float], None] = time.sleep
    notes: list[str] = field(default_factory=list)
    _robots: dict[str, Robots] = field(default_factory=dict)
    _silent: Counter[str] = field(default_factory=Counter)
    _read: Counter[str] = field(default_factory=Counter)
    _waiting: deque[tuple[Kind, str, str | None]] = field(default_factory=deque)
    _seen: set[str] = field(default_factory=set)
    _hosts: set[str] = field(default_factory=set)
    _busy: set[str] = field(default_factory=set)
    _asked: int = 0
    _late: int = 0

    def files(self, start: str, folder: Path) -> Iterator[tuple[str, str | None, Path]]:
        """(address, page that shows it, where its bytes lie until the next one). Raises FetchError where not even the
        first address can be read."""
        check_url(start, self.limits.allowed)
        self._waiting, self._seen, self._hosts = deque([("page", start, None)]), {start}, {_host(start)}
        here, files = folder / "fetched", 0
        while self._waiting:
            kind, url, page = self._waiting.popleft()
            try:
                got = self._get(here, url, kind)
            except FetchError as error:
                if page is None:
                    raise
                place = _host(url) if error.code == "input.url.silent" else url[:300]
                self._note(f"{place}: {error.message}")
                continue
            if url.startswith("data:") and got.bytes < _LEAST_INLINE:
                continue
            if page is None:
                self._hosts.add(_host(got.url))  # where the address that was named leads is named, too
            if not self._leads_on(kind, got, here):
                if kind == "media" or page is None or is_media(url) or _is_file(got.mime):
                    files += 1
                    yield _name(url, here), page, here
                if files >= self.bounds.files:
                    self._note(f"stopped after {files} files")
                    return

    def _leads_on(self, kind: Kind, got: Fetched, here: Path) -> bool:
        """Reads what shows and leads to further files; False for what is a file itself."""
        if kind == "sheet":
            self._read["sheet"] += 1
            media, sheets = of_sheet(decoded(here.read_bytes()[:PAGE_BYTES], got.mime))
            self._take(Links(media, [], sheets).whole(got.url), got.url)
            return True
        data = unpacked(here.read_bytes()) if kind == "page" or _is_page(got.mime, here) else b""
        if not data or not _is_page(got.mime, data):
            return False
        if kind == "media" and b"<svg" in data[:_HEAD].lower():
            self._note("drawings (SVG) are not looked at: they carry no marks")
            return True
        if _host(got.url) not in self._hosts:
            self._note(f"{got.url[:300]}: a page on another host, which is not read")
            return True
        self._read["page"] += 1
        links = _links(data, got).whole(got.url)
        if links.left:
            self._note(f"{got.url[:300]}: {links.left}")
        self._take(links, got.url)
        return True

    def _take(self, links: Links, page: str) -> None:
        # Files first: a walk that is cut short has then looked at what the pages so far show.
        shown: list[tuple[Kind, str, str | None]] = [("media", url, page) for url in links.media if self._new(url)]
        if self._read["sheet"] < self.bounds.pages:
            shown += [("sheet", url, page) for url in links.sheets if self._new(url)]
        self._waiting.extendleft(reversed(shown))
        further = [url for url in links.pages if _host(url) in self._hosts]
        if self._read["page"] < self.bounds.pages:
            self._waiting.extend(("page", url, page) for url in further if self._new(url))
            return
        left = [item for item in self._waiting if item[0] == "page"]
        self._waiting = deque(item for item in self._waiting if item[0] != "page")
        if left or any(url not in self._seen for url in further):
            self._note(f"stopped after {self.bounds.pages} pages: there are more (--pages)")

    def _new(self, url: str) -> bool:
        key = hashlib.sha256(url.encode("utf-8", "replace")).hexdigest() if url.startswith("data:") else url
        if key in self._seen:
            return False
        if len(self._seen) >= MOST_LINKS:
            self._note(f"stopped after {MOST_LINKS} addresses: there are more")
            return False
        self._seen.add(key)
        return True

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _get(self, target: Path, url: str, kind: Kind) -> Fetched:
        if url.startswith("data:"):
            return _written(target, url, self.limits.bytes)
        limits = replace(self.limits, accept=_SHOWN) if kind == "media" else self.limits
        for _ in range(self.limits.redirects + 1):
            check_url(url, self.limits.allowed)
            robots = self._rules(url)
            if robots.why is not None:
                raise FetchError(robots.why, code="input.url.robots")
            if not robots.allows(url):
                raise FetchError("robots.txt asks to leave it alone", code="input.url.robots")
            found = self._once(target, url, limits, robots.delay)
            if isinstance(found, Fetched):
                return found
            url = found
        raise FetchError(f"more than {self.limits.redirects} redirects", code="input.url.redirect")

    def _once(self, target: Path, url: str, limits: FetchLimits, delay: float = 0.0) -> Fetched | str:
        site = _host(url)
        if site in self._busy:
            raise FetchError(
                "left alone: it said that it is asked too often (429); a longer --pause may do", code="input.url.silent"
            )
        if self._silent[site] >= _PATIENCE:
            raise FetchError(f"left alone: it was too slow {_PATIENCE} times in a row", code="input.url.silent")
        if site not in self._hosts and self._late >= _MOST_LATE:
            raise FetchError(f"left alone: {_MOST_LATE} answers came too late already", code="input.url.silent")
        if self._asked:
            self.sleep(max(self.bounds.pause, delay))
        self._asked += 1
        try:
            found = self.fetch(target, url, limits)
        except FetchError as error:
            if error.status == 429:
                self._busy.add(site)
            late = error.code == "input.url.time"
            self._silent[site] = self._silent[site] + 1 if late else 0
            self._late += late
            raise
        self._silent[site] = 0
        return found

    def _rules(self, url: str) -> Robots:
        parts = urlsplit(url)
        site = f"{parts.scheme}://{parts.netloc.lower()}"
        if site not in self._robots:
            with ScratchFolder() as folder:
                self._robots[site] = self._asked_for(f"{site}/robots.txt", folder / "robots.txt")
        return self._robots[site]

    def _asked_for(self, url: str, path: Path) -> Robots:
        limits = replace(self.limits, redirects=_ROBOTS_REDIRECTS)
        hops = 0
        try:
            while hops <= limits.redirects:
                found = self._once(path, url, limits)
                if isinstance(found, Fetched):
                    return Robots.parse(path.read_bytes(), AGENT)
                url, hops = found, hops + 1
        except FetchError as error:
            if not hops and error.code in ("input.url.private", "input.url.host"):
                return Robots()  # what is asked for there fails for the same reason, in its own words
            # None there: nothing is forbidden (RFC 9309, 2.3.1.3). One that cannot be had: everything is (2.3.1.4).
            if error.status is None or not 400 <= error.status < 500 or error.status == 429:
                return Robots.closed(f"robots.txt cannot be read, so nothing there is asked for: {error.message}")
        return Robots()


def _host(url: str) -> str:
    """Name and port: http and https of one name are one host."""
    parts = urlsplit(url)
    port = "" if parts.port in (None, 80, 443) else f":{parts.port}"
    return f"{(parts.hostname or '').lower().rstrip('.')}{port}"


def _name(url: str, here: Path) -> str:
    """The address; of a file that stands in the page itself what it is, and its digest."""
    if not url.startswith("data:"):
        return url
    data = here.read_bytes()
    return (
        f"{url.partition(',')[0].partition(';')[0]} of {len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()}"
    )


def _written(target: Path, url: str, most: int) -> Fetched:
    data = inline(url, most)
    if data is None:
        raise FetchError("what stands in the page itself cannot be read")
    target.write_bytes(data)
    return Fetched(url, url[5:].partition(",")[0].partition(";")[0], len(data))


def _is_file(mime: str | None) -> bool:
    """Whether what a page merely leads to may be a picture, clip or sound by what the server says of it."""
    said = (mime or "application/octet-stream").partition(";")[0].strip().lower()
    return said.startswith(("image/", "video/", "audio/")) or said in ("application/octet-stream", "application/mp4")


def _is_page(mime: str | None, data: bytes | Path) -> bool:
    """By the first bytes: what a server says of a file proves nothing."""
    if isinstance(data, Path):
        with data.open("rb") as stream:
            data = stream.read(_HEAD)
    head = decoded(data[:_HEAD], mime).lstrip("\ufeff \t\r\n").lower().encode("utf-8", "replace")
    said = (mime or "").partition(";")[0].strip().lower()
    if head.startswith((*_PAGES, *_MAPS)):
        return True
    # A picture that is called a page has other bytes than text at its beginning.
    return (
        said in ("text/html", "application/xhtml+xml")
        and b"<" in head
        and b"\0" not in head[:64]
        and head[:1] < b"\x80"
    )


def _links(data: bytes, got: Fetched) -> Links:
    head = decoded(data[:_HEAD], got.mime).lower()
    if "<urlset" in head or "<sitemapindex" in head or ":urlset" in head or ":sitemapindex" in head:
        return of_map(data)
    links = of_page(decoded(data[:PAGE_BYTES], got.mime))
    if len(data) > PAGE_BYTES:
        links.left = f"only its first {PAGE_BYTES >> 20} MiB were read"
    return links
