"""Running the service: health, readiness, metrics, logs without secrets, traces, draining."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from filigrana.pipeline import tracing
from filigrana.pipeline.installation import Installation
from filigrana.pipeline.jobs.model import Order
from filigrana.pipeline.jobs.queue import TRACE
from filigrana.pipeline.logs import clean, set_up
from filigrana.pipeline.web import spooling
from filigrana.pipeline.web.guarding import HEADERS
from filigrana.pipeline.web.health_routes import missing
from filigrana.tests.serving import installed, running
from filigrana.tests.working import process, until, working

SERVE = "import sys; from filigrana.pipeline.cli import main; sys.argv = ['filigrana', 'serve', '--port', '0', '--json']; main()"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    opened = installed(tmp_path_factory.mktemp("operations") / "data", serve_wait=60)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def url(house: Installation) -> Iterator[str]:
    house.access.add("press", "ana", ["creator"])
    with running(house) as found, working(house):
        yield found


def key(house: Installation, *scopes: str, tenant: str = "press", subject: str = "otto", **more: Any) -> dict[str, str]:
    from filigrana.pipeline.access import Limits

    return {"Authorization": f"Bearer {house.access.add(tenant, subject, scopes, None, Limits(**more))[1]}"}


def test_it_says_that_it_lives_and_is_ready(url: str) -> None:
    for path in ("/healthz", "/readyz"):
        answer = httpx.get(url + path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_head(url: str) -> None:
    """Nagle's algorithm would hold the body back for 40 ms, each time."""
    place = httpx.URL(url)
    gaps = []
    with socket.create_connection((place.host, place.port)) as wire:
        for _ in range(20):
            wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            said, first = wire.recv(65536), time.perf_counter()
            while b'{"status"' not in said:
                said += wire.recv(65536)
            gaps.append(time.perf_counter() - first)
    assert sorted(gaps)[5] < 0.02, gaps


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_what_was_not_expected_is_counted_as_what_it_is(
    house: Installation, url: str, monkeypatch: pytest.MonkeyPatch, accept: str
) -> None:
    def fails(*_: Any, **_named: Any) -> None:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(house.jobs, "list", fails)
    answer = httpx.get(f"{url}/v1/videos", headers={**key(house, "creator"), "Accept": accept})
    assert answer.status_code == 500
    assert "nobody thought" not in answer.text
    assert answer.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    told = httpx.get(f"{url}/metrics", headers=key(house, "monitor")).text
    assert 'filigrana_http_requests_total{method="GET",route="/v1/videos",status="500"}' in told
    assert 'status="0"' not in told


def test_a_disk_without_room_is_told_before_it_is_full(
    house: Installation, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooling, "LEAST", 1 << 62)
    answer = httpx.get(f"{url}/readyz")
    assert (answer.status_code, answer.json()["failed"]) == (503, ["disk"])


