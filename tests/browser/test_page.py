"""The page in real Chromium: each finding shown for a real upload, for everybody, and nothing done that a file says."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from filigrana.provenance.words import words
from filigrana.tests.browser.conftest import Site
from filigrana.tests.serving import uploads_left

FINDINGS = ["verified", "recovered", "intact", "altered", "contradicted", "unmarked", "unreadable"]
OpenPage = Callable[..., Any]


def upload(page: Any, site: Site, name: str) -> None:
    page.set_input_files("#file", str(site.files[name]))
    page.wait_for_selector("[data-finding]")


def axe(page: Any) -> list[str]:
    """What axe finds wrong by WCAG 2.1 A and AA."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
    return [f"{item['id']}: {item['nodes'][0]['html'][:200]}" for item in found.response["violations"]]


# ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("finding", FINDINGS)
def test_a_real_upload_is_answered_in_large_plain_words(site: Site, open_page: OpenPage, finding: str) -> None:
    page = open_page()
    upload(page, site, finding)
    result = page.locator("[data-finding]")
    assert result.get_attribute("data-finding") == finding
    said = words("en")
    assert page.locator(".word span").first.inner_text() == said(f"page.finding.{finding}")
    size = page.evaluate("parseFloat(getComputedStyle(document.querySelector('#headline')).fontSize)")
    assert size >= 36
    for line in said.lines(f"finding.{finding}.not_conclude"):
        assert line in result.inner_text()
    statuses = page.locator(".evidence .status span").all_inner_texts()
    assert statuses
    assert set(statuses) <= {said(f"status.{status}") for status in ("ok", "warning", "failed", "absent")}
    assert axe(page) == []


