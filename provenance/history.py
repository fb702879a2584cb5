"""The history that Content Credentials tell: manifests, what they were made from, and what was done. Pure.

The document comes from c2pa-rs, but every string and every reference in it was written by whoever made the file: texts
are cut, cycles are walked once, and a history of thousands of ingredients is shown up to a limit that is said.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from .trust import TrustLevel, level_in_explanation

MAX_NODES = 200
MAX_ACTIONS = 40
_TEXT = 300


@dataclass(frozen=True, slots=True)
class Action:
    """One step: ``action`` as in the C2PA list (`c2pa.created`), ``when`` as it is written, ``agent`` with what."""

    action: str
    when: str | None = None
    agent: str | None = None
    source_type: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One manifest, or an ingredient without one. ``state``: `trusted`, `valid` (intact, signer unknown here),
    `invalid`, or `none` for an ingredient that has no credentials. ``time``: of the time-stamp, RFC 3339."""

    id: str
    title: str
    kind: str  # `manifest` or `ingredient`
    format: str | None = None
    generator: str | None = None
    signer: str | None = None
    trust: TrustLevel = "none"
    time: str | None = None
    state: str = "none"
    actions: tuple[Action, ...] = ()
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Edge:
    """``source`` was made with ``target``; ``relationship``: parentOf, componentOf or inputTo."""

    source: str
    target: str
    relationship: str


@dataclass(frozen=True, slots=True)
class History:
    """The first node is the file itself. ``truncated``: there is more than was walked."""

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    truncated: bool = False

    def as_dict(self) -> dict[str, Any]:
        nodes = [asdict(node) for node in self.nodes]
        edges = [{"from": e.source, "to": e.target, "relationship": e.relationship} for e in self.edges]
        return {"nodes": nodes, "edges": edges, "truncated": self.truncated}


@dataclass
class _Walk:
    manifests: dict[str, Any]
    deltas: dict[str, dict[str, Any]]
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    truncated: bool = False


def history_of(
    document: dict[str, Any], results: dict[str, Any], state: str, trust: TrustLevel, failures: tuple[str, ...]
) -> History:
    """From c2pa-rs's detailed document and its validation results. ``state``, ``trust``, ``failures``: of the active
    manifest, as they were already weighed."""
    manifests = document.get("manifests")
    active = document.get("active_manifest")
    if not isinstance(manifests, dict) or not isinstance(manifests.get(active), dict):
        return History()
    walk = _Walk(manifests, _deltas(results))
    walk.names[str(active)] = "m0"
    walk.nodes.append(_manifest_node("m0", manifests[active], state, trust, failures))
    waiting = deque([(str(active), "m0")])
    while waiting:
        label, name = waiting.popleft()
        for reference, ingredient in _ingredients(manifests[label], label):
            if len(walk.nodes) >= MAX_NODES:
                walk.truncated = True
                break
            target, fresh = _target(walk, reference, ingredient)
            walk.edges.append(Edge(name, target, text(ingredient.get("relationship")) or "componentOf"))
            if fresh is not None:
                waiting.append((fresh, target))
    return History(tuple(walk.nodes), tuple(walk.edges), walk.truncated)


def _target(walk: _Walk, reference: str, ingredient: dict[str, Any]) -> tuple[str, str | None]:
    """The node that an ingredient stands for: (its id, the label to walk on with where it was not met before)."""
    label = _label_of(ingredient)
    manifest = walk.manifests.get(label) if label else None
    if not isinstance(manifest, dict) or label is None:
        name = f"i{len(walk.nodes)}"
        walk.nodes.append(_bare_node(name, ingredient))
        return name, None
    if label in walk.names:
        return walk.names[label], None
    name = walk.names[label] = f"m{len(walk.nodes)}"
    state, trust, failures = _ingredient_state(ingredient, walk.deltas.get(reference, {}))
    walk.nodes.append(_manifest_node(name, manifest, state, trust, failures, ingredient))
    return name, label


def _bare_node(name: str, ingredient: dict[str, Any]) -> Node:
    types = ingredient.get("data_types") or ingredient.get("dataTypes") or []
    kinds = [text(t.get("type")) or "" for t in types if isinstance(t, dict)] if isinstance(types, list) else []
    title = text(ingredient.get("dc:title") or ingredient.get("title")) or (kinds[0] if kinds else "untitled")
    made_of = text(ingredient.get("dc:format") or ingredient.get("format")) or (kinds[0] if kinds else None)
    return Node(name, title, "ingredient", made_of, text(ingredient.get("description")))