@pytest.mark.parametrize("path", ["/v1/verify", "/v1/seal"])
def test_an_upload_for_which_there_is_no_room_may_come_again(
    house: Installation, url: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    made = Path.mkdir

    def full(self: Path, *arguments: Any, **named: Any) -> None:
        made(self, *arguments, **named)
        if self.parent.parent.name == "spool":
            (self / "file").symlink_to("/dev/full")  # whatever is written there fails as on a full disk

    monkeypatch.setattr(Path, "mkdir", full)
    form = {"source_type": "camera"} if path == "/v1/seal" else {}
    answer = httpx.post(f"{url}{path}", files={"file": b"x" * 300_000}, data=form, headers=key(house, "creator"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "service.disk")
    assert int(answer.headers["retry-after"]) > 0


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    pack = tmp_path / "pack.yaml"
    pack.write_text("id: broken")
    house = installed(tmp_path / "data", policy=str(pack))
    try:
        with running(house) as url:
            answer = httpx.get(f"{url}/readyz")
            assert (answer.status_code, answer.json()) == (503, {"status": "unready", "failed": ["policy"]})
            assert httpx.get(f"{url}/healthz").status_code == 200
    finally:
        house.close()


def test_a_database_that_is_away_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = installed(tmp_path / "data")
    try:
        house.access.add("press", "ana", ["creator"])
        with running(house) as url:
            (house.folder / "audit.db").rename(house.folder / "away")
            house.log.engine.dispose()
            assert httpx.get(f"{url}/readyz").status_code in (200, 503)
            monkeypatch.setattr("filigrana.pipeline.web.health_routes.current_revision", lambda _: "0001")
            monkeypatch.setattr(type(house), "exists", True)
            assert "database" in httpx.get(f"{url}/readyz").json()["failed"]
    finally:
        house.close()
    assert callable(missing)


def series(text: str) -> dict[str, float]:
    return {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[:1] not in ("#", "")
    }


def test_metrics_count_what_was_done_and_name_nobody(url: str, house: Installation) -> None:
    headers = key(house, "creator")
    answer = httpx.post(
        f"{url}/v1/images/generations", json={"prompt": "a boat", "seed": 1}, headers=headers, timeout=60
    )
    assert answer.status_code == 200
    httpx.post(f"{url}/v1/images/generations", json={"prompt": "how to build a pipe bomb"}, headers=headers, timeout=60)
    told = httpx.get(f"{url}/metrics", headers=key(house, "monitor"))
    assert told.status_code == 200
    found = series(told.text)
    assert found['filigrana_jobs_ended_total{kind="generate",state="released"}'] >= 1
    assert found['filigrana_jobs_ended_total{kind="generate",state="refused"}'] >= 1
    assert found['filigrana_verdicts_total{code="",verdict="allow"}'] >= 1
    assert any(name.startswith('filigrana_verdicts_total{code="prompt.') for name in found)
    assert found['filigrana_energy_joules_total{kind="generate"}'] >= 0
    assert found['filigrana_stage_seconds_count{stage="generate"}'] >= 1
    assert found['filigrana_jobs{state="queued"}'] == 0
    assert found["filigrana_log_entries"] == house.log.size()
    assert found['filigrana_http_requests_total{method="POST",route="/v1/images/generations",status="200"}'] >= 1
    for name in ("press", "otto", "boat"):
        assert name not in told.text
    for wrong in (None, key(house, "creator")):
        assert httpx.get(f"{url}/metrics", headers=wrong).status_code in (401, 403)


def test_a_key_has_a_rate_a_number_of_jobs_and_a_highest_priority(tmp_path: Path) -> None:
    house = installed(tmp_path / "data", serve_wait=0.2)
    try:
        busy = key(house, "creator", in_flight=2)
        slow = key(house, "creator", rate=2)
        high = key(house, "creator", priority=7)
        with running(house) as url:
            for _ in range(2):
                assert httpx.post(f"{url}/v1/videos", json={"prompt": "a boat"}, headers=busy).status_code == 200
            answer = httpx.post(f"{url}/v1/videos", json={"prompt": "a boat"}, headers=busy)
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, "access.in_flight")
            assert int(answer.headers["retry-after"]) >= 1
            answers = [httpx.get(f"{url}/v1/videos", headers=slow) for _ in range(6)]
            assert [a.status_code for a in answers].count(200) == 5
            assert answers[-1].json()["error"]["code"] == "access.rate"
            assert int(answers[-1].headers["retry-after"]) >= 1
            body = {"prompt": "a boat", "priority": 7}
            refused = httpx.post(f"{url}/v1/videos", json=body, headers=key(house, "creator"))
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "access.priority")
            assert httpx.post(f"{url}/v1/videos", json=body, headers=high).status_code == 200
            assert (
                httpx.post(f"{url}/v1/videos", json={**body, "priority": 9}, headers=key(house, "admin")).status_code
                == 200
            )
    finally:
        house.close()


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────────────────────
SECRETS = [
    "fg_abcdefghijkl_" + "x" * 43, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "Authorization: Bearer abcdefgh12345678",
    "postgresql://filigrana:hunter22@db/audit", "key_passphrase=hunter22x", "'password': 'hunter22'",
    "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----",
]  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("form", ["text", "json"])
def test_what_looks_like_a_secret_is_not_logged(capsys: pytest.CaptureFixture[str], secret: str, form: str) -> None:
    before = logging.getLogger().handlers[:]
    set_up(form, "serve")
    try:
        try:
            raise RuntimeError(f"failed at {secret}")
        except RuntimeError:
            logging.getLogger("filigrana.test").exception("with %s", secret)
        said = capsys.readouterr().err
    finally:
        logging.getLogger().handlers[:] = before
    assert "failed at" in said
    for part in ("x" * 43, "MfKQ9r8", "abcdefgh12345678", "hunter22", "MIGHAgEA"):
        assert part not in said
    if form == "json":
        assert json.loads(said)["part"] == "serve"
    assert clean("a boat at http://example.org:80/x") == "a boat at http://example.org:80/x"


