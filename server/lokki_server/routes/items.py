"""The items of a run's stages."""

from __future__ import annotations

from typing import Any

from lokki.model.item import ItemDetail, ItemInput, ItemInputs, ItemList, Strip
from lokki_server.problems import Problem
from lokki_server.routes.common import (
    Index,
    Indices,
    ItemsAsked,
    Position,
    RunId,
    RunRoutes,
    Runs,
    Width,
    problems,
)

of_run = RunRoutes("items")


@of_run.get("/stages/{position}/strip", response_model=Strip, responses=problems(404))
async def get_strip(runs: Runs, run_id: RunId, position: Position, width: Width = 200) -> Any:
    """The items of a map, counted by status in at most `width` cells of neighbouring items."""
    return await runs.strip(run_id, position, width)


@of_run.get("/stages/{position}/items", response_model=ItemList, responses=problems(404))
async def list_items(runs: Runs, run_id: RunId, position: Position, asked: ItemsAsked) -> Any:
    """The items with an outcome, in order."""
    found = await runs.items(
        run_id,
        position,
        statuses=asked.status,
        error=asked.error,
        after=asked.after,
        limit=asked.limit + 1,
    )
    more, found = found[asked.limit :], found[: asked.limit]
    return ItemList(items=found, next=found[-1].index if more else None)


@of_run.get("/stages/{position}/inputs", response_model=ItemInputs, responses=problems(404))
async def list_inputs(runs: Runs, run_id: RunId, position: Position, item: Indices) -> Any:
    """The beginnings of what items of a map got, at most 100; none from a list over 10 MB."""
    found = await runs.inputs(run_id, position, item)
    return ItemInputs(inputs=[ItemInput(index=index, text=text) for index, text in found.items()])


@of_run.get("/items", response_model=ItemList, responses=problems(404))
async def list_last_items(runs: Runs, run_id: RunId, asked: ItemsAsked) -> Any:
    """The items of the last map that has begun."""
    run = await runs.run(run_id)
    maps = [stage.position for stage in run.stages if stage.kind == "map"]
    if not maps:
        return ItemList(items=[], next=None)
    return await list_items(runs, run_id, maps[-1], asked)


@of_run.get("/stages/{position}/items/{index}", response_model=ItemDetail, responses=problems(404))
async def get_item(runs: Runs, run_id: RunId, position: Position, index: Index) -> Any:
    """One item: its failed attempts, on AWS the last of them, and its output."""
    found = await runs.item(run_id, position, index)
    if found is None:
        detail = f"item {index} of stage {position} has no outcome"
        raise Problem(404, "No such item", detail)
    return found
