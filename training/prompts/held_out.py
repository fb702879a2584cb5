"""`python -m training.prompts.held_out`: writes the test half to where the safety bench of a release reads it."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

from .corpus import Prompt, read

TARGET = Path(__file__).parents[2] / "models" / "prompts" / "held_out.csv.gz"


def table(prompts: list[Prompt]) -> bytes:
    """The test half as CSV, gzip, the same bytes every time."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["text", "label", "hazard", "lang", "form"])
    for p in prompts:
        if p.half == "test":
            writer.writerow([p.text, int(p.harmful), p.hazard, p.language, p.form])
    return gzip.compress(out.getvalue().encode(), mtime=0)


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(table(read()))
