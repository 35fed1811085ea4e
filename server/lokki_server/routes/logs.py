"""What the steps of a run have printed and logged."""

from __future__ import annotations

from itertools import islice
from typing import Any

from fastapi import APIRouter

from lokki.model.log import Line, LineList
from lokki_server.routes.common import LinesAsked, RunId, Serving, problems

router = APIRouter(tags=["logs"])


@router.get("/runs/{run_id}/logs", response_model=LineList, responses=problems(404))
def list_logs(
    service: Serving,
    run_id: RunId,
    asked: LinesAsked,
) -> Any:
    """Lines in order. With the `next` of a page as `after`, the page after it, then what is new.

    With `tail`, the last page; with the `previous` of a page as `before`, the page before it.
    """
    run, history, wanted = service.history.find(run_id), service.history, asked.wanted()
    after, before, limit = asked.after, asked.before, asked.limit
    if asked.tail or before is not None:
        after = history.last_line(run.id) if before is None else before
        found = history.last_lines(run.id, limit, before=before, **wanted)
    else:
        found = list(islice(history.lines(run.id, after=after, **wanted), limit))
    return LineList(
        lines=[Line.of(line) for line in found],
        next=found[-1].id if found else after,
        previous=found[0].id if found else None,
    )
