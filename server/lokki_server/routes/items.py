"""The items of a stage."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Query

from lokki_server import models, shapes, values
from lokki_server.problems import Problem
from lokki_server.routes.common import Index, Position, RunId, Serving, problems

router = APIRouter(prefix="/runs/{run_id}/stages/{position}", tags=["items"])


@router.get("/strip", response_model=models.Strip, responses=problems(404))
def strip(
    service: Serving,
    run_id: RunId,
    position: Position,
    width: Annotated[int, Query(ge=1, le=2000, description="most cells")] = 200,
) -> Any:
    """The items of a map in cells of neighbours: as much for a hundred as for a million."""
    stage = service.stage(run_id, position)
    cells = [dict(+cell) for cell in service.history.strip(stage, width)]
    return {"total": stage.total, "cells": cells}


@router.get("/items", response_model=models.Items, responses=problems(404))
def items(
    service: Serving,
    run_id: RunId,
    position: Position,
    status: Annotated[list[models.ItemStatus], Query(max_length=5)] = [],  # noqa: B006
    error: Annotated[str | None, Query(description="a group of failures", max_length=80)] = None,
    after: Annotated[int, Query(ge=-1, lt=2**32, description="after this index")] = -1,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Any:
    """The items that have an outcome, in order."""
    found = service.items.page(
        service.stage(run_id, position), statuses=status, group=error, after=after, limit=limit + 1
    )
    more, found = found[limit:], found[:limit]
    return {
        "items": [shapes.item(each) for each in found],
        "next": found[-1].index if more else None,
    }


@router.get("/items/{index}", response_model=models.ItemDetail, responses=problems(404))
async def item(service: Serving, run_id: RunId, position: Position, index: Index) -> Any:
    """One item: its failed attempts, and its output."""
    stage = await anyio.to_thread.run_sync(service.stage, run_id, position)
    found = await anyio.to_thread.run_sync(service.items.find, stage, index)
    if found is None:
        raise Problem(404, "No such item", f"item {index} of '{stage.name}' has no outcome")
    output = service.items.output(stage, index)
    packed, ref = output or (None, None)
    if packed is None and ref is not None:
        packed = await service.payloads.get(ref)
    return {
        **shapes.item(found),
        "step": stage.name,
        "failures": [shapes.attempt(each) for each in service.items.attempts(stage, index)],
        "output": None if packed is None else values.shown(packed),
    }
