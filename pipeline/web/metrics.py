"""What Prometheus reads: this server's own requests, and, from the database, the queue and what workers counted.

Labels are routes, states, stages and codes: never a tenant, a name or an id.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from sqlalchemy import func, select

from ...provenance.database import session
from ...provenance.service_tables import Job, WebhookDelivery
from ...provenance.tables import Review, now
from ..jobs.counting import read
from .records_routes import opened_log
from .service import Service

OPEN = ("queued", "running", "held")
TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class HttpMetrics:
    """Requests of this process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "filigrana_http_requests", "Requests", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "filigrana_http_request_seconds", "How long they took", ["route"], buckets=_SECONDS, registry=self.registry
        )

    def saw(self, method: str, route: str, status: int, seconds: float) -> None:
        known = method if method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS") else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


class _House:
    """Read when somebody asks."""

    def __init__(self, here: Service) -> None:
        self._here = here

    def collect(self) -> Iterator[Any]:
        here = self._here
        streams = GaugeMetricFamily("filigrana_streams_open", "Streams of events")
        streams.add_metric([], len(here.streams))
        yield streams
        log = opened_log(here.installation)
        if log is None:
            return
        size = GaugeMetricFamily("filigrana_log_entries", "Entries of the audit log")
        size.add_metric([], log.size())
        yield size
        yield from self._queue()
        yield from self._counted()

    def _queue(self) -> Iterator[Any]:
        with session(self._here.installation.log.engine) as opened:
            states = opened.execute(
                select(Job.state, func.count()).where(Job.state.in_(OPEN)).group_by(Job.state)
            ).all()
            oldest = opened.scalar(select(func.min(Job.created_at)).where(Job.state == "queued"))
            waiting = opened.scalar(
                select(func.count()).select_from(WebhookDelivery).where(WebhookDelivery.state == "waiting")
            )
            held = opened.scalar(select(func.count()).select_from(Review).where(Review.status == "open"))
        jobs = GaugeMetricFamily("filigrana_jobs", "Jobs that have not ended", labels=["state"])
        counts = {str(state): int(count) for state, count in states}
        for state in OPEN:
            jobs.add_metric([state], counts.get(state, 0))
        yield jobs
        for name, text, value in (
            ("filigrana_queue_oldest_seconds", "Age of the oldest job that waits",
             0.0 if oldest is None else max(0.0, (now() - oldest).total_seconds())),
            ("filigrana_webhooks_waiting", "Messages that were not taken yet", waiting or 0),
            ("filigrana_reviews_open", "Requests that wait for people", held or 0),
        ):  # fmt: skip
            family = GaugeMetricFamily(name, text)
            family.add_metric([], value)
            yield family

    def _counted(self) -> Iterator[Any]:
        counted = read(self._here.installation.log.engine)
        by: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
        for (name, labels), value in sorted(counted.items()):
            by[name].append((dict(part.split("=", 1) for part in labels.split(",") if "=" in part), value))
        yield _counter("filigrana_jobs_ended", "Jobs by how they ended", ["kind", "state"], by["jobs_ended"])
        yield _counter("filigrana_verdicts", "Verdicts of safety", ["verdict", "code"], by["verdicts"])
        yield _counter("filigrana_energy_joules", "Energy of released work", ["kind"], by["joules"])
        stages = SummaryMetricFamily("filigrana_stage_seconds", "Seconds by stage", labels=["stage"])
        counts = {labels["stage"]: value for labels, value in by["stage_count"]}
        for told, value in by["stage_seconds"]:
            stages.add_metric([told["stage"]], int(counts.get(told["stage"], 0.0)), value)
        yield stages


def _counter(name: str, text: str, labels: list[str], values: Iterable[tuple[dict[str, str], float]]) -> Any:
    family = CounterMetricFamily(name, text, labels=labels)
    for found, value in values:
        family.add_metric([found.get(label, "") for label in labels], value)
    return family


def exposition(here: Service, own: HttpMetrics) -> bytes:
    """All of it, in Prometheus' text format."""
    house: Any = CollectorRegistry()
    house.register(_House(here))
    return bytes(generate_latest(own.registry)) + bytes(generate_latest(house))
