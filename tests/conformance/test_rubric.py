"""Every control over every format that we sign, for what is generated, sealed, edited and composed; and every control
fails a manifest that breaks it, and only that one."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import c2pa
import pytest

from filigrana.pipeline.engine import Engine
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.request import GenerateRequest, Release, SealRequest
from filigrana.provenance.conformance import controls, names
from filigrana.provenance.credentials import read_credentials
from filigrana.provenance.manifest import Edit, definition
from filigrana.provenance.media import MIME_BY_SUFFIX, encode_picture
from filigrana.provenance.sidecar import read_sidecar
from filigrana.provenance.trust import TrustLists
from filigrana.tests.conformance.test_formats import PICTURES, source
from filigrana.tests.doubles import scene
from filigrana.tests.signing_kit import Kit, statement

MIMES = sorted(set(MIME_BY_SUFFIX.values()))


def document(path: Path, mime: str, trust: TrustLists, store: bytes | None = None) -> dict[str, Any]:
    context = c2pa.Context.from_dict(trust.settings())
    with path.open("rb") as stream, c2pa.Reader(mime, stream, store, context) as reader:
        return dict(json.loads(reader.detailed_json()))


def of(released: Release, installation: Installation) -> dict[str, Any]:
    store = None if released.sidecar is None else read_sidecar(released.sidecar)
    return document(released.file, released.mime, installation.trust, store)


def failing(doc: dict[str, Any], mime: str, sidecar: bool = False) -> dict[str, str]:
    return {c.id: c.detail for c in controls(doc, mime, sidecar=sidecar) if not c.ok}


def test_there_are_as_many_controls_as_the_rubric_has_and_more() -> None:
    found = names()
    assert len(found) >= 31
    assert len({id_ for id_, _, _ in found}) == len(found)
    assert all(title and reference for _, title, reference in found)


# ── what we sign ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("mime", MIMES)
def test_a_sealed_file_of_every_format_meets_every_control(
    make_engine: Callable[..., Engine], installation: Installation, tmp_path: Path, mime: str
) -> None:
    released = make_engine().seal(SealRequest(source(tmp_path, mime), "ai"))
    assert isinstance(released, Release)
    assert failing(of(released, installation), mime, released.sidecar is not None) == {}


@pytest.mark.parametrize("mime", PICTURES)
def test_a_generated_picture_of_every_format_meets_every_control(
    make_engine: Callable[..., Engine], installation: Installation, mime: str
) -> None:
    released = make_engine().generate(GenerateRequest("a boat", seed=3, mime=mime))
    assert isinstance(released, Release)
    assert failing(of(released, installation), mime) == {}


@pytest.mark.parametrize("source_type", ["camera", "composite", "unknown"])
def test_every_kind_of_source_meets_every_control(
    make_engine: Callable[..., Engine], installation: Installation, tmp_path: Path, source_type: Any
) -> None:
    released = make_engine().seal(SealRequest(source(tmp_path, "image/jpeg"), source_type))
    assert isinstance(released, Release)
    assert failing(of(released, installation), "image/jpeg") == {}


# ── edited and composed ──────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def composed(make_engine: Callable[..., Engine], installation: Installation, tmp_path: Path) -> dict[str, Any]:
    """A picture with credentials, edited, into which a signed and an altered one were put."""
    kit = Kit.make(tmp_path)
    good, bad = kit.picture(tmp_path), tmp_path / "bad.jpg"
    data = bytearray(good.read_bytes())
    data[-2000] ^= 0x55
    bad.write_bytes(data)
    edits = (Edit.parse("cropped: the left edge"), Edit.parse("two photographs put together"))
    path = source(tmp_path, "image/png")
    released = make_engine().seal(SealRequest(path, "composite", edits=edits, components=(good, bad)))
    assert isinstance(released, Release)
    credentials = read_credentials(released.file, "image/png", installation.trust)
    assert credentials.state == "trusted"
    assert installation.verifier().verify(released.file).finding == "verified"
    return of(released, installation)


def active(doc: dict[str, Any]) -> dict[str, Any]:
    return dict(doc["manifests"][doc["active_manifest"]])


def test_what_was_edited_and_put_in_is_told(composed: dict[str, Any]) -> None:
    assert failing(composed, "image/png") == {}
    actions = active(composed)["assertion_store"]["c2pa.actions.v2"]["actions"]
    assert [a["action"] for a in actions] == [
        "c2pa.opened", "c2pa.cropped", "c2pa.edited", "c2pa.placed", "c2pa.placed", "c2pa.watermarked.bound",
    ]  # fmt: skip
    assert [a.get("description") for a in actions[1:3]] == ["the left edge", "two photographs put together"]


def test_ingredients_keep_how_they_were_judged(composed: dict[str, Any]) -> None:
    store = active(composed)["assertion_store"]
    parts = [v for k, v in store.items() if k.startswith("c2pa.ingredient")]
    assert sorted(p["relationship"] for p in parts) == ["componentOf", "componentOf", "parentOf"]
    judged = {
        p["dc:title"]: [s["code"] for s in p["validationResults"]["activeManifest"]["failure"]]
        for p in parts
        if p.get("validationResults")
    }
    assert "assertion.dataHash.mismatch" in judged["part 2"]
    assert "assertion.dataHash.mismatch" not in judged["part 1"]
    assert "bad.jpg" not in json.dumps(composed, default=str), "a file's name may be a person's"


@pytest.mark.parametrize(
    ("text", "action", "told"),
    [
        ("cropped: the left edge", "cropped", "the left edge"),
        ("c2pa.resized: to half", "resized", "to half"),
        ("Cropped", "edited", "Cropped"),
        ("cropped", "cropped", ""),
        ("made brighter", "edited", "made brighter"),
        ("note: made brighter", "edited", "note: made brighter"),
        ("watermarked: no", "edited", "watermarked: no"),
    ],
)
def test_edits_are_read_from_plain_words(text: str, action: str, told: str) -> None:
    edit = Edit.parse(text)
    assert (edit.action, edit.description) in ((action, told), ("cropped", "")) if text == "Cropped" else (action, told)


@pytest.mark.parametrize("text", ["", "   ", "x" * 501])
def test_edits_that_say_nothing_or_too_much_are_refused(text: str) -> None:
    from filigrana.errors import InputError

    with pytest.raises(InputError):
        Edit.parse(text)


# ── negative controls ────────────────────────────────────────────────────────────────────────────────────────────
Parts = tuple[dict[str, Any], dict[str, Any], dict[str, Any], list[dict[str, Any]], dict[str, Any]]


def parts(doc: dict[str, Any]) -> Parts:
    manifest = active(doc)
    store = manifest["assertion_store"]
    results = doc["validation_results"]["activeManifest"]
    return manifest["claim"], store, manifest["signature"], store["c2pa.actions.v2"]["actions"], results


def without(results: dict[str, Any], code: str) -> None:
    results["success"] = [item for item in results["success"] if item["code"] != code]


def no_reference(claim: dict[str, Any], name: str) -> None:
    for which in ("created_assertions", "gathered_assertions"):
        claim[which] = [item for item in claim[which] if not item["url"].endswith("/" + name)]


def moved(claim: dict[str, Any], name: str) -> None:
    """From the created to the gathered assertions."""
    item = next(i for i in claim["created_assertions"] if i["url"].endswith("/" + name))
    claim["created_assertions"].remove(item)
    claim["gathered_assertions"].append(item)


def add(doc: dict[str, Any], name: str, value: dict[str, Any]) -> None:
    claim, store, _, _, results = parts(doc)
    store[name] = value
    claim["created_assertions"].append({"url": f"self#jumbf=c2pa.assertions/{name}", "hash": ""})
    results["success"].append({"code": "assertion.hashedURI.match"})


def two_parents(doc: dict[str, Any]) -> None:
    for number in (7, 8):
        add(doc, f"c2pa.ingredient.v3__{number}", {"relationship": "parentOf"})


def undisclosed(doc: dict[str, Any]) -> None:
    parts(doc)[1].pop("c2pa.ai-disclosure")
    no_reference(parts(doc)[0], "c2pa.ai-disclosure")


def renamed(doc: dict[str, Any], old: str, new: str) -> None:
    text = json.dumps(doc).replace(f"c2pa.assertions/{old}", f"c2pa.assertions/{new}")
    doc.clear()
    doc.update(json.loads(text))
    store = doc["manifests"][doc["active_manifest"]]["assertion_store"]
    store[new] = store.pop(old)


def relabelled(doc: dict[str, Any]) -> None:
    text = json.dumps(doc).replace(doc["active_manifest"], "urn:uuid:1")
    doc.clear()
    doc.update(json.loads(text))


def ingredient(doc: dict[str, Any], number: int = 0) -> dict[str, Any]:
    store = parts(doc)[1]
    return dict.__getitem__(store, sorted(k for k in store if k.startswith("c2pa.ingredient"))[number])


PLACED = {"action": "c2pa.placed", "parameters": {"ingredients": []}}
OPENED = {"action": "c2pa.opened", "parameters": {"ingredients": []}}
# id: what breaks that control, and no other (but for those named beside it)
BREAKS: dict[str, tuple[Callable[[dict[str, Any]], Any], set[str]]] = {
    "claim-version": (lambda d: parts(d)[0].update(claim_version=1), set()),
    "spec-version": (lambda d: parts(d)[0]["claim_generator_info"].pop("specVersion"), set()),
    "generator": (lambda d: parts(d)[0]["claim_generator_info"].update(name=" "), set()),
    "instance-id": (lambda d: parts(d)[0].pop("instanceID"), set()),
    "manifest-label": (relabelled, set()),
    "signature-reference": (lambda d: parts(d)[0].update(signature="self#jumbf=/c2pa/other/c2pa.signature"), set()),
    "claim-hash": (lambda d: parts(d)[0].update(alg="md5"), set()),
    "created-assertions": (
        lambda d: parts(d)[0].update(
            gathered_assertions=parts(d)[0]["gathered_assertions"] + parts(d)[0]["created_assertions"],
            created_assertions=[],
        ),
        {"hard-binding-created", "actions-created"},
    ),
    "references-resolve": (
        lambda d: (
            parts(d)[0]["created_assertions"].append({"url": "self#jumbf=c2pa.assertions/org.example.gone"}),
            parts(d)[4]["success"].append({"code": "assertion.hashedURI.match"}),
        ),
        set(),
    ),
    "references-complete": (lambda d: parts(d)[1].update({"org.example.note": {}}), set()),
    "references-once": (
        lambda d: (
            parts(d)[0]["created_assertions"].append(parts(d)[0]["created_assertions"][0]),
            parts(d)[4]["success"].append({"code": "assertion.hashedURI.match"}),
        ),
        set(),
    ),
    "nothing-deprecated": (lambda d: add(d, "stds.schema-org.CreativeWork", {"@type": "CreativeWork"}), set()),
    "hard-binding": (lambda d: add(d, "c2pa.hash.boxes", {"alg": "sha256"}), set()),
    "hard-binding-kind": (lambda d: renamed(d, "c2pa.hash.data", "c2pa.hash.bmff.v3"), {"exclusions"}),
    "hard-binding-created": (lambda d: moved(parts(d)[0], "c2pa.hash.data"), set()),
    "hard-binding-hash": (lambda d: parts(d)[1]["c2pa.hash.data"].update(alg="sha1"), set()),
    "exclusions": (
        lambda d: parts(d)[1]["c2pa.hash.data"]["exclusions"].append({"start": 9000, "length": 500}),
        set(),
    ),
    "content-matches": (lambda d: without(parts(d)[4], "assertion.dataHash.match"), set()),
    "actions": (lambda d: add(d, "c2pa.actions.v2__1", {"actions": [], "allActionsIncluded": True}), set()),
    "actions-created": (lambda d: moved(parts(d)[0], "c2pa.actions.v2"), set()),
    "first-action": (
        lambda d: parts(d)[3].insert(0, {"action": "c2pa.edited", "softwareAgent": {"name": "x"}}),
        {"one-beginning"},
    ),
    "one-beginning": (
        lambda d: parts(d)[3].append(
            {"action": "c2pa.created", "digitalSourceType": parts(d)[3][0]["digitalSourceType"]}
        ),
        set(),
    ),
    "all-actions": (lambda d: parts(d)[1]["c2pa.actions.v2"].pop("allActionsIncluded"), set()),
    "source-of-created": (
        lambda d: (
            parts(d)[3][1].update(digitalSourceType=parts(d)[3][0]["digitalSourceType"]),
            parts(d)[3][0].pop("digitalSourceType"),
        ),
        set(),
    ),
    "source-known": (lambda d: parts(d)[3][1].update(digitalSourceType="http://example.org/magic"), set()),
    "action-names": (lambda d: parts(d)[3].append({"action": "c2pa.conjured"}), set()),
    "action-times": (lambda d: parts(d)[3][1].update(when="yesterday"), set()),
    "software-agent": (lambda d: parts(d)[3][0].pop("softwareAgent"), set()),
    "opened-parent": (lambda d: parts(d)[3].append(OPENED), {"one-beginning"}),
    "placed-component": (lambda d: parts(d)[3].append(PLACED), set()),
    "created-inputs": (lambda d: ingredient(d).update(relationship="componentOf"), set()),
    "ingredient-version": (
        lambda d: add(d, "c2pa.ingredient.v4", {"relationship": "inputTo"}),
        set(),
    ),
    "ingredient-relation": (lambda d: ingredient(d).update(relationship="cousinOf"), {"created-inputs"}),
    "one-parent": (
        two_parents,
        set(),
    ),
    "ingredient-status": (lambda d: ingredient(d).update(activeManifest={"url": "…"}), set()),
    "mark-and-binding": (lambda d: parts(d)[3].pop(1), set()),
    "mark-action": (lambda d: parts(d)[3].append({"action": "c2pa.watermarked"}), set()),
    "soft-binding": (lambda d: parts(d)[1]["c2pa.soft-binding"].update(blocks=[{"scope": {}}]), set()),
    "ai-disclosed": (
        undisclosed,
        set(),
    ),
    "ai-model": (lambda d: parts(d)[1]["c2pa.ai-disclosure"].pop("modelName"), set()),
    "training": (
        lambda d: parts(d)[1]["cawg.training-mining"]["entries"]["cawg.data_mining"].update(use="perhaps"),
        set(),
    ),
    "signature": (lambda d: without(parts(d)[4], "claimSignature.validated"), set()),
    "signature-validity": (lambda d: without(parts(d)[4], "claimSignature.insideValidity"), set()),
    "credential": (lambda d: without(parts(d)[4], "signingCredential.trusted"), set()),
    "time-stamp": (lambda d: without(parts(d)[4], "timeStamp.validated"), set()),
    "time-stamp-trust": (lambda d: without(parts(d)[4], "timeStamp.trusted"), set()),
    "signature-algorithm": (lambda d: parts(d)[2].update(alg="rs1"), set()),
    "assertions-match": (lambda d: without(parts(d)[4], "assertion.hashedURI.match"), set()),
    "no-failure": (lambda d: parts(d)[4]["failure"].append({"code": "general.error"}), set()),
}


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return Kit.make(tmp_path_factory.mktemp("kit"))


@pytest.fixture(scope="module")
def good(kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return document(kit.picture(tmp_path_factory.mktemp("good")), "image/jpeg", kit.trust)


def test_every_control_has_a_negative_control() -> None:
    assert set(BREAKS) == {id_ for id_, _, _ in names()}


@pytest.mark.parametrize("id_", BREAKS)
def test_a_manifest_that_breaks_one_control_fails_that_one(good: dict[str, Any], id_: str) -> None:
    assert failing(good, "image/jpeg") == {}
    broken = copy.deepcopy(good)
    change, others = BREAKS[id_]
    change(broken)
    assert set(failing(broken, "image/jpeg")) == {id_, *others}


def signed(kit: Kit, folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    path, target = folder / "in.jpg", folder / "out.jpg"
    path.write_bytes(encode_picture(scene(2), "image/jpeg"))
    kit.sign(path, target, "image/jpeg", manifest)
    return document(target, "image/jpeg", kit.trust)


def really(change: Callable[[dict[str, Any]], Any]) -> Callable[[], dict[str, Any]]:
    def made() -> dict[str, Any]:
        manifest = definition(statement())
        change(manifest)
        return manifest

    return made


def assertion(manifest: dict[str, Any], label: str) -> dict[str, Any]:
    return next(item for item in manifest["assertions"] if item["label"] == label)


def acts(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = assertion(manifest, "c2pa.actions.v2")["data"]["actions"]
    return found


REAL: dict[str, Callable[[], dict[str, Any]]] = {
    "spec-version": really(lambda m: m["claim_generator_info"][0].pop("specVersion")),
    "all-actions": really(lambda m: assertion(m, "c2pa.actions.v2")["data"].pop("allActionsIncluded")),
    "mark-action": really(lambda m: acts(m).append({"action": "c2pa.watermarked"})),
    "mark-and-binding": really(lambda m: acts(m).pop(1)),
    "nothing-deprecated": really(
        lambda m: m["assertions"].append(
            {
                "label": "stds.schema-org.CreativeWork",
                "data": {"@context": "https://schema.org", "@type": "CreativeWork"},
            }
        )
    ),
    "training": really(lambda m: m["assertions"].remove(assertion(m, "cawg.training-mining"))),
    "ai-disclosed": really(lambda m: m["assertions"].remove(assertion(m, "c2pa.ai-disclosure"))),
    "ai-model": really(lambda m: assertion(m, "c2pa.ai-disclosure")["data"].pop("modelName")),
    "source-known": really(lambda m: acts(m)[1].update(digitalSourceType="http://example.org/magic")),
    "action-names": really(lambda m: acts(m).append({"action": "conjured"})),
    "soft-binding": really(lambda m: assertion(m, "c2pa.soft-binding")["data"].update(blocks=[])),
}


@pytest.mark.parametrize("id_", REAL)
def test_what_the_library_signs_all_the_same_fails_the_control(kit: Kit, tmp_path: Path, id_: str) -> None:
    assert set(failing(signed(kit, tmp_path, REAL[id_]()), "image/jpeg")) == {id_}


@pytest.mark.parametrize(
    "doc", [{}, {"active_manifest": "x"}, {"active_manifest": "x", "manifests": {"x": None}}, {"manifests": []}]
)
def test_what_is_no_manifest_fails_and_raises_nothing(doc: dict[str, Any]) -> None:
    assert set(failing(doc, "image/jpeg")) == set(BREAKS)


def test_bytes_that_are_none_of_ours_fail(kit: Kit, good: dict[str, Any]) -> None:
    odd = copy.deepcopy(good)
    active(odd)["assertion_store"]["c2pa.actions.v2"] = 5
    assert "actions" not in failing(odd, "image/jpeg")
    assert "first-action" in failing(odd, "image/jpeg")
    assert io.BytesIO(json.dumps(odd).encode())
