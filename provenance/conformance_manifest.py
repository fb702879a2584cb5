"""A manifest taken apart once, for :mod:`.conformance`. Everything in it is a stranger's: no shape is relied upon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_HARD = ("c2pa.hash.data", "c2pa.hash.bmff", "c2pa.hash.boxes", "c2pa.hash.collection")


@dataclass(frozen=True)
class Given:
    """The active manifest. ``results``: of its validation. ``sidecar``: whether it lies beside the file."""

    label: str
    claim: dict[str, Any]
    store: dict[str, Any]
    signature: dict[str, Any]
    results: dict[str, Any]
    mime: str
    sidecar: bool

    def named(self, prefix: str) -> dict[str, Any]:
        """Assertions with this label, whatever their version and number."""
        return {k: v for k, v in self.store.items() if k == prefix or k.startswith((prefix + ".", prefix + "__"))}

    @property
    def actions(self) -> list[dict[str, Any]]:
        found = [item for value in self.named("c2pa.actions").values() for item in list_of(get(value, "actions"))]
        return [item for item in found if isinstance(item, dict)]

    @property
    def hard(self) -> dict[str, Any]:
        return {k: v for name in _HARD for k, v in self.named(name).items()}

    def codes(self, kind: str) -> list[str]:
        return [str(get(item, "code")) for item in list_of(get(self.results, kind))]

    def references(self, which: str) -> list[str]:
        urls = [str(get(item, "url")) for item in list_of(get(self.claim, which))]
        return [url.rpartition("/")[2] for url in urls]

    def linked(self, action: dict[str, Any]) -> list[dict[str, Any]]:
        """The ingredient assertions that an action names."""
        urls = [str(get(item, "url")) for item in list_of(get(get(action, "parameters"), "ingredients"))]
        found = [self.store.get(url.rpartition("/")[2]) for url in urls]
        return [item if isinstance(item, dict) else {} for item in found]

    @property
    def sources(self) -> list[str]:
        return [str(item["digitalSourceType"]) for item in self.actions if "digitalSourceType" in item]


def get(value: object, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def list_of(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
