"""Runs as they go on: server-sent events, at most ten a second, whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import islice
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from lokki.errors import JournalError, RunNotFound
from lokki.store.history import Run
from lokki_server import shapes
from lokki_server.routes.common import RunId, Serving, problems
from lokki_server.service import Service

router = APIRouter(tags=["live"])

_QUIET_SECONDS = 5.0
"""After so long without a change, a run is looked at anyway: its process may be gone."""
_MOST_LINES = 200
_MOST_RUNS = 200


async def _found(service: Serving, run_id: RunId) -> Run:
    """The run, before the stream begins: a stream cannot be a 404 any more."""
    return await service.run(run_id)


@router.get("/runs/{run_id}/events", response_class=EventSourceResponse, responses=problems(404))
async def run_events(
    service: Serving,
    found: Annotated[Run, Depends(_found)],
    logs: Annotated[bool, Query(description="new log lines, too")] = False,
    last_event_id: Annotated[str | None, Header()] = None,
) -> AsyncIterator[ServerSentEvent]:
    """A run at once and on each change (`run`), its new lines (`lines`), and its end (`end`)."""
    after = _number(last_event_id) if last_event_id else None
    if after is None:
        after = await anyio.to_thread.run_sync(service.history.last_line, found.id)
    before: Any = None
    async for _ in service.hub.changes(_QUIET_SECONDS):
        try:
            shape, ended = await anyio.to_thread.run_sync(_now, service, found.id)
            if shape != before:
                before = shape
                yield ServerSentEvent(event="run", data=shape, id=str(after))
            while logs:
                lines = await anyio.to_thread.run_sync(_new_lines, service, found.id, after)
                if lines:
                    after = lines[-1]["id"]
                    yield ServerSentEvent(event="lines", data={"lines": lines}, id=str(after))
                if len(lines) < _MOST_LINES:
                    break
        except RunNotFound:  # it was removed
            return
        except JournalError:  # it cannot be read now
            continue
        if ended:
            yield ServerSentEvent(event="end", data={"status": shape["status"]}, id=str(after))
            return


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 19 else None


def _now(service: Service, run_id: str) -> tuple[dict[str, Any], bool]:
    """A run, and whether it has ended: it is read before its lines, of which it then has all."""
    run = service.history.find(run_id)
    (shape,) = shapes.runs(service.history, [run])
    return shape, run.finished is not None


def _new_lines(service: Service, run_id: str, after: int) -> list[dict[str, Any]]:
    found = service.history.lines(run_id, after=after)
    return [shapes.line(each) for each in islice(found, _MOST_LINES)]


@router.get("/events", response_class=EventSourceResponse)
async def events(
    service: Serving, last_event_id: Annotated[str | None, Header()] = None
) -> AsyncIterator[ServerSentEvent]:
    """The newest runs at once, then those that have changed (`runs`)."""
    before: dict[str, Any] = {}
    async for _ in service.hub.changes(_QUIET_SECONDS):
        try:
            now = await anyio.to_thread.run_sync(_newest, service)
        except JournalError:  # it cannot be read now
            continue
        changed = [shape for run_id, shape in now.items() if before.get(run_id) != shape]
        before = now
        if changed:
            yield ServerSentEvent(event="runs", data={"runs": changed})


def _newest(service: Service) -> dict[str, Any]:
    runs = service.history.runs(limit=_MOST_RUNS)
    return {shape["id"]: shape for shape in shapes.runs(service.history, runs)}
