"""Walking a page or a site map for the files that it shows, as a polite stranger.

Addresses go through the same door as everywhere (`fetching`): public places alone, bounded bytes and seconds. Pages are
read on the host that was named, files wherever its pages point; `robots.txt` is obeyed, one request at a time, with a
pause between them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag, urljoin, urlsplit
from urllib.robotparser import RobotFileParser
from xml.etree import ElementTree

from ..errors import FetchError
from ..provenance.media.values import MIME_BY_SUFFIX
from ..provenance.scratch import ScratchFolder
from .fetching import Fetched, FetchLimits, fetch_to

AGENT = "Filigrana"
_PAGE_BYTES = 4 << 20
_MOST_LINKS = 5000
_SUFFIXES = frozenset({*MIME_BY_SUFFIX, ".heic", ".heif"})


@dataclass(frozen=True)
class Bounds:
    """How far a walk goes. ``pause``: seconds between two requests."""

    pages: int = 50
    files: int = 500
    pause: float = 0.5


class _Links(HTMLParser):
    """What a page shows (``media``) and leads to (``pages``), as it stands there."""

    def __init__(self) -> None:
        super().__init__()
        self.media: list[str] = []
        self.pages: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value for name, value in attrs if value}
        if tag in ("img", "source", "video", "audio"):
            self.media += [said[name] for name in ("src", "poster") if name in said]
            for one in said.get("srcset", "").split(","):
                self.media += one.split()[:1]
        elif tag == "a" and "href" in said:
            (self.media if _is_media(said["href"]) else self.pages).append(said["href"])
        elif tag == "meta" and said.get("property") in ("og:image", "og:video", "og:audio") and "content" in said:
            self.media.append(said["content"])


def _is_media(url: str) -> bool:
    return Path(urlsplit(url).path).suffix.lower() in _SUFFIXES


@dataclass
class Walk:
    """Fetches one thing after another. ``fetch``: as :func:`.fetching.fetch_to`."""

    limits: FetchLimits
    bounds: Bounds = field(default_factory=Bounds)
    fetch: Callable[[Path, str, FetchLimits], Fetched] = fetch_to
    sleep: Callable[[float], None] = time.sleep
    notes: list[str] = field(default_factory=list)
    _robots: dict[str, RobotFileParser] = field(default_factory=dict)
    _asked: int = 0

    def files(self, start: str, folder: Path) -> Iterator[tuple[str, str | None, Path]]:
        """(address, page that shows it, where its bytes lie until the next one). Raises FetchError where not even the
        first address can be read."""
        waiting: deque[tuple[str, str | None]] = deque([(start, None)])
        seen, pages, files = {start}, 0, 0
        here, host = folder / "fetched", urlsplit(start).netloc
        while waiting:
            url, page = waiting.popleft()
            try:
                mime = self._get(here, url)
            except FetchError as error:
                if url == start:
                    raise
                self.notes.append(f"{url}: {error.message}")
                continue
            if not _is_text(mime, here):
                files += 1
                yield url, page, here
                if files >= self.bounds.files:
                    self.notes.append(f"stopped after {files} files")
                    return
                continue
            pages += 1
            media, further = _links(here, url)
            # Files first: a walk that is cut short has then looked at what the pages so far show.
            for link in media:
                if link not in seen and len(seen) < _MOST_LINKS:
                    seen.add(link)
                    waiting.appendleft((link, url))
            for link in further:
                if link not in seen and urlsplit(link).netloc == host and len(seen) < _MOST_LINKS:
                    seen.add(link)
                    waiting.append((link, url))
            if pages >= self.bounds.pages:
                waiting = deque(item for item in waiting if _is_media(item[0]))

    def _get(self, target: Path, url: str) -> str | None:
        if not self._allowed(url):
            raise FetchError("robots.txt asks to leave it alone", code="input.url.robots")
        self._wait()
        return self.fetch(target, url, self.limits).mime

    def _wait(self) -> None:
        if self._asked:
            self.sleep(self.bounds.pause)
        self._asked += 1

    def _allowed(self, url: str) -> bool:
        parts = urlsplit(url)
        site = f"{parts.scheme}://{parts.netloc}"
        if site not in self._robots:
            rules = RobotFileParser()
            with ScratchFolder() as folder:
                path = folder / "robots.txt"
                try:
                    self._wait()
                    self.fetch(path, f"{site}/robots.txt", self.limits)
                    rules.parse(path.read_bytes()[: 512 << 10].decode("utf-8", "replace").splitlines())
                except FetchError:
                    rules.parse([])  # none, or none that can be had: nothing is forbidden (RFC 9309, 2.3.1.3)
            self._robots[site] = rules
        return self._robots[site].can_fetch(AGENT, url)


def _is_text(mime: str | None, path: Path) -> bool:
    """By the first bytes: what a server says of a file proves nothing."""
    with path.open("rb") as stream:
        head = stream.read(512).lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    said = (mime or "").split(";")[0].strip().lower()
    return head.startswith(
        (b"<!doctype html", b"<html", b"<?xml", b"<urlset", b"<sitemapindex", b"<head", b"<body")
    ) or (said in ("text/html", "application/xhtml+xml") and head.startswith(b"<"))


def _links(path: Path, base: str) -> tuple[list[str], list[str]]:
    text = path.read_bytes()[:_PAGE_BYTES].decode("utf-8", "replace")
    media, pages = _of_map(text) if "<urlset" in text[:2000] or "<sitemapindex" in text[:2000] else _of_page(text)

    def whole(links: list[str]) -> list[str]:
        joined = (urldefrag(_joined(base, link)).url for link in links[:_MOST_LINKS])
        return list(dict.fromkeys(url for url in joined if url.startswith(("http://", "https://"))))

    return whole(media), whole(pages)


def _joined(base: str, link: str) -> str:
    try:
        return urljoin(base, link.strip())
    except ValueError:
        return ""


def _of_page(text: str) -> tuple[list[str], list[str]]:
    found = _Links()
    try:
        found.feed(text)
    except (AssertionError, ValueError):
        pass  # what was read up to there counts
    return found.media, found.pages


def _of_map(text: str) -> tuple[list[str], list[str]]:
    """Pages, further maps, and pictures of a site map (sitemaps.org, Google's image and video extensions)."""
    if "<!ENTITY" in text or "<!DOCTYPE" in text:
        return [], []  # a site map has none, and a parser that expands them costs as much as its author likes
    try:
        tree = ElementTree.fromstring(text)  # noqa: S314  without entities, see above
    except ElementTree.ParseError:
        return [], []
    media, pages = list[str](), list[str]()
    for element in tree.iter():
        name, value = element.tag.rpartition("}")[2], (element.text or "").strip()
        if name in ("loc", "content_loc", "thumbnail_loc") and value:
            picture = "image" in element.tag or "video" in element.tag or _is_media(value)
            (media if picture else pages).append(value)
    return media, pages
