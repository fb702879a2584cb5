"""AssetId: the one name of an asset, carried by its watermark, manifest, log entry, catalog row and file.

60 random bits, written as 12 Crockford base32 characters (https://www.crockford.com/base32.html): no I, L, O or
U, so that an id can be read aloud and typed in; I and L read as 1, O as 0, case and hyphens are ignored.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from ..errors import InputError

BITS = 60
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES = {char: value for value, char in enumerate(_ALPHABET)} | {"O": 0, "I": 1, "L": 1}
_LENGTH = 12


@dataclass(frozen=True, slots=True, order=True)
class AssetId:
    """``value``: an integer in ``[0, 2**60)``."""

    value: int

    def __post_init__(self) -> None:
        if not 0 <= self.value < 1 << BITS:
            raise InputError("an asset id is a number of 60 bits", code="input.asset_id")

    @classmethod
    def random(cls) -> AssetId:
        """A new id from the system's random source. Clashes are caught by the database, which then draws again."""
        return cls(secrets.randbits(BITS))

    @classmethod
    def parse(cls, text: str) -> AssetId:
        """Reads what ``str()`` wrote, forgiving case, hyphens, spaces and look-alike letters."""
        compact = "".join(text.split()).replace("-", "").upper() if isinstance(text, str) else ""
        if len(compact) != _LENGTH or any(char not in _VALUES for char in compact):
            raise InputError(
                "not an asset id: expected 12 letters and digits such as 4G7K-2M9P-QX0T",
                code="input.asset_id",
                hint="Copy the id from `filigrana verify FILE` or `filigrana audit show`.",
            )
        value = 0
        for char in compact:
            value = value << 5 | _VALUES[char]
        return cls(value)

    def __str__(self) -> str:
        return "".join(_ALPHABET[self.value >> shift & 31] for shift in range(BITS - 5, -1, -5))
