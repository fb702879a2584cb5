"""Encodes sampled scenes once with the frozen autoencoder: chunks of latents and their scenes.

python -m training.cache_latents --count 24000
"""

from __future__ import annotations

import argparse
from dataclasses import astuple
from pathlib import Path

import numpy as np
import torch

from filigrana.pipeline.generators.embedded.autoencoder import FiligranaAutoencoder

from .common import AUTOCAST, Run, channels_last, prepare, to_tensor
from .world.scenes import Scene, render, sample
from .world.sprites import SIZES, WORK, load

SEED = 20262
CHUNK = 500
FOLDER = WORK / "latents"
_SIZE_NAMES = tuple(SIZES)


def pack(scenes: list[Scene]) -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    """Scenes -> (N, 8) int16, the size by its index."""
    rows = [[_SIZE_NAMES.index(v) if isinstance(v, str) else v for v in astuple(scene)] for scene in scenes]
    return np.asarray(rows, np.int16)


def unpack(row: np.ndarray[tuple[int], np.dtype[np.int16]]) -> Scene:
    """The inverse of `pack` for one row."""
    thing, colour, background, variant, place, size, column, line = (int(v) for v in row)
    return Scene(thing, colour, background, variant, place, _SIZE_NAMES[size], column, line)


def load_autoencoder(name: str = "ae") -> FiligranaAutoencoder:
    """The averaged weights of the run `name`."""
    model = FiligranaAutoencoder()
    model.load_state_dict(torch.load(Run(name, 1, 1).path, weights_only=True)["ema"])
    frozen: FiligranaAutoencoder = channels_last(model.eval().requires_grad_(False))
    return frozen


def main() -> None:
    """Writes the chunks that are still missing; chunk 0 holds held-out compositions for validation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=24000)
    parser.add_argument("--autoencoder", default="ae")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    prepare(SEED)
    sprites, model = load(), load_autoencoder(options.autoencoder)
    options.out.mkdir(parents=True, exist_ok=True)
    for number in range(options.count // CHUNK + 1):
        path = options.out / f"{number:04d}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng((SEED, number))
        scenes = [sample(rng, sprites, held_out=number == 0) for _ in range(CHUNK)]
        latents = np.empty((CHUNK, model.config.latent_channels, 16, 16), np.float16)
        for start in range(0, CHUNK, 4):
            x = to_tensor([render(scene, sprites) for scene in scenes[start : start + 4]])
            with torch.no_grad(), torch.autocast("cpu", AUTOCAST):
                latents[start : start + 4] = model.encode(x).float().numpy()
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, latents=latents, scenes=pack(scenes))
        partial.replace(path)


if __name__ == "__main__":
    main()
