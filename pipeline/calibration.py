"""Calibrating the configured CLIP model on an organisation's own labelled pictures."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FiligranaError, InputError
from ..provenance.media import open_media
from ..safety.decision import HAZARDS
from ..safety.vision.calibrating import LEAST, Fitted, fit
from ..safety.vision.clip_general import GeneralClipGuard

Labelled = tuple[Path, str, bool]


def labelled(source: Path) -> list[Labelled]:
    """(file, hazard, whether it is harmful): from a folder `HAZARD/harmful` and `HAZARD/harmless`, or from a CSV with
    the columns file, hazard, harmful (1 or 0), whose files stand beside it. Raises InputError."""
    found = list(_from_csv(source) if source.is_file() else _from_folder(source))
    if not found:
        raise InputError(
            f"{source} has no labelled pictures",
            code="input.calibrate",
            hint="Give a folder with HAZARD/harmful and HAZARD/harmless in it, or a CSV: file,hazard,harmful.",
        )
    return found


def _from_folder(folder: Path) -> Iterator[Labelled]:
    for hazard in HAZARDS:
        for name in ("harmful", "harmless"):
            for path in sorted((folder / hazard / name).glob("*")):
                if path.is_file():
                    yield path, hazard, name == "harmful"


def _from_csv(path: Path) -> Iterator[Labelled]:
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path.name} cannot be read as a CSV file", code="input.calibrate") from error
    for line, row in enumerate(rows, 2):
        hazard, harmful = row.get("hazard"), row.get("harmful")
        if hazard not in HAZARDS or harmful not in ("0", "1") or not row.get("file"):
            raise InputError(f"{path.name}, line {line}: file, a hazard id, and 1 or 0", code="input.calibrate")
        yield path.parent / str(row["file"]), hazard, harmful == "1"


def calibrate(
    guard: GeneralClipGuard, found: list[Labelled], file: Path, tell: Callable[[str], None]
) -> tuple[dict[str, Fitted], list[str]]:
    """Fits and stores the curves. Returns them, and what was left out, hazard by hazard, and why. A picture that cannot
    be read is an error: a calibration on fewer pictures than were given would not be what was asked for."""
    raw: dict[str, list[tuple[float, bool]]] = {}
    for path, hazard, harmful in found:
        try:
            frame = next(open_media(path).frames()).rgb
        except (FiligranaError, StopIteration) as error:
            raise InputError(f"{path} cannot be read as a picture", code="input.calibrate") from error
        raw.setdefault(hazard, []).append((guard.raw_scores(frame)[hazard] if _seen(guard, hazard) else 0.0, harmful))
        tell(str(path))
    curves: dict[str, Fitted] = {}
    left_out: list[str] = []
    for hazard, pairs in sorted(raw.items()):
        scores, truth = np.array([s for s, _ in pairs]), np.array([t for _, t in pairs], bool)
        if not _seen(guard, hazard):
            left_out.append(f"{hazard}: there are no phrasings for it")
        elif min(truth.sum(), (~truth).sum()) < LEAST:
            left_out.append(
                f"{hazard}: {truth.sum()} harmful and {(~truth).sum()} harmless; {LEAST} of each are needed"
            )
        else:
            curves[hazard] = fit(scores, truth)
    if not curves:
        raise InputError(f"nothing could be calibrated: {'; '.join(left_out)}", code="input.calibrate")
    _store(file, {"digest": guard.digest, "curves": {hazard: asdict(each) for hazard, each in curves.items()}})
    return curves, left_out


def _seen(guard: GeneralClipGuard, hazard: str) -> bool:
    return hazard in guard.wording.positive


def _store(file: Path, value: dict[str, Any]) -> None:
    """Whole or not at all: half a calibration would be none."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_suffix(f".{os.getpid()}.tmp")
    draft.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
    draft.replace(file)
