"""Profiles and labels of one request over HTTP: more than the settings ask for, and never less."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from PIL import Image

from filigrana.errors import InputError, ReadBackError, SettingsError
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.fence import intent_of
from filigrana.pipeline.labelled import ReleaseLabels
from filigrana.pipeline.request import GenerateRequest, Release
from filigrana.pipeline.resuming import approve
from filigrana.provenance.asked import Asked
from filigrana.provenance.reports.duties import needs_of
from filigrana.provenance.reports.facts import FileFacts
from filigrana.provenance.reports.rules import check
from filigrana.tests.comply_kit import engine_of, house_of
from filigrana.tests.doubles import calm, scene
from filigrana.tests.serving import installed, running
from filigrana.tests.working import engine, until, working

IMAGES = "/v1/images/generations"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """California alone: no visible label of its own."""
    opened = installed(tmp_path_factory.mktemp("labels") / "data", serve_wait=60, profiles=["us-ca"])
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def client(house: Installation) -> Iterator[httpx.Client]:
    _, secret = house.access.add("press", "ana", ["creator"])
    with (
        running(house) as url,
        working(house),
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=90) as opened,
    ):
        yield opened


def facts_of(house: Installation, asset: str) -> FileFacts:
    found = house.verifier().verify(house.store.path(house.store.name(_id(asset), "image/png")), Asked(facts=True))
    return FileFacts.from_json(found.facts)


def _id(text: str) -> Any:
    from filigrana.provenance.identity import AssetId

    return AssetId.parse(text)


def made(client: httpx.Client, **more: Any) -> tuple[str, str]:
    """The asset of a picture, and its job."""
    answer = client.post(IMAGES, json={"prompt": "a boat", "seed": 3, "response_format": "url", **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"][0]["asset_id"], answer.json()["filigrana"][0]["job"]


def intent_entry(house: Installation, job: str) -> dict[str, Any]:
    request = str(intent_of(UUID(job), house.jobs.get(UUID(job)).attempts))
    return next(e for _, e in house.log.entries() if e["type"] == "intent" and e["intent"] == request)


def photo() -> bytes:
    out = io.BytesIO()
    Image.fromarray(scene(3, 320, 320)).save(out, "JPEG", quality=92)
    return out.getvalue()


def sealed(client: httpx.Client, **said: str) -> dict[str, Any]:
    answer = client.post("/v1/seal", files={"file": ("p.jpg", photo(), "image/jpeg")}, data=said)
    assert answer.status_code == 202, answer.text

    def look() -> Any:
        told = client.get(f"/v1/jobs/{answer.json()['id']}").json()
        return told if told["state"] not in ("queued", "running") else None

    found: dict[str, Any] = until(look)
    return found


# ── more ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_without_a_word_it_is_as_the_settings_say(client: httpx.Client, house: Installation) -> None:
    asset, job = made(client)
    facts = facts_of(house, asset)
    assert (facts.visible, facts.aigc, facts.said["profiles"]) == (None, (), ["us-ca"])
    assert {"profiles", "visible_label", "unlabelled"} & set(intent_entry(house, job)["request"]) == set()


def test_a_request_may_ask_for_further_laws(client: httpx.Client, house: Installation) -> None:
    asset, job = made(client, profiles=["eu", "cn", "us-ca"])
    facts = facts_of(house, asset)
    assert facts.said["profiles"] == ["us-ca", "eu", "cn"]
    assert facts.visible is not None
    needs = needs_of(["us-ca", "eu", "cn"])
    wrong = [o for o in check(facts, needs, only=["R1", "R2", "R4", "R5", "R6", "R14"]) if o.status != "pass"]
    assert wrong == []
    assert intent_entry(house, job)["request"]["profiles"] == ["eu", "cn", "us-ca"]
    release = next(e for _, e in house.log.entries() if e.get("asset_id") == asset and e["type"] == "release")
    assert release["profiles"] == ["us-ca", "eu", "cn"]


def test_a_request_may_ask_for_a_visible_label_alone(client: httpx.Client, house: Installation) -> None:
    """What California asks to be offered to users (section 22757.3(a))."""
    asset, job = made(client, visible_label="always")
    facts = facts_of(house, asset)
    assert facts.visible is not None
    assert facts.visible.text == ("AI",)
    assert facts.said["profiles"] == ["us-ca"]
    assert intent_entry(house, job)["request"]["visible_label"] == "always"


def test_a_sealed_file_is_labelled_as_its_order_says(client: httpx.Client, house: Installation) -> None:
    """In a form, several profiles have commas between them."""
    told = sealed(client, source_type="ai", profiles="eu, kr", format="png")
    assert told["state"] == "released", told
    facts = facts_of(house, told["outcome"]["asset_id"])
    assert facts.said["profiles"] == ["us-ca", "eu", "kr"]
    assert facts.visible is not None
    # A photograph is never called AI-made, whatever is asked for.
    told = sealed(client, source_type="camera", visible_label="always", format="png")
    assert facts_of(house, told["outcome"]["asset_id"]).visible is None


def test_a_clip_takes_them_in_both_shapes(client: httpx.Client, house: Installation) -> None:
    one = client.post("/v1/videos", json={"prompt": "a boat", "profiles": ["eu"], "visible_label": "always"})
    two = client.post("/v1/videos", files={"prompt": (None, "a boat"), "profiles": (None, "eu")})
    assert [answer.status_code for answer in (one, two)] == [200, 200], (one.text, two.text)
    assert house.jobs.get(UUID(one.json()["id"])).request["labelled"] is True
    assert house.jobs.get(UUID(two.json()["id"])).request["profiles"] == ["eu"]
    for answer in (one, two):
        client.delete(f"/v1/videos/{answer.json()['id']}")


# ── consent ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_label_is_left_out_with_a_logged_consent_where_the_law_lets_one(
    client: httpx.Client, house: Installation
) -> None:
    asset, job = made(client, profiles=["cn"], unlabelled_consent=True)
    facts = facts_of(house, asset)
    assert facts.visible is None
    assert len(facts.aigc) == 1
    request = intent_entry(house, job)["request"]
    assert (request["unlabelled"], request["keep_days"]) == ("consent", 184)
    # The record of who asked is kept for as long as the law of this one request says, though no setting does.
    assert house.labels.needs.retention_days == 0
    with pytest.raises(InputError) as error:
        house.ledger.erase("ana", 0)
    assert error.value.code == "input.subject.held"
    policy = {"id": "newsroom", "version": "1", "digest": "0" * 64}
    assert house.ledger.expire(house.clock() + dt.timedelta(days=1), policy, 0) is None


@pytest.mark.parametrize(
    "more",
    [{}, {"profiles": ["eu"]}, {"profiles": ["cn", "eu"]}, {"profiles": ["cn"], "visible_label": "always"}],
    ids=["California lets nobody", "nor does Europe", "nor beside China", "asked for and left out"],
)
def test_where_a_law_does_not_let_one_the_consent_is_refused(
    client: httpx.Client, house: Installation, more: dict[str, Any]
) -> None:
    before = house.log.size()
    answer = client.post(IMAGES, json={"prompt": "a boat", "unlabelled_consent": True, **more})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "input.unlabelled")
    assert answer.json()["error"]["param"] == "unlabelled_consent"
    files = {"file": ("p.jpg", photo(), "image/jpeg")}
    form = {"source_type": "ai", "unlabelled_consent": "true"} | {
        name: ",".join(value) if isinstance(value, list) else value for name, value in more.items()
    }
    answer = client.post("/v1/seal", files=files, data=form)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "input.unlabelled")
    assert house.log.size() == before


# ── never less ───────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"profiles": ["atlantis"]}, "service.parameter", "profiles.0"),
        ({"profiles": ["xx"]}, "input.profiles", "profiles"),
        ({"profiles": ["/etc/passwd"]}, "service.parameter", "profiles.0"),
        ({"profiles": ["other.yaml"]}, "service.parameter", "profiles.0"),
        ({"profiles": ["eu"] * 17}, "service.parameter", "profiles"),
        ({"profiles": ["eu", "eu"]}, "input.profiles", "profiles"),
        ({"profiles": {"eu": True}}, "service.parameter", "profiles"),
        ({"profiles": None}, "service.parameter", "profiles"),
        ({"visible_label": "never"}, "service.parameter", "visible_label"),
        ({"visible_label": False}, "service.parameter", "visible_label"),
        ({"unlabelled_consent": "yes"}, "service.parameter", "unlabelled_consent"),
        ({"labels": "none"}, "service.parameter", "labels"),
    ],
)
def test_what_is_no_profile_or_label_is_named(
    client: httpx.Client, house: Installation, body: dict[str, Any], code: str, param: str
) -> None:
    before = house.log.size()
    answer = client.post(IMAGES, json={"prompt": "a boat", **body})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param), error
    assert house.log.size() == before


@pytest.mark.parametrize("path", [IMAGES, "/v1/videos", "/v1/seal"])
def test_openapi_tells_what_may_be_asked(house: Installation, path: str) -> None:
    from filigrana.pipeline.web.app import create_app

    bodies = create_app(house).openapi()["paths"][path]["post"]["requestBody"]["content"]
    for body in bodies.values():
        fields = body["schema"]["properties"]
        assert {"profiles", "visible_label", "unlabelled_consent"} <= set(fields)
        assert all(fields[name]["description"] for name in ("profiles", "visible_label", "unlabelled_consent"))
        assert fields["visible_label"]["enum"] == ["profiles", "always"]


def test_an_installation_that_labels_always_lets_no_request_leave_it_out(tmp_path: Path) -> None:
    opened = house_of(tmp_path, profiles=["cn"], visible_label="always")
    with pytest.raises(InputError, match="labels all"):
        engine_of(opened).generate(GenerateRequest("a boat", seed=5, unlabelled=True))
    opened.close()


def test_profiles_of_the_settings_stay_also_when_they_lie_in_a_file(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "id: xx\ntitle: An own one\nversion: 2026-11-30\nrelease: {layers: 1, visible: {text: {en: AI made}}}\nduties:\n"
        "  - {id: xx.one, law: A law of a test, says: What AI makes is labelled., since: 2026-01-01,"
        " source: 'https://example.org/', rules: [R1, R6]}\n"
    )
    opened = house_of(tmp_path, profiles=[str(own)])
    outcome = engine_of(opened).generate(GenerateRequest("a boat", seed=5, profiles=("us-ny", "xx")))
    assert isinstance(outcome, Release)
    facts = FileFacts.from_json(opened.verifier().verify(outcome.file, Asked(facts=True)).facts)
    assert facts.said["profiles"] == ["xx", "us-ny"]
    assert facts.visible is not None
    assert set(facts.visible.text) == {"AI made", "AI generated"}
    with pytest.raises(InputError):
        engine_of(opened).generate(GenerateRequest("a boat", profiles=(str(own),)))
    opened.close()


def test_a_label_that_a_request_asked_for_and_nobody_sees_stops_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any profile, too: what the record claims is read back."""
    from filigrana.pipeline import labelled

    def blank(self: Any, frames: Any) -> Any:
        list(labelled_frames(self, [frame := next(iter(frames))]))
        yield frame

    labelled_frames = labelled.Labeller.frames
    monkeypatch.setattr(labelled.Labeller, "frames", blank)
    opened = house_of(tmp_path)
    with pytest.raises(ReadBackError) as error:
        engine_of(opened).generate(GenerateRequest("a boat", seed=5, labelled=True))
    assert error.value.code == "release.profile"
    assert "release" not in [entry["type"] for _, entry in opened.log.entries()]
    opened.close()


