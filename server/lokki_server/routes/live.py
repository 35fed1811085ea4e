"""Live runs: server-sent events, at most ten per second."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from fastapi import APIRouter, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from lokki.errors import AwsError, JournalError, RunNotFound
from lokki.model.log import Line
from lokki.model.run import Run
from lokki.store.lines import Wanted
from lokki_server.feed import still
from lokki_server.routes.common import RunId, RunRoutes, Runs, Serving, problems

router = APIRouter(tags=["live"])
of_run = RunRoutes("live")

_GAP_SECONDS = 0.1
"""The shortest time between two messages."""
_MOST_LINES = 1_000
_ALL = Wanted()

LastEventId = Annotated[
    str | None,
    Header(
        max_length=100,
        description="the id of the last message received: the stream continues after it",
    ),
]


async def stream(service: Serving) -> AsyncIterator[None]:
    """Reserve a stream before it begins: later, it can no longer be refused."""
    with service.hub.stream():
        yield


async def _found(runs: Runs, run_id: RunId) -> Run:
    """The run, before the stream begins: later, a 404 is no longer possible."""
    return await runs.run(run_id)


@of_run.get(
    "/events",
    response_class=EventSourceResponse,
    responses=problems(404),
    dependencies=[Depends(stream)],
)
async def stream_run(
    runs: Runs,
    found: Annotated[Run, Depends(_found)],
    logs: Annotated[bool, Query(description="new log lines, too")] = False,
    last_event_id: LastEventId = None,
) -> AsyncIterator[ServerSentEvent]:
    """Send a run at once and on each change (`run`), its new lines (`lines`), its end (`end`)."""
    after = _number_in(last_event_id)
    if after is None:
        after = await runs.last_line(found.id) if logs else 0
    before: Run | None = None
    async for _ in runs.changes():
        try:
            run = await runs.watched(found.id)
            if still(run) != before:
                before = still(run)
                yield ServerSentEvent(event="run", data=run, id=str(after))
                await anyio.sleep(_GAP_SECONDS)
            while logs:
                lines = await runs.lines(found.id, _ALL, after=after, limit=_MOST_LINES)
                if lines:
                    after = lines[-1].id
                    data = {"lines": [Line.of(line) for line in lines]}
                    yield ServerSentEvent(event="lines", data=data, id=str(after))
                    await anyio.sleep(_GAP_SECONDS)
                if len(lines) < _MOST_LINES:
                    break
        except RunNotFound:  # it was removed
            return
        except (JournalError, AwsError):  # it cannot be read now
            continue
        if run.finished is not None:  # it was read before its lines, so these are complete
            yield ServerSentEvent(event="end", data={"status": run.status}, id=str(after))
            return


def _number_in(event_id: str | None) -> int | None:
    """The line that an event's id names, if any."""
    text = event_id or ""
    return int(text) if text.isdecimal() and len(text) < 19 else None


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
