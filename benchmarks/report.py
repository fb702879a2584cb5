"""How long a compliance report over many assets takes, and how much memory: `benchmarks/report.py [ASSETS]`."""

from __future__ import annotations

import hashlib
import resource
import sys
import tempfile
import time
from pathlib import Path

from filigrana.pipeline.installation import Installation
from filigrana.pipeline.reporting import write_report
from filigrana.pipeline.settings import load_settings

DAY = "2026-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:00Z"


def entries(count: int) -> list[dict[str, object]]:
    """The five entries that a release leaves, and a refusal for every tenth."""
    policy = {"id": "newsroom", "version": "1.3.0", "digest": "a" * 64}
    guard = {"guard": "nsfw", "model": {"name": "n", "version": "1", "digest": "b" * 64}, "inputs": 1, "error": None}
    found: list[dict[str, object]] = []
    for number in range(count):
        when = DAY.format(month=1 + number % 10, day=1 + number % 28, hour=number % 24, minute=number % 60)
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        ident, asset = f"{digest[:8]}-0000-4000-8000-000000000000", digest[:12].upper()
        request = {"mime": "image/png", "model": {"name": "shot", "version": "2", "digest": "c" * 64}, "policy": policy}
        found.append(
            {
                "type": "intent",
                "time": when,
                "intent": ident,
                "kind": "generate",
                "actor": "actor:x",
                "request": request,
            }
        )
        for side in ("prompt", "output"):
            decision = {
                "side": side,
                "verdict": "allow",
                "code": f"{side}.allowed",
                "policy": policy,
                "guards": [guard],
            }
            found.append({"type": "decision", "time": when, "intent": ident, "decision": decision})
        if number % 10 == 9:
            rules = [{"id": "r", "hazard": "hate", "reason": "because", "verdict": "block"}]
            found.append(
                {
                    "type": "refused",
                    "time": when,
                    "intent": ident,
                    "code": "prompt.hate",
                    "verdict": "block",
                    "rules": rules,
                    "policy": policy,
                    "rewrite_offered": False,
                    "appeal_until": when,
                }
            )
        claims = {
            "asset_id": asset,
            "sha256": digest,
            "bytes": 100_000,
            "mime": "image/png",
            "source_type": "generated",
            "manifest": f"urn:c2pa:{ident}",
            "bindings": [["org.filigrana.dft.1", asset]],
        }
        energy = {"joules": 1.25, "method": "estimate: 0.1 s of CPU time x 10 W a core"}
        found.append({"type": "result", "time": when, "intent": ident, **claims, "energy": energy})
        found.append(
            {
                "type": "release",
                "time": when,
                "intent": ident,
                **claims,
                "profiles": ["eu"],
                "record": f"sha256:{digest}",
            }
        )
    return found


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory(prefix="filigrana-report-") as folder:
        house = Installation(load_settings(data_dir=Path(folder) / "data", profiles=["eu", "cn", "us-ca"]))
        made = entries(count)
        for start in range(0, len(made), 1000):
            house.log.extend(made[start : start + 1000])
        total = len(made)
        del made
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        write_report(house, Path(folder) / "report", since="2026-01-01", until="2026-11-01")
        seconds = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sizes = {path.name: path.stat().st_size for path in sorted((Path(folder) / "report").iterdir())}
        print(f"{count} assets, {total} entries: {seconds:.1f} s; peak {before >> 10} MiB before, {after >> 10} after")
        print(sizes)
        house.close()


if __name__ == "__main__":
    main()
