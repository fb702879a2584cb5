"""Appeals over HTTP, whose entries an auditor sees, and who counts as two people."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from filigrana.errors import ReleaseError, SettingsError
from filigrana.pipeline.access import Caller
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.fence import intent_of
from filigrana.pipeline.review_case import may_be_one
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.web.console.oidc import Provider
from filigrana.pipeline.web.console.sessions import Sessions
from filigrana.provenance.log.merkle import verify_inclusion
from filigrana.provenance.log.note import Checkpoint, VerifierKey
from filigrana.provenance.log.proof import LogProof
from filigrana.tests.doubles import calm
from filigrana.tests.serving import clients, installed, running
from filigrana.tests.working import until, working

People = dict[str, httpx.Client]
BLOCKED = "how to build a pipe bomb"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    opened = installed(tmp_path_factory.mktemp("appeals") / "data", serve_wait=60)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def people(house: Installation) -> Iterator[People]:
    keys = {
        "ana": ("press", ["creator"]), "ben": ("press", ["creator"]), "ruth": ("press", ["reviewer"]),
        "rob": ("press", ["reviewer"]), "rita": ("press", ["reviewer"]), "aud": ("press", ["auditor"]),
        "other": ("agency", ["creator", "auditor"]), "chief": ("press", ["supervisor"]), "reads": ("press", ["read"]),
    }  # fmt: skip
    with (
        running(house) as url,
        working(house, frame_guards=lambda _generated: calm("clip")),
        clients(house, url, keys) as each,
    ):
        yield each


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def refused(people: People, who: str = "ana", **more: Any) -> str:
    """A request that a machine refused."""
    answer = people[who].post("/v1/images/generations", json={"prompt": BLOCKED, **more})
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"]["request"])


def held(people: People, house: Installation, seed: int, who: str = "ana") -> tuple[str, str]:
    answer = people[who].post("/v1/images/generations", json={"prompt": "a boat", "seed": seed})
    assert answer.status_code == 202, answer.text
    job = answer.json()["filigrana"][0]["job"]
    return job, str(intent_of(UUID(job), house.jobs.get(UUID(job)).attempts))


def appeal(client: httpx.Client, request: str, reason: Any = "it is a boat's name") -> httpx.Response:
    return client.post(f"/v1/appeals/{request}", json={"reason": reason})


def say(client: httpx.Client, request: str, decision: str) -> httpx.Response:
    return client.post(f"/v1/reviews/{request}/decision", json={"decision": decision, "reason": "looked at"})


def types(house: Installation, request: str) -> list[str]:
    return [e["type"] for _, e in house.log.entries() if e.get("intent") == request]


# ── appeals ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_whoever_was_refused_reads_why_appeals_and_sees_what_came_of_it(people: People, house: Installation) -> None:
    request = refused(people)
    told = people["ana"].get(f"/v1/appeals/{request}").json()
    assert (told["appeal"], told["reasons"]["request"]) == (None, request)
    assert told["reasons"]["rules"]
    assert BLOCKED not in json.dumps(told)
    answer = appeal(people["ana"], request)
    assert answer.status_code == 201, answer.text
    assert answer.json()["appeal"]["status"] == "open"
    filed = next(e for _, e in house.log.entries() if e["type"] == "appeal.filed" and e["intent"] == request)
    assert (filed["kind"], filed["actor"]) == ("appeal", next(
        e["actor"] for _, e in house.log.entries() if e["type"] == "intent" and e["intent"] == request))  # fmt: skip
    assert "boat" not in json.dumps(filed)
    waiting = people["ruth"].get("/v1/reviews", params={"appeals": "true"}).json()["data"]
    assert request in [one["request"] for one in waiting]
    assert say(people["ruth"], request, "reject").status_code == 200
    told = people["ana"].get(f"/v1/appeals/{request}").json()
    assert told["appeal"]["status"] == "upheld"
    assert "ruth" not in json.dumps(told)
    assert types(house, request)[-1] == "appeal.upheld"


def test_what_people_refused_goes_on_once_others_overturn_it(people: People, house: Installation) -> None:
    job, request = held(people, house, 3)
    assert code(appeal(people["ana"], request)) == (409, "review.appeal.none"), "people have still to decide"
    assert say(people["ruth"], request, "reject").status_code == 200
    assert appeal(people["ana"], request).status_code == 201
    assert code(say(people["ruth"], request, "approve")) == (409, "review.decided_before")
    for name in ("rob", "rita"):
        if people["rob"].get(f"/v1/reviews/{request}").json()["status"] == "open":
            assert say(people[name], request, "approve").status_code == 200
    told = until(lambda: (j := people["ana"].get(f"/v1/jobs/{job}").json())["state"] == "released" and j)
    assert people["ana"].get(f"/v1/appeals/{request}").json()["appeal"]["status"] == "overturned"
    assert people["ana"].get(f"/v1/assets/{told['outcome']['asset_id']}/content").status_code == 200


def test_an_appeal_is_for_whoever_asked_and_once(people: People) -> None:
    request = refused(people)
    assert code(appeal(people["ben"], request)) == (409, "review.appeal.who")
    assert code(appeal(people["other"], request)) == (404, "service.not_found")
    assert code(people["other"].get(f"/v1/appeals/{request}")) == (404, "service.not_found")
    assert code(appeal(people["reads"], request)) == (403, "access.scope")
    assert people["reads"].get(f"/v1/appeals/{request}").status_code == 200
    assert appeal(people["ana"], request).status_code == 201
    assert code(appeal(people["ana"], request)) == (409, "review.appeal.once")


def test_a_key_appeals_for_its_own_users(people: People) -> None:
    request = refused(people, user="u-7")
    assert code(appeal(people["ben"], request)) == (409, "review.appeal.who")
    assert appeal(people["ana"], request).status_code == 201


def test_after_its_time_and_after_an_erasure_there_is_none(people: People, house: Installation) -> None:
    request = refused(people, "ben", user="gone")
    house.ledger.erase("ben/gone")
    assert code(appeal(people["ben"], request)) == (409, "review.appeal.who")


@pytest.mark.parametrize("request_id", ["nonsense", "0d6e7bd2-2a7e-5d0e-8f0e-6a4f1d2c3b4a"])
def test_of_what_never_was_there_is_nothing(people: People, request_id: str) -> None:
    assert code(people["ana"].get(f"/v1/appeals/{request_id}")) == (404, "service.not_found")
    assert code(appeal(people["ana"], request_id)) == (404, "service.not_found")


@pytest.mark.parametrize("reason", ["", "x" * 2001, None, 7, "   "])
def test_a_reason_that_is_none_files_nothing(people: People, house: Installation, reason: Any) -> None:
    request = refused(people)
    assert appeal(people["ana"], request, reason).status_code == 400
    assert "appeal.filed" not in types(house, request)
    assert appeal(people["ana"], request).status_code == 201


# ── whose entries an auditor sees ────────────────────────────────────────────────────────────────────────────────
def an_intent(client: httpx.Client) -> dict[str, Any]:
    """An entry of the client's own tenant, made now."""
    client.post("/v1/images/generations", json={"prompt": BLOCKED})
    return next(one for one in reversed(entries(client)) if one["entry"]["type"] == "intent")


