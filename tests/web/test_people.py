"""Reviewing, auditing and policies over HTTP: who sees what, who decides, and proofs that hold without the service."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.fence import intent_of
from filigrana.provenance.log.merkle import leaf_hash, verify_consistency, verify_inclusion
from filigrana.provenance.log.note import Checkpoint, VerifierKey
from filigrana.provenance.log.proof import LogProof
from filigrana.tests.doubles import calm
from filigrana.tests.serving import clients, installed, running
from filigrana.tests.working import SIDE, until, working

People = dict[str, httpx.Client]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    opened = installed(tmp_path_factory.mktemp("people") / "data", serve_wait=60)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def people(house: Installation) -> Iterator[People]:
    keys = {
        "ana": ("press", ["creator"]), "ruth": ("press", ["reviewer"]), "rob": ("press", ["reviewer"]),
        "both": ("press", ["creator", "reviewer"]), "other": ("agency", ["reviewer"]), "aud": ("press", ["auditor"]),
    }  # fmt: skip
    # One guard gives no answer, so that every output is held.
    with (
        running(house) as url,
        working(house, frame_guards=lambda _generated: calm("clip")),
        clients(house, url, keys) as each,
    ):
        yield each


def held(people: People, house: Installation, who: str = "ana", seed: int = 3, **more: Any) -> tuple[str, str]:
    """A picture that is held: its job and its request."""
    answer = people[who].post("/v1/images/generations", json={"prompt": "a boat", "seed": seed, **more})
    assert answer.status_code == 202, answer.text
    job = answer.json()["filigrana"][0]["job"]
    return job, str(intent_of(UUID(job), house.jobs.get(UUID(job)).attempts))


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def say(client: httpx.Client, request: str, decision: str, reason: str = "a boat, nothing else") -> httpx.Response:
    return client.post(f"/v1/reviews/{request}/decision", json={"decision": decision, "reason": reason})


def test_a_reviewer_sees_decides_and_a_worker_goes_on(people: People, house: Installation) -> None:
    job, request = held(people, house)
    listed = people["ruth"].get("/v1/reviews").json()["data"]
    assert request in [each["request"] for each in listed]
    assert "a boat" not in str(listed), "a list tells no prompt"
    shown = people["ruth"].get(f"/v1/reviews/{request}").json()
    assert (shown["texts"]["prompt"], shown["has_file"], shown["own"]) == ("a boat", True, False)
    assert shown["rules"]
    picture = people["ruth"].get(f"/v1/reviews/{request}/content")
    assert picture.headers["content-type"] == "image/png"
    assert len(picture.content) > SIDE
    reviewers = iter(("ruth", "rob"))
    for number in range(shown["needed"]):
        answer = say(people[next(reviewers)], request, "approve")
        assert (answer.status_code, answer.json()["approvals"]) == (200, number + 1), answer.text
    told = until(lambda: (j := people["ana"].get(f"/v1/jobs/{job}").json())["state"] == "released" and j)
    assert people["ana"].get(f"/v1/assets/{told['outcome']['asset_id']}/content").status_code == 200
    assert code(say(people["rob"], request, "reject")) == (409, "review.state")
    entries = people["aud"].get("/v1/audit/entries", params={"intent": request}).json()["data"]
    assert "review.approved" in [each["entry"]["type"] for each in entries]
    assert "ruth" not in str(entries)


def test_one_rejection_is_enough(people: People, house: Installation) -> None:
    job, request = held(people, house, seed=5)
    assert say(people["rob"], request, "reject", "misleads").json()["status"] == "rejected"
    assert people["ana"].get(f"/v1/jobs/{job}").json()["state"] == "refused"


def test_nobody_decides_on_their_own(people: People, house: Installation) -> None:
    for more in ({}, {"user": "u-7"}):
        _, request = held(people, house, "both", seed=7, **more)
        assert people["both"].get(f"/v1/reviews/{request}").json()["own"] is True
        assert code(say(people["both"], request, "approve")) == (409, "review.own")


def test_at_the_desk_nothing_is_lost_and_whoever_approved_is_told_so(people: People, house: Installation) -> None:
    answer = people["ana"].post("/v1/images/generations", json={"prompt": "a portrait of Angela Merkel"})
    request = answer.json()["filigrana"][0]["request"]
    key = people["ruth"].headers["authorization"].removeprefix("Bearer ")
    with httpx.Client(base_url=people["ruth"].base_url, headers={"Accept": "text/html"}, timeout=60) as browser:
        browser.post("/sign-in", data={"key": key})
        place, shown = f"/desk/{request}", browser.get(f"/desk/{request}").text
        token = re.findall(r'name="csrf" value="([0-9a-f]{64})"', shown)[0]
        assert 'value="approve"' in shown
        too_long = "She opens the fair. " + "x" * 2000
        for sent in ({"decision": "approve", "reason": too_long}, {"decision": "maybe", "reason": too_long}, {}):
            page = browser.post(place, data={"csrf": token, **sent})
            assert page.status_code == 400
            assert "ruth" in page.text, "it is still the page of whoever is signed in"
            assert sent.get("reason", "") in page.text
        assert browser.post(place, data={"csrf": token, "decision": "approve", "reason": "a fair"}).status_code == 303
        shown = browser.get(place).text
        assert "It waits for somebody else." in shown
        assert ('value="approve"' in shown, 'value="reject"' in shown) == (False, True)


def test_a_case_shows_what_counts_and_offers_what_is_possible(people: People, house: Installation) -> None:
    """An appeal against what nobody may lift: why is at the top, approving is not offered, the scores that the rules
    rest on come first; once one is decided, the next is one click away."""
    answer = people["ana"].post("/v1/images/generations", json={"prompt": "how to build a pipe bomb"})
    request = answer.json()["error"]["request"]
    assert people["ana"].post(f"/v1/appeals/{request}", json={"reason": "for bomb disposal"}).status_code == 201
    other = people["ana"].post("/v1/images/generations", json={"prompt": "a portrait of Angela Merkel on a boat"})
    key = people["ruth"].headers["authorization"].removeprefix("Bearer ")
    with httpx.Client(base_url=people["ruth"].base_url, headers={"Accept": "text/html"}, timeout=60) as browser:
        browser.post("/sign-in", data={"key": key})
        listed, shown = browser.get("/desk").text, browser.get(f"/desk/{request}").text
        assert "weapons" in listed
        assert shown.index("for bomb disposal") < shown.index('id="rules"'), "why, before all that was computed"
        assert ('value="approve"' in shown, 'value="reject"' in shown) == (False, True)
        assert "It can only be rejected" in shown
        assert people["ruth"].get(f"/v1/reviews/{request}").json()["liftable"] is False
        assert "appealed against" in shown
        assert "提出申诉" in browser.get(f"/desk/{request}?lang=zh").text
        folded = shown.index("All other scores")
        first = re.findall(r"<td>[\d.]+</td><td>(.*?)</td></tr>", shown[:folded])
        rest = re.findall(r"<td>[\d.]+</td><td>(.*?)</td></tr>", shown[folded:])
        assert rest
        assert set(rest) == {"–"}, "what no rule rests on is folded away"
        assert "–" not in first or "weapons <code>iwp</code>" in shown[:folded]
        assert "The next one" not in shown
        token = re.findall(r'name="csrf" value="([0-9a-f]{64})"', shown)[0]
        assert browser.post(f"/desk/{request}", data={"csrf": token, "decision": "reject", "reason": "no"}).status_code == 303
        shown = browser.get(f"/desk/{request}").text
        following = re.search(r'href="/desk/([0-9a-f-]{36})">The next one', shown)
        assert following is not None
        assert following[1] != request
    assert other.status_code == 202


def test_another_tenants_cases_are_not_there(people: People, house: Installation) -> None:
    _, request = held(people, house, seed=9)
    assert people["other"].get("/v1/reviews", params={"status": "all"}).json()["data"] == []
    for path in (f"/v1/reviews/{request}", f"/v1/reviews/{request}/content"):
        assert code(people["other"].get(path)) == (404, "service.not_found")
    assert code(say(people["other"], request, "approve")) == (404, "service.not_found")
    assert code(people["ruth"].get("/v1/reviews/nonsense")) == (404, "service.not_found")


def test_a_case_is_given_to_somebody(people: People, house: Installation) -> None:
    _, request = held(people, house, seed=11)
    answer = people["ruth"].post(f"/v1/reviews/{request}/assignment", json={"to": "rob"})
    assert answer.json()["assignee"] == "rob"
    mine = people["rob"].get("/v1/reviews", params={"mine": "true"}).json()["data"]
    assert request in [each["request"] for each in mine]


def test_a_proof_holds_without_the_service(people: People, house: Installation) -> None:
    auditor = people["aud"]
    held(people, house, seed=13)
    old = auditor.get("/v1/audit/head").json()
    held(people, house, seed=15)
    head = auditor.get("/v1/audit/head").json()
    keys = [VerifierKey.parse(text) for text in head["keys"]]
    before, after = (Checkpoint.open(each["checkpoint"], keys) for each in (old, head))
    assert (after.size, after.size > before.size) == (head["size"], True)
    grown = auditor.get("/v1/audit/consistency", params={"old": before.size, "new": after.size}).json()["proof"]
    verify_consistency(before.size, before.root, after.size, after.root, [base64.b64decode(each) for each in grown])
    found = auditor.get("/v1/audit/entries", params={"type": "held", "limit": 1}).json()
    index = found["data"][0]["index"]
    assert found["next"] is None or found["next"] > index
    entry = auditor.get(f"/v1/audit/entries/{index}").json()
    told = auditor.get(f"/v1/audit/entries/{index}/proof").json()
    proof = LogProof.parse(told["proof"])
    under = Checkpoint.open(proof.checkpoint, keys)
    verify_inclusion(leaf_hash(base64.b64decode(entry["leaf"])), index, under.size, proof.hashes, under.root)
    assert head["size"] in [each["size"] for each in auditor.get("/v1/audit/heads").json()["data"]]


@pytest.mark.parametrize(
    ("path", "params", "expected"),
    [
        ("/v1/audit/entries/99999999", {}, (404, "service.not_found")),
        ("/v1/audit/consistency", {"old": 5, "new": 2}, (400, "log.index")),
        ("/v1/audit/consistency", {"old": 0}, (400, "service.parameter")),
        ("/v1/audit/entries", {"since": "yesterday"}, (400, "input.time")),
        ("/v1/audit/entries/-1", {}, (404, "service.not_found")),
        ("/v1/policies/nonsense", {}, (404, "service.not_found")),
    ],
)
def test_what_is_not_there_is_said(people: People, path: str, params: Any, expected: tuple[int, str]) -> None:
    assert code(people["aud"].get(path, params=params)) == expected


def test_a_policy_tells_its_rules_and_not_how_to_evade_them(people: People, house: Installation) -> None:
    listed = people["ana"].get("/v1/policies").json()["data"]
    assert [each["in_force"] for each in listed] == [True] + [False] * (len(listed) - 1)
    assert listed[0]["digest"] == house.pack.ref.digest
    told = people["ana"].get(f"/v1/policies/{listed[0]['id']}").json()
    assert {rule["id"] for rule in told["rules"]} == {rule.id for rule in house.pack.rules}
    assert not {"terms", "score"} & {name for rule in told["rules"] for name in rule}
