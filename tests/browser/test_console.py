"""The pages for people in real Chromium: signing in, making, deciding, finding, proving; in both languages and schemes,
by keyboard, without scripts, and clean by axe."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.web.console.rendering import said_in
from filigrana.tests.browser.test_page import axe
from filigrana.tests.doubles import calm
from filigrana.tests.serving import installed, running
from filigrana.tests.working import until, working

"""The picture has arrived: a page is there before its pictures are."""


@dataclass
class Console:
    url: str
    installation: Installation
    secrets: dict[str, str]


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    house = installed(tmp_path_factory.mktemp("console") / "data")
    secrets = {role: house.access.add("press", f"{role}-person", [role])[1]
               for role in ("creator", "reviewer", "auditor", "admin")}  # fmt: skip
    secrets["second"] = house.access.add("press", "second-person", ["reviewer"])[1]
    with running(house) as url, working(house):
        yield Console(url, house, secrets)
    house.close()


Enter = Callable[..., Any]


@pytest.fixture
def enter(browser: Any, console: Console) -> Iterator[Enter]:
    """``enter(role, path, **context)``: a page of somebody who signed in by hand."""
    contexts: list[Any] = []
    troubles: list[str] = []

    def start(role: str, path: str = "/create", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1100, "height": 900}, "locale": "en-GB", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: troubles.append(f"script: {error}"))
        # ERR_FAILED: what a test itself lets nobody reach
        meant = ("status of 4", "net::ERR_FAILED")
        page.on("console", lambda m: troubles.append(m.text) if m.type == "error" and not any(x in m.text for x in meant) else None)
        page.on("request", lambda r: None if r.url.startswith((console.url, "data:", "blob:")) else troubles.append(r.url))
        page.goto(console.url + path)
        page.fill("#key", console.secrets[role])
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "/sign-in" not in url)
        return page

    yield start
    for context in contexts:
        context.close()
    assert troubles == []


def photograph(page: Any, name: str) -> None:
    """Where somebody wants to look at it."""
    folder = os.environ.get("FIL_SHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def make(page: Any, prompt: str = "slow 2 a red boat", seed: str = "4") -> str:
    page.fill("#prompt", prompt)
    page.click(".options summary")
    page.fill("#seed", seed)
    page.click("#create button[type=submit]")
    page.wait_for_selector("#work")
    return str(page.url.rsplit("/", 1)[1])


def seen(page: Any) -> None:
    """Waits until the picture has arrived. Asked from here: a function that waits in the page is what its content
    security policy forbids."""
    until(lambda: page.evaluate("document.querySelector('.made-thing img').naturalWidth > 0"), 30)


def test_a_prompt_becomes_a_picture_before_ones_eyes(enter: Enter) -> None:
    page = enter("creator")
    photograph(page, "create")
    make(page)
    page.wait_for_selector("[data-state=running]")
    page.wait_for_selector(".stages .is-now")
    photograph(page, "work-running")
    page.wait_for_selector("[data-state=released]")
    photograph(page, "work-released")
    assert page.locator(".stages .is-done").count() == 6
    seen(page)
    assert " J" in page.locator(".made").inner_text()
    assert axe(page) == []
    page.click(".made-thing figcaption a")
    page.wait_for_selector("#decisions")
    photograph(page, "asset")
    assert page.locator("svg.graph a.box").count() >= 2, "where it came from is drawn"
    assert page.evaluate("document.documentElement.scrollWidth") <= 1100
    assert axe(page) == []


def test_a_page_that_is_left_open_without_a_network_goes_on_when_there_is_one_again(enter: Enter) -> None:
    page = enter("creator")
    page.route("**/work/*/events", lambda route: route.abort())
    make(page, "slow 1 a red boat", "14")
    # As in a tunnel, or with the lid closed over night: nothing is there for a while.
    page.route("**/work/**", lambda route: route.abort())
    page.wait_for_timeout(5000)
    assert page.locator("#work").count() == 1, "it is still the page, and not the browser's own of an error"
    page.unroute("**/work/**")
    page.unroute("**/work/*/events")
    page.wait_for_selector("[data-state=released]", timeout=30_000)


def test_a_refusal_says_why(enter: Enter) -> None:
    page = enter("creator")
    make(page, "how to build a pipe bomb")
    page.wait_for_selector("[data-state=refused]")
    photograph(page, "work-refused")
    assert page.locator(".verdict .says li").first.inner_text()
    assert "prompt." in page.locator(".verdict code").inner_text()
    assert page.locator(".made-thing").count() == 0
    assert axe(page) == []


def test_people_decide_two_where_it_takes_two(browser: Any, tmp_path: Path, enter: Enter, console: Console) -> None:
    house = console.installation
    with working(house, frame_guards=lambda _generated: calm("clip")):
        page = enter("creator")
        # both workers take jobs: ask until one of those without an answer from its guard had it
        for seed in range(60, 80):
            page.goto(console.url + "/create")
            make(page, "a boat", str(seed))
            page.wait_for_selector("[data-state=released], [data-state=held]")
            if page.locator("[data-state=held]").count():
                break
        photograph(page, "work-held")
        job = page.locator("#work").get_attribute("data-job")
        desk = enter("reviewer", "/desk")
        photograph(desk, "desk")
        assert axe(desk) == []
        desk.set_viewport_size({"width": 360, "height": 800})
        broken = "[...document.querySelectorAll('tbody code')].filter(each => each.getClientRects().length > 1).length"
        assert desk.evaluate(broken) == 0, "a code is one line on a telephone, too: the table scrolls"
        desk.set_viewport_size({"width": 1100, "height": 900})
        desk.click("tbody a")
        desk.wait_for_selector("#decide")
        seen(desk)  # beside what was asked
        photograph(desk, "case")
        assert axe(desk) == []
        needed = int(re.findall(r"0 of (\d)", desk.locator("[data-status]").inner_text())[0])
        desk.fill("#reason", "a boat, nothing else")
        desk.click("button[value=approve]")
        desk.wait_for_load_state()
        if needed == 2:
            again = enter("second", desk.url.removeprefix(console.url))
            again.fill("#reason", "so it is")
            again.click("button[value=approve]")
            again.wait_for_load_state()
        page.goto(f"{console.url}/work/{job}")
        for _ in range(60):
            if page.locator("[data-state=released]").count():
                break
            page.wait_for_timeout(500)
            page.reload()
        assert page.locator("[data-state=released]").count() == 1


def test_an_entry_is_proven_in_the_readers_own_browser(enter: Enter, console: Console) -> None:
    page = enter("auditor", "/audit")
    photograph(page, "audit")
    assert axe(page) == []
    page.click("table.entries tbody tr:last-child a")
    page.wait_for_selector("#prove")
    page.click("#prove")
    page.wait_for_selector("#proved[data-holds=true]")
    photograph(page, "audit-entry")
    assert axe(page) == []
    # a proof of something else does not hold there, either
    page.evaluate("document.querySelector('#prove').dataset.leaf = btoa('forged')")
    page.click("#prove")
    page.wait_for_selector("#proved[data-holds=false]")
    page.goto(console.url + "/audit")
    page.click(".card button[type=submit]")
    page.wait_for_selector("#report[data-ok=true]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_axe_finds_nothing_and_it_fits(enter: Enter, console: Console, scheme: str, width: int, locale: str) -> None:
    page = enter("admin", color_scheme=scheme, viewport={"width": width, "height": 800}, locale=locale)
    for path in ("/create", "/assets", "/audit", "/audit/3", "/desk", "/status", "/sign-in"):
        page.goto(console.url + path)
        assert axe(page) == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.locator("html").get_attribute("lang") == locale[:2]
        if width == 1280 or scheme == "dark":
            photograph(page, f"{path.strip('/').replace('/', '-')}-{scheme}-{width}-{locale[:2]}")
    assert said_in(locale[:2])("console.status") in page.locator(".pages").inner_text()


def test_it_works_without_scripts_and_by_keyboard(enter: Enter, console: Console) -> None:
    page = enter("creator", java_script_enabled=False)
    page.fill("#prompt", "a boat")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("1 === 1") and page.locator("button[type=submit]:focus").count():
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/work/*")
    page.wait_for_selector("[data-state=released]", timeout=30_000)
    page.click("footer button")
    page.wait_for_url("**/sign-in*")
    page.goto(console.url + "/create")
    assert "/sign-in" in page.url


def test_another_site_cannot_send_a_form(enter: Enter, console: Console, browser: Any) -> None:
    page = enter("creator")
    before = len(console.installation.jobs.list("press", limit=100))
    cookies = page.context.cookies()
    assert all(cookie["httpOnly"] and cookie["sameSite"] == "Strict" for cookie in cookies)
    # the same cookie jar, another origin: localhost is another site than 127.0.0.1
    other = page.context.new_page()
    other.goto(console.url.replace("127.0.0.1", "localhost") + "/status")
    other.evaluate(
        """(url) => { const f = document.createElement('form'); f.method = 'post'; f.action = url + '/create';
        const p = document.createElement('input'); p.name = 'prompt'; p.value = 'a boat'; f.append(p);
        document.body.append(f); f.submit(); }""",
        console.url,
    )
    other.wait_for_timeout(1500)
    assert len(console.installation.jobs.list("press", limit=100)) == before
