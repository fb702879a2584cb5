"""What a walk finds on pages as they are in the wild, and what a hostile site cannot make it do."""

from __future__ import annotations

import base64
import gzip
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from filigrana.errors import FetchError
from filigrana.pipeline.robots import Robots
from filigrana.pipeline.site_links import (
    MAP_BYTES,
    MOST_LINKS,
    address,
    candidates,
    decoded,
    inline,
    of_map,
    of_page,
    of_sheet,
    unpacked,
)
from filigrana.tests.site_kit import Site, serving

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 400


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as made:
        yield made


@pytest.fixture
def other() -> Iterator[Site]:
    with serving() as made:
        yield made


def found(site: Site, folder: Path, start: str = "/", *others: Site, **bounds: int) -> tuple[list[str], list[str]]:
    """(files without the site's address, notes)."""
    walk = site.walk(*others, **bounds)
    files = [url.removeprefix(site.url) for url, _, _ in walk.files(site.url + start, folder)]
    return files, walk.notes


def shown(text: str) -> list[str]:
    return of_page(text).whole("https://example.org/news/page.html").media


HERE = "https://example.org/news/"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<img srcset='/c/w_1,h_2/a.png 1x, /c/w_3,h_4/a.png 2x'>",
         ["https://example.org/c/w_1,h_2/a.png", "https://example.org/c/w_3,h_4/a.png"]),
        ("<picture><source srcset='a.avif, b.avif 2x'><img src=c.png></picture>", [HERE + "a.avif", HERE + "b.avif", HERE + "c.png"]),
        ("<img data-src=a.png><img data-srcset='b.png 2x'><img data-lazy-src='/c.png'><div data-bg='url(d.png)'>",
         [HERE + "a.png", HERE + "b.png", "https://example.org/c.png", HERE + "d.png"]),
        ("<noscript><img src=a.png></noscript><template><img src=b.png></template>", [HERE + "a.png", HERE + "b.png"]),
        ("<div style=\"background:url('a.png')\"></div><style>p { background: url( \"b.png\" ) }</style>",
         [HERE + "a.png", HERE + "b.png"]),
        ("<base href='../pictures/'><img src=a.png>", ["https://example.org/pictures/a.png"]),
        ("<base href='//cdn.example.org/x/'><base href='/never/'><img src=a.png>", ["https://cdn.example.org/x/a.png"]),
        ("<base href='data:image/png,'><img src=a.png>", [HERE + "a.png"]),
        ("<base href='http://['><img src=a.png>", [HERE + "a.png"]),
        ("<a href='http://[half'>x</a><img src='http://[half'><img src='http://x:99999/'><img src=a.png>", [HERE + "a.png"]),
        ("<img src='two words.png'><img src=' \n/line\nbreak.png '>",
         [HERE + "two%20words.png", "https://example.org/linebreak.png"]),
        (r"<img src='\\example.org\a.png'>", ["https://example.org/a.png"]),
        ("<svg><image href=a.png /><image xlink:href=b.png /></svg><object data=c.png></object><input type=image src=d.png>",
         [HERE + name for name in ("a.png", "b.png", "c.png", "d.png")]),
        ("<meta property=og:image content=/a.png><meta name=twitter:image content=/b.png><meta property=og:image:width content=1200>",
         ["https://example.org/a.png", "https://example.org/b.png"]),
        ("<link rel=preload as=image href=a.png imagesrcset='b.png 2x'><link rel=icon href=c.ico>",
         [HERE + "b.png", HERE + "a.png", HERE + "c.ico"]),
        ("<img src='javascript:alert(1)'><img src='file:///etc/passwd'><img src='data:text/html,x'>", []),
        ("<img data-src='not an address'><img src=a.png src=b.png>", [HERE + "a.png"]),
        ("<img src=caf\u00e9.png><img src=caf%C3%A9.png><img src='//EXAMPLE.org/news/caf%c3%a9.png?q=\u00fc'>",
         [HERE + "caf%C3%A9.png", HERE + "caf%c3%a9.png?q=%C3%BC"]),
        ("<script type='application/ld+json'>{\"@graph\": [{\"image\": [\"a.png\", {\"url\": \"b.png\"}], \"url\": \"/page\","
         "\"video\": {\"contentUrl\": \"c.mp4\", \"thumbnailUrl\": \"d.png\"}, \"logo\": {\"@type\": \"ImageObject\","
         "\"url\": \"e.png\"}}]}</script><script type='application/ld+json'>{broken</script><script>{\"image\": \"f.png\"}</script>",
         [HERE + name for name in ("a.png", "b.png", "c.mp4", "d.png", "e.png")]),
        ("<item><enclosure url='/a.mp3' type='audio/mpeg'/></item>", ["https://example.org/a.mp3"]),
    ],
)  # fmt: skip
def test_what_a_page_shows_is_what_a_browser_would_load(text: str, wanted: list[str]) -> None:
    assert shown(text) == wanted


