"""`python -m training.prompts.train OUT [--also FILE.csv.gz]`: tunes, exports and calibrates the prompt classifier.

Calibrated on families of the training half that took no part in the tuning; the test half is not read here. ``--also``
adds prompts of public sets under permissive licences, which docs name; their texts are not part of this project.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import time
from pathlib import Path

import numpy as np
import torch

from ...safety.decision import HAZARDS
from ...safety.text.classifier import CALIBRATION, NETWORK
from ...safety.text.wordpieces import WordPieces
from .calibrate import curves, scores
from .corpus import Half, Prompt, digest, read, read_more
from .fit import Recipe, fit, logits
from .measure import auc, others
from .tower import Tower

KEPT_APART = 8
"""Every eighth family calibrates."""
UNUSED = ("i2p", "ailuminate_fr", "vbench_cn")
"""Noisy labels; all harmful in one language; all harmless in one language."""


def public(path: Path) -> list[Prompt]:
    """Half of each set teaches; the other half, told by the text's SHA-256, is measured."""
    found = []
    for row in others(path):
        if row.source not in UNUSED:
            hazard = row.hazard.split("_")[0]
            name = hashlib.sha256(row.text.encode()).hexdigest()[:12]
            text = row.text.strip().strip('"')[:600]
            kind = hazard if hazard in HAZARDS else "?"
            half: Half = "train" if int(name[-1], 16) % 2 else "test"
            found.append(Prompt(text, row.harmful, kind, row.language, row.source, name, half))
    return found


def export(tower: Tower, pieces: WordPieces, path: Path) -> None:
    """8-bit weights, activations quantised as they come: about a quarter of the size and the time."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    wide = path.with_suffix(".wide")
    example = (torch.randn(2, 7, pieces.shape.width), torch.ones(2, 7, dtype=torch.bool))
    axes = {"words": {0: "n", 1: "length"}, "mask": {0: "n", 1: "length"}}
    torch.onnx.export(
        tower.eval(), example, str(wide), input_names=["words", "mask"], output_names=["logits"], dynamic_axes=axes,
        opset_version=17, dynamo=False,
    )  # fmt: skip
    quantize_dynamic(str(wide), str(path), weight_type=QuantType.QInt8, per_channel=True)
    wide.unlink()


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("out", type=Path)
    asked.add_argument("--also", type=Path)
    asked.add_argument("--layers", type=int, default=Recipe.layers)
    asked.add_argument("--epochs", type=float, default=Recipe.epochs)
    given = asked.parse_args()
    torch.set_num_threads(2)
    pieces = WordPieces.installed()
    ours = [p for p in read() if p.half == "train"] + read_more()
    theirs = public(given.also) if given.also else []
    prompts = ours + [p for p in theirs if p.half == "train"]
    apart = [p for p in prompts if int(p.family, 16) % KEPT_APART == 0]
    taught = [p for p in prompts if int(p.family, 16) % KEPT_APART]
    print(f"{len(taught)} prompts teach, {len(apart)} calibrate, of {len(prompts)}", flush=True)
    recipe, started = Recipe(layers=given.layers, epochs=given.epochs), time.monotonic()
    tower = fit(pieces, taught, recipe, lambda line: print(line, flush=True))
    seconds = time.monotonic() - started
    given.out.mkdir(parents=True, exist_ok=True)
    torch.save(tower.state_dict(), given.out / "tower.pt")
    export(tower, pieces, given.out / NETWORK)
    said = logits(pieces, tower, [p.text for p in apart])
    fitted = curves(apart, said)
    own = hashlib.sha256((given.out / NETWORK).read_bytes() + bytes.fromhex(pieces.digest)).hexdigest()
    calibration = {
        "digest": own,
        "curves": {name: {"slope": round(a, 6), "offset": round(b, 6)} for name, (a, b) in fitted.items()},
        "prompts": len(apart),
        "trained_on": {"prompts": len(taught), "ours": len(ours), "digest": digest(prompts)},
        "recipe": {"layers": recipe.layers, "epochs": recipe.epochs, "seed": recipe.seed, "seconds": round(seconds)},
    }
    (given.out / CALIBRATION).write_text(json.dumps(calibration, indent=1) + "\n")
    worst = scores(said, fitted).max(1)
    harmful = np.array([p.harmful for p in apart])
    print("kept apart: AUC", round(auc(worst, harmful), 4))
    unseen = [p for p in theirs if p.half == "test"]
    found = scores(logits(pieces, tower, [p.text for p in unseen]), fitted).max(1) if unseen else np.zeros(0)
    for source in sorted({(p.form, p.harmful) for p in unseen}):
        mine = found[np.array([(p.form, p.harmful) == source for p in unseen])]
        shares = [f"{bar:g}: {(mine >= bar).mean():.1%}" for bar in (0.5, 0.7, 0.8, 0.95)]
        print("half that did not teach:", source[0], "harmful" if source[1] else "harmless", len(mine), *shares)
    for threshold in (0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.96, 0.97, 0.98):
        rates = [
            f"{name} {(worst[mask] >= threshold).mean():.1%}"
            for name, mask in (
                ("harmful", harmful),
                ("look-alike", ~harmful & np.array([p.hazard in HAZARDS and p.form != "x" for p in apart])),
                ("ordinary", np.array([p.hazard == "ordinary" for p in apart])),
                ("newsroom", np.array([p.hazard == "newsroom" for p in apart])),
            )
            if mask.any()
        ]
        print(threshold, *rates, sep="  ")


if __name__ == "__main__":
    random.seed(0)
    main()
