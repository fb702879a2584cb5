"""What a site's robots.txt lets us ask for (RFC 9309). Pure.

The standard library's reader knows no wildcards, takes the first rule that fits in place of the longest, and does not
join groups. A file that nobody could read is no permission: see :meth:`Robots.closed`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_MOST_BYTES = 512 << 10
"""RFC 9309, 2.5: at least 500 KiB are read."""
_LONGEST_DELAY = 60.0
_ESCAPED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


@dataclass(frozen=True, slots=True)
class Robots:
    """``rules``: (may, pattern) of everything that is said to us. ``delay``: seconds between two requests, where the
    site asks for some. ``why``: nobody may ask for anything, since this is what was wrong with the file."""

    rules: tuple[tuple[bool, str], ...] = ()
    delay: float = 0.0
    why: str | None = None

    @classmethod
    def closed(cls, why: str) -> Robots:
        """RFC 9309, 2.3.1.4: a site whose rules cannot be reached forbids everything until they can."""
        return cls(why=why)

    @classmethod
    def parse(cls, data: bytes, agent: str) -> Robots:
        """The groups that name ``agent``, joined; without any, those for everybody."""
        groups: dict[str, tuple[list[tuple[bool, str]], list[float]]] = {}
        named, open_ = list[str](), False
        for line in data[:_MOST_BYTES].decode("utf-8-sig", "replace").splitlines():
            key, colon, value = line.partition("#")[0].partition(":")
            key, value = key.strip().lower(), value.strip()
            if not colon:
                continue
            if key == "user-agent":
                named = [*named, _product(value)] if open_ else [_product(value)]
                open_ = True
                groups.setdefault(named[-1], ([], []))
            elif key in ("allow", "disallow"):
                open_ = False
                for name in named:
                    groups[name][0].extend([(key == "allow", _normal(value))] if value else [])
            elif key == "crawl-delay" and re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value):
                open_ = False
                for name in named:
                    groups[name][1].append(min(float(value), _LONGEST_DELAY))
        rules, delays = groups.get(agent.lower()) or groups.get("*") or ([], [])
        return cls(tuple(rules), max(delays, default=0.0))

    def allows(self, url: str) -> bool:
        """The longest rule that fits decides; of two as long the one that permits."""
        if self.why is not None:
            return False
        parts = urlsplit(url)
        path = _normal((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        if path == "/robots.txt":
            return True
        fitting = [(len(pattern), may) for may, pattern in self.rules if _fits(pattern, path)]
        return max(fitting)[1] if fitting else True


def _product(value: str) -> str:
    """A product token without its version; `*` is everybody."""
    found = re.match(r"[A-Za-z_-]+|\*", value)
    return found.group(0).lower() if found else ""


def _normal(path: str) -> str:
    """Escapes in one form: what needs none is itself, what is not ASCII is escaped (RFC 9309, 2.2.2)."""
    plain = "".join(c if c < "\x80" else "".join(f"%{byte:02X}" for byte in c.encode("utf-8", "replace")) for c in path)

    def one(found: re.Match[str]) -> str:
        character = chr(int(found.group(1), 16))
        return character if character in _UNRESERVED else found.group(0).upper()

    return _ESCAPED.sub(one, plain)


def _fits(pattern: str, path: str) -> bool:
    """`*` stands for anything, `$` at the end for the end. Each part is looked for once: no backtracking."""
    anchored = pattern.endswith("$")
    first, *rest = (pattern[:-1] if anchored else pattern).split("*")
    if not path.startswith(first):
        return False
    place = len(first)
    for number, part in enumerate(rest):
        if anchored and number == len(rest) - 1:
            return path.endswith(part) and len(path) - len(part) >= place
        found = path.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return not anchored or place == len(path)
