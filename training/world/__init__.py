"""The licensed sprite world: enumerable sprites, composed scenes, English captions, a held-out split.

Pictures are 512x512 uint8 RGB. Everything is a function of a seed, so a data set is named by its seed.
"""

from __future__ import annotations

SIDE = 512
"""Side of a picture in pixels."""

CELL = 32
"""Grid step in pixels. Sprites stand on this grid, which is the autoencoder's downsampling factor, so one
sprite at one size always meets the latent grid in the same way and its edges can be learned exactly."""
