"""The items of a stage."""

from __future__ import annotations

from typing import Any

import anyio
from fastapi import APIRouter

from lokki.backends import values
from lokki.model.base import fields_of
from lokki.model.item import ItemDetail, ItemList, Strip
from lokki.store.rows import StageRow
from lokki_server.problems import Problem
from lokki_server.routes.common import (
    Index,
    ItemsAsked,
    Position,
    RunId,
    Serving,
    Width,
    problems,
)
from lokki_server.service import Service

router = APIRouter(prefix="/runs/{run_id}/stages/{position}", tags=["items"])


@router.get("/strip", response_model=Strip, responses=problems(404))
def get_strip(
    service: Serving,
    run_id: RunId,
    position: Position,
    width: Width = 200,
) -> Any:
    """The items of a map, counted by status in at most `width` cells of neighbouring items."""
    stage = service.stage(run_id, position)
    cells = [dict(+cell) for cell in service.history.strip(stage, width)]
    return Strip(total=stage.total, cells=cells)


@router.get("/items", response_model=ItemList, responses=problems(404))
def list_items(
    service: Serving,
    run_id: RunId,
    position: Position,
    asked: ItemsAsked,
) -> Any:
    """The items that have an outcome, in order."""
    found = service.items.page(
        service.stage(run_id, position),
        statuses=asked.status,
        group=asked.error,
        after=asked.after,
        limit=asked.limit + 1,
    )
    more, found = found[asked.limit :], found[: asked.limit]
    return ItemList(items=found, next=found[-1].index if more else None)


@router.get("/items/{index}", response_model=ItemDetail, responses=problems(404))
async def get_item(service: Serving, run_id: RunId, position: Position, index: Index) -> Any:
    """One item: its failed attempts, and its output."""
    stage = await anyio.to_thread.run_sync(service.stage, run_id, position)
    found = await anyio.to_thread.run_sync(service.items.find, stage, index)
    if found is None:
        raise Problem(404, "No such item", f"item {index} of '{stage.name}' has no outcome")
    attempts = await anyio.to_thread.run_sync(service.items.attempts, stage, index)
    return ItemDetail(
        **fields_of(found),
        step=stage.name,
        failures=attempts,
        output=await _output(service, stage, index),
    )


async def _output(service: Service, stage: StageRow, index: int) -> dict[str, Any] | None:
    """The output of an item, if it has one, as it is shown."""
    found = await anyio.to_thread.run_sync(service.items.output, stage, index)
    if found is None or found == (None, None):
        return None
    try:
        return await service.output(stage, index, *found, values.shown)
    except values.NotShown as error:
        return error.description
