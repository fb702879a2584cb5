"""China's implicit label (GB 45438-2025, annex E; the placement guide of TC260): one JSON object a file. Pure.

``{"AIGC": {"Label": …, "ContentProducer": …, …}}`` with seven fields whose values are printable ASCII without blank,
quotation mark and backslash. Whoever writes the first label is its propagator too. Readers know a second shape, the
inner object alone, which is what some tools write.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from ...errors import SettingsError

FIELDS = (
    "Label",
    "ContentProducer",
    "ProduceID",
    "ReservedCode1",
    "ContentPropagator",
    "PropagateID",
    "ReservedCode2",
)
NAMESPACE = "http://www.tc260.org.cn/ns/AIGC/1.0/"
LABELS = {"1": "is AI-made", "2": "possibly AI-made", "3": "suspected AI-made"}
MOST_BYTES = 8 << 10


@dataclass(frozen=True, slots=True)
class Aigc:
    """``label``: 1 is AI-made, 2 possibly, 3 suspected. ``produce_id`` and ``propagate_id``: the file's id at whoever
    made it, and at whoever passes it on."""

    label: str
    producer: str
    produce_id: str
    reserved1: str = ""
    propagator: str = ""
    propagate_id: str = ""
    reserved2: str = ""

    @classmethod
    def first(cls, producer: str, ident: str) -> Aigc:
        """The label that is written when there was none: its producer is its propagator."""
        return cls("1", producer, ident, "", producer, ident)

    def passed_on(self, propagator: str, ident: str) -> Aigc:
        """The same content's label where somebody else releases it: who made it stays."""
        return replace(self, propagator=propagator, propagate_id=ident)

    def text(self) -> str:
        values = (
            self.label,
            self.producer,
            self.produce_id,
            self.reserved1,
            self.propagator,
            self.propagate_id,
            self.reserved2,
        )
        return json.dumps({"AIGC": dict(zip(FIELDS, values, strict=True))}, separators=(",", ":"))


def allowed(text: str) -> bool:
    """Whether a value has only characters that the standard lets it have: 0x21, 0x23-0x5B, 0x5D-0x7E."""
    return all("!" <= c <= "~" and c not in '"\\' for c in text)


def producer_code(organisation: str) -> str:
    """The name of an organisation as a label can carry it. Raises SettingsError where it cannot."""
    code = organisation.strip().replace(" ", "_")
    if not code or not allowed(code):
        raise SettingsError(
            f"the name {organisation!r} cannot stand in an AIGC label",
            code="settings.aigc_producer",
            hint="Set aigc_producer to a code of printable ASCII without blanks, quotation marks and backslashes.",
        )
    return code


def parse(value: str | None) -> dict[str, Any] | None:
    """The label's object, from either shape; None for what is neither."""
    if not value or len(value) > MOST_BYTES:
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    inner = found.get("AIGC", found) if isinstance(found, dict) else None
    return inner if isinstance(inner, dict) and "Label" in inner else None


def kept(value: str | None) -> Aigc | None:
    """A label that came in, if it is whole enough to be passed on: its faults would be ours."""
    found = parse(value)
    if found is None or problems(value or "", first=False):
        return None
    return Aigc(*(str(found[name]) for name in FIELDS))


def problems(value: str, *, first: bool) -> list[str]:
    """What is wrong with a label's text, in words. ``first``: nobody labelled the content before."""
    found = parse(value)
    if found is None:
        return ["it is no AIGC object"]
    wrong: list[str] = []
    twice: list[str] = []  # readers differ in which of two they take

    def noted(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice.extend(str(name)[:40] for name in dict.fromkeys(names) if names.count(name) > 1)
        return dict(pairs)

    outer = json.loads(value, object_pairs_hook=noted)
    if twice:
        wrong.append(f"keys stand twice: {', '.join(twice[:5])}")
    if "AIGC" not in outer:
        wrong.append("the outer key AIGC is missing")
    elif len(outer) > 1:
        wrong.append("there are keys beside AIGC")
    missing = [name for name in FIELDS if name not in found]
    further = [str(name)[:40] for name in found if name not in FIELDS]
    if missing:
        wrong.append(f"without {', '.join(missing)}")
    if further:
        wrong.append(f"with unknown keys: {', '.join(further[:5])}")
    values = {name: found[name] for name in FIELDS if name in found}
    wrong += [f"{name} is no text" for name, item in values.items() if not isinstance(item, str)]
    texts = {name: item for name, item in values.items() if isinstance(item, str)}
    if "Label" in texts and texts["Label"] not in LABELS:
        wrong.append(f"Label is {texts['Label'][:20]!r}, not 1, 2 or 3")
    wrong += [f"{name} has characters that it may not have" for name, item in texts.items() if not allowed(item)]
    wrong += [f"{name} is empty" for name in ("ContentProducer", "ProduceID") if texts.get(name) == ""]
    pairs = (("ContentPropagator", "ContentProducer"), ("PropagateID", "ProduceID"))
    if first and any(texts.get(a) != texts.get(b) for a, b in pairs):
        wrong.append("on first writing the propagator is the producer, under the same id")
    if not first and texts.get("ContentPropagator") == "":
        wrong.append("ContentPropagator is empty")
    return wrong
