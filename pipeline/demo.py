"""`make demo`: the whole chain on one picture, and what the verifier says of it and of what strangers made of it."""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
from pathlib import Path

from PIL import Image, ImageDraw
from rich.markup import escape

from ..provenance.asked import Asked
from ..provenance.log.proof import LogProof
from .api import Pipeline
from .cli.output import out, progress_bars, show_finding, show_release
from .report import write_report
from .request import Release
from .store import export

EXPECTED = ("verified", "recovered", "altered", "unmarked")


def run_demo(folder: Path, prompt: str, photo: bytes) -> int:
    """Returns the exit code: 0 where every finding is the expected one."""
    started = time.perf_counter()
    out.print(f"[bold]1. generate[/bold]  “{escape(prompt)}”")
    with Pipeline(data_dir=folder / "data") as pipeline:
        with progress_bars(False) as tell:
            outcome = pipeline.generate(prompt, seed=7, progress=tell)
        if not isinstance(outcome, Release):
            out.print(f"[red]not released[/red]: {outcome.code}")
            for reason in outcome.reasons:
                out.print(f"  {escape(reason)}")
            return 1
        original = folder / "picture.png"
        export(outcome.file, original)
        show_release(outcome)
        proof = pipeline.installation.log.prove(outcome.log.index, embed_entry=True)
        head = LogProof.parse(proof).verify(pipeline.installation.log.keys)
        (folder / "picture.tlog-proof").write_text(proof, "utf-8")
        out.print(
            f"inclusion proof: entry {outcome.log.index} is in the signed tree of {head.size} entries with root "
            f"{head.root.hex()[:24]}… ({folder / 'picture.tlog-proof'})\n"
        )
        out.print("[bold]2. verify[/bold]  the file, and what became of it")
        files = [original, *_copies(original, folder, photo)]
        inspector = pipeline.installation.inspector
        findings = [inspector.verify(path, Asked(thumbnail=True)) for path in files]
        for finding in findings:
            show_finding(finding)
        report = folder / "findings.html"
        write_report(report, findings, pipeline.installation.resolvers(), "en")
    seconds = time.perf_counter() - started
    right = tuple(finding.finding for finding in findings) == EXPECTED
    out.print(
        f"\n{'[green]all four findings are as expected[/green]' if right else '[red]unexpected findings[/red]'}"
        f", {seconds:.1f} s in all; the files lie in {folder}/"
    )
    out.print(f"[bold]look[/bold] at {report}, with the pictures and the evidence")
    out.print(
        f"[bold]try it[/bold] with files of your own: [bold]{_program()} --data-dir {folder}/data serve[/bold], "
        "and open http://127.0.0.1:8080 (drop a file, see where it is from)"
    )
    return 0 if right else 1


def _program() -> str:
    """How this program was called, so that the line can be copied: `make` does not put it onto the PATH."""
    called = Path(sys.argv[0])
    if called.name != "filigrana" or shutil.which("filigrana"):
        return "filigrana"
    return os.path.relpath(called)


def _copies(original: Path, folder: Path, photo: bytes) -> list[Path]:
    """What strangers make of a picture: re-encoded without metadata, painted over; and one that never was ours."""
    with Image.open(original) as opened:
        picture = opened.convert("RGB")
    stripped, painted, foreign = folder / "stripped.jpg", folder / "painted.png", folder / "foreign.jpg"
    picture.save(stripped, "JPEG", quality=80)
    edited = picture.copy()
    width, height = edited.size
    ImageDraw.Draw(edited).rectangle((width * 0.1, height * 0.1, width * 0.28, height * 0.28), fill=(250, 60, 40))
    edited.save(painted)
    with Image.open(io.BytesIO(photo)) as opened:
        opened.save(foreign, "JPEG", quality=90)
    return [stripped, painted, foreign]