def test_a_srcset_may_have_commas_in_its_addresses_and_in_its_descriptors() -> None:
    assert candidates("data:image/png;base64,AA== 1x, b.png (x,y) 2x,c.png,, d.png") == [
        "data:image/png;base64,AA==", "b.png", "c.png", "d.png"]  # fmt: skip
    assert candidates(",,, ,") == []


def test_a_style_sheet_names_pictures_and_further_sheets_but_no_typefaces() -> None:
    text = "@import url('more.css'); @import \"b.css\"; p{background:url(a.png)} @font-face{src:url(x.woff2)} q{mask:url(#m)}"
    assert of_sheet(text) == (["a.png"], ["more.css", "b.css"])


@pytest.mark.parametrize(
    ("data", "mime"),
    [
        ("é.png".encode(), None),
        ("é.png".encode("utf-8-sig"), "text/html; charset=latin-1"),
        ("é.png".encode("utf-16"), "text/html"),
        ("é.png".encode("utf-16-le"), "text/html; charset=utf-16le"),
        ("é.png".encode("cp1252"), "text/html; charset=ISO-8859-1"),
        (b"<meta charset=windows-1252>" + "é.png".encode("cp1252"), "text/html"),
        (b"<meta charset=utf-16>" + "é.png".encode(), "text/html"),
        (b"<meta charset=no-such-thing>" + "é.png".encode(), "text/html; charset=rot13"),
        (b'<?xml version="1.0" encoding="Shift_JIS"?>' + "絵é.png".replace("é", "").encode("shift_jis"), None),
    ],
)
def test_a_page_is_read_in_its_own_encoding(data: bytes, mime: str | None) -> None:
    assert decoded(data, mime).endswith(("é.png", "絵.png"))


def test_addresses_of_other_kinds_are_none() -> None:
    assert address(HERE, "mailto:a@example.org") is None
    assert address(HERE, "http:///x") is None
    assert address(HERE, "a.png#part") == HERE + "a.png"


def test_what_stands_in_the_page_itself_is_read_from_there() -> None:
    assert inline("data:image/png;base64," + base64.b64encode(PNG).decode(), 1000) == PNG
    assert inline("data:image/png;base64,iVBORw 0KGgo", 1000) == PNG[:8]
    assert inline("data:image/svg+xml,%3Csvg%3E", 1000) == b"<svg>"
    assert inline("data:image/png;base64," + "A" * 4000, 1000) is None
    assert inline("data:image/png;base64", 1000) is None


def test_pictures_in_the_page_itself_are_looked_at_once_and_placeholders_are_not(site: Site, tmp_path: Path) -> None:
    whole = "data:image/png;base64," + base64.b64encode(PNG).decode()
    site.page("/", f"<img src='{whole}'><img src='{whole}'><img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>")
    walk = site.walk()
    files = [(url, page, path.read_bytes()) for url, page, path in walk.files(site.url + "/", tmp_path)]
    assert [(page, data) for _, page, data in files] == [(site.url + "/", PNG)]
    assert files[0][0].startswith("data:image/png of 408 bytes, sha256 ")


def test_addresses_are_relative_to_where_a_page_was_found_in_the_end(site: Site, tmp_path: Path) -> None:
    site.moved["/old"] = "/new/place/"
    site.page("/new/place/", "<img src=a.png>")
    site.answers["/new/place/a.png"] = ("image/png", PNG)
    assert found(site, tmp_path, "/old") == (["/new/place/a.png"], [])


def test_where_the_named_address_leads_is_the_site_that_is_walked(site: Site, other: Site, tmp_path: Path) -> None:
    site.moved["/"] = f"{other.url}/home"
    other.page("/home", "<a href='/more'>m</a>")
    other.page("/more", "<img src=/a.png>")
    other.answers["/a.png"] = ("image/png", PNG)
    assert found(site, tmp_path, "/", other)[0] == [f"{other.url}/a.png"]


