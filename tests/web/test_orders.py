"""What platforms build on: keys and scopes, pictures and clips, idempotency, refusals, events, and whose things are
whose."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import update

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.fence import intent_of
from filigrana.pipeline.jobs.model import Lease
from filigrana.pipeline.resuming import approve
from filigrana.pipeline.review import Desk
from filigrana.pipeline.web import events
from filigrana.pipeline.web.app import create_app
from filigrana.provenance.database import session
from filigrana.provenance.service_tables import Job as Row
from filigrana.tests.doubles import calm
from filigrana.tests.serving import installed, running
from filigrana.tests.working import engine, until, working

IMAGES = "/v1/images/generations"
ROUTES = [
    ("POST", IMAGES, "generate"),
    ("POST", "/v1/videos", "generate"),
    ("GET", "/v1/videos", "read"),
    ("GET", "/v1/videos/{job}", "read"),
    ("GET", "/v1/videos/{job}/content", "read"),
    ("DELETE", "/v1/videos/{job}", "generate"),
    ("GET", "/v1/jobs/{job}", "read"),
    ("DELETE", "/v1/jobs/{job}", "generate"),
    ("GET", "/v1/jobs/{job}/events", "read"),
    ("GET", "/v1/assets", "read"),
    ("GET", "/v1/assets/{asset}", "read"),
    ("GET", "/v1/assets/{asset}/content", "read"),
    ("POST", "/v1/seal", "generate"),
    ("GET", "/v1/policies", "any"),
    ("GET", "/v1/policies/{id}", "any"),
    ("GET", "/v1/reviews", "review"),
    ("GET", "/v1/reviews/{request}", "review"),
    ("GET", "/v1/reviews/{request}/content", "review"),
    ("POST", "/v1/reviews/{request}/decision", "review"),
    ("POST", "/v1/reviews/{request}/assignment", "review"),
    ("GET", "/v1/appeals/{request}", "read or generate"),
    ("POST", "/v1/appeals/{request}", "generate"),
    ("GET", "/v1/audit/head", "audit"),
    ("GET", "/v1/audit/heads", "audit"),
    ("GET", "/v1/audit/entries", "audit"),
    ("GET", "/v1/audit/entries/{index}", "audit"),
    ("GET", "/v1/audit/entries/{index}/proof", "audit"),
    ("GET", "/v1/audit/consistency", "audit"),
    ("POST", "/v1/webhooks", "generate"),
    ("GET", "/v1/webhooks", "generate"),
    ("DELETE", "/v1/webhooks/{id}", "generate"),
    ("GET", "/v1/webhooks/{id}/deliveries", "generate"),
    ("POST", "/v1/webhooks/{id}/secret", "generate"),
    ("POST", "/v1/webhooks/{id}/test", "generate"),
    ("POST", "/v1/webhooks/{id}/deliveries/{job}/retry", "generate"),
    ("GET", "/metrics", "metrics"),
]
NAMES = {"job_id": "job", "video_id": "job", "asset_id": "asset", "request_id": "request", "policy_id": "id", "webhook_id": "id",
         "delivery_id": "job"}  # fmt: skip


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    opened = installed(tmp_path_factory.mktemp("orders") / "data", serve_wait=60, serve_streams=8)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def keys(house: Installation) -> dict[str, str]:
    wanted = {
        "press": ["creator"],
        "agency": ["creator"],
        "writes": ["generate"],
        "reads": ["read"],
        "audits": ["audit"],
        "watches": ["metrics"],
    }
    return {
        name: house.access.add(name if name == "agency" else "press", f"{name}-user", scopes)[1]
        for name, scopes in wanted.items()
    }


@pytest.fixture(scope="module")
def url(house: Installation, keys: dict[str, str]) -> Iterator[str]:
    with running(house) as found, working(house):
        yield found


def client_of(url: str, key: str | None) -> httpx.Client:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=url, headers=headers, timeout=90)


@pytest.fixture
def press(url: str, keys: dict[str, str]) -> Iterator[httpx.Client]:
    with client_of(url, keys["press"]) as opened:
        yield opened


@pytest.fixture
def agency(url: str, keys: dict[str, str]) -> Iterator[httpx.Client]:
    with client_of(url, keys["agency"]) as opened:
        yield opened


@pytest.fixture(scope="module")
def made(url: str, keys: dict[str, str]) -> dict[str, Any]:
    """One picture of the tenant `press`."""
    with client_of(url, keys["press"]) as client:
        answer = client.post(IMAGES, json={"prompt": "a red boat", "seed": 4})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def code(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    return answer.status_code, error["code"]


# ── who may ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_every_route_needs_a_key_with_its_scope(
    url: str, keys: dict[str, str], method: str, path: str, scope: str
) -> None:
    path = path.format(job=uuid4(), asset="0123456789AB", request=uuid4(), id="newsroom", index=0)
    other = {"generate": "reads", "read": "writes", "review": "reads", "audit": "reads", "any": "watches", "metrics": "reads",
             "read or generate": "audits"}[scope]
    if "/assets/" in path:
        other = "audits"
    for key, status, expected in (
        (None, 401, "access.key"), ("fg_abcdefghijkl_" + "x" * 43, 401, "access.key"), ("nonsense", 401, "access.key"),
        (keys[other], 403, "access.scope"),
    ):  # fmt: skip
        with client_of(url, key) as client:
            answer = client.request(method, path, json={"prompt": "a boat"} if method == "POST" else None)
            assert code(answer) == (status, expected), (path, answer.text)
            assert ("www-authenticate" in answer.headers) == (status == 401)


def test_every_described_route_is_in_this_list_or_public(house: Installation) -> None:
    described = create_app(house).openapi()
    assert described["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
    secured = {
        (
            method.upper(),
            re.sub(r"\{(\w+)\}", lambda name: "{" + NAMES.get(name[1], name[1]) + "}", path),
        )
        for path, item in described["paths"].items()
        for method, operation in item.items()
        if {"ApiKey": []} in operation.get("security", [])
    }
    assert secured == {(method, path) for method, path, _ in ROUTES}


def test_what_is_public_stays_public(url: str, made: dict[str, Any]) -> None:
    with client_of(url, None) as client:
        assert client.get(f"/v1/records/{made['data'][0]['asset_id']}").status_code == 200
        assert client.get("/").status_code == 200


def test_a_revoked_key_is_out_at_once(url: str, house: Installation) -> None:
    key, secret = house.access.add("press", "gone", ["creator"])
    with client_of(url, secret) as client:
        assert client.get("/v1/videos").status_code == 200
        house.access.revoke(key.id)
        assert code(client.get("/v1/videos")) == (401, "access.key")


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_picture_is_the_file_that_was_released(press: httpx.Client, made: dict[str, Any]) -> None:
    told = made["filigrana"][0]
    data = base64.b64decode(made["data"][0]["b64_json"])
    assert told["state"] == "released"
    assert told["sha256"] == sha256(data).hexdigest()
    asset = made["data"][0]["asset_id"]
    got = press.get(f"/v1/assets/{asset}/content")
    assert (got.content, got.headers["content-type"]) == (data, "image/png")
    said = press.get(f"/v1/assets/{asset}").json()
    assert said["asset"]["sha256"] == told["sha256"]
    assert said["decision_record"]
    assert said["job"] == told["job"]
    for secret in ("press-user", "a red boat"):
        assert secret not in json.dumps(said)


def test_the_decision_record_is_for_those_who_may_read(url: str, keys: dict[str, str], made: dict[str, Any]) -> None:
    with client_of(url, keys["writes"]) as client:
        assert "decision_record" not in client.get(f"/v1/assets/{made['data'][0]['asset_id']}").json()


def test_ranges_of_a_file_are_sent(press: httpx.Client, made: dict[str, Any]) -> None:
    path, data = f"/v1/assets/{made['data'][0]['asset_id']}/content", base64.b64decode(made["data"][0]["b64_json"])
    part = press.get(path, headers={"Range": "bytes=8-15"})
    assert (part.status_code, part.content) == (206, data[8:16])
    assert part.headers["content-range"] == f"bytes 8-15/{len(data)}"
    assert code(press.get(path, headers={"Range": "bytes=99999999-"})) == (416, "service.range")
    assert code(press.get(path, headers={"Range": "nonsense"})) == (400, "service.range")


def test_a_file_that_was_changed_on_disk_is_not_sent(press: httpx.Client, house: Installation) -> None:
    asset = press.post(IMAGES, json={"prompt": "a boat", "seed": 9}).json()["data"][0]["asset_id"]
    path = house.store.path(f"{asset[:2]}/{asset}.png")
    path.write_bytes(path.read_bytes() + b"x")
    assert code(press.get(f"/v1/assets/{asset}/content")) == (500, "service.content_changed")
    path.unlink()
    assert code(press.get(f"/v1/assets/{asset}/content")) == (503, "service.content")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"), ({"prompt": ""}, "prompt"), ({"prompt": "x" * 4001}, "prompt"), ({"prompt": 7}, "prompt"),
        ({"prompt": "a", "n": 0}, "n"), ({"prompt": "a", "n": 11}, "n"), ({"prompt": "a", "n": True}, "n"),
        ({"prompt": "a", "size": "huge"}, "size"), ({"prompt": "a", "size": "10x10"}, "size"),
        ({"prompt": "a", "seed": -1}, "seed"), ({"prompt": "a", "seed": 2**63 - 1, "n": 2}, "seed"),
        ({"prompt": "a", "guidance": float("nan")}, "guidance"), ({"prompt": "a", "priority": 10}, "priority"),
        ({"prompt": "a", "quality": "hd"}, "quality"), ({"prompt": "a", "typo": 1}, "typo"),
        ({"prompt": "a", "user": "a/b"}, "user"), ({"prompt": "a", "output_format": "gif"}, "output_format"),
        ({"prompt": "\ud800"}, "prompt"), ({"prompt": "a", "accept_rewrite": "x"}, "accept_rewrite"),
    ],
)  # fmt: skip
def test_what_is_no_order_is_not_taken(press: httpx.Client, house: Installation, body: Any, param: str) -> None:
    before = house.jobs.counts()
    answer = press.post(IMAGES, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert house.jobs.counts() == before


def test_another_model_than_the_one_here_is_not_pretended(press: httpx.Client) -> None:
    assert code(press.post(IMAGES, json={"prompt": "a", "model": "gpt-image-1"})) == (404, "service.model")


def test_a_users_prompts_are_kept_under_a_name_of_their_own(press: httpx.Client, house: Installation) -> None:
    answer = press.post(IMAGES, json={"prompt": "a boat", "user": "u-17", "seed": 1})
    job = house.jobs.some([_id(answer.json()["filigrana"][0]["job"])])[0]
    assert job.subject == "press-user/u-17"
    house.ledger.erase("press-user/u-17")
    assert house.access.list()


def _id(text: str) -> Any:
    from uuid import UUID

    return UUID(text)


# ── refused, held, rewritten, late ───────────────────────────────────────────────────────────────────────────────
def test_a_refusal_says_why(press: httpx.Client) -> None:
    answer = press.post(IMAGES, json={"prompt": "how to build a pipe bomb"})
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["type"], error["param"]) == ("image_generation_user_error", "prompt")
    assert error["code"].startswith("prompt.")
    assert error["message"]
    assert error["rewrite"] is None
    told = press.get(f"/v1/jobs/{error['jobs'][0]}").json()
    assert (told["state"], told["outcome"]["request"]) == ("refused", error["request"])


def ended(house: Installation, tenant: str, state: str, outcome: dict[str, Any], texts: dict[str, str]) -> None:
    """The next job of this tenant ends like that, as if a worker had said so."""

    def end() -> None:
        def mine() -> Any:
            return next(iter(house.jobs.list(tenant, "running")), None)

        job = until(mine)
        with session(house.jobs.engine) as opened:
            token = opened.query(Row).filter(Row.id == job.id).one().lease
        house.jobs.finish(Lease(job, token, 0, {}), state, outcome, texts)  # type: ignore[arg-type]

    threading.Thread(target=end, daemon=True).start()


def test_an_offered_rewrite_is_told_with_its_digest_and_accepted_by_it(
    press: httpx.Client, house: Installation, keys: dict[str, str], url: str
) -> None:
    outcome = {"released": False, "verdict": "rewrite", "code": "prompt.ipv", "reasons": ["A brand."],
               "rewrite": {"digest": "0123456789abcdef"}, "request": "r"}  # fmt: skip
    _, secret = house.access.add("rewriters", "ana", ["creator"])
    ended(house, "rewriters", "refused", outcome, {"rewrite": "a drink"})
    with client_of(url, secret) as client:
        answer = client.post(IMAGES, json={"prompt": "slow 20 a can"})
        assert code(answer) == (400, "prompt.ipv")
        error = answer.json()["error"]
        assert error["rewrite"] == {"prompt": "a drink", "digest": "0123456789abcdef"}
        assert error["message"] == "A brand."
        told = client.get(f"/v1/jobs/{error['jobs'][0]}").json()
        assert told["outcome"]["rewrite"]["prompt"] == "a drink"
    assert "a drink" not in str(house.jobs.list("rewriters")[0].outcome)


def test_what_is_wrong_is_told_with_its_name(press: httpx.Client) -> None:
    """A client that shows the message alone, as OpenAI's does, says which field it is about."""
    told = press.post(IMAGES, json={"prompt": "a boat", "quality": "high"}).json()["error"]
    assert (told["param"], told["message"].split(":")[0]) == ("quality", "`quality`")
    told = press.get("/v1/videos", params={"limit": 0}).json()["error"]
    assert (told["param"], told["message"].split(":")[0]) == ("limit", "`limit`")
    told = press.post(IMAGES, json={"prompt": "a boat", "\u202e" + "x" * 300: 1}).json()["error"]
    assert "\u202e" not in told["message"]


