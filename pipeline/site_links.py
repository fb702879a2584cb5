"""What a page, a style sheet or a site map shows and leads to, as a browser would see it. Pure.

Strangers write all of it: readers take what they understand, stop nowhere for what they don't, and expand nothing.
"""

from __future__ import annotations

import binascii
import codecs
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urldefrag, urljoin, urlsplit, urlunsplit
from xml.parsers import expat

from ..provenance.media.values import MIME_BY_SUFFIX
from .site_data import STRUCTURED, of_structured

PAGE_BYTES = 4 << 20
MAP_BYTES = 50 << 20
"""The most that a site map has (sitemaps.org), also unpacked."""
MOST_LINKS = 5000
_SUFFIXES = frozenset({*MIME_BY_SUFFIX, ".heic", ".heif"})
_LAZY = (
    "data-src", "data-original", "data-lazy-src", "data-lazy", "data-bg", "data-background", "data-background-image",
    "data-poster", "data-full", "data-large-file",
)  # fmt: skip
_SETS = ("srcset", "imagesrcset", "data-srcset", "data-lazy-srcset")
_SOCIAL = frozenset({
    *(f"og:{kind}{part}" for kind in ("image", "video", "audio") for part in ("", ":url", ":secure_url")),
    "twitter:image", "twitter:image:src", "thumbnail", "image", "thumbnailurl", "contenturl",
})  # fmt: skip
_SHOWN = {
    "img": ("src", "lowsrc"), "source": ("src",), "video": ("src", "poster"), "audio": ("src",), "track": (),
    "image": ("href", "xlink:href"), "feimage": ("href", "xlink:href"), "object": ("data",), "embed": ("src",),
    "amp-img": ("src",), "amp-video": ("src", "poster"), "amp-audio": ("src",),
    "enclosure": ("url",), "media:content": ("url",), "media:thumbnail": ("url",),
}  # fmt: skip
_IMPORT = re.compile(r"""@import\s+(?:url\(\s*)?["']?([^"')\s;]+)""", re.IGNORECASE)
_CHARSET = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_SAID = re.compile(r"""charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_TEXT_CODECS = re.compile(
    r"utf-8|utf-16(-[lb]e)?|cp\d+|iso8859-\d+|koi8-[rut]|mac-\w+|gb\w*|big5\w*|shift_jis\w*|euc_\w+|iso2022_jp\w*|ascii"
)
_AS_IT_IS = "".join(map(chr, range(0x21, 0x7F)))
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_CSS_URL = re.compile(r"url\(\s*", re.IGNORECASE)
_BETWEEN, _WORD = re.compile(r"[\s,]*"), re.compile(r"\S*")
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass
class Links:
    """``media``: what is shown, ``pages``: where it leads, ``sheets``: style sheets; each as it stands there.
    ``base``: what addresses are relative to, where the page says so. ``left``: what could not be read."""

    media: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    sheets: list[str] = field(default_factory=list)
    base: str | None = None
    left: str | None = None

    def whole(self, page: str) -> Links:
        """The same as whole addresses, each once, from the page's own address on."""
        base = page if self.base is None else address(page, self.base) or page
        base = page if base.startswith("data:") else base
        media, pages, sheets = (
            list(dict.fromkeys(url for link in links[:MOST_LINKS] if (url := address(base, link))))
            for links in (self.media, self.pages, self.sheets)
        )
        left = self.left
        if max(len(self.media), len(self.pages)) > MOST_LINKS:
            left = f"only its first {MOST_LINKS} addresses were looked at"
        return Links(media, [url for url in pages if not url.startswith("data:")], sheets, self.base, left)


def is_media(url: str) -> bool:
    """By the name's end; what a name promises proves nothing."""
    try:
        return Path(urlsplit(url).path).suffix.lower() in _SUFFIXES
    except ValueError:
        return False


def address(base: str, link: str) -> str | None:
    """A whole http(s) address as browsers read it, or a `data:` address of a picture, clip or sound; None: another."""
    link = re.sub(r"[\t\n\r]", "", link).strip("".join(map(chr, range(0x21))))
    if link[:5].lower() == "data:":
        kind = link[5:11].lower()
        return f"data:{link[5:]}" if kind in ("image/", "video/", "audio/") else None
    end = next((place for place, c in enumerate(link) if c in "?#"), len(link))
    link = (link[:end].replace("\\", "/") + link[end:].replace("\\", "%5C")).replace(" ", "%20")
    try:
        parts = urlsplit(urldefrag(urljoin(base, link)).url)
        # A port that is none is an error only once it is asked for.
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            return None
    except ValueError:
        return None
    # In one form, so that one file is not two: in the bytes that are sent.
    path, query = (quote(part, safe=_AS_IT_IS) for part in (parts.path, parts.query))
    return urlunsplit((parts.scheme, parts.netloc.lower(), path, query, ""))


def inline(url: str, most: int) -> bytes | None:
    """What a `data:` address holds (RFC 2397); None for what is none, or too large."""
    head, comma, body = url[5:].partition(",")
    if not comma or len(body) > 3 * most:
        return None
    data = unquote_to_bytes(body)
    if head.lower().replace(" ", "").endswith(";base64"):
        try:
            data = binascii.a2b_base64(data.translate(_URL_SAFE) + b"==")
        except binascii.Error:
            return None
    return data if len(data) <= most else None


def unpacked(data: bytes) -> bytes:
    """A site map that lies there as a gzip file, up to the most that one has; what is none is given back."""
    if data[:3] != b"\x1f\x8b\x08":
        return data
    try:
        return zlib.decompressobj(31).decompress(data, MAP_BYTES + 1)
    except zlib.error:
        return data


def decoded(data: bytes, mime: str | None) -> str:
    """A page's text: by its byte order mark, by what the server says, by what the page says, else UTF-8."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data.decode(name, "replace")
    said, own = _SAID.search(mime or ""), _CHARSET.search(data[:1024])
    named = _codec(said.group(1)) if said else None
    if named is None and own:
        named = _codec(own.group(1).decode("ascii"))
        # What could be read as ASCII up to here is no UTF-16, whatever it says of itself (HTML, 13.2.3.2).
        named = "utf-8" if named is not None and named.startswith("utf-16") else named
    return data.decode(named or "utf-8", "replace")


def _codec(name: str) -> str | None:
    """A text encoding that browsers know, by Python's name; None for any other."""
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError):
        return None
    if found in ("iso8859-1", "ascii"):
        return "cp1252"  # what browsers take both for
    return found if _TEXT_CODECS.fullmatch(found) else None


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links = Links()
        self._style = False
        self._data: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said: dict[str, str] = {}
        for name, value in attrs:
            if value:
                said.setdefault(name, value)  # of an attribute that stands there twice the first counts
        media = self.links.media
        media += [said[name] for name in (*_SHOWN.get(tag, ()), "background") if name in said]
        media += [url for name in _LAZY if name in said and _leads(url := _unwrapped(said[name]))]
        for name in _SETS:
            media += candidates(said.get(name, ""))
        media += of_sheet(said["style"])[0] if "style" in said else []
        if tag == "base" and "href" in said and self.links.base is None:
            self.links.base = said["href"]
        elif tag == "input" and said.get("type", "").lower() == "image" and "src" in said:
            media.append(said["src"])
        elif tag in ("a", "area") and "href" in said:
            (media if is_media(said["href"]) else self.links.pages).append(said["href"])
        elif tag in ("iframe", "frame") and "src" in said:
            self.links.pages.append(said["src"])
        elif tag == "meta" and "content" in said:
            if (said.get("property") or said.get("name") or said.get("itemprop") or "").lower() in _SOCIAL:
                media.append(said["content"])
        elif tag == "link" and "href" in said:
            self._link(said)
        self._style = tag == "style"
        self._data = [] if tag == "script" and said.get("type", "").strip().lower() == STRUCTURED else None

    def _link(self, said: dict[str, str]) -> None:
        rel = said.get("rel", "").lower().split()
        if "stylesheet" in rel or ("preload" in rel and said.get("as", "").lower() == "style"):
            self.links.sheets.append(said["href"])
        elif {"icon", "apple-touch-icon", "image_src"} & set(rel) or (
            "preload" in rel and said.get("as", "").lower() in ("image", "video", "audio")
        ):
            self.links.media.append(said["href"])

    def handle_endtag(self, tag: str) -> None:
        self._style = self._style and tag != "style"
        if self._data is not None:
            self.links.media += of_structured("".join(self._data))
            self._data = None

    def handle_data(self, data: str) -> None:
        if self._data is not None:
            self._data.append(data)
        if self._style:
            media, sheets = of_sheet(data)
            self.links.media += media
            self.links.sheets += sheets