def test_a_page_of_another_host_is_not_read_whatever_leads_to_it(site: Site, other: Site, tmp_path: Path) -> None:
    site.page("/", f"<a href=/away>a</a><img src='{other.url}/page'><a href='{other.url}/x.png'>x</a>")
    site.moved["/away"] = f"{other.url}/page"
    other.page("/page", "<img src=/inner.png>")
    other.answers["/x.png"] = ("image/png", PNG)
    files, notes = found(site, tmp_path, "/", other)
    assert files == [f"{other.url}/x.png"]
    assert "/inner.png" not in other.seen
    assert any("another host" in note for note in notes)


def test_redirects_in_a_circle_end(site: Site, tmp_path: Path) -> None:
    site.page("/", "<img src=/a.png><img src=/b.png>")
    site.moved |= {"/a.png": "/a.png", "/b.png": "http://["}
    files, notes = found(site, tmp_path)
    assert files == []
    assert [note.removeprefix(site.url) for note in notes] == [
        "/a.png: more than 3 redirects", "/b.png: a redirect leads to no address"]  # fmt: skip
    assert site.seen.count("/a.png") == 4


def test_robots_txt_counts_where_a_redirect_leads(site: Site, other: Site, tmp_path: Path) -> None:
    site.page("/", "<img src=/a.png>")
    site.moved["/a.png"] = f"{other.url}/private/a.png"
    other.answers |= {
        "/robots.txt": ("text/plain", b"user-agent: *\ndisallow: /private/"),
        "/private/a.png": ("image/png", PNG),
    }
    files, notes = found(site, tmp_path, "/", other)
    assert files == []
    assert "/private/a.png" not in other.seen
    assert "robots.txt" in notes[0]


@pytest.mark.parametrize(("status", "asked"), [(404, True), (403, True), (429, False), (500, False), (503, False)])
def test_rules_that_cannot_be_had_forbid_everything_and_rules_that_are_not_there_nothing(
    site: Site, tmp_path: Path, status: int, asked: bool
) -> None:
    site.page("/", "<img src=/a.png>")
    site.answers["/a.png"] = ("image/png", PNG)
    site.answers["/robots.txt"] = ("text/plain", b"")
    site.status["/robots.txt"] = status
    if asked:
        assert found(site, tmp_path)[0] == ["/a.png"]
        return
    with pytest.raises(FetchError) as error:
        found(site, tmp_path)
    assert error.value.code == "input.url.robots"
    assert site.seen == ["/robots.txt"]


def test_a_site_may_ask_for_longer_pauses(site: Site, tmp_path: Path) -> None:
    site.page("/", "<img src=/a.png>")
    site.answers |= {"/a.png": ("image/png", PNG), "/robots.txt": ("text/plain", b"User-agent: *\nCrawl-delay: 7")}
    walk, waits = site.walk(), list[float]()
    walk.sleep = waits.append
    assert len(list(walk.files(site.url + "/", tmp_path))) == 1
    assert waits == [7.0, 7.0]


RULES = b"""
User-agent: other
Disallow: /

User-agent: Filigrana/1.0   # us
User-agent: third
Disallow: /*.gif$
Disallow: /a/*/secret
Disallow: /caf%c3%a9
Sitemap: https://example.org/map.xml
Allow: /a/b/secret/but
Disallow:

User-agent: *
Disallow: /everybody

user-agent: FILIGRANA
disallow: /joined
"""


@pytest.mark.parametrize(
    ("path", "may"),
    [
        ("/", True), ("/x.gif", False), ("/x.gif?y", True), ("/a/b/secret", False), ("/a/b/secret/but", True), ("/a/secret", True),
        ("/caf\u00e9/x", False), ("/caf%C3%A9", False), ("/everybody", True), ("/joined/x", False), ("/robots.txt", True),
        ("/%6Aoined", False),
    ],
)  # fmt: skip
def test_robots_txt_is_read_as_rfc_9309_has_it(path: str, may: bool) -> None:
    assert Robots.parse(RULES, "Filigrana").allows(f"https://example.org{path}") is may