def test_what_is_held_is_taken_and_not_there(url: str, house: Installation) -> None:
    _, secret = house.access.add("holders", "ana", ["creator"])
    ended(house, "holders", "held", {"released": False, "code": "prompt.pub", "reasons": ["Somebody."]}, {})
    with client_of(url, secret) as client:
        answer = client.post(IMAGES, json={"prompt": "slow 20 somebody"})
        assert answer.status_code == 202
        assert answer.json()["data"] == []
        assert answer.json()["filigrana"][0]["state"] == "held"
        video = client.get(f"/v1/jobs/{answer.json()['filigrana'][0]['job']}").json()
        assert video["state"] == "held"


@pytest.mark.parametrize(
    ("sent", "says"),
    [({"prompt": "a boat", "size": "big"}, "WIDTHxHEIGHT"), ({"prompt": "a boat", "sede": 1}, "`sede`: there is no such field"),
     ({}, "`prompt`: this field is missing"), ({"prompt": "a boat", "model": "dall-e-3"}, "name `filigrana`"),
     ({"prompt": "a boat", "profiles": ["mars"]}, "laws that it fulfils")],
)  # fmt: skip
def test_what_is_wrong_is_said_in_words(press: httpx.Client, sent: dict[str, Any], says: str) -> None:
    message = press.post(IMAGES, json=sent).json()["error"]["message"]
    assert says in message
    assert "^" not in message, "no pattern"