def _leads(value: str) -> bool:
    """Whether an attribute that anybody may use for anything looks like an address."""
    return "/" in value or is_media(value)


def _unwrapped(value: str) -> str:
    return next(iter(_in_css(value)), value)


def _in_css(text: str) -> Iterator[str]:
    """What stands in `url(…)`. Each character is looked at once or twice, whatever is left open."""
    place = 0
    ends = {'"': True, "'": True}  # whether there is still such a quotation mark ahead
    while (begin := _CSS_URL.search(text, place)) is not None:
        first = begin.end()
        quote = text[first : first + 1]
        place = text.find(quote, first + 1) if ends.get(quote) else -1
        if place >= 0:
            yield text[first + 1 : place]
            continue
        if quote in ends:
            ends[quote], place = False, first + 1
            continue
        place = text.find(")", first)
        if place < 0:
            return
        yield text[first:place].strip()


def candidates(value: str) -> list[str]:
    """The addresses of a `srcset` (HTML, 4.8.4.2.2): an address may have commas inside, and ends at a blank."""
    found, place = list[str](), 0
    while place < len(value):
        start = _end(_BETWEEN, value, place)
        end = _end(_WORD, value, start)
        url = value[start:end]
        if url.endswith(","):
            url, place = url.rstrip(","), end
        else:
            depth, place = 0, end
            while place < len(value) and (value[place] != "," or depth):
                depth += {"(": 1, ")": -1}.get(value[place], 0)
                place += 1
        if url:
            found.append(url)
    return found