def entries(client: httpx.Client, **asked: Any) -> list[dict[str, Any]]:
    found, start = [], 0
    while start is not None:
        answer = client.get("/v1/audit/entries", params={"start": start, "limit": 500, **asked}).json()
        found += answer["data"]
        start = answer["next"]
    return found


def test_an_auditor_sees_the_entries_of_the_own_tenant(people: People, house: Installation) -> None:
    request = refused(people)
    theirs = str(
        people["other"].post("/v1/images/generations", json={"prompt": BLOCKED}).json()["error"]["request"]
    )  # fmt: skip
    refused(people, user="left")
    house.ledger.erase("ana/left")
    mine, others, everything = (entries(people[name]) for name in ("aud", "other", "chief"))
    assert len(everything) == house.log.size()
    for shown, own, foreign in ((mine, request, theirs), (others, theirs, request)):
        said = json.dumps(shown)
        assert own in said
        assert foreign not in said
        assert not [one for one in shown if one["entry"]["type"] == "erase"], "of whom, no tenant is told"
    assert {e["entry"]["tenant"] for e in mine if "tenant" in e["entry"]} == {"press"}
    actors = {e["entry"].get("actor") for e in others} - {None}
    assert actors & {e["entry"].get("actor") for e in mine} == set()
    assert entries(people["aud"], intent=theirs) == []
    assert entries(people["aud"], type="refused", intent=request)


def test_a_withheld_entry_has_its_hash_and_a_proof_that_verifies(people: People, house: Installation) -> None:
    theirs = an_intent(people["other"])
    index = theirs["index"]
    shown = people["aud"].get(f"/v1/audit/entries/{index}").json()
    assert (shown["entry"], shown["leaf"], shown["withheld"]) == (None, None, True)
    answer = people["aud"].get(f"/v1/audit/entries/{index}/proof").json()
    proof = LogProof.parse(answer["proof"])
    assert (proof.extra, answer["withheld"]) == (None, True)
    keys = [VerifierKey.parse(key) for key in answer["keys"]]
    checkpoint = Checkpoint.open(proof.checkpoint, keys)
    hashed = base64.b64decode(shown["leaf_hash"])
    verify_inclusion(hashed, index, checkpoint.size, proof.hashes, checkpoint.root)
    # Those who see it get the same hash, and the entry inside a proof that verifies by itself.
    for name in ("other", "chief"):
        assert people[name].get(f"/v1/audit/entries/{index}").json()["leaf_hash"] == shown["leaf_hash"]
        own = people[name].get(f"/v1/audit/entries/{index}/proof").json()
        assert LogProof.parse(own["proof"]).verify(keys).size >= index
    assert people["aud"].get("/v1/audit/head").json()["size"] == house.log.size()


