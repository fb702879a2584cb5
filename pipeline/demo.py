"""`make demo`: the whole chain on a clip with sound, and what the verifier says of it and of what became of it."""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.markup import escape

from ..provenance.asked import Asked
from ..provenance.log.proof import LogProof
from .api import Pipeline
from .cli.generate import told
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
        if said := told(pipeline.understood(prompt)):
            out.print(f"   [dim]understood:[/dim] {escape(said)}")
        with progress_bars(False) as tell:
            outcome = pipeline.generate(prompt, seed=7, progress=tell, mime="video/mp4", sound=True)
        if not isinstance(outcome, Release):
            out.print(f"[red]not released[/red]: {outcome.code}")
            for reason in outcome.reasons:
                out.print(f"  {escape(reason)}")
            return 1
        original = folder / "clip.mp4"
        export(outcome.file, original)
        show_release(outcome)
        proof = pipeline.installation.log.prove(outcome.log.index, embed_entry=True)
        head = LogProof.parse(proof).verify(pipeline.installation.log.keys)
        (folder / "clip.tlog-proof").write_text(proof, "utf-8")
        out.print(
            f"inclusion proof: entry {outcome.log.index} is in the signed tree of {head.size} entries with root "
            f"{head.root.hex()[:24]}… ({folder / 'clip.tlog-proof'})\n"
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
    out.print(f"[bold]watch[/bold] {original}, and [bold]look[/bold] at {report}, with the pictures and the evidence")
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
    """What strangers make of a clip: smaller and without metadata; painted over; and a photo that never was ours."""
    stripped, painted, foreign = folder / "stripped.mp4", folder / "painted.mp4", folder / "foreign.jpg"
    recoded(original, stripped, share=0.75, quality=28)
    recoded(original, painted, quality=20, change=_paint)
    with Image.open(io.BytesIO(photo)) as opened:
        opened.save(foreign, "JPEG", quality=90)
    return [stripped, painted, foreign]


def _paint(frame: NDArray[np.uint8]) -> None:
    height, width = frame.shape[:2]
    frame[height // 12 : height // 3, width // 12 : width // 3] = (250, 60, 40)


def recoded(
    source: Path,
    target: Path,
    *,
    share: float = 1.0,
    quality: int = 23,
    change: Callable[[NDArray[np.uint8]], None] | None = None,
) -> None:
    """A clip decoded and encoded again as H.264 and AAC, as platforms do: ``share`` of its sides, x264's ``quality``
    (CRF, lower is better), each frame (h, w, 3) changed in place. Nothing else is kept of the file."""
    import av

    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        given = old.streams.video[0]
        width, height = (round(side * share / 2) * 2 for side in (given.width, given.height))
        video: Any = new.add_stream("libx264", rate=given.average_rate)
        video.width, video.height, video.pix_fmt, video.options = width, height, "yuv420p", {"crf": str(quality)}
        sound: Any = None
        if old.streams.audio:
            sound = new.add_stream("aac", rate=old.streams.audio[0].rate)
            sound.layout, sound.bit_rate = old.streams.audio[0].layout.name, 64_000
        for frame in old.decode(*old.streams.video[:1], *old.streams.audio[:1]):
            if isinstance(frame, av.VideoFrame):
                pixels = np.asarray(frame.to_ndarray(format="rgb24", width=width, height=height), np.uint8)
                if change is not None:
                    change(pixels)
                new.mux(video.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
            elif sound is not None:
                frame.pts = None
                new.mux(sound.encode(frame))
        for stream in (video, sound):
            if stream is not None:
                new.mux(stream.encode())