@pytest.mark.parametrize(
    ("code", "status", "param"),
    [("generate.size", 400, "size"), ("provenance.watermark.too_small", 400, "size"), ("generate.failed", 500, None)],
)
def test_a_job_that_failed_is_answered_with_its_reason(
    url: str, house: Installation, code: str, status: int, param: str | None
) -> None:
    _, secret = house.access.add("wrong", "ana", ["creator"])
    told = {"code": code, "message": "this model draws squares, not 1000x77"}
    ended(house, "wrong", "failed", told, {})
    with client_of(url, secret) as client:
        answer = client.post(IMAGES, json={"prompt": "slow 20 somebody", "size": "1000x77"})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code)
    assert error["message"] == told["message"], "the job tells it to the same tenant, too"


@pytest.mark.parametrize("approved", [True, False])
def test_what_people_decide_becomes_the_jobs_end(tmp_path: Path, approved: bool) -> None:
    """Through the review itself: a guard gave no answer, the output was held, and people looked."""
    house = installed(tmp_path / "data", serve_wait=60)
    try:
        _, secret = house.access.add("press", "ana", ["creator"])
        changes = {"frame_guards": lambda _generated: calm("clip")}
        with running(house) as url, working(house, **changes), client_of(url, secret) as client:
            answer = client.post(IMAGES, json={"prompt": "a boat", "seed": 3})
            assert answer.status_code == 202, answer.text
            assert answer.json()["filigrana"][0]["code"] == "output.guard_failed"
            job = house.jobs.get(_id(answer.json()["filigrana"][0]["job"]))
            intent = intent_of(job.id, job.attempts)
            if approved:
                approve(engine(house, **changes), intent, "ruth", "a boat, nothing else")
            else:
                Desk(house.ledger, house.pack).reject(intent, "ruth", "misleads")
            told = client.get(f"/v1/jobs/{job.id}").json()
            assert told["state"] == ("released" if approved else "refused")
            if approved:
                assert client.get(f"/v1/assets/{told['outcome']['asset_id']}/content").status_code == 200
            else:
                assert told["outcome"]["code"] == "review.refused"
    finally:
        house.close()


