"""What the steps of a run printed and logged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import PlainTextResponse, StreamingResponse

from lokki import logging
from lokki.model.log import Line, LineList
from lokki.model.times import utc
from lokki.store.lines import Wanted
from lokki_server.operated import OperatedBackend
from lokki_server.routes.common import (
    LinesAsked,
    LinesWanted,
    RunId,
    RunRoutes,
    Runs,
    problems,
)

_PAGE = 5_000

of_run = RunRoutes("logs")


@of_run.get("/logs", response_model=LineList, responses=problems(404))
async def list_logs(runs: Runs, run_id: RunId, asked: LinesAsked) -> Any:
    """Lines in order; on AWS, in the order in which CloudWatch returned them.

    With the `next` of a page as `after`, the page after it, later new lines. With `tail`, the last
    page; with the `previous` of a page as `before`, the page before it.
    """
    after, before, limit, wanted = asked.after, asked.before, asked.limit, asked.wanted
    if asked.tail or before is not None:
        after = await runs.last_line(run_id) if before is None else before
        found = await runs.last_lines(run_id, wanted, before=before, limit=limit)
    else:
        found = await runs.lines(run_id, wanted, after=after, limit=limit)
    return LineList(
        lines=[Line.of(line) for line in found],
        next=found[-1].id if found else after,
        previous=found[0].id if found else None,
    )


@of_run.get("/logs.txt", response_class=PlainTextResponse, responses=problems(404))
async def download_logs(runs: Runs, run_id: RunId, asked: LinesWanted) -> StreamingResponse:
    """All lines so far as a text, with their times in UTC."""
    run = await runs.find(run_id)
    headers = {"Content-Disposition": f'attachment; filename="{run.id}.log"'}
    return StreamingResponse(
        _text(runs, run.id, asked.wanted), media_type="text/plain", headers=headers
    )


async def _text(runs: OperatedBackend, run_id: str, wanted: Wanted) -> AsyncIterator[bytes]:
    """The lines of a run as a text, a page at a time."""
    after = 0
    while found := await runs.lines(run_id, wanted, after=after, limit=_PAGE):
        lines = (
            f"{utc(line.at)} {logging.human(logging.step_line(*line[1:]))}\n" for line in found
        )
        yield "".join(lines).encode("utf-8", "backslashreplace")
        after = found[-1].id
