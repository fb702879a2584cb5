"""The rules R1 to R16: for each a file that passes, and at least three that fail it for different reasons."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from filigrana.errors import InputError, ReadBackError, SettingsError
from filigrana.pipeline.comply import Complying, _holds, seen_label
from filigrana.pipeline.comply_house import refusals, retention, service
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import GenerateRequest, Release, SealRequest
from filigrana.provenance.asked import Asked
from filigrana.provenance.identity import AssetId
from filigrana.provenance.labelling.aigc import Aigc
from filigrana.provenance.labelling.visible import Wanted
from filigrana.provenance.log.note import VerifierKey
from filigrana.provenance.log.proof import LogProof
from filigrana.provenance.media import encode_picture
from filigrana.provenance.reports.duties import Needs, builtin, load, needs_of, parse
from filigrana.provenance.reports.facts import FileFacts, HouseFacts
from filigrana.provenance.reports.rules import GATE, RULES, check
from filigrana.provenance.reports.rules_house import refusal_faults
from filigrana.tests.comply_kit import (
    ALL,
    Crafted,
    Listener,
    assertion,
    clip,
    covered,
    engine_of,
    grey,
    house_of,
    record_of,
    wav,
    without,
)
from filigrana.tests.doubles import scene
from filigrana.tests.signing_kit import Kit

EVERY = replace(needs_of(list(ALL)), rules=frozenset(RULES))
OTHER = AssetId(0x123456789ABCDEF)
IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    opened = house_of(tmp_path_factory.mktemp("comply"), profiles=list(ALL), serve_url="https://check.example.org")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def released(house: Installation) -> Release:
    outcome = engine_of(house).generate(GenerateRequest("a red sailboat on a blue sea", seed=5))
    assert isinstance(outcome, Release)
    return outcome


@pytest.fixture(scope="module")
def crafted(house: Installation, released: Release, tmp_path_factory: pytest.TempPathFactory) -> Crafted:
    return Crafted(house, tmp_path_factory.mktemp("crafted"), released.asset_id)


def status(rule: str, facts: FileFacts, around: HouseFacts | None = None, needs: Needs = EVERY) -> tuple[str, str]:
    (outcome,) = check(facts, needs, around, only=[rule])
    return outcome.status, outcome.detail


# ── what is released passes ──────────────────────────────────────────────────────────────────────────────────────
def test_a_released_picture_passes_every_rule_but_the_robustness_report_of_another_code(
    house: Installation, released: Release
) -> None:
    checked = Complying(house, EVERY).one("boat.png", released.file)
    found = {outcome.rule: outcome for outcome in checked.outcomes}
    assert list(found) == list(RULES)
    left = {rule: o.detail for rule, o in found.items() if o.status not in ("pass", "none")}
    # The report in the sources is of the code that it was made with: the rule says so where that has changed.
    assert set(left) <= {"R15"}, left
    assert checked.facts is not None
    assert checked.facts.visible is not None
    assert checked.facts.visible.by == "ocr"


def test_a_crafted_picture_passes_the_rules_of_the_file(crafted: Crafted) -> None:
    """The control of everything below: what differs from it by one thing fails by that thing."""
    facts = crafted.facts(crafted.picture())
    assert {o.rule: o.detail for o in check(facts, EVERY, only=GATE) if o.status != "pass"} == {}


Made = Callable[[Crafted], Path]


def _edit(change: Callable[[dict[str, Any]], Any], **options: Any) -> Made:
    def make(crafted: Crafted) -> Path:
        def edit(made: dict[str, Any]) -> dict[str, Any]:
            change(made)
            return made

        return crafted.picture(edit=edit, **options)

    return make


def _recorded(**changes: Any) -> Made:
    return lambda crafted: crafted.picture(record=record_of(None, **changes))


def _action(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(made: dict[str, Any]) -> None:
        first = assertion(made, "c2pa.actions")["actions"][0]
        for name, value in changes.items():
            first.pop(name, None) if value is None else first.update({name: value})

    return change


def _stranger(crafted: Crafted) -> Path:
    """Signed by somebody whom nobody here trusts."""
    kit = Kit.make(crafted.folder / "stranger")
    return kit.picture(crafted.folder)


def _changed(crafted: Crafted) -> Path:
    path = crafted.picture(mime="image/jpeg")
    data = bytearray(path.read_bytes())
    data[-2000] ^= 0x55
    path.write_bytes(data)
    return path


def _object(**changes: str | None) -> Made:
    def make(crafted: Crafted) -> Path:
        found = json.loads(Aigc.first("Filigrana", str(crafted.ident)).text())
        for name, value in changes.items():
            if value is None:
                del found["AIGC"][name]
            else:
                found["AIGC"][name] = value
        return crafted.picture(aigc=json.dumps(found, separators=(",", ":")))

    return make


def _twice(crafted: Crafted) -> Path:
    text = Aigc.first("Filigrana", str(crafted.ident)).text().replace('"', "&quot;")
    return crafted.picture(xmp=lambda packet: packet.replace("</rdf:RDF>", f"<rdf:Description xmlns:b='http://b' b:AIGC='{text}'/></rdf:RDF>"))  # fmt: skip


def _unbound(made: dict[str, Any]) -> None:
    without(made, "c2pa.soft-binding")
    actions = assertion(made, "c2pa.actions")
    actions["actions"] = [one for one in actions["actions"] if one["action"] != "c2pa.watermarked.bound"]


def _from_parent(change: Callable[[dict[str, Any]], Any], *, changed: bool = False) -> Made:
    """Sealed from a file with credentials of its own; ``changed``: which do not hold any more."""

    def make(crafted: Crafted) -> Path:
        parent = crafted.picture()
        if changed:
            data = bytearray(parent.read_bytes())
            data[-2000] ^= 0x55
            parent.write_bytes(data)
        return _edit(change, source_type="ai", parent=parent)(crafted)

    return make


def _opened(**had: Any) -> Made:
    """Sealed from a parent that had credentials, or had not."""

    def make(crafted: Crafted) -> Path:
        parent = crafted.folder / "parent.png"
        parent.write_bytes(encode_picture(scene(7), "image/png"))
        record = record_of(None, source={"sha256": "0" * 64, "had": had})
        return crafted.picture(record=record, source_type="ai", parent=parent)

    return make


FAILS: list[tuple[str, str, str, Made]] = [
    ("R1", "no credentials", "no Content Credentials", lambda c: c.picture(signed=False)),
    ("R1", "a stranger's signature", "not trusted", _stranger),
    ("R1", "changed content", "invalid", _changed),
    ("R1", "a source type that is no URI", "no full IPTC URI",
     _edit(_action(digitalSourceType="https://example.org/trainedAlgorithmicMedia"))),
    ("R1", "no source type", "has a digital source type", _from_parent(_action(digitalSourceType=None))),
    ("R2", "nothing signed", "nothing that is signed", lambda c: c.picture(signed=False)),
    ("R2", "no version", "without its version", _recorded(system="double")),
    ("R2", "no provider", "no provider", _recorded(provider=" ")),
    ("R2", "no id", "no unique id",
     _edit(lambda made: _unbound(without(made, "org.filigrana.record")))),
    ("R3", "no mark", "no watermark decodes", lambda c: c.picture(marked=None)),
    ("R3", "another asset's mark", "and its credentials name", lambda c: c.picture(marked=OTHER)),
    ("R3", "an asset that nobody knows", "no catalog", lambda c: c.picture(ident=OTHER)),
    ("R3", "a mark that is not bound", "do not bind", _edit(_unbound)),
    ("R4", "no XMP", "no XMP", lambda c: c.picture(xmp=lambda _text: None)),
    ("R4", "another source type", "the XMP says digitalCapture",
     lambda c: c.picture(xmp=lambda text: text.replace("trainedAlgorithmicMedia", "digitalCapture"))),
    ("R4", "a short source type", "no full IPTC URI", lambda c: c.picture(xmp=lambda text: text.replace(IPTC, ""))),
    ("R4", "another asset", "names another asset",
     lambda c: c.picture(xmp=lambda text: text.replace(f"asset:{c.ident}", f"asset:{OTHER}"))),
    ("R5", "none", "no AIGC label", lambda c: c.picture(aigc=None)),
    ("R5", "two", "2 AIGC labels", _twice),
    ("R5", "a key less", "without ReservedCode2", _object(ReservedCode2=None)),
    ("R5", "a key more", "unknown keys", _object(Further="x")),
    ("R5", "a label that there is not", "not 1, 2 or 3", _object(Label="4")),
    ("R5", "characters that may not be", "characters", _object(ContentProducer="Fili grana", ContentPropagator="Fili grana")),
    ("R5", "another propagator", "on first writing", _object(ContentPropagator="Somebody")),
    ("R6", "none", "no visible label", lambda c: c.picture(wanted=None)),
    ("R6", "too small", "of the shorter side", lambda c: c.picture(wanted=Wanted(("AI生成",), 0.03, "top-right"))),
    ("R6", "words that are missing", "has not the words", lambda c: c.picture(wanted=Wanted(("AI made",), 0.05, "top-right"))),
    ("R6", "painted over", "no visible label", lambda c: c.picture(paint=lambda rgb, box: grey(rgb, box, 90, 90))),
    ("R7", "no credentials", "no Content Credentials", lambda c: c.picture(signed=False)),
    ("R7", "opened from a file that was changed", "do not hold", _from_parent(lambda _made: None, changed=True)),
    ("R7", "credentials that are gone", "which are gone", _opened(credentials="urn:c2pa:x")),
    ("R7", "an AIGC label of another producer", "another producer", _opened(aigc="Somebody")),
    ("R11", "no record", "no decision record", _edit(lambda made: without(made, "org.filigrana.record"))),
    ("R11", "a stranger's record", "not signed by anybody", _stranger),
    ("R11", "no digest of the policy", "policy's digest", _recorded(policy={"id": "newsroom", "version": "1.0.0"})),
    ("R11", "no decision", "no decision is recorded", _recorded(decisions=[])),
    ("R11", "a model without digest", "names no digest",
     _recorded(decisions=[{"side": "output", "guards": [{"guard": "nsfw", "model": "newest"}]}])),
    ("R11", "nobody judged, and nothing says so", "names no guard", _recorded(decisions=[{"side": "output", "guards": []}])),
    ("R13", "no credentials", "no time-stamp", lambda c: c.picture(signed=False)),
    ("R13", "no time-stamp", "no time-stamp", lambda c: c.picture(stamped=False)),
    ("R13", "another authority", "on no list", _stranger),
    ("R14", "none", "no visible label", lambda c: c.picture(wanted=None)),
    ("R14", "hardly any contrast", "the contrast is", lambda c: c.picture(paint=lambda rgb, box: grey(rgb, box, 100, 150))),
    ("R14", "at another place", "top right", lambda c: c.picture(wanted=Wanted(("AI生成",), 0.05, "auto"))),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "name", "said", "make"), FAILS, ids=[f"{r} {n}" for r, n, _, _ in FAILS])
def test_a_file_that_breaks_a_rule_fails_it_for_its_reason(
    crafted: Crafted, rule: str, name: str, said: str, make: Made
) -> None:
    found, detail = status(rule, crafted.facts(make(crafted)))
    assert found == "fail", detail
    assert said in detail


def test_every_rule_has_three_files_or_houses_that_fail_it() -> None:
    files = {rule: {name for r, name, _, _ in FAILS if r == rule} for rule in RULES}
    houses = {rule: {name for r, name, _, _ in HOUSES if r == rule} for rule in RULES}
    assert {rule for rule in RULES if len(files[rule] | houses[rule]) < 3} == set()


GOOD_HOUSE = HouseFacts(
    answer={"file": "a.png", "finding": "verified", "evidence": [{"technique": "watermark", "status": "ok", "detail": ""}]},
    service={"upload": True, "url": True, "api": True, "address": "https://check.example.org"},
    proof=(True, "entry 3 in a signed tree of 4"),
    retention={"days": 365, "erasure": "works", "logged": True},
    lists_apart=True,
    robustness={
        "algorithms": ["org.filigrana.dft.1"], "version": "1", "installed": "1", "code": "a", "installed_code": "a",
        "errors": 0, "sections": ["picture"], "made": "2026-11-22", "met": False,
    },
    refusals=(2, ()),
)  # fmt: skip


def _robust(**changes: Any) -> HouseFacts:
    return replace(GOOD_HOUSE, robustness={**(GOOD_HOUSE.robustness or {}), **changes})


HOUSES: list[tuple[str, str, str, HouseFacts]] = [
    ("R8", "a key that is not listed", "not on the list", replace(GOOD_HOUSE, answer={"subject": "x"})),
    ("R8", "an address", "e-mail", replace(GOOD_HOUSE, answer={"signer": "Ana <ana@example.org>"})),
    ("R8", "who asked", "the log knows", replace(GOOD_HOUSE, answer={"headline": "by actor:0123456789abcdef"})),
    ("R8", "a place", "coordinates", replace(GOOD_HOUSE, answer={"explanation": ["at 40.41678, -3.70379"]})),
    ("R9", "no URL", "takes no URL", replace(GOOD_HOUSE, service={"upload": True, "url": False, "api": True, "address": "https://a"})),
    ("R9", "no address", "no public address", replace(GOOD_HOUSE, service={"upload": True, "url": True, "api": True, "address": None})),
    ("R9", "no technique", "which technique", replace(GOOD_HOUSE, answer={"evidence": []})),
    ("R10", "another tree", "does not hold", replace(GOOD_HOUSE, proof=(False, "the proof does not hold: the root differs"))),
    ("R10", "other bytes", "other bytes", replace(GOOD_HOUSE, proof=(False, "the proof is of other bytes than these"))),
    ("R10", "no release", "not of a release", replace(GOOD_HOUSE, proof=(False, "the proof is of an entry of type intent, not of a release"))),
    ("R12", "no period", "no retention period", replace(GOOD_HOUSE, retention={"days": None, "erasure": "works", "logged": True})),
    ("R12", "too short", "184 are asked for", replace(GOOD_HOUSE, retention={"days": 30, "erasure": "works", "logged": True})),
    ("R12", "an erasure that does not erase", "can still be read",
     replace(GOOD_HOUSE, retention={"days": 365, "erasure": "the text can still be read", "logged": True})),
    ("R12", "an erasure without entry", "no entry", replace(GOOD_HOUSE, retention={"days": 365, "erasure": "works", "logged": False})),
    ("R13", "one root on both lists", "both on a list", replace(GOOD_HOUSE, lists_apart=False)),
    ("R15", "none", "no robustness report", replace(GOOD_HOUSE, robustness={"error": "none lies here"})),
    ("R15", "of another mark", "carries org.filigrana.dft.1", _robust(algorithms=["trustmark"])),
    ("R15", "of another version", "of version 0", _robust(version="0")),
    ("R15", "of other code", "has changed since", _robust(installed_code="b")),
    ("R15", "without pictures", "no measurement of this kind", _robust(sections=["sound"])),
    ("R16", "no reason", "gives no reason", replace(GOOD_HOUSE, refusals=(1, ("the refusal of x gives no reason",)))),
    ("R16", "no appeal", "no time for an appeal", replace(GOOD_HOUSE, refusals=(1, ("the refusal of x names no time for an appeal",)))),
    ("R16", "no code", "no code", replace(GOOD_HOUSE, refusals=(1, ("the refusal of x has no code",)))),
]  # fmt: skip


@pytest.fixture(scope="module")
def good(crafted: Crafted) -> FileFacts:
    return crafted.facts(crafted.picture())


@pytest.mark.parametrize("rule", [rule.id for rule in RULES.values() if rule.of != "file"])
def test_a_house_that_keeps_the_rule_passes(good: FileFacts, rule: str) -> None:
    assert status(rule, good, GOOD_HOUSE)[0] == "pass"


@pytest.mark.parametrize(("rule", "name", "said", "around"), HOUSES, ids=[f"{r} {n}" for r, n, _, _ in HOUSES])
def test_a_house_that_breaks_a_rule_fails_it(
    good: FileFacts, rule: str, name: str, said: str, around: HouseFacts
) -> None:
    found, detail = status(rule, good, around)
    assert found == "fail", detail
    assert said in detail


def test_what_nobody_could_look_at_is_open_and_no_pass(good: FileFacts) -> None:
    left = {o.rule for o in check(good, EVERY) if o.status == "open"}
    assert left == {"R8", "R9", "R10", "R12", "R15", "R16"}


# ── the same of a real house: nothing is taken on its word ───────────────────────────────────────────────────────
def test_a_proof_is_of_a_release_of_these_bytes_and_of_this_log(
    house: Installation, released: Release, good: FileFacts, tmp_path: Path
) -> None:
    """R10 on real proofs of a real log: one that holds, and four that do not, each for its reason."""
    here, index = house.log, released.log.index
    facts = replace(good, sha256=released.sha256)
    other = house_of(tmp_path)
    other.log.append({"type": "note"})
    intent = next(i for i, entry in here.entries() if entry["type"] == "intent")

    def r10(text: str, keys: list[VerifierKey], of: FileFacts = facts) -> tuple[str, str]:
        return status("R10", of, HouseFacts(proof=_holds(LogProof.parse(text), keys, of)))

    proof = here.prove(index, embed_entry=True)
    assert r10(proof, list(here.keys))[0] == "pass"
    for said, found in (
        ("does not hold", r10(proof, list(other.log.keys))),
        ("does not hold", r10(proof.replace(f"index {index}", f"index {index - 1}"), list(here.keys))),
        ("does not hold", r10(here.prove(index), list(here.keys))),
        ("of other bytes", r10(proof, list(here.keys), replace(facts, sha256="0" * 64))),
        ("not of a release", r10(here.prove(intent, embed_entry=True), list(here.keys))),
    ):
        assert found[0] == "fail"
        assert said in found[1]
    other.close()


def test_a_refusal_in_the_log_has_reason_code_and_time(house: Installation, good: FileFacts, tmp_path: Path) -> None:
    """R16 on the entry of a real refusal, and on the same entry with one thing less."""
    from filigrana.safety.decision import HAZARDS
    from filigrana.tests.doubles import FakeGuard

    opened = house_of(tmp_path)
    bad = FakeGuard("classifier", dict.fromkeys(HAZARDS, 0.999))
    assert not engine_of(opened, text_guards=(bad,)).generate(GenerateRequest("a red sailboat")).released
    assert status("R16", good, HouseFacts(refusals=refusals(opened)))[0] == "pass"
    entry = next(entry for _, entry in opened.log.entries() if entry["type"] == "refused")
    assert refusal_faults(entry) == []
    for less, said in (
        ({"rules": []}, "gives no reason"),
        ({"rules": [{**entry["rules"][0], "reason": " "}]}, "gives no reason"),
        ({"rules": "it may not be"}, "gives no reason"),
        ({"code": "No"}, "has no code"),
        ({"appeal_until": None, "verdict": "block"}, "names no time for an appeal"),
        ({"appeal_until": None, "verdict": "review", "round": 1}, "names no time for an appeal"),
    ):
        (fault,) = refusal_faults({**entry, **less})
        assert said in fault
        opened.log.append({**entry, **less})
        assert status("R16", good, HouseFacts(refusals=refusals(opened)))[0] == "fail"
    opened.close()


def test_an_erasure_is_tried_and_one_that_erases_nothing_is_seen(
    house: Installation, good: FileFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R12: the installation's own code, on a log that is made for it."""
    from filigrana.pipeline.ledger import Ledger

    assert status("R12", good, HouseFacts(retention=retention(house)), needs_of(["eu"]))[0] == "pass"
    whole = Ledger.erase
    monkeypatch.setattr(Ledger, "erase", lambda self, *_: (self.log.size() - 1, {"type": "erase"}))
    found, detail = status("R12", good, HouseFacts(retention=retention(house)), needs_of(["eu"]))
    assert found == "fail"
    assert "can still be read" in detail
    assert "no entry" in detail
    monkeypatch.setattr(Ledger, "erase", whole)