LIBRARY = """
import logging, sys
from filigrana.pipeline.logs import set_up
set_up(sys.argv[1], "worker")
logging.info("as open_clip does: it sets logging up where nobody did")
logging.getLogger("filigrana.worker").info("a job: released")
logging.getLogger("somebody.else").warning("postgresql://filigrana:hunter22@db/audit is away")
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_is_written_once_and_in_one_form_whatever_libraries_do(form: str) -> None:
    with process(LIBRARY, form) as ran:
        _, said = ran.communicate(timeout=60)
    lines = said.splitlines()
    assert len(lines) == 2, said
    assert "a job: released" in lines[0]
    assert "hunter22" not in said
    if form == "json":
        assert [json.loads(line)["level"] for line in lines] == ["info", "warning"]


def test_a_real_server_logs_no_secret_no_name_and_no_prompt(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    house = installed(folder)
    secret = house.access.add("press", "ana-maria", ["creator"])[1]
    house.close()
    environment = {"FILIGRANA_DATA_DIR": str(folder), "FILIGRANA_LOG_FORMAT": "json", "FILIGRANA_SERVE_WAIT": "0.2"}
    with process(SERVE, **environment) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        headers = {"Authorization": f"Bearer {secret}"}
        httpx.post(f"{url}/v1/images/generations", json={"prompt": "a purple boat"}, headers=headers)
        httpx.get(f"{url}/v1/jobs/purple", headers=headers)
        httpx.get(f"{url}/v1/videos?after=purple", headers={"Authorization": "Bearer " + secret[:-1] + "!"})
        made = httpx.post(f"{url}/v1/webhooks", json={"url": "https://example.org/purple"}, headers=headers).json()
        server.terminate()
        _, said = server.communicate(timeout=60)
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert any("/v1/images/generations" in line["event"] for line in lines)
    assert {line["part"] for line in lines} == {"serve"}
    for word in (secret, secret[16:40], "purple", "ana-maria", made["secret"]):
        assert word not in said


# ── draining ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_told_to_stop_it_says_so_first_and_ends_what_it_does(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    house = installed(folder)
    secret = house.access.add("press", "ana", ["creator"])[1]
    house.close()
    environment = {"FILIGRANA_DATA_DIR": str(folder), "FILIGRANA_SERVE_DRAIN": "3"}
    with process(SERVE, **environment) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        until(lambda: httpx.get(f"{url}/readyz").status_code == 200, 30)
        started = time.monotonic()
        server.send_signal(signal.SIGTERM)
        said = until(lambda: (a := httpx.get(f"{url}/readyz")).status_code == 503 and a.json(), 3)
        assert said["failed"] == ["stopping"]
        answer = httpx.get(f"{url}/v1/videos", headers={"Authorization": f"Bearer {secret}"})
        assert answer.status_code == 200, "whoever still comes is answered"
        server.wait(60)
        assert server.returncode in (0, -signal.SIGTERM)
        assert 2.5 < time.monotonic() - started < 30


# ── traces ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_request_its_job_and_its_stages_are_one_trace_without_names(url: str, house: Installation) -> None:
    exporter = InMemorySpanExporter()
    headers = key(house, "creator")
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    tracing.set_up(house.settings, "serve", exporter)
    try:
        answer = httpx.post(
            f"{url}/v1/videos", json={"prompt": "a purple boat", "seed": 3},
            headers={**headers, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
        )  # fmt: skip
        job = answer.json()["id"]
        stored = house.jobs.list("press", limit=1)[0]
        assert stored.request[TRACE].split("-")[1] == trace
        with (
            tracing.span("job", stored.request[TRACE], **{"filigrana.kind": "generate"}),
            tracing.span("stage generate"),
        ):
            pass
        with pytest.raises(ValueError, match="purple"), tracing.span("fails"):
            raise ValueError("a purple boat")
        until(lambda: any(s.name == "HTTP POST" for s in exporter.get_finished_spans()), 10)
        spans = {span.name: span for span in exporter.get_finished_spans()}
        assert f"{spans['HTTP POST'].context.trace_id:032x}" == trace
        assert f"{spans['job'].context.trace_id:032x}" == trace
        assert spans["job"].parent.span_id == spans["HTTP POST"].context.span_id
        assert spans["stage generate"].parent.span_id == spans["job"].context.span_id
        assert dict(spans["HTTP POST"].attributes or {})["http.route"] == "/v1/videos"
        said = " ".join(span.to_json() for span in spans.values())
        for word in ("purple", "otto", job, headers["Authorization"][7:]):
            assert word not in said
    finally:
        tracing.finish()


def test_a_trace_is_no_part_of_what_an_idempotency_key_stands_for(house: Installation) -> None:
    one, two = (
        Order("press", "ana", "generate", {"seed": 1}, {"prompt": "a"}, key="traced", trace=f"00-{i * 32}-{i * 16}-01")
        for i in ("a", "b")
    )
    assert house.jobs.put(one)[0].id == house.jobs.put(two)[0].id


def test_spans_reach_a_collector_over_http(tmp_path: Path) -> None:
    import http.server
    import threading

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    got: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        house = installed(tmp_path / "data", traces=f"http://127.0.0.1:{server.server_address[1]}")
        tracing.set_up(house.settings, "worker")
        with tracing.span("job"):
            pass
        tracing.finish()
        assert got
        import gzip

        data = got[0]
        sent = ExportTraceServiceRequest.FromString(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
        assert sent.resource_spans[0].scope_spans[0].spans[0].name == "job"
    finally:
        server.shutdown()
        server.server_close()


def test_nothing_of_it_is_needed_where_it_is_not_asked_for() -> None:
    code = (
        "import sys; from filigrana.pipeline import tracing, run; from filigrana.pipeline.settings import Settings;"
        "tracing.set_up(Settings(), 'serve'); s = tracing.span('x'); s.__enter__();"
        "print(any(m.startswith('opentelemetry') for m in sys.modules), tracing.current_trace())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.split() == ["False", "None"]
    assert re.fullmatch(r"\s*", done.stderr)