def _end(pattern: re.Pattern[str], text: str, place: int) -> int:
    found = pattern.match(text, place)
    return place if found is None else found.end()


def of_page(text: str) -> Links:
    found = _Page()
    try:
        found.feed(text)
    except (AssertionError, ValueError):
        pass  # what was read up to there counts
    return found.links


def of_sheet(text: str) -> tuple[list[str], list[str]]:
    """(pictures, further style sheets) of CSS. Typefaces are no pictures."""
    sheets = [found.group(1) for found in _IMPORT.finditer(text)]
    return [url for url in _in_css(text) if url not in sheets and not _other(url)], sheets


def _other(url: str) -> bool:
    ends = (".css", ".woff", ".woff2", ".ttf", ".otf", ".eot", ".svg")
    return not url or url.startswith("#") or url.partition("?")[0].partition("#")[0].lower().endswith(ends)


def of_map(data: bytes) -> Links:
    """Pages, further maps, and pictures of a site map (sitemaps.org, Google's image and video extensions): as much as
    can be read of it, without any entity."""
    found, path, text = Links(), list[str](), list[str]()

    def begin(name: str, _attributes: object) -> None:
        path.append(name.rpartition(":")[2].lower())
        text.clear()

    def end(_name: str) -> None:
        value, name = "".join(text).strip(), path.pop()
        if name in ("loc", "content_loc", "thumbnail_loc") and value:
            picture = name != "loc" or (path and path[-1] in ("image", "video")) or is_media(value)
            (found.media if picture else found.pages).append(value)
            if len(found.pages) + len(found.media) > 2 * MOST_LINKS:
                raise _StopError
        text.clear()

    def declared(*_: object) -> None:
        raise _StopError("it declares a document type, which a site map has not")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler = lambda more: text.append(more[:4096]) if len(text) < 64 else None
    parser.StartDoctypeDeclHandler = declared
    try:
        parser.Parse(data[:MAP_BYTES].lstrip(), len(data) <= MAP_BYTES)
    except _StopError as error:
        found.left = str(error) or None
    except (expat.ExpatError, ValueError, LookupError) as error:
        found.left = f"it breaks off, or is no XML ({str(error)[:60]})"
    return found


class _StopError(Exception):
    pass
