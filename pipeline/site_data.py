"""Pictures, clips and sounds that a page names for search engines, in JSON-LD of schema.org. Pure."""

from __future__ import annotations

import json
from typing import Any

STRUCTURED = "application/ld+json"
_NAMED = frozenset({"image", "thumbnail", "thumbnailurl", "contenturl", "logo", "primaryimageofpage"})
_MOST = 10_000
"""Values of one block that are looked at."""


def of_structured(text: str) -> list[str]:
    """The addresses in one block, in its order; none in what is no JSON."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return []
    found, waiting = list[str](), [(said, False)]
    for _ in range(_MOST):
        if not waiting:
            break
        value, shown = waiting.pop()
        if isinstance(value, str) and shown:
            found.append(value)
        elif isinstance(value, list):
            waiting += [(item, shown) for item in reversed(value)]
        elif isinstance(value, dict):
            waiting += [(item, _shows(name, value, shown)) for name, item in reversed(value.items())]
    return found


def _shows(name: str, holder: dict[str, Any], shown: bool) -> bool:
    """An `url` is of a picture inside of what is one: of anything else it is a page."""
    name = name.lower()
    return name in _NAMED or (name == "url" and (shown or holder.get("@type") == "ImageObject"))
