"""What the steps of a run have printed and logged."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from lokki_server import models, shapes
from lokki_server.routes import common
from lokki_server.routes.common import RunId, Serving, problems

router = APIRouter(tags=["logs"])


@router.get("/runs/{run_id}/logs", response_model=models.Lines, responses=problems(404))
def logs(
    service: Serving,
    run_id: RunId,
    step: Annotated[str | None, Query(max_length=200)] = None,
    item: Annotated[int | None, Query(ge=0, lt=2**32)] = None,
    attempt: Annotated[int | None, Query(ge=1, lt=2**32)] = None,
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "DEBUG",
    since: datetime | None = None,
    until: datetime | None = None,
    after: Annotated[int, Query(ge=0, lt=2**62, description="after the line with this id")] = 0,
    tail: Annotated[bool, Query(description="the last lines, not the first")] = False,
    before: Annotated[
        int | None, Query(ge=0, lt=2**62, description="the last ones before the line with this id")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
) -> Any:
    """Lines in order. With the `next` of a page as `after`, the page after it, then what is new.

    With `tail`, the last page; with the `previous` of a page as `before`, the page before it.
    """
    run, history = service.history.find(run_id), service.history
    wanted = {
        "step": step,
        "item": item,
        "attempt": attempt,
        "level": level,
        "since": common.seconds(since),
        "until": common.seconds(until),
    }
    if tail or before is not None:
        after = history.last_line(run.id) if before is None else before
        found = history.last_lines(run.id, limit, before=before, **wanted)
    else:
        found = list(islice(history.lines(run.id, after=after, **wanted), limit))
    return {
        "lines": [shapes.line(line) for line in found],
        "next": found[-1].id if found else after,
        "previous": found[0].id if found else None,
    }