def test_what_is_not_made_in_time_can_be_asked_for_again_by_its_key(tmp_path: Path) -> None:
    house = installed(tmp_path / "data", serve_wait=0.3)
    try:
        _, secret = house.access.add("press", "ana", ["creator"])
        with running(house) as url, client_of(url, secret) as client:
            late = client.post(IMAGES, json={"prompt": "a boat", "n": 2})
            assert code(late) == (504, "jobs.waiting")
            assert len(late.json()["error"]["jobs"]) == 2
            assert late.headers["x-should-retry"] == "false"
            key = {"Idempotency-Key": "k1"}
            body = {"prompt": "a boat", "seed": 2}
            first = client.post(IMAGES, json=body, headers=key)
            assert code(first) == (504, "jobs.waiting")
            assert "x-should-retry" not in first.headers
            with working(house):
                until(lambda: not house.jobs.counts().get("queued") and not house.jobs.counts().get("running"))
                again = client.post(IMAGES, json=body, headers=key)
            assert again.status_code == 200
            assert [told["job"] for told in again.json()["filigrana"]] == first.json()["error"]["jobs"]
    finally:
        house.close()


# ── idempotency ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_same_key_and_request_give_the_same_pictures(press: httpx.Client) -> None:
    body, key = {"prompt": "a blue boat", "n": 2, "seed": 11}, {"Idempotency-Key": "order-1"}
    first, again = (press.post(IMAGES, json=body, headers=key).json() for _ in range(2))
    assert [one["asset_id"] for one in first["data"]] == [one["asset_id"] for one in again["data"]]
    for changed in ({**body, "n": 1}, {**body, "prompt": "another"}, {**body, "seed": 12}):
        assert code(press.post(IMAGES, json=changed, headers=key)) == (409, "jobs.key_reused")