def test_what_the_detector_takes_is_read_in_its_own_description(house: Installation, tmp_path: Path) -> None:
    """R9."""
    assert service(house) == {"upload": True, "url": True, "api": True, "address": "https://check.example.org"}
    opened = house_of(tmp_path)
    assert service(opened)["address"] is None
    opened.close()


def test_rules_of_ai_made_media_say_nothing_of_a_photograph(house: Installation, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(encode_picture(scene(8), "image/png"))
    outcome = engine_of(house).seal(SealRequest(photo, "camera"))
    assert isinstance(outcome, Release)
    found = house.verifier().verify(outcome.file, Asked(facts=True)).facts
    facts = FileFacts.from_json(found)
    assert {r: status(r, facts)[0] for r in ("R1", "R2", "R4", "R5", "R6", "R14")} == {
        "R1": "pass", "R2": "none", "R4": "none", "R5": "none", "R6": "none", "R14": "none"}  # fmt: skip
    assert facts.aigc == ()


# ── the engine refuses ───────────────────────────────────────────────────────────────────────────────────────────
def test_the_engine_releases_nothing_that_does_not_fulfil_the_profiles(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken on purpose: labels that are not drawn, though the profiles ask for them."""
    from filigrana.pipeline import labelled

    monkeypatch.setattr(labelled.Labeller, "frames", lambda self, frames: frames)
    before = house.log.size()
    with pytest.raises(ReadBackError) as error:
        engine_of(house).generate(GenerateRequest("a red sailboat on a blue sea", seed=6))
    assert error.value.code == "release.profile"
    assert "R6" in error.value.message
    types = [entry["type"] for _, entry in house.log.entries(before)]
    assert "release" not in types
    assert types[-1] == "failed"


def test_an_aigc_label_that_is_broken_on_the_way_stops_the_release(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Aigc, "text", lambda self: '{"AIGC":{"Label":"1"}}')
    with pytest.raises(ReadBackError, match="R5"):
        engine_of(house).generate(GenerateRequest("a red sailboat on a blue sea", seed=6))


def test_a_picture_without_room_for_the_label_is_not_released(tmp_path: Path) -> None:
    from filigrana.errors import MediaError

    thin = tmp_path / "thin.png"
    thin.write_bytes(encode_picture(scene(3, 64, 640), "image/png"))
    opened = house_of(tmp_path, profiles=["in"])
    with pytest.raises(MediaError) as error:
        engine_of(opened).seal(SealRequest(thin, "ai"))
    assert error.value.code == "input.label.room"
    assert "release" not in [entry["type"] for _, entry in opened.log.entries()]
    opened.close()


def test_a_sound_is_labelled_judged_and_released_or_named_as_unjudged(tmp_path: Path) -> None:
    opened = house_of(tmp_path, profiles=["cn", "eu"])
    engine = engine_of(opened, sound_guard=Listener())
    outcome = engine.seal(SealRequest(wav(tmp_path / "a.wav"), "ai"))
    assert isinstance(outcome, Release)
    facts = FileFacts.from_json(opened.verifier().verify(outcome.file, Asked(facts=True)).facts)
    needs = needs_of(["cn", "eu"])
    assert status("R6", facts, needs=needs) == ("pass", "Morse at 0.1 s")
    assert status("R11", facts, needs=needs)[0] == "pass"
    # The same record without any guard: a pass only where the record itself says that nobody listened.
    silent = replace(facts, record={**(facts.record or {}), "decisions": [{"side": "output", "guards": []}]})
    assert status("R11", silent, needs=needs)[0] == "fail"
    named = replace(silent, record={**(silent.record or {}), "unjudged": ["sound"]})
    found, detail = status("R11", named, needs=needs)
    assert found == "pass"
    assert "no guard listened to the sound, as the record says" in detail
    assert status("R6", replace(facts, heard=None), needs=needs)[0] == "fail"
    opened.close()


def test_a_short_label_in_a_clip_fails(house: Installation, tmp_path: Path) -> None:
    outcome = engine_of(house, sound_guard=Listener()).seal(SealRequest(clip(tmp_path / "c.mp4"), "ai"))
    assert isinstance(outcome, Release)
    facts = FileFacts.from_json(house.verifier().verify(outcome.file, Asked(facts=True)).facts)
    assert status("R6", facts)[0] == "pass"
    assert facts.visible is not None
    assert "2" in status("R6", replace(facts, visible=replace(facts.visible, seconds=1.0)))[1]
    assert status("R6", replace(facts, visible=replace(facts.visible, seconds=1.0)))[0] == "fail"


@pytest.mark.parametrize(
    ("seconds", "moments"), [(0.5, [0.0, 0.375]), (2.0, [0.0, 1.0, 1.875]), (3.0, [0.0, 1.0, 2.0])]
)
def test_whoever_reads_a_clips_label_sees_its_last_picture_too(
    house: Installation, tmp_path: Path, seconds: float, moments: list[float]
) -> None:
    """A clip of two seconds has no picture at 2.0: what was released with its label all through failed R6."""
    finding = house.verifier().verify(clip(tmp_path / "c.mp4", seconds), Asked(facts=True))
    assert [time for time, _ in finding.looked_at] == moments


# ── leaving the label out ────────────────────────────────────────────────────────────────────────────────────────
def test_the_visible_label_is_left_out_with_a_logged_consent_where_the_law_allows_it(tmp_path: Path) -> None:
    opened = house_of(tmp_path, profiles=["cn"])
    outcome = engine_of(opened).generate(GenerateRequest("a boat", seed=5, unlabelled=True))
    assert isinstance(outcome, Release)
    facts = FileFacts.from_json(opened.verifier().verify(outcome.file, Asked(facts=True)).facts)
    needs = needs_of(["cn"])
    assert {r: status(r, facts, needs=needs)[0] for r in ("R5", "R6", "R14")} == {
        "R5": "pass",
        "R6": "none",
        "R14": "none",
    }
    intent = next(entry for _, entry in opened.log.entries() if entry["type"] == "intent")
    assert intent["request"]["unlabelled"] == "consent"
    assert intent["actor"].startswith("actor:")
    # Under a law that does not let one, the same file fails.
    assert status("R6", facts, needs=needs_of(["eu"]))[0] == "fail"
    opened.close()


@pytest.mark.parametrize("profiles", [["eu"], ["eu", "cn"], []])
def test_where_no_law_lets_one_the_label_cannot_be_left_out(tmp_path: Path, profiles: list[str]) -> None:
    opened = house_of(tmp_path, profiles=profiles)
    before = opened.log.size()
    with pytest.raises(InputError) as error:
        engine_of(opened).generate(GenerateRequest("a boat", seed=5, unlabelled=True))
    assert error.value.code == "input.unlabelled"
    assert opened.log.size() == before
    opened.close()


@pytest.mark.parametrize("profiles", [["cn"], ["eu", "cn"], ["eu"]])
def test_a_house_whose_name_no_label_can_carry_makes_nothing_that_needs_one(
    tmp_path: Path, profiles: list[str]
) -> None:
    """It was found after the model had drawn, before."""
    opened = house_of(tmp_path, profiles=profiles, organisation="新闻社")
    before, photo = opened.log.size(), tmp_path / "photo.png"
    photo.write_bytes(encode_picture(scene(8), "image/png"))
    if profiles == ["eu"]:
        assert isinstance(engine_of(opened).generate(GenerateRequest("a boat", seed=5)), Release)
    else:
        for wanted in (lambda engine: engine.generate(GenerateRequest("a boat", seed=5)),
                       lambda engine: engine.seal(SealRequest(photo, "ai"))):  # fmt: skip
            with pytest.raises(SettingsError) as caught:
                wanted(engine_of(opened))
            assert caught.value.code == "settings.aigc_producer"
        assert opened.log.size() == before
        assert isinstance(engine_of(opened).seal(SealRequest(photo, "camera")), Release)
    opened.close()


def test_an_aigc_label_that_came_in_keeps_its_producer(house: Installation, crafted: Crafted) -> None:
    source = crafted.picture(aigc=Aigc.first("Maker", "M1").text(), signed=False, marked=None, wanted=None)
    outcome = engine_of(house).seal(SealRequest(source, "ai"))
    assert isinstance(outcome, Release)
    facts = FileFacts.from_json(house.verifier().verify(outcome.file, Asked(facts=True)).facts)
    ((_, text),) = facts.aigc
    said = json.loads(text)["AIGC"]
    assert (said["ContentProducer"], said["ProduceID"]) == ("Maker", "M1")
    assert (said["ContentPropagator"], said["PropagateID"]) == ("Filigrana", str(outcome.asset_id))
    assert {r: status(r, facts)[0] for r in ("R5", "R7")} == {"R5": "pass", "R7": "pass"}


# ── profiles ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_profiles_that_ship_name_their_sources_and_every_rule_is_somebodys() -> None:
    assert set(builtin()) == set(ALL)
    named = set[str]()
    for name in builtin():
        profile, digest = load(name)
        named |= profile.rules
        assert len(digest) == 64
        for duty in profile.duties:
            assert duty.source.startswith("https://")
            assert duty.since is not None or duty.secondary
            assert duty.quote or duty.secondary, f"{duty.id}: exact words, or the word that we read none"
    assert named == set(RULES)


def test_several_profiles_ask_for_all_that_any_of_them_asks() -> None:
    both = needs_of(["eu", "cn"])
    assert (both.layers, both.aigc, both.retention_days) == (2, True, 184)
    assert both.visible == Wanted(("AI生成",), 0.05, "top-right")
    assert needs_of(["kr"]).visible == Wanted(("AI 생성물",))
    assert needs_of(["kr", "in"], "en").visible == Wanted(("AI generated",))


@pytest.mark.parametrize(
    "names",
    [["nowhere"], ["eu", "eu"], ["missing.yaml"], ["/etc/passwd"]],
    ids=["unknown", "twice", "missing", "other"],
)
def test_a_profile_that_is_none_is_an_error(names: list[str]) -> None:
    with pytest.raises(SettingsError) as error:
        needs_of(names)
    assert error.value.code == "settings.profiles"


@pytest.mark.parametrize(("more", "said"), [
    ("quote: 'eight letters or more'", "not where it was read"),
    ("quoted: official", "not where it was read"),
    ("quote: 'x'\n    quoted: official", "at least 8"),
    ("quote: 'eight letters or more'\n    quoted: memory", "official"),
])  # fmt: skip
def test_a_quotation_says_where_its_words_were_read(more: str, said: str) -> None:
    text = (
        "id: xx\ntitle: t\nversion: 2026-01-01\nrelease: {layers: 1}\nduties:\n  - id: xx.one\n    law: A law of a test\n"
        "    says: What AI makes is labelled.\n    since: 2026-01-01\n    source: https://example.org/\n    rules: [R1]\n"
    )
    assert parse(text.encode())[0].duties[0].quote is None
    with pytest.raises(SettingsError, match=said):
        parse((text + f"    {more}\n").encode())


@pytest.mark.parametrize(
    "text", ["", "id: xx", "a: [", "- 1", "id: eu\ntitle: t\nversion: 2026-01-01\nrelease: {layer: 2}\nduties: []"]
)
def test_a_file_that_is_no_profile_is_an_error(text: str) -> None:
    with pytest.raises(SettingsError):
        parse(text.encode())


# ── what crosses from the confined process ───────────────────────────────────────────────────────────────────────
def test_facts_cross_from_the_confined_process(house: Installation, released: Release) -> None:
    found = house.inspector.verify(released.file, Asked(facts=True))
    inside = house.verifier().verify(released.file, Asked(facts=True))
    assert found.facts == FileFacts.from_json(json.loads(json.dumps(inside.facts))).to_json()
    assert len(found.looked_at) == 1
    assert house.inspector.verify(released.file).facts is None


def test_facts_that_an_older_program_wrote_are_read() -> None:
    assert FileFacts.from_json({"kind": "image", "state": "trusted"}) == FileFacts(kind="image", state="trusted")


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"kind": 3},
        {"aigc": [["a"]]},
        {"record": []},
        {"visible": {"height": "x"}},
        {"sound": "yes"},
        {"actions": 5},
    ],
)
def test_facts_out_of_form_are_none(value: object) -> None:
    with pytest.raises(ValueError, match=r".*"):
        FileFacts.from_json(value)


def test_a_label_that_only_the_record_claims_is_not_read_by_the_recogniser(crafted: Crafted) -> None:
    """The record names a label, and the pixels there show noise: the measurement is no letter of 5 %."""
    path = crafted.picture(paint=covered)
    finding = crafted.house.inspector.verify(path, Asked(facts=True))
    facts = FileFacts.from_json(finding.facts)
    seen = seen_label(facts, finding.looked_at)
    assert status("R6", replace(facts, visible=seen))[0] == "fail"
