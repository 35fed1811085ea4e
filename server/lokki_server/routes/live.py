"""Runs as they go on: server-sent events, at most ten a second, whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from itertools import islice
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from lokki.backends import recorded
from lokki.errors import JournalError, RunNotFound
from lokki.model.log import Line
from lokki.model.run import Run
from lokki.store.runs import RunRecord
from lokki_server.feed import still
from lokki_server.routes.common import RunId, Serving, problems
from lokki_server.service import Service

router = APIRouter(tags=["live"])

_GAP_SECONDS = 0.1
"""The shortest time between two messages."""
_MOST_LINES = 1_000

LastEventId = Annotated[
    str | None,
    Header(
        max_length=100,
        description="the id of the last message received: the stream goes on after it",
    ),
]


async def stream(service: Serving) -> AsyncIterator[None]:
    """Reserve a stream before it begins: afterwards it cannot be refused any more."""
    with service.hub.stream():
        yield


async def _found(service: Serving, run_id: RunId) -> RunRecord:
    """The run, before the stream begins: a stream cannot be a 404 any more."""
    return await service.run(run_id)


@router.get(
    "/runs/{run_id}/events",
    response_class=EventSourceResponse,
    responses=problems(404),
    dependencies=[Depends(stream)],
)
async def stream_run(
    service: Serving,
    found: Annotated[RunRecord, Depends(_found)],
    logs: Annotated[bool, Query(description="new log lines, too")] = False,
    last_event_id: LastEventId = None,
) -> AsyncIterator[ServerSentEvent]:
    """Send a run at once and on each change (`run`), its new lines (`lines`), its end (`end`)."""
    after = number_in(last_event_id)
    if after is None:
        after = await anyio.to_thread.run_sync(service.history.last_line, found.id)
    before: Any = None
    async for _ in service.hub.changes():
        try:
            run = await service.hub.look(found.id, partial(_now, service, found.id))
            if still(run) != before:
                before = still(run)
                yield ServerSentEvent(event="run", data=run, id=str(after))
                await anyio.sleep(_GAP_SECONDS)
            while logs:
                lines = await anyio.to_thread.run_sync(_new_lines, service, found.id, after)
                if lines:
                    after = lines[-1].id
                    yield ServerSentEvent(event="lines", data={"lines": lines}, id=str(after))
                    await anyio.sleep(_GAP_SECONDS)
                if len(lines) < _MOST_LINES:
                    break
        except RunNotFound:  # it was removed
            return
        except JournalError:  # it cannot be read now
            continue
        if run.finished is not None:  # it was read before its lines, of which it then had all
            yield ServerSentEvent(event="end", data={"status": run.status}, id=str(after))
            return


def number_in(event_id: str | None) -> int | None:
    """The line that the id of an event names, if it does."""
    text = event_id or ""
    return int(text) if text.isdecimal() and len(text) < 19 else None


def _now(service: Service, run_id: str) -> Run:
    (run,) = recorded.runs(service.history, [service.history.find(run_id)])
    return run


def _new_lines(service: Service, run_id: str, after: int) -> list[Line]:
    found = service.history.lines(run_id, after=after)
    return [Line.of(each) for each in islice(found, _MOST_LINES)]


@router.get(
    "/events",
    response_class=EventSourceResponse,
    dependencies=[Depends(stream)],
)
async def stream_runs(
    service: Serving, last_event_id: LastEventId = None
) -> AsyncIterator[ServerSentEvent]:
    """Send the newest runs at once, then those that have changed (`runs`)."""
    seen = service.feed.number(last_event_id)
    async for _ in service.hub.changes():
        try:
            look = await service.hub.look("runs", service.feed.look)
        except JournalError:  # it cannot be read now
            continue
        runs = [run for run, number in zip(look.runs, look.changed, strict=True) if number > seen]
        seen = look.number
        if runs:
            yield ServerSentEvent(event="runs", data={"runs": runs}, id=service.feed.id(look))
            await anyio.sleep(_GAP_SECONDS)
