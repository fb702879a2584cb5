"""`python -m filigrana.tests.fuzz [TARGET…] [--seconds N]`: coverage-guided fuzzing of each target in turn.

Every target runs in a process of its own under atheris, seeded from its own corpus; a find is written to
`fuzz-finds/` and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .targets import TARGETS, run


def _one(name: str, seconds: int, finds: Path) -> None:
    import atheris

    corpus = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    for count, seed in enumerate(TARGETS[name][1]()):
        (corpus / f"seed-{count}").write_bytes(seed)
    run(name, TARGETS[name][1]()[0])  # imports what it needs, before instrumentation
    atheris.instrument_all()
    arguments = ["fuzz", str(corpus), f"-max_total_time={seconds}", f"-artifact_prefix={finds}/{name}-", "-timeout=5",
                 "-rss_limit_mb=2500", "-max_len=65536", "-verbosity=0", "-print_final_stats=1"]  # fmt: skip
    atheris.Setup(arguments, lambda data: run(name, data))
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m filigrana.tests.fuzz")
    parser.add_argument("targets", nargs="*", default=[])
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    finds = Path("fuzz-finds").resolve()
    finds.mkdir(exist_ok=True)
    if options.one:
        _one(options.targets[0], options.seconds, finds)
        return 0
    bad = []
    for name in options.targets or TARGETS:
        command = [sys.executable, "-m", "filigrana.tests.fuzz", "--one", name, "--seconds", str(options.seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        runs = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line]
        print(
            f"{name:<22} {'ok' if done.returncode == 0 else 'FIND'}  {runs[-1].split(':')[-1].strip() if runs else '?'} runs",
            flush=True,
        )
        if done.returncode:
            bad.append(name)
            print(done.stderr[-3000:], file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