def test_a_key_is_one_on_all_routes_and_in_nobodys_way(press: httpx.Client) -> None:
    """For a picture and for a clip it is that of another request; one that looks like a part of another is none."""

    def sent(path: str, key: str, **more: Any) -> httpx.Response:
        return press.post(path, json={"prompt": "a boat", **more}, headers={"Idempotency-Key": key})

    assert sent(IMAGES, "order-3", n=2).status_code == 200
    assert code(sent("/v1/videos", "order-3")) == (409, "jobs.key_reused")
    for part in ("order-3#0", "order-3#1"):
        clip = sent("/v1/videos", part)
        assert clip.status_code == 200, clip.text
        press.delete(f"/v1/videos/{clip.json()['id']}")


def test_one_key_at_once_from_many_is_one_job(press: httpx.Client, url: str, keys: dict[str, str]) -> None:
    found: list[str] = []

    def ask() -> None:
        with client_of(url, keys["press"]) as client:
            answer = client.post("/v1/videos", json={"prompt": "a boat"}, headers={"Idempotency-Key": "order-2"})
            found.append(answer.json()["id"])

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 6


@pytest.mark.parametrize("key", ["", "x" * 201, "a b", "ä"])
def test_a_key_has_bounds(press: httpx.Client, key: str) -> None:
    answer = press.post("/v1/videos", json={"prompt": "a"}, headers={b"Idempotency-Key": key.encode()})
    assert code(answer) == (400, "service.parameter")


