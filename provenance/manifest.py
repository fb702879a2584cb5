"""What the C2PA manifest says: a pure function from a value to the definition that c2pa-rs signs.

The shape is the one that scores 31 of 31 on the rubric of the C2PA conformance programme 0.2: claim version 2,
actions v2 with `allActionsIncluded`, model and prompt as `inputTo` ingredients, a `c2pa.watermarked.bound` action
with its soft binding, `c2pa.ai-disclosure`, and `cawg.training-mining`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import InputError
from .identity import AssetId

SPEC_VERSION = "2.4.0"
_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
RECORD_LABEL = "org.filigrana.record"
SourceType = Literal["generated", "ai", "composite", "camera", "unknown"]

SOURCE_TYPE_URI: dict[SourceType, str | None] = {
    "generated": _IPTC + "trainedAlgorithmicMedia",
    "ai": _IPTC + "trainedAlgorithmicMedia",
    "composite": _IPTC + "compositeWithTrainedAlgorithmicMedia",
    "camera": _IPTC + "digitalCapture",
    "unknown": None,
}
AI_SOURCE_TYPES: frozenset[SourceType] = frozenset({"generated", "ai", "composite"})


@dataclass(frozen=True)
class Model:
    """The model that generated: ``identifier`` is a hub id or a digest, ``digest`` the sha256 of its weights."""

    name: str
    version: str
    identifier: str
    digest: str
    licence: str = ""
    training_data: str = ""


ACTIONS = (
    "edited",
    "cropped",
    "color_adjustments",
    "resized",
    "filtered",
    "drawing",
    "orientation",
    "enhanced",
    "transcoded",
    "repackaged",
)
"""What may have been done to a file between its opening and our sealing it (C2PA 2.4, *Actions*: `c2pa.` before it)."""


@dataclass(frozen=True)
class Edit:
    """One thing that was done. ``action``: of `ACTIONS`; ``description``: in the sealer's words, may be empty."""

    action: str
    description: str = ""

    @classmethod
    def parse(cls, text: str) -> Edit:
        """`cropped: the left edge`, or plain words for `edited`. Raises InputError for none, and for too many."""
        name, colon, rest = text.partition(":")
        known = name.strip().lower().removeprefix("c2pa.")
        made = cls(known, rest.strip()) if known in ACTIONS and (colon or name == text) else cls("edited", text.strip())
        if not text.strip() or len(made.description) > 500:
            raise InputError("what was edited is told in 1 to 500 characters", code="input.edited")
        return made


@dataclass(frozen=True)
class Statement:
    """What is claimed about one asset. ``record`` is the redacted decision record: no prompt text, no person.
    ``edits`` and ``components`` (titles): what was done to it before, and what was put into it.
    ``bindings``: (algorithm, value) of each watermark; the value is the asset's id, or a tag of it."""

    asset_id: AssetId
    title: str
    mime: str
    source_type: SourceType
    made_at: dt.datetime
    version: str
    record: dict[str, Any]
    bindings: tuple[tuple[str, str], ...] = ()
    model: Model | None = None
    prompt: str | None = None
    edits: tuple[Edit, ...] = ()
    components: tuple[str, ...] = ()


def definition(statement: Statement) -> dict[str, Any]:
    """The manifest definition. An asset made elsewhere is `c2pa.opened` from its parent, never `c2pa.created`."""
    when = statement.made_at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    agent = {"name": "Filigrana", "version": statement.version}
    uri = SOURCE_TYPE_URI[statement.source_type]
    made_here = statement.source_type == "generated"
    ai = statement.source_type in AI_SOURCE_TYPES
    first: dict[str, Any] = {"when": when, "softwareAgent": agent}
    ingredients: list[dict[str, Any]] = []
    if made_here:
        ingredients = _inputs(statement)
        first |= {
            "action": "c2pa.created",
            "parameters": {"ingredientIds": [i["label"] for i in ingredients]},
        }
    else:
        first |= {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parent"]}}
    if uri is not None and ai:
        first["digitalSourceType"] = uri
    actions = [first]
    for edit in statement.edits:
        told = {"description": edit.description} if edit.description else {}
        actions.append({"action": f"c2pa.{edit.action}", "when": when, **told})
    for number, _ in enumerate(statement.components):
        parameters = {"ingredientIds": [component_label(number)]}
        actions.append({"action": "c2pa.placed", "when": when, "parameters": parameters})
    assertions: list[dict[str, Any]] = []
    if statement.bindings:
        actions.append({"action": "c2pa.watermarked.bound", "when": when, "softwareAgent": agent})
    for alg, value in statement.bindings:
        binding = {"alg": alg, "blocks": [{"scope": {}, "value": value}]}
        assertions.append(_assertion("c2pa.soft-binding", binding))
    if ai:
        assertions.append(_assertion("c2pa.ai-disclosure", _disclosure(statement)))
    assertions.insert(0, _assertion("c2pa.actions.v2", {"allActionsIncluded": True, "actions": actions}))
    assertions.append(_assertion(RECORD_LABEL, {"assetId": str(statement.asset_id), **statement.record}))
    assertions.append(
        {
            "label": "cawg.training-mining",
            "data": {
                "entries": {
                    f"cawg.{use}": {"use": "notAllowed"}
                    for use in ("ai_inference", "ai_generative_training", "ai_training", "data_mining")
                }
            },
        }
    )
    return {
        "claim_generator_info": [agent | {"specVersion": SPEC_VERSION}],
        "title": statement.title,
        "format": statement.mime,
        "ingredients": ingredients,
        "assertions": assertions,
    }


def component_label(number: int) -> str:
    """By which an action names a component among the ingredients."""
    return f"component{number}"


def _assertion(label: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"label": label, "created": True, "data": data}


def _inputs(statement: Statement) -> list[dict[str, Any]]:
    model = statement.model
    inputs: list[dict[str, Any]] = []
    if model is not None:
        described = f"sha256:{model.digest}"
        inputs.append(
            {
                "relationship": "inputTo",
                "label": "model",
                "title": f"{model.name} {model.version}".strip(),
                "description": "; ".join(part for part in (described, model.licence, model.training_data) if part),
                "data_types": [{"type": "c2pa.types.model"}],
            }
        )
    prompt = {
        "relationship": "inputTo",
        "label": "prompt",
        "title": "prompt",
        "data_types": [{"type": "c2pa.types.generator.prompt"}],
    }
    # The prompt's text is personal data: it goes in only where its author said so.
    prompt["description"] = statement.prompt or str(statement.record.get("promptCommitment", ""))
    inputs.append(prompt)
    return inputs


def _disclosure(statement: Statement) -> dict[str, Any]:
    model = statement.model
    disclosure: dict[str, Any] = {"modelType": "c2pa.types.model"}
    if model is not None:
        disclosure |= {"modelName": model.name, "modelIdentifier": model.identifier}
    else:
        disclosure |= {"modelName": "not stated", "modelIdentifier": "urn:filigrana:model:not-stated"}
    disclosure["contentProfile"] = {"humanOversightLevel": "prompt_guided"}
    return disclosure
