"""What verification costs, in the same run as two peers that read signatures alone.

    python benchmarks/verify.py [--rounds 20] [--json FILE]

Ours: in a confined child of a warm reader, its own CPU time, and the wall time with forking and questions to the
catalog. Peers, in this process: c2pa-python (the library under ours) and encypher-c2pa, if it is installed; neither
looks at pixels, marks or a catalog. Then pictures a second through a pool of two, and a cold `filigrana verify`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
from PIL import Image

from filigrana.pipeline.api import Pipeline
from filigrana.pipeline.request import Release
from filigrana.provenance.media import Frame, encode_clip
from filigrana.tests.doubles import scene


def released(pipeline: Pipeline, source: Path, mime: str) -> Path:
    outcome = pipeline.seal(source, source_type="unknown", mime=mime)
    assert isinstance(outcome, Release), outcome
    return outcome.file


def files(pipeline: Pipeline, folder: Path) -> dict[str, Path]:
    """Released pictures and a clip of 10 s, a stripped copy, and a picture that nobody knows."""
    found = {}
    for name, size in (("jpeg 200 px", 200), ("jpeg 512 px", 512), ("jpeg 1024 px", 1024), ("jpeg 4096 px", 4096)):
        path = folder / f"{size}.png"
        Image.fromarray(scene(size, max(size, 256), max(size, 256))).save(path, compress_level=1)
        found[name] = released(pipeline, path, "image/jpeg")
    stripped = folder / "stripped.jpg"
    with Image.open(found["jpeg 1024 px"]) as picture:
        picture.convert("RGB").save(stripped, "JPEG", quality=80)
    found["stripped copy, 1024 px"] = stripped
    foreign = folder / "foreign.jpg"
    Image.fromarray(scene(99, 1024, 1024)).save(foreign, quality=90)
    found["unknown picture, 1024 px"] = foreign
    clip = folder / "clip.mp4"
    base = scene(3, 640, 360)
    frames = (Frame(np.roll(base, 2 * i, axis=1), Fraction(i, 25)) for i in range(250))
    encode_clip(frames, clip, "video/mp4", rate=Fraction(25))
    found["clip 640 x 360, 10 s"] = released(pipeline, clip, "video/mp4")
    return found


def peers(trust: dict[str, Any]) -> dict[str, Callable[[Path, str], object]]:
    def plain(path: Path, mime: str) -> object:
        try:
            with path.open("rb") as stream, c2pa.Reader(mime, stream, None, c2pa.Context.from_dict(trust)) as reader:
                return reader.get_validation_state()
        except c2pa.C2paError as error:
            return type(error).__name__

    found: dict[str, Callable[[Path, str], object]] = {"c2pa-python": plain}
    try:
        import encypher_c2pa
    except ImportError:
        return found

    def other(path: Path, mime: str) -> object:
        try:
            return encypher_c2pa.verify(str(path), mime, telemetry=False, online=False)
        except Exception as error:  # noqa: BLE001  a peer's refusal is an answer
            return type(error).__name__

    found["encypher-c2pa"] = other
    return found


def cpu_of(call: Callable[[], object], rounds: int) -> float:
    spent = []
    for _ in range(rounds):
        started = time.process_time()
        call()
        spent.append(time.process_time() - started)
    return statistics.median(spent)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="filigrana-bench-")))
        pipeline = stack.enter_context(Pipeline(data_dir=folder / "d"))
        made = files(pipeline, folder)
        inspector, others = pipeline.installation.inspector, peers(pipeline.installation.trust.settings())
        inspector.verify(made["jpeg 512 px"])
        time.sleep(1.5)
        print(f"{'file':<26}{'finding':<11}{'CPU ms':>8}{'wall ms':>9}" + "".join(f"{peer:>15}" for peer in others))
        for label, path in made.items():
            findings = [inspector.verify(path) for _ in range(options.rounds)]
            cpu = statistics.median(f.cpu_seconds or 0 for f in findings)
            wall = statistics.median(f.seconds for f in findings)
            mime = "video/mp4" if "clip" in label else "image/jpeg"
            theirs = {
                peer: cpu_of(lambda call=call, path=path, mime=mime: call(path, mime), options.rounds)  # type: ignore[misc]
                for peer, call in others.items()
            }
            row = {"file": label, "finding": findings[0].finding, "cpu": cpu, "wall": wall, **theirs}
            results.append(row)
            columns = "".join(f"{1000 * value:>13.1f}ms" for value in theirs.values())
            print(f"{label:<26}{findings[0].finding:<11}{1000 * cpu:>8.1f}{1000 * wall:>9.1f}{columns}")
        count = 60
        started = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(inspector.verify, [made["jpeg 200 px"]] * count))
        rate = count / (time.perf_counter() - started)
        print(f"a pool of two, jpeg of 200 px, a child a file: {rate:.0f} pictures/s")
        program = [sys.executable, "-c", "from filigrana.pipeline.cli import main; main()"]
        command = [*program, "--data-dir", str(folder / "d"), "verify", str(made["jpeg 512 px"])]
        cold = []
        for _ in range(5):
            started = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True, env=os.environ)
            cold.append(time.perf_counter() - started)
        print(f"cold `filigrana verify`: median {statistics.median(cold):.2f} s, best {min(cold):.2f} s")
    if options.json:
        options.json.write_text(json.dumps({"rows": results, "pool": rate, "cold": cold}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
