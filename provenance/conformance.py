"""What the C2PA specification 2.4 and its conformance programme ask of a generator, as controls over one manifest.

Pure: the document that c2pa-rs gives (`Reader.detailed_json`), the MIME type of the file, and whether its credentials
are a sidecar; out come named controls, each with its reference. Sections are the specification's; *programme* is the
rubric of the conformance programme 0.2; *CAWG* the Training and Data Mining Assertion 1.1. They are written from those
texts, and are not the programme's own tool.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .conformance_manifest import Given, get
from .conformance_words import ACTIONS, AI_SOURCES, BMFF, DEPRECATED, SIGNATURES, SOURCES

_LABEL = re.compile(r"urn:c2pa:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(:\S+)?")
_VERSION = re.compile(r"2\.\d+\.\d+")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Control:
    """``ok``: whether the manifest does what the control asks. ``detail``: what was found where it does not."""

    id: str
    title: str
    reference: str
    ok: bool
    detail: str = ""


_Check = Callable[[Given], "bool | str"]
_CONTROLS: list[tuple[str, str, str, _Check]] = []


def _control(id_: str, title: str, reference: str) -> Callable[[_Check], _Check]:
    def add(check: _Check) -> _Check:
        _CONTROLS.append((id_, title, reference, check))
        return check

    return add


def controls(document: dict[str, Any], mime: str, *, sidecar: bool = False) -> list[Control]:
    """Every control over the active manifest of ``document``. A manifest that cannot be taken apart fails them all."""
    label = str(document.get("active_manifest") or "")
    manifest = get(document.get("manifests"), label)
    parts = {name: get(manifest, name) or {} for name in ("claim", "assertion_store", "signature")}
    results = get(document.get("validation_results"), "activeManifest") or {}
    claim, store, signature = (part if isinstance(part, dict) else {} for part in parts.values())
    given = Given(label, claim, store, signature, results, mime, sidecar)
    found = []
    for id_, title, reference, check in _CONTROLS:
        if not isinstance(manifest, dict):
            found.append(Control(id_, title, reference, ok=False, detail="there is no manifest"))
            continue
        try:
            answer = check(given)
        except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
            answer = f"it has another shape ({type(error).__name__})"
        ok = answer is True
        found.append(Control(id_, title, reference, ok, "" if ok else str(answer or "it does not")))
    return found


def names() -> list[tuple[str, str, str]]:
    """(id, title, reference) of each control."""
    return [(id_, title, reference) for id_, title, reference, _ in _CONTROLS]


# ── the claim ────────────────────────────────────────────────────────────────────────────────────────────────────
_control("claim-version", "the claim is of version 2", "10.2; programme")(lambda g: g.claim.get("claim_version") == 2)
_control("spec-version", "the generator says which version of the specification it follows", "5; programme")(
    lambda g: bool(_VERSION.fullmatch(str(get(g.claim["claim_generator_info"], "specVersion"))))
)
_control("generator", "the generator is named, with its version", "10.2")(
    lambda g: all(str(g.claim["claim_generator_info"].get(name) or "").strip() for name in ("name", "version"))
)
_control("instance-id", "the claim has an instance id", "10.2")(lambda g: bool(g.claim.get("instanceID")))
_control("manifest-label", "the manifest's label is a C2PA URN", "8.1")(lambda g: bool(_LABEL.fullmatch(g.label)))
_control("signature-reference", "the claim refers to the signature beside it", "10.2")(
    lambda g: str(g.claim.get("signature")) == f"self#jumbf=/c2pa/{g.label}/c2pa.signature"
)
_control("claim-hash", "the claim's hash algorithm is one that the specification lists", "13.1")(
    lambda g: g.claim.get("alg") in ("sha256", "sha384", "sha512")
)
_control("created-assertions", "the signer's own assertions are listed as created", "10.2")(
    lambda g: bool(g.references("created_assertions"))
)
_control("references-resolve", "every assertion that the claim lists is there", "15.10")(
    lambda g: {*g.references("created_assertions"), *g.references("gathered_assertions")} <= set(g.store)
)
_control("references-complete", "every assertion that is there is listed by the claim", "15.10")(
    lambda g: set(g.store) <= {*g.references("created_assertions"), *g.references("gathered_assertions")}
)
_control("references-once", "no assertion is listed twice", "10.2")(
    lambda g: _once(g.references("created_assertions") + g.references("gathered_assertions"))
)
_control("nothing-deprecated", "no deprecated assertion is written", "Annex C; programme")(
    lambda g: not [name for name in g.store if name.partition("__")[0] in DEPRECATED]
)


def _once(found: list[str]) -> bool:
    return len(found) == len(set(found))


# ── binding to the content ───────────────────────────────────────────────────────────────────────────────────────
_control("hard-binding", "there is exactly one hard binding", "9.2")(lambda g: len(g.hard) == 1)
_control("hard-binding-kind", "its kind is the format's", "18.5, 18.6")(
    lambda g: all(name.startswith("c2pa.hash.bmff") == (g.mime in BMFF and not g.sidecar) for name in g.hard)
)
_control("hard-binding-created", "it is an assertion of the signer", "10.2")(
    lambda g: set(g.hard) <= set(g.references("created_assertions"))
)
_control("hard-binding-hash", "it is made with an algorithm that the specification lists", "13.1")(
    lambda g: all(value.get("alg") in ("sha256", "sha384", "sha512") for value in g.hard.values())
)


@_control("exclusions", "only the manifest's own bytes are left out of the hash", "18.5, 18.6")
def _exclusions(g: Given) -> bool:
    for name, value in g.hard.items():
        left_out = value.get("exclusions") or []
        if name.startswith("c2pa.hash.bmff"):
            if not {str(item["xpath"]) for item in left_out} <= {"/uuid", "/ftyp", "/mfra"}:
                return False
        elif len(left_out) > (0 if g.sidecar else 2 if g.mime == "image/tiff" else 1):
            return False  # a TIFF has the entry of its directory besides (11.3)
    return True


_control("content-matches", "the content is the one that was signed", "15.12")(
    lambda g: any(code.endswith("Hash.match") for code in g.codes("success"))
)

# ── actions ──────────────────────────────────────────────────────────────────────────────────────────────────────
_FIRST = ("c2pa.created", "c2pa.opened")
_control("actions", "there is one assertion of actions, of version 2", "18.15; programme")(
    lambda g: list(g.named("c2pa.actions")) == ["c2pa.actions.v2"]
)
_control("actions-created", "the actions are an assertion of the signer", "18.15")(
    lambda g: set(g.named("c2pa.actions")) <= set(g.references("created_assertions"))
)
_control("first-action", "the first action is created or opened", "18.15")(
    lambda g: g.actions[0].get("action") in _FIRST
)
_control("one-beginning", "only the first one is", "18.15")(
    lambda g: sum(item.get("action") in _FIRST for item in g.actions[1:]) == 0
)
_control("all-actions", "it is said that all actions are included", "18.15; programme")(
    lambda g: all(get(value, "allActionsIncluded") is True for value in g.named("c2pa.actions").values())
)
_control("source-of-created", "what was created says from what kind of source", "18.15")(
    lambda g: all(item.get("digitalSourceType") for item in g.actions if item.get("action") == "c2pa.created")
)
_control("source-known", "source types are from the IPTC's or the C2PA's vocabulary", "18.15")(
    lambda g: set(g.sources) <= SOURCES
)
_control("action-names", "actions are the specification's, or named by a domain", "18.15")(
    lambda g: all(_known(str(item.get("action"))) for item in g.actions)
)
_control("action-times", "actions that say when say it as RFC 3339", "6.9")(
    lambda g: all(_TIME.fullmatch(str(item["when"])) is not None for item in g.actions if "when" in item)
)
_control("software-agent", "the first action names the software that did it", "18.15")(
    lambda g: bool(get(g.actions[0].get("softwareAgent"), "name"))
)


def _known(name: str) -> bool:
    return name in ACTIONS if name.startswith("c2pa.") else name.count(".") >= 2


def _linked(g: Given, action: str, relationship: str) -> bool:
    """Each such action names ingredients, all of that relationship."""
    found = [g.linked(item) for item in g.actions if item.get("action") == action]
    return all(links and all(link.get("relationship") == relationship for link in links) for links in found)


_control("opened-parent", "what was opened names the parent that it was opened from", "18.15, 18.16")(
    lambda g: _linked(g, "c2pa.opened", "parentOf")
)
_control("placed-component", "what was placed names the component", "18.15, 18.16")(
    lambda g: _linked(g, "c2pa.placed", "componentOf")
)
_control("created-inputs", "what was created names only inputs, and has no parent", "18.15, 18.16")(
    lambda g: (
        "c2pa.created" not in [item.get("action") for item in g.actions]
        or all(link.get("relationship") == "inputTo" for item in g.actions[:1] for link in g.linked(item))
    )
)

# ── ingredients ──────────────────────────────────────────────────────────────────────────────────────────────────
_control("ingredient-version", "ingredients are of version 3", "18.16; programme")(
    lambda g: all(name.startswith("c2pa.ingredient.v3") for name in g.named("c2pa.ingredient"))
)
_control("ingredient-relation", "each has a relationship that the specification knows", "18.16")(
    lambda g: all(
        get(value, "relationship") in ("parentOf", "componentOf", "inputTo")
        for value in g.named("c2pa.ingredient").values()
    )
)
_control("one-parent", "there is one parent at most", "18.16")(
    lambda g: [get(v, "relationship") for v in g.named("c2pa.ingredient").values()].count("parentOf") <= 1
)
_control("ingredient-status", "an ingredient with credentials keeps how they were judged", "18.16")(
    lambda g: all(
        "validationResults" in value for value in g.named("c2pa.ingredient").values() if "activeManifest" in value
    )
)

# ── the mark ─────────────────────────────────────────────────────────────────────────────────────────────────────
_control("mark-and-binding", "a mark that was bound has its soft binding, and the reverse", "18.10, 18.15")(
    lambda g: (
        bool(g.named("c2pa.soft-binding")) == ("c2pa.watermarked.bound" in [item.get("action") for item in g.actions])
    )
)
_control("mark-action", "no mark is told by the deprecated action", "18.15; programme")(
    lambda g: "c2pa.watermarked" not in [item.get("action") for item in g.actions]
)
_control("soft-binding", "soft bindings name their algorithm, and have blocks with scope and value", "18.10")(
    lambda g: all(
        value.get("alg") and value["blocks"] and all("scope" in block and block["value"] for block in value["blocks"])
        for value in g.named("c2pa.soft-binding").values()
    )
)

# ── AI, training ─────────────────────────────────────────────────────────────────────────────────────────────────
_control("ai-disclosed", "what AI made is disclosed as such, and nothing else", "2.4, AI disclosure; programme")(
    lambda g: bool(AI_SOURCES & set(g.sources)) == ("c2pa.ai-disclosure" in g.store)
)
_control("ai-model", "the disclosure names the kind of the model, and the model", "2.4, AI disclosure")(
    lambda g: all(
        str(value.get("modelType")).startswith("c2pa.types.model") and value.get("modelName")
        for value in g.named("c2pa.ai-disclosure").values()
    )
)
_control("training", "what may be trained and mined is told by CAWG's assertion", "CAWG; programme")(
    lambda g: all(
        entry.get("use") in ("allowed", "notAllowed", "constrained")
        for value in [g.store["cawg.training-mining"]]
        for entry in [*value["entries"].values()] or [{}]
    )
)

# ── the signature ────────────────────────────────────────────────────────────────────────────────────────────────
for _code, _id, _title, _where in (
    ("claimSignature.validated", "signature", "the claim's signature holds", "15.7"),
    ("claimSignature.insideValidity", "signature-validity", "it was made while the certificate was valid", "15.7"),
    ("signingCredential.trusted", "credential", "the signer is on a trust list", "14.4"),
    ("timeStamp.validated", "time-stamp", "it has a time-stamp that holds", "15.8"),
    ("timeStamp.trusted", "time-stamp-trust", "whose authority is on a trust list", "14.4"),
):
    _control(_id, _title, _where)(lambda g, code=_code: code in g.codes("success"))  # type: ignore[misc]
_control("signature-algorithm", "it is made with an algorithm that the specification lists", "13.2")(
    lambda g: str(g.signature.get("alg")).lower() in SIGNATURES
)
_control("assertions-match", "every listed assertion matches its hash", "15.10")(
    lambda g: (
        g.codes("success").count("assertion.hashedURI.match")
        >= len(g.references("created_assertions") + g.references("gathered_assertions"))
    )
)
_control("no-failure", "no check of the validation fails", "15")(lambda g: g.codes("failure") == [])
