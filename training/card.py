"""Writes what is said of the shipped models from what was measured: cards, `filigrana.json`, and the training curves.

python -m training.card

Figures come from `shot_results.json` (evaluation) and `curves.json` (the runs' logs, which this program keeps there:
checkpoints and logs are not in git).
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from string import Template
from typing import Any

from .evaluate_shots import RESULTS
from .export_shots import CURVES, SHOT
from .train_clip import FOLDER as CLIP
from .world.concepts import STYLES, concepts
from .world.objects import REFUSED
from .world.sprites import WORK

TEMPLATE = Path(__file__).with_name("card_template.md")
CLIP_TEMPLATE = Path(__file__).with_name("clip_card_template.md")
RUNS = ("layers", "sound", "reader", "joint", "motion", "hearing", "clip")
"""Of what is shipped. Curves of other names are of what was given up."""
WATTS, CORES = 10, 2
"""Declared watts of a busy core, and how many a run keeps busy."""
POINTS = 60
VERSION = "3"


def curve(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A run's log with at most POINTS of its losses; every measurement is kept."""
    losses = [line for line in lines if "loss" in line]
    kept = losses[:: max(len(losses) // POINTS, 1)]
    return [line for line in lines if "loss" not in line or line in kept or line is lines[-1]]


def curves(folder: Path = WORK) -> dict[str, list[dict[str, Any]]]:
    """The curves of all runs that have a log, and those kept from before of the others."""
    found: dict[str, list[dict[str, Any]]] = json.loads(CURVES.read_text("utf-8")) if CURVES.exists() else {}
    for name in RUNS:
        log = folder / f"{name}.jsonl"
        if log.exists():
            found[name] = curve([json.loads(line) for line in log.read_text("utf-8").splitlines()])
    return found


def spent(kept: dict[str, list[dict[str, Any]]], names: tuple[str, ...]) -> dict[str, float]:
    """Seconds of training by run."""
    return {name: max(float(line["seconds"]) for line in kept[name]) for name in names if kept.get(name)}


def gains(kept: dict[str, list[dict[str, Any]]]) -> list[str]:
    """A row for each measurement that was repeated: where it stands, and what it gained by the last doubling of the
    time spent, so that what more training would give can be calculated."""
    lines = ["| run | measured | after | stands at | by a doubling of the time |", "|---|---|---|---|---|"]
    for name, every in kept.items():
        keys = dict.fromkeys(key for line in every for key in line if key not in ("step", "seconds", "rate", "loss"))
        for key in keys:
            points = [(float(line["seconds"]), float(line[key])) for line in every if key in line]
            points = [point for n, point in enumerate(points) if n == 0 or point[0] > points[n - 1][0] * 1.05]
            if len(points) < 2:
                continue
            (then, was), (now, value) = points[-2:]
            change = (value - was) / math.log2(now / then)
            lines.append(f"| {name} | {key} | {now / 60:.0f} min | {value:g} | {change:+.3g} |")
    return lines


def percent(value: float) -> str:
    """A share as a table shows it."""
    return f"{100 * value:.1f} %"


def measured(results: dict[str, Any]) -> list[str]:
    """The table of what was measured."""
    stills, films = results["stills"], results["clips"]
    asked = (
        (stills, "stills", "object", "concept", 0.90),
        (stills, "stills", "colour: one of 17, its own included", "colour", 0.97),
        (stills, "stills", "its partner's object, where there is one", "partner", None),
        (stills, "stills", "count, where more than one is asked for", "count", 0.80),
        (stills, "stills", "relation, where one is asked for", "relation", 0.80),
        (stills, "stills", "setting", "setting", None),
        (films, "clips", "motion", "motion", 0.80),
        (films, "clips", "object throughout", "object throughout", 0.80),
        (films, "clips", "class of the sound", "sound", 0.85),
    )
    rows = [(what, title, of["generated"][key], of["real"][key], aim) for of, what, title, key, aim in asked]
    lines = ["| | generated | real renders | aim |", "|---|---|---|---|"]
    for what, title, value, real, aim in rows:
        told = "" if aim is None else percent(aim)
        lines.append(f"| {what}: {title} | **{percent(value)}** | {percent(real)} | {told} |")
    lines.append(
        f"| clips: picture and sound in time, correlation | **{films['generated']['sync']:.2f}** "
        f"| {films['real']['sync']:.2f} | .60 |"
    )
    return lines


def card(results: dict[str, Any], kept: dict[str, list[dict[str, Any]]]) -> str:
    """The model card."""
    time = spent(kept, RUNS[:-1])
    given_up = spent(kept, tuple(name for name in kept if name not in RUNS))
    total = sum(time.values())
    kilowatt_hours = total * CORES * WATTS / 3.6e6
    folders = [folder for folder in SHOT.iterdir() if folder.is_dir()]
    sizes = {folder.name: sum(file.stat().st_size for file in folder.glob("*.safetensors")) for folder in folders}
    times, coder = results["times"], results["autoencoder"]
    parts = "\n".join(
        f"| `{name}` | {what} | {sizes.get(name, 0) / 1e6:.1f} MB |"
        for name, what in (
            ("layers", "decoder of layers: 4x4 cells <-> a sprite of 256x256, 12x12 <-> a backdrop of 768x768, RGBA"),
            ("sound", "decoder of sound: a log spectrogram of two seconds, phases by Griffin-Lim"),
            ("reader", "caption encoder: 48 words -> one slot for each of sixteen attributes"),
            ("transformer", "rectified flow over 30 tokens of what is seen: backdrop, sprites, dyes"),
            ("motion", "rectified flow over 16 tokens of where six things and the camera are at 64 moments"),
            ("hearing", "rectified flow over 16 tokens of what is heard, told by the motion"),
        )
    )
    table = "\n".join(measured(results))
    spans = ", ".join(f"{name} {seconds / 60:.0f} min" for name, seconds in time.items())
    return Template(TEMPLATE.read_text("utf-8")).substitute(
        concepts=len(concepts()), styles=len(STYLES), sprites=len(concepts()) * len(STYLES), parts=parts, table=table,
        still_captions=results["stills"]["captions"], clip_captions=results["clips"]["captions"],
        steps=results["steps"], guidance=f"{results['guidance']:g}", mean=coder["mean"], worst=coder["worst"],
        still_seconds=times["still"], clip_seconds=times["clip with sound"], spans=spans, watts=WATTS,
        gains="\n".join(gains({name: kept[name] for name in RUNS if name in kept})),
        hours=f"{total / 3600:.1f}", kwh=f"{kilowatt_hours:.3f}",
        given_up=", ".join(f"{name} {seconds / 60:.0f} min" for name, seconds in given_up.items()),
    )  # fmt: skip


def clip_card(results: dict[str, Any], kept: dict[str, list[dict[str, Any]]]) -> str:
    """The card of the CLIP."""
    found, seconds = results["clip"], spent(kept, ("clip",)).get("clip", 0.0)
    return Template(CLIP_TEMPLATE.read_text("utf-8")).substitute(
        {key.replace(" ", "_"): percent(value) for key, value in found.items() if isinstance(value, float)},
        pictures=found["pictures"], minutes=f"{seconds / 60:.0f}", concepts=len(concepts()), refused=len(REFUSED),
    )  # fmt: skip


def about(statement: bytes, results: dict[str, Any], seconds: float) -> dict[str, Any]:
    """`filigrana.json`: what the manifest of everything that it draws says of the model. `statement`: the file
    training_data.json, which is named by its digest."""
    count = len(json.loads(statement)["sprites"])
    stills = results["stills"]["generated"]
    return {
        "name": "Filigrana shot",
        "version": VERSION,
        "licence": "Apache-2.0",
        "training_data": f"{count} sprites of Fluent Emoji (MIT) and Noto Emoji (OFL-1.1), every one listed in"
        f" training_data.json, sha256 {hashlib.sha256(statement).hexdigest()}",
        "intended_use": "showing and testing the chain from a prompt to a signed asset without a network or a GPU",
        "training_energy_kwh_estimate": round(seconds * CORES * WATTS / 3.6e6, 4),
        "quality": {"object": stills["concept"], "colour": stills["colour"]},
    }


def main() -> None:
    """Writes all of it."""
    results, kept = json.loads(RESULTS.read_text("utf-8")), curves()
    CURVES.write_text(json.dumps(kept, separators=(",", ":")).replace("],", "],\n") + "\n", "utf-8")
    statement = (SHOT / "training_data.json").read_bytes()
    (SHOT / "README.md").write_text(card(results, kept), "utf-8")
    (CLIP / "README.md").write_text(clip_card(results, kept), "utf-8")
    said = about(statement, results, sum(spent(kept, RUNS[:-1]).values()))
    (SHOT / "filigrana.json").write_text(json.dumps(said, indent=2) + "\n", "utf-8")
    print("models/shot: README.md, filigrana.json; models/clip: README.md; training: curves.json")


if __name__ == "__main__":
    main()
