"""Spans and metrics of runs for OpenTelemetry, where a program uses it.

A run is a span, below the one that was current when it was submitted; its stages are spans below
it, and so are the slices of each stage: items that a lane ran one after the other. Steps see the
stage's span as the current one, in worker processes, too, and in those of a Dask cluster. Errors
of what the program has added, such as a span processor, change nothing but the trace. Without
OpenTelemetry, nothing is imported, and nothing costs time.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import Context
from functools import cache
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any

from lokki.context import fresh_contexts
from lokki.model.status import RunStatus

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram
    from opentelemetry.trace import Span

Fresh = Callable[[], Context]
"""Gives contexts to make calls in."""
Carrier = Mapping[str, str]
"""A span's identity as it travels to another process: W3C trace context."""

_SAMPLED = re.compile(r"Root=1-([0-9a-f]{8})-([0-9a-f]{24});Parent=([0-9a-f]{16});Sampled=1\b")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def set_up() -> None:
    """Export spans and metrics of this process if OpenTelemetry's own variables name an endpoint.

    https://opentelemetry.io/docs/languages/sdk-configuration/otlp-exporter/

    What the program has set up itself stays. Without the extra ``otel``, nothing is exported: the
    variables may be there for other programs.
    """
    if any(map(os.environ.get, _ENDPOINTS)):
        with suppress(ModuleNotFoundError):
            _export()


def _export() -> None:
    from opentelemetry import metrics, trace
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        os.environ.setdefault("OTEL_SERVICE_NAME", "lokki")
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        metrics.set_meter_provider(MeterProvider([reader]))


def traced_run(flow: str, run_id: str) -> TracedRun | None:
    """Begin the span of a run; None if the program does not use OpenTelemetry, or it fails."""
    if "opentelemetry.sdk" in sys.modules:
        with suppress(Exception):
            return TracedRun(flow, run_id)
    return None


class TracedRun:
    """The span of a run."""

    def __init__(self, flow: str, run_id: str) -> None:
        self._flow = flow
        self._began = monotonic()
        self.span = _started(f"run {flow}", {"lokki.flow": flow, "lokki.run": run_id})

    def stage(self, name: str, kind: str, position: int, items: int) -> TracedStage | None:
        """Begin the span of a stage; None if that fails."""
        attributes: dict[str, str | int] = {
            "lokki.flow": self._flow,
            "lokki.step": name,
            "lokki.stage": position,
            "lokki.items": items,
        }
        with suppress(Exception):
            return TracedStage(f"{kind} {name}", self.span, attributes)
        return None

    def end(self, status: RunStatus, error: str | None) -> None:
        """End it; secrets are hidden in ``error``."""
        labels = {"lokki.flow": self._flow, "lokki.status": status.value}
        with suppress(Exception):
            _end(self.span, error)
            runs, seconds = _run_metrics()
            runs.add(1, labels)
            seconds.record(monotonic() - self._began, labels)


class TracedStage:
    """The span of a stage."""

    def __init__(self, name: str, above: Span, attributes: Mapping[str, str | int]) -> None:
        self._attributes = attributes
        self.span = _started(name, attributes, above)

    def contexts(self, fresh: Fresh) -> Fresh:
        """Contexts like ``fresh``, with this span as the current one."""
        from opentelemetry.trace import set_span_in_context

        return _within(fresh, fresh().run(set_span_in_context, self.span))

    def carrier(self) -> Carrier | None:
        """The span, for another process; None if a propagator fails."""
        from opentelemetry.propagate import inject
        from opentelemetry.trace import set_span_in_context

        carrier: dict[str, str] = {}
        with suppress(Exception):
            inject(carrier, set_span_in_context(self.span))
            return carrier
        return None

    def slice(self, succeeded: Iterable[range], lost: list[int], seconds: float) -> None:
        """Record a slice that has just ended: which items succeeded, which attempts failed."""
        done = list(succeeded)
        count = sum(map(len, done))
        attributes = {
            "lokki.step": self._attributes["lokki.step"],
            "lokki.items": count + len(lost),
            "lokki.items.failed": len(lost),
            "lokki.items.first": min([each.start for each in done] + lost, default=0),
        }
        labels = {name: self._attributes[name] for name in ("lokki.flow", "lokki.step")}
        with suppress(Exception):
            span = _started("slice", attributes, self.span, time_ns() - round(seconds * 1e9))
            _end(span, f"{len(lost)} failed" if lost else None)
            for status, number in (("succeeded", count), ("failed", len(lost))):
                if number:
                    _item_metric().add(number, {**labels, "lokki.status": status})

    def end(self, error: str | None) -> None:
        """End it, with what ended the run."""
        with suppress(Exception):
            _end(self.span, error)


def continued(carrier: Carrier | None, fresh: Fresh) -> Fresh:
    """Contexts like ``fresh``, with another process's span as the current one."""
    if carrier is None:
        return fresh
    try:
        from opentelemetry.propagate import extract

        telemetry = extract(dict(carrier))
    except Exception:  # the worker has other packages, or a propagator fails
        return fresh
    return _within(fresh, telemetry)


def on_aws(fresh: Fresh, above: str | None) -> Fresh:
    """Contexts like ``fresh``, with a span as the current one, in Lambda or Batch.

    It is the segment of this function, if X-Ray traces it, otherwise the span ``above`` the run,
    in W3C trace context. Only if the step has OpenTelemetry, and nothing has made another span the
    current one, as what instruments functions does. A segment that is not sampled would keep the
    step's own spans from being recorded.
    https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
    """
    segment = _SAMPLED.match(os.environ.get("_X_AMZN_TRACE_ID", ""))
    if segment is not None:
        begun, rest, parent = segment.groups()
        above = f"00-{begun}{rest}-{parent}-01"
    if above is None or "opentelemetry.sdk" not in sys.modules:
        return fresh
    from opentelemetry.trace import get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if get_current_span().get_span_context().is_valid:
        return fresh
    return _within(fresh, TraceContextTextMapPropagator().extract({"traceparent": above}))


def _within(fresh: Fresh, telemetry: Any) -> Fresh:
    from opentelemetry.context import attach

    def made() -> Fresh:
        attach(telemetry)
        return fresh_contexts()

    return fresh().run(made)


def _started(
    name: str,
    attributes: Mapping[str, str | int],
    above: Span | None = None,
    at: int | None = None,
) -> Span:
    from opentelemetry.trace import get_tracer, set_span_in_context

    context = None if above is None else set_span_in_context(above)
    return get_tracer("lokki").start_span(name, context, attributes=dict(attributes), start_time=at)


def _end(span: Span, error: str | None) -> None:
    from opentelemetry.trace import StatusCode

    if error is not None:
        span.set_status(StatusCode.ERROR, error)
    span.end()


@cache
def _run_metrics() -> tuple[Counter, Histogram]:
    from opentelemetry.metrics import get_meter

    meter = get_meter("lokki")
    runs = meter.create_counter("lokki.runs", "{run}", "runs that have ended")
    return runs, meter.create_histogram("lokki.run.duration", "s", "duration of runs")


@cache
def _item_metric() -> Counter:
    from opentelemetry.metrics import get_meter

    return get_meter("lokki").create_counter("lokki.items", "{item}", "calls of items, by outcome")
