"""What the steps of a run printed and logged."""

from __future__ import annotations

from typing import Any

from lokki.model.log import Line, LineList
from lokki_server.routes.common import LinesAsked, RunId, RunRoutes, Runs, problems

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
