"""What the people of one tenant see of each other's work: that it is there, and what became of it, but not their words.
And what is told of a clip that is cancelled while somebody works on it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import httpx
import pytest

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.web import events, videos_routes
from filigrana.pipeline.web.console.sessions import Sessions
from filigrana.provenance.identity import AssetId
from filigrana.tests.serving import clients, installed, running
from filigrana.tests.working import until

People = dict[str, httpx.Client]
OFFER = {"prompt": "a fizzy drink", "digest": "0123456789abcdef"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    opened = installed(tmp_path_factory.mktemp("colleagues") / "data")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def people(house: Installation) -> Iterator[People]:
    """No worker: jobs stay where the tests put them."""
    keys = {
        "ana": ("press", ["creator"]), "ben": ("press", ["creator"]), "aud": ("press", ["auditor"]),
        "other": ("agency", ["creator"]),
    }  # fmt: skip
    with running(house) as url, clients(house, url, keys) as each:
        yield each


def video(client: httpx.Client, key: str | None = None, **more: object) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/v1/videos", json={"prompt": "a can of cola", "seed": 3, **more}, headers=headers)


def refused(house: Installation, client: httpx.Client, **more: object) -> str:
    """A clip for which another wording is offered."""
    ident = str(video(client, priority=4, **more).json()["id"])
    lease = house.jobs.lease("w")
    assert lease is not None
    assert str(lease.job.id) == ident
    told = {"released": False, "verdict": "rewrite", "code": "prompt.ipv", "reasons": ["A brand."]}
    told |= {"rewrite": {"digest": OFFER["digest"]}}
    house.jobs.finish(lease, "refused", told, {"rewrite": OFFER["prompt"]})
    return ident


def page(client: httpx.Client, path: str) -> str:
    """As a person who signed in with the client's key sees it."""
    key = client.headers["authorization"].removeprefix("Bearer ")
    with httpx.Client(base_url=client.base_url, timeout=60) as browser:
        assert browser.post("/sign-in", data={"key": key}).status_code == 303
        return browser.get(path).text


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize("more", [{}, {"user": "u-7"}])
def test_an_offered_wording_is_shown_to_whoever_asked_alone(
    people: People, house: Installation, more: dict[str, object]
) -> None:
    ident = refused(house, people["ana"], **more)
    assert people["ana"].get(f"/v1/jobs/{ident}").json()["outcome"]["rewrite"] == OFFER
    for name in ("ben", "aud"):
        for path in (f"/v1/jobs/{ident}", f"/v1/jobs/{ident}/events", f"/v1/videos/{ident}", "/v1/videos"):
            answer = people[name].get(path)
            assert answer.status_code == 200
            assert OFFER["digest"] in answer.text, "it is told that there is one"
            assert OFFER["prompt"] not in answer.text
    assert OFFER["prompt"] in page(people["ana"], f"/work/{ident}")
    assert OFFER["prompt"] not in page(people["ben"], f"/work/{ident}")


def test_a_key_for_idempotency_leads_to_ones_own_job(people: People, house: Installation) -> None:
    mine = video(people["ana"], "order-1").json()["id"]
    assert video(people["ana"], "order-1").json()["id"] == mine
    assert code(video(people["ben"], "order-1")) == (409, "jobs.key_reused"), "another person's request is another one"
    assert code(video(people["ana"], "order-1", user="u-7")) == (409, "jobs.key_reused"), "and so is another user's"
    theirs = video(people["other"], "order-1").json()["id"]
    assert theirs != mine
    assert house.jobs.get(UUID(mine)).subject == "ana"


@pytest.mark.parametrize(
    ("end", "answer"),
    [("released", (409, "jobs.released")), ("held", (409, "jobs.state")), ("cancelled", True), ("", False)],
)
def test_a_clip_is_called_deleted_only_when_that_is_so(
    people: People, house: Installation, monkeypatch: pytest.MonkeyPatch, end: str, answer: object
) -> None:
    """One that is worked on may be released although it was cancelled meanwhile."""
    if not end:
        monkeypatch.setattr(videos_routes, "LETTING_GO", 0.2)
    ident = str(video(people["other"], priority=4).json()["id"])
    lease = house.jobs.lease("w")
    assert lease is not None
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(people["other"].delete, f"/v1/videos/{ident}")
        until(lambda: house.jobs.get(UUID(ident)).cancelled)
        if end:
            told = {"released": True, "asset_id": str(AssetId.random())} if end == "released" else {}
            house.jobs.finish(lease, end, told)
        got = asked.result()
    if not end:
        house.jobs.finish(lease, "cancelled", {})
    assert (code(got) if got.status_code == 409 else got.json()["deleted"]) == answer


@pytest.mark.parametrize("how", ["key", "session"])
def test_whoever_is_let_in_no_more_hears_no_more(
    people: People, house: Installation, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A job may wait for hours, and so may whoever follows it."""
    monkeypatch.setattr(events, "SURE", 0.1)
    ident = video(people["ana"]).json()["id"]
    key, secret = house.access.add("press", "leaver", ["creator"])
    with httpx.Client(base_url=people["ana"].base_url, timeout=30) as client:
        path, headers = f"/v1/jobs/{ident}/events", {"Authorization": f"Bearer {secret}"}
        if how == "session":
            client.post("/sign-in", data={"key": secret})
            path, headers = f"/work/{ident}/events", {}
        with client.stream("GET", path, headers=headers) as answer:
            lines = answer.iter_lines()
            assert next(lines) == "id: 1"
            if how == "key":
                house.access.revoke(key.id)
            else:
                Sessions(house).end(client.cookies["filigrana"])
            assert "queued" in "".join(lines), "it ends, although the job has not"
    assert house.jobs.get(UUID(ident)).state == "queued"


def test_a_film_that_is_sealed_is_no_clip_that_the_model_made(people: People) -> None:
    form = {"source_type": "camera", "format": "mp4"}
    seal = people["ana"].post("/v1/seal", data=form, files={"file": ("film.mp4", b"a film of the harbour")})
    ident = seal.json()["id"]
    assert people["ana"].get(f"/v1/jobs/{ident}").status_code == 200
    assert code(people["ana"].get(f"/v1/videos/{ident}")) == (404, "jobs.unknown")
    assert ident not in people["ana"].get("/v1/videos").text
