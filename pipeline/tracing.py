"""Traces by OpenTelemetry, where the extra `telemetry` is installed and the setting `traces` names a collector; else
nothing of it costs anything.

A request over HTTP is a span; its trace goes into the job, so that the worker's span, and those of its stages, belong
to it. Spans carry routes, kinds, stages and codes: never a prompt, a name, a key or a path.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import SettingsError, code_of
from .settings import Settings

SERVICE = "filigrana"
_tracer: Any = None
_provider: Any = None


def set_up(settings: Settings, part: str, exporter: Any = None) -> None:
    """Starts tracing, if the settings ask for it. ``part``: serve or worker. ``exporter``: instead of the collector's.
    Raises SettingsError where it is asked for and not installed."""
    global _tracer, _provider
    if settings.traces is None and exporter is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"traces need the package {error.name}",
            code="settings.extra",
            hint="Run `pip install 'filigrana[telemetry]'`.",
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE, "service.part": part}))
    provider.add_span_processor(
        SimpleSpanProcessor(exporter)
        if exporter is not None
        else BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{str(settings.traces).rstrip('/')}/v1/traces"))
    )
    _provider, _tracer = provider, provider.get_tracer(SERVICE)


def finish() -> None:
    """Sends what is still here."""
    global _tracer, _provider
    if _provider is not None:
        _provider.shutdown()
    _tracer = _provider = None


@contextmanager
def span(name: str, parent: str | None = None, **facts: Any) -> Iterator[Any]:
    """A span around the block, below ``parent`` (a `traceparent`) or whatever span is open here; None where nothing is
    traced."""
    if _tracer is None:
        yield None
        return
    from opentelemetry.trace import Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = None if parent is None else TraceContextTextMapPropagator().extract({"traceparent": parent})
    with _tracer.start_as_current_span(
        name, context=context, attributes=facts, record_exception=False, set_status_on_exception=False
    ) as opened:
        try:
            yield opened
        except BaseException as error:
            opened.set_status(Status(StatusCode.ERROR, code_of(error)))
            raise


def current_trace() -> str | None:
    """The W3C `traceparent` of the span that is open here."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")
