"""The ingest guard on a local site: which copies kept what, which asset each is, and what is asked of whom."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from filigrana.errors import FetchError, FiligranaError, InputError
from filigrana.pipeline.cli.app import app
from filigrana.pipeline.fetching import Allowed, FetchLimits
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.pipeline.site_links import of_map, of_page
from filigrana.pipeline.site_walk import Bounds, Walk
from filigrana.provenance.media import encode_picture
from filigrana.tests.comply_kit import engine_of, house_of
from filigrana.tests.doubles import scene
from filigrana.tests.site_kit import Site, serving


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Release]:
    folder = tmp_path_factory.mktemp("guard")
    opened = house_of(folder)
    outcome = engine_of(opened).generate(GenerateRequest("a red sailboat on a blue sea", seed=5))
    assert isinstance(outcome, Release)
    opened.close()
    return folder / "data", outcome


@pytest.fixture
def site(released: tuple[Path, Release]) -> Iterator[Site]:
    """A page with the released file, a CDN's smaller copy, a photograph, and a page further on with the file converted."""
    whole = released[1].file.read_bytes()
    picture = Image.open(io.BytesIO(whole)).convert("RGB")
    small, converted = io.BytesIO(), io.BytesIO()
    picture.resize((384, 384)).save(small, "PNG")
    picture.save(converted, "WEBP", quality=85)
    answers = {
        "/": (
            "text/html",
            b"<html><img src=/whole.png srcset='/small.png 384w'><img src='photo.png'><a href=/more>m</a></html>",
        ),
        "/more": ("text/html", b"<html><a href='http://example.org/away'>x</a><video poster=/as.webp></video></html>"),
        "/whole.png": ("image/png", whole),
        "/small.png": ("image/png", small.getvalue()),
        "/as.webp": ("image/webp", converted.getvalue()),
        "/photo.png": ("image/png", encode_picture(scene(9), "image/png")),
    }
    with serving() as made:
        made.answers |= answers
        yield made


def run(data: Path, site: Site | None, *arguments: str) -> tuple[int, dict[str, Any]]:
    env = {"FILIGRANA_FETCH_ALLOW": json.dumps([site.place])} if site is not None else {}
    found = CliRunner(env=env).invoke(app, ["--data-dir", str(data), "guard", *arguments, "--json"])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, json.loads(found.stdout)


def test_each_copy_on_a_site_is_named_with_what_it_lost(released: tuple[Path, Release], site: Site) -> None:
    code, answer = run(released[0], site, f"{site.url}/", "--pause", "0")
    ident = str(released[1].asset_id)
    found = {one["place"].removeprefix(site.url): one for one in answer["files"]}
    assert {name: one["status"] for name, one in found.items()} == {
        "/whole.png": "kept", "/small.png": "lost", "/photo.png": "unknown", "/as.webp": "lost"}  # fmt: skip
    assert [found[name]["asset_id"] for name in ("/whole.png", "/small.png", "/as.webp", "/photo.png")] == [
        ident
    ] * 3 + [None]
    assert "Content Credentials" in found["/small.png"]["lost"]
    assert any("384 x 384" in one for one in found["/small.png"]["why"])
    assert any("resizes" in one for one in found["/small.png"]["fix"])
    assert any("was released as image/png" in one for one in found["/as.webp"]["why"])
    assert found["/as.webp"]["page"] == f"{site.url}/more"
    assert code == 5
    assert not any("away" in path for path in site.seen)


def test_a_site_map_is_walked(released: tuple[Path, Release], site: Site) -> None:
    space = "xmlns='http://www.sitemaps.org/schemas/sitemap/0.9' xmlns:image='http://www.google.com/schemas/sitemap-image/1.1'"
    site.answers["/sitemap.xml"] = ("application/xml", f"<sitemapindex {space}><sitemap><loc>{site.url}/one.xml</loc></sitemap></sitemapindex>".encode())  # fmt: skip
    site.answers["/one.xml"] = ("application/xml", f"<urlset {space}><url><loc>{site.url}/more</loc><image:image><image:loc>{site.url}/whole.png</image:loc></image:image></url></urlset>".encode())  # fmt: skip
    code, answer = run(released[0], site, f"{site.url}/sitemap.xml", "--pause", "0")
    assert {one["place"].removeprefix(site.url) for one in answer["files"]} == {"/whole.png", "/as.webp"}
    assert code == 5


def test_robots_and_bounds_are_kept(released: tuple[Path, Release], site: Site, tmp_path: Path) -> None:
    site.answers["/robots.txt"] = ("text/plain", b"User-agent: *\nDisallow: /small.png\n")
    waits: list[float] = []
    walk = Walk(FetchLimits(allowed=Allowed.parse([site.place])), Bounds(1, 500, 0.25), sleep=waits.append)
    found = [url.removeprefix(site.url) for url, _, _ in walk.files(f"{site.url}/", tmp_path)]
    assert sorted(found) == ["/photo.png", "/whole.png"]
    assert "/small.png" not in site.seen
    assert "/more" not in site.seen
    assert any("robots.txt" in note for note in walk.notes)
    assert waits
    assert set(waits) == {0.25}