def test_robots_txt_out_of_form_forbids_nothing_and_takes_no_time() -> None:
    assert Robots.parse(b"\xff\xfe\0\0disallow: /\nnonsense\n:\n", "Filigrana").allows("https://example.org/x")
    hostile = Robots.parse(b"user-agent: *\ndisallow: /" + b"*a" * 200_000 + b"$", "Filigrana")
    assert hostile.allows("https://example.org/" + "a" * 2000)


def test_a_site_map_may_be_packed(site: Site, tmp_path: Path) -> None:
    index = f"<sitemapindex><sitemap><loc>{site.url}/one.xml.gz</loc></sitemap></sitemapindex>"
    one = f"<urlset><url><loc>{site.url}/page</loc><image:image><image:loc>{site.url}/pic?id=1</image:loc></image:image></url></urlset>"
    site.answers |= {
        "/map.xml.gz": ("application/gzip", gzip.compress(index.encode())),
        "/one.xml.gz": ("application/octet-stream", gzip.compress(one.encode())),
        "/pic?id=1": ("image/png", PNG),
    }
    site.page("/page", "<img src=/b.png>")
    site.answers["/b.png"] = ("image/png", PNG)
    assert sorted(found(site, tmp_path, "/map.xml.gz")[0]) == ["/b.png", "/pic?id=1"]


def test_a_bomb_is_unpacked_no_further_than_a_site_map_goes() -> None:
    bomb = gzip.compress(b"<urlset>" + b" " * (MAP_BYTES + (8 << 20)))
    assert len(bomb) < 1 << 20
    assert len(unpacked(bomb)) == MAP_BYTES + 1
    assert unpacked(bomb[:200] + b"x" * 50)[:2] in (b"\x1f\x8b", b"<u")


def test_of_a_site_map_that_breaks_off_the_beginning_counts_and_that_is_said(site: Site, tmp_path: Path) -> None:
    site.answers["/map.xml"] = ("application/xml", f"<urlset><url><loc>{site.url}/a.png</loc></url><url><lo".encode())
    site.answers["/a.png"] = ("image/png", PNG)
    files, notes = found(site, tmp_path, "/map.xml")
    assert files == ["/a.png"]
    assert any("breaks off" in note for note in notes)


@pytest.mark.parametrize("codec", ["utf-8", "utf-16"])
def test_a_site_map_with_entities_is_not_read(codec: str) -> None:
    bomb = '<!DOCTYPE u [<!ENTITY a "http://example.org/">]><urlset><url><loc>&a;</loc></url></urlset>'
    links = of_map(bomb.encode(codec))
    assert (links.media, links.pages) == ([], [])
    assert "document type" in (links.left or "")


def test_an_endless_site_map_ends_and_says_so(site: Site, tmp_path: Path) -> None:
    """Each map names the next one."""
    for number in range(8):
        site.answers[f"/{number}"] = ("text/xml", f"<sitemapindex><sitemap><loc>{site.url}/{number + 1}</loc></sitemap></sitemapindex>".encode())  # fmt: skip
    files, notes = found(site, tmp_path, "/0", pages=5)
    assert files == []
    assert [path for path in site.seen if path != "/robots.txt"] == ["/0", "/1", "/2", "/3", "/4"]
    assert notes == ["stopped after 5 pages: there are more (--pages)"]


def test_pictures_of_the_last_page_are_looked_at_whatever_their_names(site: Site, tmp_path: Path) -> None:
    site.page("/", "<img src='/image?id=1'><a href=/more>m</a>")
    site.answers["/image?id=1"] = ("image/png", PNG)
    assert found(site, tmp_path, pages=1) == (["/image?id=1"], ["stopped after 1 pages: there are more (--pages)"])


def test_a_page_of_too_many_addresses_says_that_it_was_cut(site: Site, tmp_path: Path) -> None:
    site.page("/", "".join(f"<a href=/{number}>x</a>" for number in range(MOST_LINKS + 10)))
    _, notes = found(site, tmp_path, pages=2)
    assert any(f"its first {MOST_LINKS} addresses" in note for note in notes)


def test_a_style_sheet_is_read_for_its_pictures(site: Site, tmp_path: Path) -> None:
    site.page("/", "<link rel=stylesheet href=/css/a.css>")
    site.answers |= {"/css/a.css": ("text/css", b"p{background:url(../b.png)}"), "/b.png": ("image/png", PNG)}
    assert found(site, tmp_path)[0] == ["/b.png"]


