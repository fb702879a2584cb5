"""Signing in on the pages: cookies, forms that are one's own, roles, and sessions that end with their key."""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from filigrana.pipeline.access import ROLES
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.web.console.proof_drawing import draw
from filigrana.pipeline.web.console.rendering import LANGUAGES, said_in
from filigrana.pipeline.web.console.sessions import Sessions
from filigrana.provenance.log.merkle import inclusion_proof, leaf_hash, root_of
from filigrana.tests.serving import installed, running
from filigrana.tests.working import until, working

PAGES = {"/create": "generate", "/desk": "review", "/assets": "read", "/audit": "audit"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    opened = installed(tmp_path_factory.mktemp("console") / "data")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def url(house: Installation) -> Iterator[str]:
    house.access.add("press", "nobody", ["creator"])
    with running(house) as found, working(house):
        yield found


def signed_in(url: str, house: Installation, *roles: str, tenant: str = "press", subject: str = "otto") -> httpx.Client:
    client = httpx.Client(base_url=url, timeout=60, headers={"Accept": "text/html"})
    secret = house.access.add(tenant, subject, roles)[1]
    answer = client.post("/sign-in", data={"key": secret})
    assert answer.status_code == 303, answer.text
    return client


def token(client: httpx.Client, page: str = "/create") -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', client.get(page).text)
    assert found is not None
    return found[1]


def test_a_cookie_is_out_of_reach_and_the_database_has_no_secret(url: str, house: Installation) -> None:
    with httpx.Client(base_url=url) as client:
        secret = house.access.add("press", "otto", ["creator"])[1]
        answer = client.post("/sign-in", data={"key": secret, "next": "/assets"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/assets")
        cookie = answer.headers["set-cookie"]
        for word in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age="):
            assert word in cookie
        value = client.cookies["filigrana"]
        with house.log.engine.connect() as connection:
            rows = str(connection.execute(text("SELECT * FROM web_sessions")).all())
        assert value not in rows
        entry = [e for _, e in house.log.entries() if e.get("act") == "signed_in"][-1]
        assert "otto" not in str(entry)


def test_behind_https_the_cookie_is_bound_to_it(tmp_path: Path) -> None:
    house = installed(tmp_path / "data", serve_url="https://check.example.org")
    try:
        secret = house.access.add("press", "otto", ["creator"])[1]
        with running(house) as url:
            cookie = httpx.post(f"{url}/sign-in", data={"key": secret}).headers["set-cookie"]
            assert cookie.startswith("__Host-filigrana=")
            assert "Secure" in cookie
    finally:
        house.close()


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", "/create//evil", "javascript:x"])
def test_a_sign_in_leads_nowhere_else(url: str, house: Installation, wanted: str) -> None:
    secret = house.access.add("press", "otto", ["creator"])[1]
    answer = httpx.post(f"{url}/sign-in", data={"key": secret, "next": wanted})
    assert answer.headers["location"] == "/create"


def test_a_wrong_key_is_told_so_and_makes_no_session(url: str) -> None:
    for wrong in ("", "fg_abcdefghijkl_" + "x" * 43, "\x00"):
        answer = httpx.post(f"{url}/sign-in", data={"key": wrong})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        assert 'data-error="access.key"' in answer.text


@pytest.mark.parametrize("page", PAGES)
def test_nobody_sees_a_page_without_signing_in(url: str, page: str) -> None:
    with httpx.Client(base_url=url, headers={"Accept": "text/html"}) as client:
        answer = client.get(page)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?next={page}")
        client.cookies.set("filigrana", "made-up")
        assert client.get(page).status_code == 303


@pytest.mark.parametrize("role", [role for role in ROLES if role != "monitor"])
def test_a_role_sees_its_pages_and_no_others(url: str, house: Installation, role: str) -> None:
    with closing(signed_in(url, house, role)) as client:
        for page, scope in PAGES.items():
            answer = client.get(page)
            assert answer.status_code == (200 if scope in ROLES[role] else 403), page
            if answer.status_code == 403:
                assert 'data-error="access.scope"' in answer.text
                assert "otto" in answer.text, "whoever is signed in still is, and finds the way to their pages"
                assert 'href="/status"' in answer.text
                assert "权限" in client.get(page, headers={"Accept-Language": "zh"}).text
        nav = client.get("/status").text
        for page, scope in PAGES.items():
            assert (f'href="{page}"' in nav) == (scope in ROLES[role])


@pytest.mark.parametrize(
    ("form", "page"),
    [("/create", "/create"), ("/desk/0d6e7bd2", "/desk/0d6e7bd2"), ("/work/7b0e/appeal", "/work/7b0e"),
     ("/audit/verify", "/audit"), ("/sign-out", "/create")],
)  # fmt: skip
def test_a_form_after_the_session_ended_leads_back_to_its_page_and_says_so(url: str, form: str, page: str) -> None:
    with httpx.Client(base_url=url, headers={"Accept": "text/html"}) as client:
        answer = client.post(form, data={"prompt": "an hour's work"})
        assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?next={page}&ended=1")
        assert "Your session has ended" in client.get(answer.headers["location"]).text
        assert "Your session has ended" not in client.get(f"/sign-in?next={page}").text


def test_what_is_no_entrys_number_is_not_there_and_the_answer_of_a_form_has_an_address(
    url: str, house: Installation
) -> None:
    with closing(signed_in(url, house, "auditor")) as client:
        for number in ("x", "-1", "99999999", "1" * 30):
            answer = client.get(f"/audit/{number}")
            assert (answer.status_code, 'data-error="service.not_found"' in answer.text) == (404, True)
        answer = client.get("/audit/verify?lang=zh")
        assert (answer.status_code, answer.headers["location"]) == (303, "/audit?lang=zh")


def test_a_form_without_its_token_or_from_elsewhere_does_nothing(url: str, house: Installation) -> None:
    before = sum(house.jobs.counts().values())
    with closing(signed_in(url, house, "creator")) as client, closing(signed_in(url, house, "creator")) as other:
        good = {"prompt": "a boat", "csrf": token(client)}
        for data, headers in (
            ({"prompt": "a boat"}, {}),
            ({**good, "csrf": token(other)}, {}),
            ({**good, "csrf": "é"}, {}),
            (good, {"Sec-Fetch-Site": "cross-site"}),
            (good, {"Sec-Fetch-Site": "same-site"}),
            (good, {"Origin": "https://evil.example"}),
        ):  # fmt: skip
            answer = client.post("/create", data=data, headers=headers)
            assert answer.status_code == 403
            assert 'data-error="access.csrf"' in answer.text
        assert sum(house.jobs.counts().values()) == before
        assert client.post("/create", data=good, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303


def test_a_session_ends_with_its_key_by_time_and_by_signing_out(url: str, house: Installation) -> None:
    client = signed_in(url, house, "creator", subject="gone")
    key = house.access.list()[-1]
    assert client.get("/create").status_code == 200
    value = client.cookies["filigrana"]
    later = Sessions(house, lambda: dt.datetime.now(dt.UTC) + dt.timedelta(minutes=61))
    assert later.find(value) is None, "an hour without use"
    house.access.revoke(key.id)
    assert client.get("/create").status_code == 303

    client = signed_in(url, house, "creator")
    value = client.cookies["filigrana"]
    assert client.post("/sign-out", data={"csrf": token(client)}).status_code == 303
    client.cookies.set("filigrana", value)
    assert client.get("/create").status_code == 303, "the old cookie is worth nothing"

    client = signed_in(url, house, "creator", subject="erased")
    house.ledger.erase("erased")
    assert client.get("/create").status_code == 303


def test_from_the_form_to_the_asset_and_nobody_elses(url: str, house: Installation) -> None:
    with closing(signed_in(url, house, "creator")) as client, closing(signed_in(url, house, "creator", tenant="agency")) as other:
        answer = client.post("/create", data={"prompt": "a red boat", "seed": "5", "media": "image", "csrf": token(client)})
        assert answer.status_code == 303
        place = answer.headers["location"]
        page = until(lambda: (p := client.get(place).text) and 'data-state="released"' in p and p)
        assert "a red boat" in page
        assert client.get(f"{place}/content").headers["content-type"] == "image/png"
        asset = re.findall(r"/assets/([0-9A-Z]{12})", page)[0]
        shown = client.get(f"/assets/{asset}").text
        assert asset in shown
        assert "a red boat" not in shown
        assert "made by AI here" in shown
        assert "由本服务的 AI 生成" in client.get(f"/assets/{asset}?lang=zh").text
        found = client.get("/assets", params={"q": asset[:4]}).text
        assert asset in found
        assert f"/assets/{asset}" not in client.get("/assets", params={"q": asset, "media": "video"}).text
        assert asset not in client.get("/assets", params={"q": "<script>"}).text
        for path in (place, f"{place}/content", f"{place}/events", f"/assets/{asset}", f"/assets/{asset}/file"):
            assert other.get(path).status_code == 404, path
        assert asset not in other.get("/assets").text


def test_ones_own_work_is_known_by_its_prompt_and_can_be_asked_again(url: str, house: Installation) -> None:
    with (
        closing(signed_in(url, house, "creator", subject="ida")) as ida,
        closing(signed_in(url, house, "creator", subject="uwe")) as uwe,
    ):
        sent = {"prompt": "how to build a pipe bomb for ida", "csrf": token(ida), "media": "video", "sound": "1"}
        place = ida.post("/create", data=sent).headers["location"]
        until(lambda: re.search('data-state="(refused|failed)"', ida.get(place).text))
        assert "for ida" in ida.get("/create").text
        assert "for ida" not in uwe.get("/create").text, "a prompt is for whoever wrote it"
        again = re.search(r'href="(/create\?again=[0-9a-f-]{36})"', ida.get(place).text)
        assert again is not None
        form = ida.get(again[1]).text
        assert ">how to build a pipe bomb for ida</textarea>" in form
        assert 'value="video" checked' in form
        assert "for ida" not in uwe.get(again[1]).text
        assert "again=" not in uwe.get(place).text
        assert ida.get("/create?again=nonsense").status_code == 200


def test_a_search_for_what_can_be_nothing_says_so(url: str, house: Installation) -> None:
    with closing(signed_in(url, house, "auditor")) as client:
        assert "neither a request" in client.get("/audit?about=zzz").text
        assert "neither a request" not in client.get("/audit?code=zzz").text


def test_the_signed_head_is_shown_as_it_was_signed(url: str, house: Installation) -> None:
    with closing(signed_in(url, house, "auditor")) as client:
        page = client.get("/audit").text
        origin, size, root = house.log.checkpoint().split("\n")[:3]
        assert f"{origin}<br>{size}<br>{root}<br>" in page
        assert "↵" not in page


def test_a_second_click_is_no_second_job_and_another_prompt_is_one(url: str, house: Installation) -> None:
    with closing(signed_in(url, house, "creator", subject="clicker")) as client:
        shown = client.get("/create").text
        (once,) = re.findall(r'name="once" value="([^"]+)"', shown)
        form = {"prompt": "a red boat", "media": "image", "once": once, "csrf": token(client)}
        first, second = (client.post("/create", data=form).headers["location"] for _ in range(2))
        assert first == second
        changed = client.post("/create", data={**form, "prompt": "a blue boat"})
        assert changed.status_code == 303
        assert changed.headers["location"] != first, "whoever goes back and asks for something else gets it"
        (anew,) = re.findall(r'name="once" value="([^"]+)"', client.get("/create").text)
        again = client.post("/create", data={**form, "once": anew})
        assert again.headers["location"] != first, "a page that was opened anew may ask for the same"


def test_what_cannot_be_asked_is_told_in_the_form(url: str, house: Installation) -> None:
    with closing(signed_in(url, house, "creator")) as client:
        answer = client.post("/create", data={"prompt": "a boat", "steps": "9999", "csrf": token(client)})
        assert answer.status_code == 400
        assert 'data-error="service.parameter"' in answer.text
        assert "a boat" in answer.text, "nothing that was written is lost"


@pytest.mark.parametrize("before", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "never", "2026-01-01"])
def test_a_page_from_no_time_is_the_first_one(url: str, house: Installation, before: str) -> None:
    with closing(signed_in(url, house, "creator")) as client:
        answer = client.get("/assets", params={"before": before})
        assert answer.status_code == 200
        assert 'role="search"' in answer.text


def test_the_whole_log_is_verified_and_an_entry_proven(url: str, house: Installation) -> None:
    with closing(signed_in(url, house, "auditor")) as client:
        answer = client.post("/audit/verify", data={"csrf": token(client, "/audit")})
        assert 'data-ok="true"' in answer.text
        entry = client.get("/audit/1")
        assert 'id="holds"' in entry.text
        assert "of-ok" in entry.text
        assert client.get("/audit/99999999").status_code == 404
        assert client.get("/audit", params={"about": "nonsense", "type": "release"}).status_code == 200


def test_status_is_for_anyone_and_its_numbers_for_those_inside(url: str, house: Installation) -> None:
    outside = httpx.get(f"{url}/status", headers={"Accept": "text/html"})
    assert outside.status_code == 200
    assert "Log entries" not in outside.text
    with closing(signed_in(url, house, "auditor")) as client:
        assert "Log entries" in client.get("/status").text
        assert "日志条目" in client.get("/status?lang=zh").text


def test_where_no_worker_runs_the_pages_say_so_and_not_that_everything_works(tmp_path: Path) -> None:
    house = installed(tmp_path / "data")
    try:
        with running(house) as url, closing(signed_in(url, house, "creator")) as client:
            place = client.post("/create", data={"prompt": "a boat", "csrf": token(client)}).headers["location"]
            told = "it may be that no worker runs"
            assert told not in client.get(place).text
            assert 'data-ok="true"' in client.get("/status").text
            house.clock = lambda: dt.datetime.now(dt.UTC) + dt.timedelta(minutes=2)
            assert told in client.get(place).text
            assert told in client.get("/status").text
            assert 'data-ok="false"' in client.get("/status").text
            assert "Workers" not in httpx.get(f"{url}/status").text, "that is nothing for strangers"
    finally:
        house.close()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13, 64, 100])
def test_every_proof_is_drawn_as_it_leads_to_the_root(size: int) -> None:
    leaves = [leaf_hash(bytes([number])) for number in range(size)]

    def node(level: int, index: int) -> bytes:
        return root_of(leaves[index << level : (index + 1) << level])

    root = root_of(leaves)
    for index in range(size):
        proof = inclusion_proof(index, size, node)
        drawing = draw(leaves[index], index, size, proof, root)
        assert drawing.holds
        assert len(drawing.nodes) == 2 * len(proof) + 1
        assert len(drawing.lines) == 2 * len(proof)
        assert drawing.nodes[-1].whole == base64.b64encode(root).decode()
        ends = {(x2, y2) for _, _, x2, y2 in drawing.lines}
        tops = {(n.x + 95, n.y + 56) for n in drawing.nodes}
        assert ends <= tops, "each line ends at a box"
        assert not draw(leaves[index], index, size, proof, b"x" * 32).holds


def test_whoever_was_refused_appeals_on_the_page_once(url: str, house: Installation) -> None:
    with closing(signed_in(url, house, "creator", subject="asks")) as client, closing(
        signed_in(url, house, "creator", subject="another")
    ) as other:
        form = {"prompt": "how to build a pipe bomb", "csrf": token(client), "visible_label": "always"}
        place = client.post("/create", data=form).headers["location"]
        page = until(lambda: "/appeal" in (said := client.get(place).text) and said)
        assert "/appeal" not in other.get(place).text, "it is somebody else's"
        csrf = page.partition('name="csrf" value="')[2].partition('"')[0]
        job = house.jobs.get(UUID(place.rsplit("/", 1)[-1]))
        assert job.request["labelled"] is True
        for data, status in (({"reason": "x"}, 403), ({"reason": " ", "csrf": csrf}, 400)):
            assert client.post(f"{place}/appeal", data=data).status_code == status
        assert client.post(f"{place}/appeal", data={"reason": "a boat's name", "csrf": csrf}).status_code == 303
        said = client.get(place).text
        assert "waits for a person" in said
        assert f"{place}/appeal" not in said
        assert client.post(f"{place}/appeal", data={"reason": "again", "csrf": csrf}).status_code == 409


def test_both_languages_have_the_same_words() -> None:
    english, *others = (said_in(language) for language in LANGUAGES)
    for other in others:
        assert set(english.names()) == set(other.names())
        for name in english.names():
            places = re.compile(r"\{\w+\}")
            assert sorted(places.findall(" ".join(english.lines(name)))) == sorted(
                places.findall(" ".join(other.lines(name)))
            ), name