def test_a_walk_ends_after_so_many_files(site: Site, tmp_path: Path) -> None:
    walk = Walk(FetchLimits(allowed=Allowed.parse([site.place])), Bounds(50, 2, 0.0), sleep=lambda _s: None)
    assert len(list(walk.files(f"{site.url}/", tmp_path))) == 2
    assert walk.notes == ["stopped after 2 files"]


def test_private_places_are_never_asked(released: tuple[Path, Release], site: Site) -> None:
    """The site itself is not allowed here: nothing of this network is fetched for a stranger's address."""
    with pytest.raises(FetchError) as error:
        run(released[0], None, f"{site.url}/")
    assert error.value.code.startswith("input.url")
    assert site.seen == []


def test_a_page_cannot_lead_into_this_network(released: tuple[Path, Release], site: Site, tmp_path: Path) -> None:
    site.answers["/"] = (
        "text/html",
        b"<img src='http://127.0.0.1:1/x.png'><img src='http://169.254.169.254/a.png'><img src='file:///etc/passwd'>",
    )
    walk = Walk(FetchLimits(allowed=Allowed.parse([site.place])), Bounds(pause=0.0), sleep=lambda _s: None)
    assert list(walk.files(f"{site.url}/", tmp_path)) == []
    assert len(walk.notes) == 2


def test_a_folder_is_walked_and_exit_codes_tell(released: tuple[Path, Release], tmp_path: Path) -> None:
    data, release = released
    (tmp_path / "a.png").write_bytes(release.file.read_bytes())
    report = tmp_path / "report.json"
    assert run(data, None, str(tmp_path), "--report", str(report))[0] == 0
    assert json.loads(report.read_text("utf-8"))["counts"] == {"kept": 1}
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "photo.png").write_bytes(encode_picture(scene(8), "image/png"))
    assert run(data, None, str(tmp_path / "only"))[0] == 4
    with pytest.raises(InputError):
        run(data, None, str(tmp_path / "missing"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<",
        "<img src=",
        "<img srcset=',,, ,'>",
        "<urlset><loc>",
        "<!DOCTYPE x [<!ENTITY a 'b'>]><urlset/>",
        "\0" * 100,
    ],
)
def test_pages_out_of_form_break_nothing(text: str) -> None:
    of_page(text)
    found = of_map(text.encode())
    assert (found.media, found.pages) == ([], [])


def test_for_people_each_file_is_a_line_with_what_to_do(
    released: tuple[Path, Release], site: Site, tmp_path: Path
) -> None:
    env = {"FILIGRANA_FETCH_ALLOW": json.dumps([site.place])}
    told = CliRunner(env=env).invoke(app, ["--data-dir", str(released[0]), "guard", f"{site.url}/", "--pause", "0"])
    text = " ".join(told.stdout.split())
    assert told.exit_code == 5
    assert "lost: Content Credentials" in text
    assert "→" in text
    assert "4 files: 2 lost, 1 kept, 1 unknown" in text


def test_an_empty_folder_and_a_single_file_are_answered(released: tuple[Path, Release], tmp_path: Path) -> None:
    code, answer = run(released[0], None, str(tmp_path))
    assert (code, answer["files"], answer["counts"]) == (4, [], {})
    code, answer = run(released[0], None, str(released[1].file))
    assert (code, answer["counts"]) == (0, {"kept": 1})


def test_a_folder_is_looked_at_up_to_its_bound_and_says_so(released: tuple[Path, Release], tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(encode_picture(scene(9, 64, 64), "image/png"))
    code, answer = run(released[0], None, str(tmp_path), "--files", "2")
    assert (code, len(answer["files"]), answer["notes"]) == (4, 2, ["stopped after 2 files of 3"])


def test_what_cannot_be_read_is_told_as_such(released: tuple[Path, Release], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 40)
    code, answer = run(released[0], None, str(tmp_path))
    assert (code, answer["counts"]) == (4, {"unreadable": 1})


def test_a_page_that_is_not_there_is_an_error(released: tuple[Path, Release], site: Site) -> None:
    with pytest.raises(FetchError):
        run(released[0], site, f"{site.url}/missing")


@pytest.mark.parametrize("more", [["--pages", "0"], ["--files", "0"], ["--pause", "61"], ["--pause", "-1"]])
def test_bounds_out_of_range_are_a_wrong_usage(released: tuple[Path, Release], more: list[str]) -> None:
    found = CliRunner().invoke(app, ["--data-dir", str(released[0]), "guard", ".", *more])
    assert found.exit_code == 2


def test_the_report_is_not_written_among_the_installations_own_files(
    released: tuple[Path, Release], tmp_path: Path
) -> None:
    for target in (released[0] / "keys" / "guard.json", tmp_path / "missing" / "guard.json"):
        with pytest.raises(FiligranaError) as error:
            run(released[0], None, str(tmp_path), "--report", str(target))
        assert error.value.code == "release.target"
        assert not target.exists()


def test_a_file_whose_name_is_in_another_encoding_stands_in_the_report(
    released: tuple[Path, Release], tmp_path: Path
) -> None:
    folder, report = tmp_path / "in", tmp_path / "guard.json"
    folder.mkdir()
    name = os.fsdecode(b"\xff.png")
    (folder / name).write_bytes(released[1].file.read_bytes())
    code, answer = run(released[0], None, str(folder), "--report", str(report))
    assert (code, answer["counts"]) == (0, {"kept": 1})
    assert json.loads(report.read_bytes())["files"][0]["place"].endswith(name)