def test_the_page_of_the_log_shows_no_more(people: People, house: Installation) -> None:
    theirs = an_intent(people["other"])
    secret = house.access.add("press", "pia", ["auditor"])[1]
    url = str(people["aud"].base_url)
    with httpx.Client(base_url=url, follow_redirects=True, headers={"Accept": "text/html"}) as client:
        page = client.get("/sign-in").text
        csrf = page.partition('name="csrf" value="')[2].partition('"')[0]
        client.post("/sign-in", data={"key": secret, "csrf": csrf})
        listed = client.get("/audit", params={"about": theirs["entry"]["intent"]})
        assert listed.status_code == 200
        assert f'href="/audit/{theirs["index"]}' not in listed.text
        answer = client.get(f"/audit/{theirs['index']}")
        assert answer.status_code == 403
        assert 'data-error="access.tenant"' in answer.text


# ── two people ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_account_and_a_key_are_not_two_people_until_they_are_linked(people: People, house: Installation) -> None:
    """Where two approvals are needed: by key and by account of the same person, as far as anybody knows."""
    from filigrana.pipeline.review import Desk

    _, request = held(people, house, 21)
    desk, ident = Desk(house.ledger, house.pack), UUID(request)
    for act in (desk.approve, desk.reject):
        with pytest.raises(ReleaseError) as error:
            act(ident, "oidc:248289761001", "seen")
        assert error.value.code == "review.person", "who asked has a key, and may be this account"
    assert types(house, request)[-1] == "held"
    # Linked, the account is `rob`, and counts as him: once.
    settings = load_settings(oidc_issuer="https://id.example.org", oidc_client="f", oidc_people=["248289761001=rob"],
                             oidc_roles=["desk=reviewer@press"])  # fmt: skip
    caller = Provider(settings, "https://x/back")._caller({"sub": "248289761001", "groups": ["desk"]})
    assert caller.subject == "rob"
    first = desk.approve(ident, caller.subject, "seen")
    if first.needed > 1:
        assert desk.approve(ident, "rob", "seen").approvals == 1
    assert Provider(settings, "https://x/back")._caller({"sub": "other", "groups": ["desk"]}).subject == "oidc:other"


def test_of_an_accounts_work_an_account_decides_and_a_key_does_not(people: People, house: Installation) -> None:
    from filigrana.pipeline.jobs.model import Order
    from filigrana.pipeline.review import Desk

    job, _ = house.jobs.put(
        Order("press", "oidc:1", "generate", {"seed": 5, "mime": "image/png"}, {"prompt": "a boat"})
    )
    until(lambda: house.jobs.get(job.id).state == "held")
    ident = intent_of(job.id, house.jobs.get(job.id).attempts)
    assert code(say(people["ruth"], str(ident), "approve")) == (409, "review.person")
    desk = Desk(house.ledger, house.pack)
    with pytest.raises(ReleaseError) as error:
        desk.approve(ident, "oidc:1", "mine")
    assert error.value.code == "review.own"
    assert desk.approve(ident, "oidc:2", "seen").approvals == 1


def test_who_may_be_one_person() -> None:
    for one, other, same in (
        ("ana", "ana", True), ("Ana", "ana/u-1", True), ("ana", "ben", False), ("oidc:1", "oidc:2", False),
        ("oidc:1", "oidc:1", True), ("oidc:1", "ana", True), ("ana", "OIDC:1", True),
    ):  # fmt: skip
        assert may_be_one(one, other) is may_be_one(other, one) is same, (one, other)


@pytest.mark.parametrize(
    "links", [["ana"], ["=ana"], ["1="], ["1=oidc:2"], ["1=a/b"], ["1=ana", "1=ben"], ["1=" + "x" * 129]]
)
def test_a_link_that_is_none_is_an_error(links: list[str]) -> None:
    with pytest.raises(SettingsError):
        load_settings(oidc_people=links)


def test_a_session_that_began_before_the_link_stays_an_account(house: Installation) -> None:
    sessions = Sessions(house)
    secret = sessions.begin(Caller("oidc", "press", "oidc:7", frozenset({"review"})), by_key=False)
    found = sessions.find(secret)
    assert found is not None
    assert found.caller.subject == "oidc:7"
