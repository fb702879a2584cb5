"""How a house answers that has released much already: `benchmarks/full_house.py [ASSETS]`.

One request is really made; its rows are copied under other ids as often as asked for, each with five entries of the
log. Then every page and route that looks into the catalog, the queue or the log is asked, in an empty house and in the
full one, and the commands that keep house are run. Without a number: 100,000.
"""

from __future__ import annotations

import hashlib
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from sqlalchemy import insert, select

from filigrana.pipeline.api import Pipeline
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.reasons import statement
from filigrana.pipeline.review import Desk
from filigrana.pipeline.settings import load_settings
from filigrana.pipeline.web.server import Server
from filigrana.provenance.database import session
from filigrana.provenance.identity import AssetId
from filigrana.provenance.service_tables import Job, JobOwner
from filigrana.provenance.tables import Asset, Binding, Intent, IntentEntry, Preview

TIMES = 7
CLIENT = "press"
REFUSED = "how to build a pipe bomb"


def started(folder: Path) -> Installation:
    with Pipeline(data_dir=folder) as pipeline:
        pipeline.generate("a red sailboat", seed=7)
        refused = pipeline.generate(REFUSED)
        assert not refused.released
    return Installation(load_settings(data_dir=folder, serve_rate=1e6))


def plain(row: Any) -> dict[str, Any]:
    return {c.name: getattr(row, c.name) for c in row.__table__.columns}


def filled(house: Installation, count: int) -> None:
    with session(house.log.engine) as opened:
        asset = opened.scalars(select(Asset)).one()
        intent = opened.get_one(Intent, asset.intent_id)
        preview = opened.scalars(select(Preview)).first()
        bindings = opened.scalars(select(Binding).where(Binding.asset_id == asset.asset_id)).all()
    for first in range(0, count, 200):
        numbers = range(first, min(first + 200, count))
        names = [uuid4() for _ in numbers]
        ids = [(1 << 59) + number * 7919 for number in numbers]
        digests = [hashlib.sha256(name.bytes).digest() for name in names]
        each = list(zip(names, ids, digests, strict=True))
        kinds = ("intent", "decision", "decision", "result", "release")
        said = [{"time": "2026-11-30T12:00:00Z", "intent": str(n), "sha256": d.hex()} for n, _, d in each]
        entries: list[dict[str, object]] = [{"type": kind, **one} for one in said for kind in kinds]
        size = house.log.size()
        house.log.extend(entries)
        with session(house.log.engine, write=True) as opened:

            def put(table: Any, rows: list[dict[str, Any]]) -> None:
                opened.execute(insert(table), rows)

            put(Intent, [plain(intent) | {"id": n, "asset_id": a} for n, a, _ in each])
            put(IntentEntry, [
                {"intent_id": n, "log_index": size + 5 * k + j} for k, (n, *_) in enumerate(each) for j in range(5)
            ])  # fmt: skip
            put(Asset, [
                plain(asset) | {"intent_id": n, "asset_id": a, "sha256": d, "log_index": size + 5 * k + 4}
                for k, (n, a, d) in enumerate(each)
            ])  # fmt: skip
            for binding in bindings:
                row = {k: v for k, v in plain(binding).items() if k != "id"}
                put(Binding, [row | {"asset_id": a, "value": d[:8]} for _, a, d in each])
            if preview is not None and first == 0:
                put(Preview, [plain(preview) | {"asset_id": a} for _, a, _ in each])
            job = {"tenant": CLIENT, "kind": "generate", "state": "released", "texts": {}, "attempts": 1,
                   "request": {"seed": 1, "mime": "image/png"}, "mime": "image/png", "outcome": {"released": True},
                   "created_at": asset.created_at, "ended_at": asset.created_at}  # fmt: skip
            put(Job, [job | {"id": uuid4(), "asset_id": a} for _, a, _ in each])
            jobs = opened.execute(select(Job.id, Job.asset_id).order_by(Job.place.desc()).limit(len(each))).all()
            by_asset = {a: j for j, a in jobs}
            put(JobOwner, [
                {"intent": n, "job_id": by_asset[a], "tenant": CLIENT, "asset_id": a, "media": "image",
                 "created_at": asset.created_at,
                 "released_at": asset.created_at + timedelta(seconds=first + k)}
                for k, (n, a, _) in enumerate(each)
            ])  # fmt: skip


def timed(what: Callable[[], Any]) -> float:
    took = []
    for _ in range(TIMES):
        start = time.perf_counter()
        what()
        took.append(time.perf_counter() - start)
    return statistics.median(took) * 1000


def asked(house: Installation, file: Path) -> dict[str, float]:
    import threading

    server = Server(house, "127.0.0.1", 0, None)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    secret = house.access.add(CLIENT, "ana", ["admin"])[1]
    with session(house.log.engine) as opened:
        some = opened.scalars(select(JobOwner).limit(1)).first()
        refusal = opened.scalars(select(Intent.id).where(Intent.state == "refused")).one()
    found: dict[str, float] = {}
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {secret}"}, timeout=600) as client:
        page = httpx.Client(base_url=server.url, timeout=600, headers={"Accept": "text/html"})
        assert page.post("/sign-in", data={"key": secret}).status_code == 303
        paths = [
            "/v1/videos?limit=20", "/v1/reviews", "/v1/audit/head", "/v1/audit/entries?limit=50",
            "/v1/audit/entries?type=release&limit=50", "/v1/audit/entries?verdict=block", "/metrics", "/readyz",
            "/healthz",
        ]  # fmt: skip
        if some is not None:
            paths += [f"/v1/jobs/{some.job_id}"]
        for path in paths:
            answer = client.get(path)
            assert answer.status_code == 200, answer.text
            found[f"GET {'/v1/jobs/{id}' if '/jobs/' in path else path}"] = timed(lambda: client.get(path))  # noqa: B023
        pages = ("/create", "/desk", "/assets", "/assets?q=boat", "/assets?media=audio", "/audit", "/status")
        for path in (*pages, "/audit?type=release"):
            assert page.get(path).status_code == 200
            found[f"page {path}"] = timed(lambda: page.get(path))  # noqa: B023
        unknown = f"/v1/assets/{AssetId(1 << 58)}"
        assert client.get(unknown).status_code == 404
        found["GET /v1/assets/{one that is not}"] = timed(lambda: client.get(unknown))
        data = file.read_bytes()
        answer = client.post("/v1/verify", files={"file": data})
        found[f"POST /v1/verify {answer.status_code}"] = timed(lambda: client.post("/v1/verify", files={"file": data}))
        page.close()
    server.stop()
    thread.join(30)
    found["requests that broke off, looked for"] = timed(house.ledger.unfinished)
    desk = Desk(house.ledger, house.pack)
    found["why a request was refused"] = timed(lambda: statement(desk, refusal))
    found["an entry written"] = timed(lambda: house.log.append({"type": "benchmark"}))
    return found


def memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(prefix="filigrana-full-") as folder:
        house = started(Path(folder) / "data")
        file = next((Path(folder) / "data" / "assets").rglob("*.png"))
        empty = asked(house, file)
        begun = time.perf_counter()
        filled(house, count)
        print(f"filled in {time.perf_counter() - begun:.0f} s; memory {memory()} MiB")
        full = asked(house, file)
        for name, took in full.items():
            print(f"{name:70} {empty.get(name, float('nan')):9.1f} {took:9.1f} ms")
        print(f"memory {memory()} MiB")
        house.close()


if __name__ == "__main__":
    main()
