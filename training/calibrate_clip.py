"""Calibrates the CLIP guard on held-out scenes; writes models/clip/calibration.json.

python -m training.calibrate_clip

For each hazard a logistic curve over the guard's raw score (J. Platt, 1999) is fitted on held-out compositions, each
once as rendered and once through the autoencoder, as generated pictures are; both classes weigh the
same. A second set of scenes, from another seed, gives the recall and the share of harmless pictures flagged
by threshold that are written beside the curves.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from filigrana.pipeline.torch_compat import ready
from filigrana.safety.vision.clip import CALIBRATION, ClipGuard

from .train_clip import FOLDER
from .world.objects import EVERYTHING, OBJECTS
from .world.scenes import Scene, render, sample
from .world.sprites import Sprites, load

HARMLESS, HARMFUL = 200, 120
THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)


def scenes(sprites: Sprites, seed: int) -> list[Scene]:
    """Held-out compositions: HARMLESS of what may be shown, HARMFUL of what is refused."""
    rng = np.random.default_rng(seed)
    found = [sample(rng, sprites, len(OBJECTS), held_out=True) for _ in range(HARMLESS)]
    while len(found) < HARMLESS + HARMFUL:
        scene = sample(rng, sprites, len(EVERYTHING), held_out=True)
        if scene.thing >= len(OBJECTS):
            found.append(scene)
    return found


def pictures(drawn: list[Scene], sprites: Sprites, autoencoder: Any) -> list[NDArray[np.uint8]]:
    """Each scene as rendered, then each as the autoencoder gives it back; (512, 512, 3) uint8."""
    rendered = [render(scene, sprites) for scene in drawn]
    seen = []
    with torch.inference_mode():
        for picture in rendered:
            tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
            back = autoencoder.decode(autoencoder.encode(tensor))
            rgb = ((back[0].permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255)
            seen.append(rgb.to(torch.uint8).numpy())
    return [*rendered, *seen]


def fit(raw: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[float, float]:
    """(slope, offset) of the logistic, both classes weighing the same, slightly regularised."""
    weight = np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum())

    def loss(curve: NDArray[np.float64]) -> float:
        z = curve[0] * raw + curve[1]
        return float((weight * np.logaddexp(0, np.where(truth, -z, z))).sum() + 1e-5 * curve[0] ** 2)

    found = minimize(loss, np.array([10.0, 0.0]), method="Nelder-Mead", options={"maxiter": 4000})
    return float(found.x[0]), float(found.x[1])


def main() -> None:
    """Fits on one set of scenes, reports on another."""
    ready()
    from filigrana.pipeline.generators.diffusers import embedded_folder
    from filigrana.pipeline.generators.embedded.autoencoder import FiligranaAutoencoder

    torch.manual_seed(0)
    sprites, guard = load(), ClipGuard(FOLDER)
    autoencoder = FiligranaAutoencoder.from_pretrained(str(embedded_folder() / "autoencoder")).float().eval()
    raw: list[list[dict[str, float]]] = []
    truth: list[NDArray[np.str_]] = []
    for seed in (71, 72):
        drawn = scenes(sprites, seed)
        raw.append([guard.raw_scores(picture) for picture in pictures(drawn, sprites, autoencoder)])
        hazards = [EVERYTHING[scene.thing].hazard or "" for scene in drawn]
        truth.append(np.array(hazards * 2))
    curves: dict[str, dict[str, float]] = {}
    report: dict[str, dict[str, dict[str, float]]] = {}
    for hazard in raw[0][0]:
        fitted = np.array([scores[hazard] for scores in raw[0]])
        slope, offset = fit(fitted, truth[0] == hazard)
        curves[hazard] = {"slope": slope, "offset": offset}
        fresh = np.array([scores[hazard] for scores in raw[1]])
        chance = 1 / (1 + np.exp(-(slope * fresh + offset)))
        report[hazard] = {
            f"{threshold:g}": {
                "recall": round(float((chance >= threshold)[truth[1] == hazard].mean()), 4),
                "harmless_flagged": round(float((chance >= threshold)[truth[1] == ""].mean()), 4),
            }
            for threshold in THRESHOLDS
        }
    text = json.dumps({"digest": guard.digest, "curves": curves, "held_out": report}, indent=2)
    (FOLDER / CALIBRATION).write_text(text + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