def test_a_page_in_utf_16_is_a_page_and_a_picture_that_is_called_a_page_is_none(site: Site, tmp_path: Path) -> None:
    site.answers |= {"/": ("text/html", "<p><img src=/a.png>".encode("utf-16")), "/a.png": ("text/html", PNG)}
    assert found(site, tmp_path)[0] == ["/a.png"]


def test_drawings_and_documents_are_no_files_of_ours(site: Site, tmp_path: Path) -> None:
    site.page("/", "<img src=/a.svg><img src=/b.svg><a href=/c.pdf>c</a><a href='/d'>d</a>")
    svg = b"<?xml version='1.0'?><svg><image href='/never.png'/></svg>"
    site.answers |= {
        "/a.svg": ("image/svg+xml", svg),
        "/b.svg": ("image/svg+xml", svg),
        "/c.pdf": ("application/pdf", b"%PDF"),
    }
    site.answers["/d"] = ("image/png", PNG)
    assert found(site, tmp_path) == (["/d"], ["drawings (SVG) are not looked at: they carry no marks"])


def test_a_host_that_never_answers_is_left_alone(site: Site, other: Site, tmp_path: Path) -> None:
    names = [f"/{number}.png" for number in range(9)]
    site.page("/", "".join(f"<img src='{other.url}{name}'>" for name in names) + "<img src=/a.png>")
    site.answers["/a.png"] = ("image/png", PNG)
    other.silent |= set(names)
    walk = site.walk(other, seconds=0.5)
    files = [url.removeprefix(site.url) for url, _, _ in walk.files(site.url + "/", tmp_path)]
    assert files == ["/a.png"]
    assert len([path for path in other.seen if path != "/robots.txt"]) == 3
    assert walk.notes[-1] == f"{other.place}: left alone: it was too slow 3 times in a row"
    assert len(walk.notes) == 4


def test_a_host_that_is_asked_too_often_is_asked_no_more(site: Site, other: Site, tmp_path: Path) -> None:
    names = [f"/{number}.png" for number in range(9)]
    site.page("/", "".join(f"<img src='{other.url}{name}'>" for name in names) + "<img src=/a.png>")
    site.answers["/a.png"] = ("image/png", PNG)
    other.answers["/0.png"] = ("image/png", PNG)
    other.status["/1.png"] = 429
    walk = site.walk(other)
    assert len(list(walk.files(site.url + "/", tmp_path))) == 2
    assert [path for path in other.seen if path != "/robots.txt"] == ["/0.png", "/1.png"]
    assert walk.notes == [
        f"{other.url}/1.png: the address answers 429",
        f"{other.place}: left alone: it said that it is asked too often (429); a longer --pause may do",
    ]


def test_what_browsers_get_is_asked_for(site: Site, tmp_path: Path) -> None:
    """A CDN sends WebP or AVIF to whoever says that it shows them, and what was uploaded to everybody else."""
    site.page("/", "<img src=/a.jpg>")
    site.answers["/a.jpg"] = ("image/png", PNG)
    assert len(found(site, tmp_path)[0]) == 1
    assert "image/avif,image/webp" in site.accepted["/a.jpg"]
    assert "image/" not in site.accepted["/"]


@pytest.mark.parametrize("start", ["http://[", "http://", "ftp://example.org/", "http://127.0.0.1:99999/"])
def test_an_address_that_is_none_is_an_error_in_words(site: Site, tmp_path: Path, start: str) -> None:
    with pytest.raises(FetchError):
        list(site.walk().files(start, tmp_path))


def test_a_redirect_in_bytes_that_are_not_ascii_is_followed_as_it_stands(site: Site, tmp_path: Path) -> None:
    site.page("/", "<img src=/old.png>")
    site.moved["/old.png"] = "/é.png".encode().decode("latin-1")
    site.answers["/%C3%A9.png"] = ("image/png", PNG)
    assert found(site, tmp_path) == (["/old.png"], [])


@pytest.mark.parametrize("text", ["url(", "url('", "url( ", "@import url(", "<img srcset='a (,", "<a <", "<"])
def test_reading_takes_time_in_proportion_to_what_is_read(text: str) -> None:
    began = time.process_time()
    hostile = text * ((1 << 18) // len(text))
    of_sheet(hostile)
    of_page(hostile)
    of_page(f"<style>{hostile}</style>")
    assert time.process_time() - began < 10.0  # in the square of it, this takes minutes
