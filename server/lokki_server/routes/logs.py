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
    limit: Annotated[int, Query(ge=1, le=5000)] = 500,
) -> Any:
    """Lines in order. With the `next` of a page as `after`, the page after it, then what is new."""
    run = service.history.find(run_id)
    found = service.history.lines(
        run.id,
        step=step,
        item=item,
        attempt=attempt,
        level=level,
        since=common.seconds(since),
        until=common.seconds(until),
        after=after,
    )
    lines = [shapes.line(each) for each in islice(found, limit)]
    return {"lines": lines, "next": lines[-1]["id"] if lines else after}