# ── clips and jobs ───────────────────────────────────────────────────────────────────────────────────────────────
def test_a_clip_is_a_job_that_can_be_looked_at_and_cancelled(press: httpx.Client, house: Installation) -> None:
    asked = press.post("/v1/videos", json={"prompt": "slow 30 a boat", "seconds": "4", "size": "640x360"})
    video = asked.json()
    assert (video["object"], video["status"], video["seconds"], video["size"]) == ("video", "queued", "4", "640x360")
    assert "a boat" not in asked.text
    path = f"/v1/videos/{video['id']}"
    assert code(press.get(f"{path}/content")) == (409, "jobs.not_released")
    assert code(press.get(f"{path}/content?variant=spritesheet")) == (400, "service.parameter")
    until(lambda: press.get(path).json()["status"] == "in_progress")
    assert press.delete(path).json() == {"id": video["id"], "object": "video.deleted", "deleted": True}
    until(lambda: press.get(path).json()["status"] == "failed")
    assert press.get(path).json()["error"]["code"] == "jobs.cancelled"
    assert house.ledger.state(intent_of(_id(video["id"]), 1)) in ("failed", "abandoned")


def test_clips_are_listed_page_by_page(house: Installation, url: str) -> None:
    _, secret = house.access.add("lister", "ana", ["creator"])
    with client_of(url, secret) as client:
        ids = []
        for number in range(3):
            ids.append(client.post("/v1/videos", json={"prompt": f"slow 60 a boat {number}"}).json()["id"])
        page = client.get("/v1/videos", params={"limit": 2}).json()
        assert ([one["id"] for one in page["data"]], page["has_more"]) == ([ids[2], ids[1]], True)
        rest = client.get("/v1/videos", params={"after": page["last_id"]}).json()
        assert ([one["id"] for one in rest["data"]], rest["has_more"]) == ([ids[0]], False)
        assert [one["id"] for one in client.get("/v1/videos?order=asc").json()["data"]] == ids
        for one in ids:
            client.delete(f"/v1/videos/{one}")


def test_what_was_released_is_never_deleted(press: httpx.Client, made: dict[str, Any], house: Installation) -> None:
    job = made["filigrana"][0]["job"]
    assert code(press.delete(f"/v1/jobs/{job}")) == (409, "jobs.state")
    with session(house.jobs.engine, write=True) as opened:  # as if it had been a clip
        row = opened.query(Row).filter(Row.id == _id(job)).one()
        row.request = {**row.request, "mime": "video/mp4"}
    try:
        assert code(press.delete(f"/v1/videos/{job}")) == (409, "jobs.released")
        said = press.get(f"/v1/videos/{job}").json()
        assert (said["status"], said["progress"], said["size"]) == ("completed", 100, "320x320")
        got = press.get(f"/v1/videos/{job}/content", headers={"Range": "bytes=0-3"})
        assert (got.status_code, got.content) == (206, b"\x89PNG")
    finally:
        with session(house.jobs.engine, write=True) as opened:
            row = opened.query(Row).filter(Row.id == _id(job)).one()
            row.request = {**row.request, "mime": "image/png"}


def test_a_tenant_sees_its_own_things_alone(agency: httpx.Client, press: httpx.Client, made: dict[str, Any]) -> None:
    job, asset = made["filigrana"][0]["job"], made["data"][0]["asset_id"]
    video = press.post("/v1/videos", json={"prompt": "slow 60 a boat"}).json()["id"]
    for path in (f"/v1/jobs/{job}", f"/v1/jobs/{job}/events", f"/v1/videos/{video}", f"/v1/videos/{video}/content",
                 f"/v1/assets/{asset}", f"/v1/assets/{asset}/content"):  # fmt: skip
        assert agency.get(path).status_code == 404, path
    assert agency.delete(f"/v1/jobs/{video}").status_code == 404
    assert agency.delete(f"/v1/videos/{video}").status_code == 404
    assert agency.get("/v1/videos").json()["data"] == []
    assert press.get(f"/v1/videos/{job}").status_code == 404, "a picture is no video"
    assert press.get("/v1/jobs/nonsense").status_code == 404
    press.delete(f"/v1/videos/{video}")