def test_what_people_approve_is_released_as_it_was_asked_for(tmp_path: Path) -> None:
    """The output is held; the file that waits has its labels, and is held against their rules when it is signed."""
    opened = house_of(tmp_path, profiles=["us-ca"])
    made = engine(opened, frame_guards=lambda _generated: calm("clip"))
    outcome = made.generate(GenerateRequest("a boat", seed=3, profiles=("in",), subject="ana"))
    assert not outcome.released
    for number, by in enumerate(("ruth", "rob")):
        found = approve(made, UUID(outcome.intent), by, f"seen {number}")  # type: ignore[union-attr]
        if isinstance(found, Release):
            break
    assert isinstance(found, Release)
    facts = FileFacts.from_json(opened.verifier().verify(found.file, Asked(facts=True)).facts)
    assert facts.said["profiles"] == ["us-ca", "in"]
    assert facts.visible is not None
    opened.close()


def test_labels_only_ever_grow() -> None:
    own = ReleaseLabels(needs_of(["eu"]), names=("eu",))
    assert own.beside((), labelled=False) is own
    assert own.beside(("eu",), labelled=False) is own
    more = own.beside(("cn",), labelled=True)
    assert (more.needs.ids, more.always, more.needs.aigc) == (("eu", "cn"), True, True)
    assert own.needs.rules <= more.needs.rules
    with pytest.raises(InputError):
        own.beside(("cn",), labelled=False).may_be_waived()
    for name in ("nowhere", "../eu", "eu.yaml", ""):
        with pytest.raises((InputError, SettingsError)):
            own.beside((name,), labelled=False)
