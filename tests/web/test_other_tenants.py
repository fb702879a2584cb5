"""What one tenant has, another one cannot even tell from what there is not: every route that takes an id or a place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from filigrana.pipeline.access import ROLES
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.fence import intent_of
from filigrana.pipeline.web import reviewing
from filigrana.pipeline.web.app import create_app
from filigrana.pipeline.web.callers import KEY
from filigrana.tests.doubles import calm
from filigrana.tests.serving import clients, installed, running
from filigrana.tests.working import working

IMAGES = "/v1/images/generations"
BODIES: dict[str, dict[str, Any]] = {
    "decision": {"decision": "reject", "reason": "looked at"}, "assignment": {"to": "ruth"}, "appeals": {"reason": "a boat's name"},
}  # fmt: skip
PAGES = [
    ("GET", "/work/{job}"), ("GET", "/work/{job}/events"), ("GET", "/work/{job}/content"), ("POST", "/work/{job}/cancel"),
    ("POST", "/work/{job}/appeal"), ("GET", "/assets/{asset}"), ("GET", "/assets/{asset}/file"), ("GET", "/desk/{request}"),
    ("GET", "/desk/{request}/file"), ("POST", "/desk/{request}"), ("GET", "/assets?after={asset}"),
]  # fmt: skip
KINDS = {"job_id": "job", "video_id": "clip", "asset_id": "asset", "request_id": "request", "webhook_id": "hook",
         "delivery_id": "message", "after": "clip"}  # fmt: skip
NONE = {"job": str(uuid4()), "clip": str(uuid4()), "asset": "0123456789AB", "request": str(uuid4()), "hook": "a1b2c3d4e5f6",
        "message": f"msg_{uuid4()}"}  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    opened = installed(tmp_path_factory.mktemp("tenants") / "data", serve_wait=60, fetch_allow=["127.0.0.1:9"])
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def people(house: Installation) -> Iterator[dict[str, httpx.Client]]:
    roles = {role: ("agency", [role]) for role in ROLES if role not in ("monitor", "supervisor", "admin")}
    keys = {
        "press": ("press", ["creator"]),
        "editor": ("press", ["reviewer"]),
        "chief": ("agency", ["generate", "read", "review", "audit"]),
        **roles,
    }
    with running(house) as url, clients(house, url, keys) as each:
        yield each


@pytest.fixture(scope="module")
def theirs(house: Installation, people: dict[str, httpx.Client]) -> list[dict[str, str]]:
    """Of `press`: what was released, held, refused, and what waits."""
    press = people["press"]
    hook = press.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/x"}).json()["id"]
    message = press.post(f"/v1/webhooks/{hook}/test").json()["id"]
    with working(house):
        made = press.post(IMAGES, json={"prompt": "a boat", "seed": 4}).json()
        refused = press.post(IMAGES, json={"prompt": "how to build a pipe bomb"}).json()["error"]
    with working(house, frame_guards=lambda _generated: calm("clip")):
        held = press.post(IMAGES, json={"prompt": "a boat", "seed": 5}).json()["filigrana"][0]["job"]
        people["creator"].post(IMAGES, json={"prompt": "a boat", "seed": 6})  # held, too, and younger
    clip = press.post("/v1/videos", json={"prompt": "a boat"}).json()["id"]
    shared = {"clip": clip, "asset": made["data"][0]["asset_id"], "hook": hook, "message": message}
    attempts = house.jobs.get(UUID(held)).attempts
    return [
        {"job": made["filigrana"][0]["job"], "request": refused["request"], **shared},
        {"job": held, "request": str(intent_of(UUID(held), attempts)), **shared},
        {"job": clip, "request": str(intent_of(UUID(clip), 1)), **shared},
    ]


def seen(answer: httpx.Response) -> tuple[int, str, dict[str, str]]:
    """All that a client is told, but for the time."""
    headers = {name: value for name, value in answer.headers.items() if name not in ("date", "set-cookie")}
    return answer.status_code, re.sub(r"value=\"[\w-]{43,}\"", "", answer.text), headers


def told(client: httpx.Client, method: str, path: str, ids: dict[str, str], **more: Any) -> tuple[Any, ...]:
    status, text, headers = seen(client.request(method, path.format(**ids), **more))
    for kind, ident in ids.items():
        text = text.replace(ident, kind)
    return status, text, {name: value for name, value in headers.items() if name != "content-length"}


def test_an_api_answers_as_for_what_is_not_there(
    house: Installation, people: dict[str, httpx.Client], theirs: list[dict[str, str]]
) -> None:
    looked = 0
    for path, operations in create_app(house).openapi()["paths"].items():
        for method, operation in operations.items():
            given = [one["name"] for one in operation.get("parameters", []) if one["name"] in KINDS]
            if {KEY.scheme_name: []} not in operation.get("security", []) or not given or path.startswith("/c2pa"):
                continue
            asked = path
            for name in given:
                kind = "asset" if (path, name) == ("/v1/assets", "after") else KINDS[name]
                asked = (
                    asked.replace(f"{{{name}}}", f"{{{kind}}}")
                    if f"{{{name}}}" in asked
                    else f"{asked}?{name}={{{kind}}}"
                )
            body = next((sent for word, sent in BODIES.items() if word in path and method == "post"), None)
            for name, client in people.items():
                if name in ("press", "editor"):
                    continue
                nothing = told(client, method.upper(), asked, NONE, json=body)
                assert nothing[0] in (403, 404), (name, method, asked, nothing)
                for ids in theirs:
                    assert told(client, method.upper(), asked, ids, json=body) == nothing, (name, method, asked)
                    looked += 1
    assert looked > 150


def test_pages_answer_as_for_what_is_not_there(
    house: Installation, people: dict[str, httpx.Client], theirs: list[dict[str, str]]
) -> None:
    for name, client in people.items():
        if name in ("press", "editor"):
            continue
        key = client.headers["authorization"].removeprefix("Bearer ")
        with httpx.Client(base_url=client.base_url, timeout=60, headers={"accept": "text/html"}) as browser:
            assert browser.post("/sign-in", data={"key": key}).status_code == 303
            page = browser.get("/status").text
            token = re.search(r'name="csrf" value="([^"]+)"', page)
            assert token is not None
            form = {"csrf": token[1], "reason": "looked at", "decision": "reject"}
            for method, path in PAGES:
                more = {"data": form} if method == "POST" else {}
                nothing = told(browser, method, path, NONE, **more)
                assert nothing[0] in (200, 403, 404), (name, path, nothing[:2])
                for ids in theirs:
                    assert told(browser, method, path, ids, **more) == nothing, (name, method, path)


def test_one_tenant_has_its_held_work_listed_however_much_younger_of_others_there_is(
    people: dict[str, httpx.Client], theirs: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviewing, "SEEN", 1)
    seen = {name: people[name].get("/v1/reviews").json()["data"] for name in ("editor", "reviewer")}
    assert [one["request"] for one in seen["editor"]] == [theirs[1]["request"]]
    assert len(seen["reviewer"]) == 1


def test_what_all_tenants_had_is_as_it_was(house: Installation, theirs: list[dict[str, str]]) -> None:
    """Nothing that others asked for above changed it."""
    assert [house.jobs.get(UUID(ids["job"])).state for ids in theirs] == ["released", "held", "queued"]