def test_an_altered_copy_is_shown_beside_its_original_with_the_place_outlined(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    upload(page, site, "altered")
    assert page.locator("svg.picture image").count() == 2
    box = page.locator("rect.region").first
    x, y = float(box.get_attribute("x")), float(box.get_attribute("y"))
    right, bottom = x + float(box.get_attribute("width")), y + float(box.get_attribute("height"))
    assert x <= 640 * 280 / 512
    assert y <= 640 * 100 / 512
    assert right >= 640 * 400 / 512
    assert bottom >= 640 * 200 / 512
    assert page.locator(".regions li").count() == page.locator("rect.region").count()


def test_nothing_found_says_that_it_proves_nothing(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    upload(page, site, "unmarked")
    assert "proves nothing" in page.locator("#headline").inner_text()
    assert "not proof that the file is real" in page.locator("[data-finding]").inner_text()


def test_the_history_is_a_graph_that_leads_to_its_list(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    upload(page, site, "verified")
    boxes, steps = page.locator("svg.graph a.box"), page.locator(".steps > li")
    assert boxes.count() == steps.count() >= 3
    boxes.nth(1).focus()
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == boxes.nth(1).get_attribute("href")


@pytest.mark.parametrize(("finding", "whose"), [("verified", "this file"), ("recovered", "the original"), ("altered", "the original")])
def test_a_stripped_copy_is_not_drawn_as_signed(site: Site, open_page: OpenPage, finding: str, whose: str) -> None:
    """What is drawn for a copy without credentials is the history of what it was copied from."""
    page = open_page()
    page.set_input_files("#file", str(site.files[finding]))
    page.wait_for_selector(f"[data-finding={finding}]")
    assert "signed" in page.locator(".graph .box").first.text_content()
    assert page.locator(".graph .box .name").first.text_content() == whose
    assert whose in page.locator("#step-0 h4").text_content()


def test_why_a_file_cannot_be_read_is_seen_at_once(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    page.set_input_files("#file", str(site.files["unreadable"]))
    page.wait_for_selector("[data-finding=unreadable]")
    assert page.locator(".evidence .detail").first.is_visible()


def test_the_answer_can_be_taken_along(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    upload(page, site, "recovered")
    links = {
        link.get_attribute("download").rsplit(".", 1)[1]: link.get_attribute("href")
        for link in page.locator("a[download]").all()
    }
    data = json.loads(base64.b64decode(links["json"].split(",", 1)[1]))
    assert data["finding"] == "recovered"
    html = base64.b64decode(links["html"].split(",", 1)[1]).decode()
    assert "Origin found" in html
    assert "<script" not in html
    with page.expect_download() as got:
        page.locator("a[download$='.json']").click()
    assert got.value.suggested_filename.endswith(".json")


def test_another_file_can_be_checked_after_it(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    upload(page, site, "verified")
    assert page.locator("#ask").is_hidden()
    page.locator(".again").click()
    assert page.locator("#ask").is_visible()
    upload(page, site, "unmarked")
    assert page.locator("[data-finding]").get_attribute("data-finding") == "unmarked"


def test_files_are_dropped_and_pasted(site: Site, open_page: OpenPage) -> None:
    data = base64.b64encode(site.files["recovered"].read_bytes()).decode()
    make = """(data) => { const t = new DataTransfer(); const b = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
              t.items.add(new File([b], "copy.jpg", {type: "image/jpeg"})); return t; }"""
    for event in ("drop", "paste"):
        page = open_page()
        transfer = page.evaluate_handle(make, data)
        if event == "drop":
            page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
        else:
            page.evaluate("(t) => document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: t}))", transfer)
        page.wait_for_selector("[data-finding=recovered]")


def test_an_address_that_is_not_public_is_refused_in_words(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    page.fill("#url", "http://127.0.0.1/private")
    with page.expect_response("**/verify*") as got:
        page.keyboard.press("Enter")
    assert got.value.status == 400
    page.wait_for_selector("[data-error]")
    assert "not on the public internet" in page.locator("#headline").inner_text()
    assert page.evaluate("document.activeElement.id") == "verdict"


# ── for everybody ────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_axe_finds_nothing_in_both_schemes_and_it_fits(
    site: Site, open_page: OpenPage, scheme: str, width: int
) -> None:
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce")
    assert axe(page) == []
    for finding in ("verified", "altered"):
        upload(page, site, finding)
        page.evaluate("document.querySelectorAll('details').forEach((d) => d.open = true)")
        assert axe(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator(".again").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(20, 23, 26)") == (scheme == "dark")


def test_it_works_with_the_keyboard_alone(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    # Listening from the start: the browser hands its file dialog over only some time after it was asked to.
    page.on("filechooser", lambda _: None)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert "file" in reached
    assert "url" in reached
    assert "BUTTON" in reached
    assert "SUMMARY" in reached
    page.focus("#file")
    assert "solid" in page.evaluate("getComputedStyle(document.querySelector('.drop .button')).outline")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(str(site.files["verified"]))
    page.wait_for_selector("[data-finding]")
    # The finding has the focus, so that it is read out, and the next Tab goes on inside it.
    assert page.evaluate("document.activeElement.id") == "verdict"
    page.keyboard.press("Tab")
    assert page.evaluate("Boolean(document.activeElement.closest('[data-finding]'))")


def test_progress_is_announced(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    assert page.locator("#state").get_attribute("aria-live") == "polite"
    page.evaluate(
        "window.heard = []; new MutationObserver(() => window.heard.push(document.querySelector('#state-text').textContent))"
        ".observe(document.querySelector('#state'), {subtree: true, childList: true, characterData: true})"
    )
    upload(page, site, "verified")
    heard = page.evaluate("window.heard")
    assert any("Sending" in text for text in heard)
    assert any("Looking" in text for text in heard)


@pytest.mark.parametrize("finding", ["verified", "altered", "unreadable"])
def test_it_works_without_scripts(site: Site, open_page: OpenPage, finding: str) -> None:
    page = open_page("/?lang=de", java_script_enabled=False)
    assert page.locator(".js").first.is_hidden()
    page.set_input_files("#file", str(site.files[finding]))
    page.click("button[type=submit]")
    page.wait_for_selector(f"[data-finding={finding}]")
    assert page.locator("html").get_attribute("lang") == "de"
    assert page.locator(".word span").first.inner_text() == words("de")(f"page.finding.{finding}")


def test_an_error_without_scripts_is_a_page(site: Site, open_page: OpenPage) -> None:
    page = open_page("/?lang=fr", java_script_enabled=False)
    with page.expect_response("**/verify*") as got:
        page.click("button[type=submit]")
    assert got.value.status == 400
    page.wait_for_selector("[data-error]")
    assert words("fr")("page.failed") in page.locator("[data-error]").inner_text()


@pytest.mark.parametrize(
    ("locale", "language"), [("zh-CN", "zh"), ("es-MX", "es"), ("fr-FR", "fr"), ("de-AT", "de"), ("ja-JP", "en")]
)
def test_the_browsers_language_is_spoken(site: Site, open_page: OpenPage, locale: str, language: str) -> None:
    page = open_page(locale=locale)
    assert page.locator("html").get_attribute("lang") == language
    upload(page, site, "recovered")
    said = words(language)
    assert page.locator("#headline").inner_text() == said("finding.recovered.headline")
    assert said("technique.watermark.meaning") in page.locator("[data-finding]").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1000


def test_the_switcher_changes_the_language_and_keeps_it(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    page.click("a[hreflang=es]")
    assert page.locator("h1").inner_text() == words("es")("page.title")
    upload(page, site, "unmarked")
    assert page.locator("#headline").inner_text() == words("es")("finding.unmarked.headline")


# ── hostile ──────────────────────────────────────────────────────────────────────────────────────────────────────
PAYLOADS = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    '"><svg onload=alert(1)>',
    "'-alert(1)-'",
    "javascript:alert(1)",
    "{{7*7}}${7*7}",
    "</code></pre><iframe src=//evil.example>",
    "\u202egnp.exe\u2066\u2069",
    "<a href=//evil.example>x</a><style>@import '//evil.example'</style>",
]


def poison(value: Any, payload: str, keep: tuple[str, ...] = ()) -> Any:
    """Every text in an answer replaced by the payload, except where the key is a word of ours."""
    if isinstance(value, dict):
        return {k: v if k in keep else poison(v, payload, keep) for k, v in value.items()}
    if isinstance(value, list):
        return [poison(item, payload, keep) for item in value]
    return payload if isinstance(value, str) else value


OURS = ("finding", "asset_id", "trust", "match", "id", "from", "to", "thumbnail", "kind", "mime", "sha256")


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_that_a_file_says_is_done(site: Site, open_page: OpenPage, payload: str, scripts: bool) -> None:
    def change(answer: dict[str, Any]) -> None:
        poisoned = poison(answer, payload, OURS)
        for item, real in zip(poisoned["evidence"], answer["evidence"], strict=True):
            item["status"] = real["status"]
        poisoned["history"]["nodes"] += [{**poisoned["history"]["nodes"][0], "id": payload}]
        poisoned["history"]["edges"] += [{"from": payload, "to": payload, "relationship": payload}]
        answer.clear()
        answer.update(poisoned)

    site.inspector.change = change
    page = open_page(java_script_enabled=scripts)
    page.set_input_files(
        "#file",
        {
            "name": payload.replace("/", "_") + ".png",
            "mimeType": "image/png",
            "buffer": site.files["verified"].read_bytes(),
        },
    )
    if not scripts:
        page.click("button[type=submit]")
    page.wait_for_selector("[data-finding]")
    inside = page.locator("[data-finding]")
    assert inside.locator("script, iframe, img, style, object, embed").count() == 0
    assert inside.locator("[onload], [onerror], [style]").count() == 0
    assert inside.locator("a:not([href^='#']):not([href^='data:']):not([href^='/'])").count() == 0
    assert "49" not in page.locator(".steps").inner_text()
    text = inside.inner_text()
    assert "\u202e" not in text
    assert "\u2066" not in text
    if payload.startswith("<img"):
        assert payload in text
    page.wait_for_timeout(50)


def test_no_cookie_no_storage_and_nothing_left_behind(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    upload(page, site, "verified")
    assert page.context.cookies() == []
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    assert uploads_left(site.installation) == []
    assert words("en")("page.privacy") in page.locator("footer").inner_text()
