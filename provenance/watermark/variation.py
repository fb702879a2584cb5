"""Which variant of the pattern a moment carries: the slow keyed variation, shared by pictures, clips and sound.

A codec has 16 variants of its pattern. A picture carries the variant of its asset (so that averaging many marked
pictures does not add up one pattern); a clip and its sound start with that variant and go one further every two
seconds, so that averaging a clip's frames does not either. Once a detection knows the id, the variant tells the
epoch: the time of the original modulo 32 s. A picture track and a sound track that disagree about it were re-timed.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction

from ..identity import AssetId
from .base import PUBLISHED_KEY

VARIANTS = 16
EPOCH = Fraction(2)
"""Seconds that one variant lasts."""
CYCLE = EPOCH * VARIANTS
"""Seconds after which the variants repeat: 32."""


def first_variant(asset_id: AssetId, key: bytes | None = None) -> int:
    """The variant in [0, 16) of epoch 0, and of a picture. ``key``: None for the published detection key."""
    seed = b"filigrana variation 1\0" + (PUBLISHED_KEY if key is None else key) + b"\0" + str(asset_id).encode()
    return hashlib.sha256(seed).digest()[0] % VARIANTS


def variant_at(time: Fraction | float, first: int) -> int:
    """The variant in [0, 16) at ``time`` seconds from the start of a clip or sound whose epoch 0 has ``first``."""
    return (first + int(time // EPOCH)) % VARIANTS


def epoch_of(variant: int, first: int) -> int:
    """The epoch in [0, 16) that carries ``variant``: time modulo `CYCLE` lies in [2 e, 2 e + 2) seconds."""
    return (variant - first) % VARIANTS
