"""Metrics for Prometheus: the runs in the journal, the runners and the requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import perf_counter

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lokki.model.status import RunStatus
from lokki_server.service import Service


class Requests:
    """Middleware that measures each request up to the start of its answer."""

    def __init__(self, app: ASGIApp, seconds: Histogram) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "other")
                labels = (scope["method"], route, str(message["status"]))
                self._seconds.labels(*labels).observe(perf_counter() - began)
            await send(message)

        await self._app(scope, receive, timed)


def request_seconds(registry: CollectorRegistry) -> Histogram:
    return Histogram(
        "lokki_http_request_seconds",
        "Time to the start of an answer.",
        ("method", "route", "status"),
        registry=registry,
    )


class _Journal(Collector):
    """Reads the journal on each scrape."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        runs = GaugeMetricFamily("lokki_runs", "Runs in the journal.", labels=["status"])
        counts = dict.fromkeys(map(str, RunStatus), 0) | self._service.history.counts()
        for status, count in counts.items():
            runs.add_metric([status], count)
        yield runs
        ready = self._service.supervisor.ready
        yield GaugeMetricFamily("lokki_runners", "Runners that take runs.", ready)


def text(service: Service, registry: CollectorRegistry) -> bytes:
    """All metrics, in Prometheus' text format."""
    journal = CollectorRegistry()
    journal.register(_Journal(service))
    return generate_latest(journal) + generate_latest(registry)
