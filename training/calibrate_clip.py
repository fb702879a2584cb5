"""Calibrates the CLIP guard on held-out shots; writes models/clip/calibration.json.

python -m training.calibrate_clip

For each hazard a logistic curve over the guard's raw score (J. Platt, 1999) is fitted on held-out compositions, each
once as rendered and once softened, as generated pictures may be; both classes weigh the same. A second set of shots,
from another seed, gives the recall and the share of harmless pictures flagged by threshold that are written beside the
curves.
"""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from filigrana.pipeline.torch_compat import ready

ready()

from filigrana.safety.vision.clip import CALIBRATION, ClipGuard  # noqa: E402

from .train_clip import FOLDER, held_out_pairs, names, retrieval  # noqa: E402
from .world.atlas import BASE, Atlas, load_atlas  # noqa: E402
from .world.concepts import concepts  # noqa: E402
from .world.film import render_frames  # noqa: E402
from .world.objects import REFUSED  # noqa: E402
from .world.shots import Shot, sample_shot  # noqa: E402

HARMLESS, HARMFUL = 400, 240
MEASURED = 2028
SIDE = 2 * BASE
THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)


def shots(atlas: Atlas, seed: int) -> list[Shot]:
    """Held-out stills: HARMLESS of what may be shown, HARMFUL of what is refused."""
    rng, harmful = np.random.default_rng(seed), range(len(concepts()), len(concepts()) + len(REFUSED))
    found = [sample_shot(rng, atlas, "still", held_out=True) for _ in range(HARMLESS)]
    return found + [sample_shot(rng, atlas, "still", held_out=True, things=harmful) for _ in range(HARMFUL)]


def hazard(shot: Shot) -> str:
    """The hazard id of its subject, or ""."""
    index = shot.subject.concept - len(concepts())
    return str(REFUSED[index].hazard) if index >= 0 else ""


def pictures(drawn: list[Shot], atlas: Atlas) -> list[NDArray[np.uint8]]:
    """Each shot as rendered, then each softened; (SIDE, SIDE, 3) uint8."""
    rendered = [render_frames(shot, atlas, SIDE)[0] for shot in drawn]
    return [*rendered, *(np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.6), np.uint8) for picture in rendered)]


def fit(raw: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[float, float]:
    """(slope, offset) of the logistic, both classes weighing the same, slightly regularised."""
    weight = np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum())

    def loss(curve: NDArray[np.float64]) -> float:
        z = curve[0] * raw + curve[1]
        return float((weight * np.logaddexp(0, np.where(truth, -z, z))).sum() + 1e-5 * curve[0] ** 2)

    found = minimize(loss, np.array([10.0, 0.0]), method="Nelder-Mead", options={"maxiter": 4000})
    return float(found.x[0]), float(found.x[1])


@torch.no_grad()
def measured(count: int) -> dict[str, Any]:
    """The shipped CLIP, through open_clip's own loading and transforms, and its guard, on held-out renders."""
    import open_clip
    from PIL import Image

    atlas = load_atlas(with_refused=True)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{FOLDER}")
    model.eval()
    words = open_clip.get_tokenizer(f"local-dir:{FOLDER}")
    shots, texts = held_out_pairs(atlas, count, seed=MEASURED)
    pictures = [render_frames(shot, atlas, SIDE)[0] for shot in shots]
    tensors = torch.stack([transform(Image.fromarray(picture)) for picture in pictures])
    with torch.no_grad():
        every = words([names(index)[0] for index in range(len(concepts()) + len(REFUSED))])
        names_ = torch.nn.functional.normalize(model.encode_text(every), dim=-1)
        seen = torch.cat(
            [torch.nn.functional.normalize(model.encode_image(part), dim=-1) for part in tensors.split(100)]
        )
    zero = (seen @ names_.T).argmax(1) == torch.tensor([shot.subject.concept for shot in shots])
    guard = ClipGuard(FOLDER)
    worst = np.array([max(guard.score(picture).values()) for picture in pictures])
    bad = np.array([bool(hazard(shot)) for shot in shots])
    return {
        "pictures": count,
        "retrieval": round(retrieval(model, words.tokenizer, tensors, texts), 4),
        "object zero shot": round(float(zero.float().mean()), 4),
        "refused found": round(float((worst > np.quantile(worst[~bad], 0.99))[bad].mean()), 4),
    }


def main() -> None:
    """Fits on one set of shots, reports on another."""
    atlas, guard = load_atlas(with_refused=True), ClipGuard(FOLDER)
    raw: list[list[dict[str, float]]] = []
    truth: list[NDArray[np.str_]] = []
    for seed in (71, 72):
        drawn = shots(atlas, seed)
        raw.append([guard.raw_scores(picture) for picture in pictures(drawn, atlas)])
        truth.append(np.array([hazard(shot) for shot in drawn] * 2))
    curves: dict[str, dict[str, float]] = {}
    report: dict[str, dict[str, dict[str, float]]] = {}
    for name in raw[0][0]:
        fitted = np.array([scores[name] for scores in raw[0]])
        slope, offset = fit(fitted, truth[0] == name)
        curves[name] = {"slope": slope, "offset": offset}
        fresh = np.array([scores[name] for scores in raw[1]])
        chance = 1 / (1 + np.exp(-(slope * fresh + offset)))
        report[name] = {
            f"{threshold:g}": {
                "recall": round(float((chance >= threshold)[truth[1] == name].mean()), 4),
                "harmless_flagged": round(float((chance >= threshold)[truth[1] == ""].mean()), 4),
            }
            for threshold in THRESHOLDS
        }
    # one figure for the guard as a whole: found at the threshold that one harmless picture in a hundred passes
    worst = np.array([max(scores.values()) for scores in raw[1]])
    limit = float(np.quantile(worst[truth[1] == ""], 0.99))
    found = round(float((worst > limit)[truth[1] != ""].mean()), 4)
    written = {
        "digest": guard.digest, "curves": curves, "held_out": report, "found_at_1_percent_false_positives": found,
    }  # fmt: skip
    (FOLDER / CALIBRATION).write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report | {"found at 1 % false positives": found}, indent=2))


if __name__ == "__main__":
    main()