def test_a_full_queue_says_when_to_come_again(tmp_path: Path) -> None:
    house = installed(tmp_path / "data", jobs_tenant_limit=3, serve_wait=0.2)
    try:
        _, secret = house.access.add("press", "ana", ["creator"])
        with running(house) as url, client_of(url, secret) as client:
            for _ in range(2):
                assert client.post("/v1/videos", json={"prompt": "a boat"}).status_code == 200
            full = client.post(IMAGES, json={"prompt": "a boat", "n": 2})
            assert code(full) == (429, "jobs.full")
            assert int(full.headers["retry-after"]) >= 1
            assert house.jobs.counts() == {"queued": 2}, "all of them or none"
    finally:
        house.close()


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────
def told(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line[7:]
        if line.startswith("data: "):
            yield name, json.loads(line[6:])


def test_states_arrive_in_order_and_the_stream_ends_with_the_job(press: httpx.Client) -> None:
    job = press.post("/v1/videos", json={"prompt": "slow 3 a boat"}).json()["id"]
    with press.stream("GET", f"/v1/jobs/{job}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = list(told(answer.iter_lines()))
    states = [event["state"] for name, event in found if name == "state"]
    assert states[-1] in ("released", "failed")
    assert [s for s in ("queued", "running") if s in states] == states[:-1]
    steps = [event["progress"]["done"] for name, event in found if name == "progress" and event["progress"]
             and event["progress"]["stage"] == "generate"]  # fmt: skip
    assert steps == sorted(steps)
    assert steps


def test_streams_are_counted_and_a_client_that_goes_away_frees_its_own(
    press: httpx.Client, agency: httpx.Client, url: str, keys: dict[str, str]
) -> None:
    job = press.post("/v1/videos", json={"prompt": "slow 60 a boat"}).json()["id"]
    place = urlsplit(url)
    opened = []
    for _ in range(2):
        connection = socket.create_connection((place.hostname, place.port))
        connection.sendall(
            f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {keys['press']}\r\n\r\n".encode()
        )
        assert b"200" in connection.recv(100)
        opened.append(connection)
    full = press.get(f"/v1/jobs/{job}/events")
    assert code(full) == (429, "service.streams")
    assert "retry-after" in full.headers
    opened[0].close()

    def again() -> bool:
        with press.stream("GET", f"/v1/jobs/{job}/events") as answer:
            return answer.status_code == 200

    assert until(again, 10)
    opened[1].close()
    press.delete(f"/v1/jobs/{job}")


def test_a_quiet_stream_shows_that_it_lives(
    press: httpx.Client, house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.2)
    job = press.post("/v1/videos", json={"prompt": "slow 60 a boat"}).json()["id"]
    with session(house.jobs.engine, write=True) as opened:
        opened.execute(update(Row).where(Row.id == _id(job)).values(state="queued", run_after=1 << 60))
    with press.stream("GET", f"/v1/jobs/{job}/events") as answer:
        for line in answer.iter_lines():
            if line.startswith(":"):
                break
    press.delete(f"/v1/jobs/{job}")


def test_a_server_that_stops_ends_its_streams(tmp_path: Path) -> None:
    house = installed(tmp_path / "data")
    try:
        _, secret = house.access.add("press", "ana", ["creator"])
        lines: list[str] = []

        def follow(url: str, job: str) -> None:
            with client_of(url, secret) as client, client.stream("GET", f"/v1/jobs/{job}/events") as answer:
                lines.extend(answer.iter_lines())

        with running(house) as url:
            with client_of(url, secret) as client:
                job = client.post("/v1/videos", json={"prompt": "a boat"}).json()["id"]
            thread = threading.Thread(target=follow, args=(url, job), daemon=True)
            thread.start()
            time.sleep(1)
            started = time.monotonic()
        thread.join(10)
        assert not thread.is_alive()
        assert time.monotonic() - started < 10
        assert any(line.startswith("data:") for line in lines)
    finally:
        house.close()