def _manifest_node(
    name: str,
    manifest: dict[str, Any],
    state: str,
    trust: TrustLevel,
    failures: tuple[str, ...],
    ingredient: dict[str, Any] | None = None,
) -> Node:
    claim = mapping(manifest.get("claim"))
    signature = mapping(manifest.get("signature"))
    used = ingredient or {}
    return Node(
        name,
        text(claim.get("dc:title") or used.get("dc:title")) or "untitled",
        "manifest",
        text(claim.get("dc:format") or used.get("dc:format")),
        generator_text(claim),
        text(signature.get("common_name") or signature.get("issuer")),
        trust,
        text(signature.get("time")),
        state,
        tuple(actions_of(mapping(manifest.get("assertion_store")))[:MAX_ACTIONS]),
        tuple(text(code) or "" for code in failures[:20]),
    )


def _ingredient_state(ingredient: dict[str, Any], delta: dict[str, Any]) -> tuple[str, TrustLevel, tuple[str, ...]]:
    """What was recorded when the ingredient was used, and what is different now. Who is trusted is decided here and
    now: the record says only what its writer wanted it to say."""
    recorded = mapping(mapping(ingredient.get("validationResults")).get("activeManifest"))
    codes = [str(s.get("code")) for s in _statuses(recorded, "failure") + _statuses(delta, "failure")]
    failures = tuple(dict.fromkeys(code for code in codes if code != "signingCredential.untrusted"))
    trust: TrustLevel = "none"
    for status in _statuses(delta, "success"):
        if status.get("code") == "signingCredential.trusted":
            trust = level_in_explanation(str(status.get("explanation", "")))
    if failures:
        return "invalid", "none", failures
    return ("trusted" if trust != "none" else "valid"), trust, ()


def _deltas(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = {}
    for delta in results.get("ingredientDeltas") or []:
        if isinstance(delta, dict):
            found[str(delta.get("ingredientAssertionURI"))] = mapping(delta.get("validationDeltas"))
    return found


def _statuses(where: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    found = where.get(kind)
    return [status for status in found if isinstance(status, dict)] if isinstance(found, list) else []


def _ingredients(manifest: dict[str, Any], label: str) -> list[tuple[str, dict[str, Any]]]:
    """(the assertion's URI, its content) of each ingredient of a manifest."""
    store = mapping(manifest.get("assertion_store"))
    return [
        (f"self#jumbf=/c2pa/{label}/c2pa.assertions/{key}", value)
        for key, value in store.items()
        if key.startswith("c2pa.ingredient") and isinstance(value, dict)
    ]


def _label_of(ingredient: dict[str, Any]) -> str | None:
    """Version 3 names its `activeManifest`, earlier ones a `c2pa_manifest` (C2PA 2.4, Ingredient assertion)."""
    for key in ("activeManifest", "c2pa_manifest"):
        url = mapping(ingredient.get(key)).get("url")
        if isinstance(url, str) and "/c2pa/" in url:
            return url.split("/c2pa/", 1)[1].split("/", 1)[0]
    return None


def actions_of(store: dict[str, Any]) -> list[Action]:
    found = []
    for key, value in store.items():
        steps = value.get("actions") if key.startswith("c2pa.actions") and isinstance(value, dict) else None
        for step in steps if isinstance(steps, list) else []:
            if isinstance(step, dict) and step.get("action"):
                agent = step.get("softwareAgent")
                name = (
                    " ".join(filter(None, (text(agent.get("name")), text(agent.get("version")))))
                    if isinstance(agent, dict)
                    else text(agent)
                )
                source = text(step.get("digitalSourceType"))
                found.append(Action(text(step.get("action")) or "", text(step.get("when")), name or None, source))
    return found


def generator_text(claim: dict[str, Any]) -> str | None:
    """The claim generator: claims of version 2 have an object, those of version 1 a list, the oldest one a string."""
    info = claim.get("claim_generator_info")
    info = info[0] if isinstance(info, list) and info else info
    if isinstance(info, dict):
        named = [text(info.get("name")), text(info.get("version"))]
        return " ".join(part for part in named if part) or None
    return text(claim.get("claim_generator"))


def text(value: object) -> str | None:
    """A stranger's text: cut to a length, anything else than text or a number is None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    shown = str(value)[:_TEXT]
    return shown or None


def mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
