"""Runs of deployed flows on AWS: the same operations as for runs of the journal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from lokki.backends import values
from lokki.engine.engine import new_run_id
from lokki.errors import AwsError, LokkiError
from lokki.model.base import fields_of
from lokki.model.item import ItemDetail, ItemList, Strip
from lokki.model.log import Line, LineList
from lokki.model.run import AllParams, Plan, Result, Run, RunList
from lokki.model.status import RunStatus
from lokki.store.lines import Wanted
from lokki.wording import said
from lokki_server import models
from lokki_server.feed import still
from lokki_server.mirror import LOOK_SECONDS
from lokki_server.problems import Problem
from lokki_server.routes import common
from lokki_server.routes.common import (
    FlowName,
    IdempotencyKey,
    Index,
    ItemsAsked,
    LinesAsked,
    Position,
    RunId,
    Serving,
    Width,
    problems,
)
from lokki_server.routes.live import LastEventId, number_in, stream
from lokki_server.routes.runs import MOST_ITEMS, again_from
from lokki_server.wording import as_fields

router = APIRouter(prefix="/aws/flows", tags=["aws"])
_ONE = "/{name}/executions/{run_id}"


@router.get("", response_model=models.AwsFlows)
async def list_deployed_flows(service: Serving) -> Any:
    """The flows that are deployed, or why AWS cannot be asked."""
    if not service.mirror.is_configured:
        return {"flows": [], "account": None, "problem": None}
    try:
        found = await service.mirror.flows()
        executions = await service.mirror.executions()
    except LokkiError as error:
        return {"flows": [], "account": None, "problem": str(error)}
    return {"flows": found, "account": executions.name, "problem": None}


@router.get("/{name}/executions", response_model=RunList, responses=problems(404, 502))
async def list_executions(
    service: Serving,
    name: FlowName,
    status: Annotated[list[RunStatus], Query(max_length=6)] = [],  # noqa: B006
    since: datetime | None = None,
    before: Annotated[str | None, Query(max_length=80)] = None,
    n: Annotated[int, Query(ge=1, le=1000)] = 20,
) -> Any:
    """Runs of a flow, the newest first, without their stages."""
    executions = await service.mirror.executions()
    asked = (tuple(status), common.seconds(since), before, n)
    return await service.mirror.ask(("page", name, *asked), partial(executions.page, name, *asked))


@router.post(
    "/{name}/executions",
    response_model=Run,
    status_code=202,
    responses=problems(404, 409, 502),
)
async def start_execution(
    service: Serving,
    name: FlowName,
    request: models.RunRequest,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Start a run on AWS, with parameters that this server's code of the flow accepts.

    The same `Idempotency-Key` gives the same run of the flow again.
    """
    await service.checked(name, request.model_dump_json().encode())
    executions = await service.mirror.executions()
    if idempotency_key is None:
        run_id = new_run_id()
        await executions.start(name, run_id, request.params)
    else:
        run_id = await executions.start_once(name, idempotency_key, request.params)
    service.mirror.forget(name)
    return await service.mirror.run(name, run_id)


@router.get(_ONE, response_model=Run, responses=problems(404, 502))
async def get_execution(service: Serving, name: FlowName, run_id: RunId) -> Any:
    """One run, with its failures in groups."""
    return await service.mirror.run(name, run_id)


@router.get(f"{_ONE}/params", response_model=AllParams, responses=problems(404, 502))
async def get_execution_params(service: Serving, name: FlowName, run_id: RunId) -> Any:
    """The parameters of a run, whole."""
    return AllParams(params=await service.mirror.params(name, run_id))


@router.post(
    f"{_ONE}/cancel", response_model=Run, status_code=202, responses=problems(404, 409, 502)
)
async def cancel_execution(
    service: Serving, name: FlowName, run_id: RunId, request: models.CancelRequest
) -> Any:
    """Cancel a run. What has finished is kept for a resume."""
    found = await service.mirror.run(name, run_id)
    if found.finished is not None:
        raise Problem(409, "The run has ended", f"run {run_id} is {found.status}")
    await (await service.mirror.executions()).stop(found)
    service.mirror.forget(name)
    return await service.mirror.run(name, run_id)


@router.post(f"{_ONE}/plan", response_model=Plan, responses=problems(404, 409, 502))
async def plan_execution_resume(
    service: Serving, name: FlowName, run_id: RunId, request: models.ResumeRequest
) -> Any:
    """Describe what a resume would do, without doing it."""
    from lokki.aws.resuming import plan

    planned = await plan(await service.mirror.executions(), name, run_id, again_from(request))
    summary = [said(line, as_fields) for line in planned.summary]
    return Plan(summary=summary, anything=planned.redrives or planned.new, told=summary)


@router.post(
    f"{_ONE}/resume", response_model=Run, status_code=202, responses=problems(404, 409, 502)
)
async def resume_execution(
    service: Serving, name: FlowName, run_id: RunId, request: models.ResumeRequest
) -> Any:
    """Resume a run: the same execution where AWS can, else a new one with its results."""
    from lokki.aws.resuming import plan, resume

    executions, again = await service.mirror.executions(), again_from(request)
    planned = await plan(executions, name, run_id, again)
    if not (planned.redrives or planned.new):
        raise Problem(409, "The run has succeeded", "name what is to be done again")
    goes_on = await resume(executions, planned, new_run_id())
    service.mirror.forget(name)
    return await service.mirror.run(name, goes_on)


# ---- items ---------------------------------------------------------------------------------------

_STAGE = f"{_ONE}/stages/{{position}}"


@router.get(f"{_STAGE}/strip", response_model=Strip, responses=problems(404, 502))
async def get_execution_strip(
    service: Serving,
    name: FlowName,
    run_id: RunId,
    position: Position,
    width: Width = 200,
) -> Any:
    """The items of a map, counted by status in cells of neighbouring items."""
    found = await service.mirror.items(name, run_id, position)
    cells = [dict(+cell) for cell in found.cells(width)]
    return Strip(total=found.stage.total, cells=cells)


@router.get(f"{_STAGE}/items", response_model=ItemList, responses=problems(404, 502))
async def list_execution_items(
    service: Serving,
    name: FlowName,
    run_id: RunId,
    position: Position,
    asked: ItemsAsked,
) -> Any:
    """The items of a stage that have an outcome, in order."""
    found = await service.mirror.items(name, run_id, position)
    some = list(islice(found.some(asked.status, asked.error, asked.after), asked.limit + 1))
    more, some = some[asked.limit :], some[: asked.limit]
    return ItemList(items=some, next=some[-1].index if more else None)


@router.get(f"{_ONE}/items", response_model=ItemList, responses=problems(404, 502))
async def list_last_execution_items(
    service: Serving,
    name: FlowName,
    run_id: RunId,
    asked: ItemsAsked,
) -> Any:
    """The items of the last map that has begun."""
    run = await service.mirror.run(name, run_id)
    maps = [stage.position for stage in run.stages if stage.kind == "map"]
    if not maps:
        return ItemList(items=[], next=None)
    return await list_execution_items(service, name, run_id, maps[-1], asked)


@router.get(f"{_STAGE}/items/{{index}}", response_model=ItemDetail, responses=problems(404, 502))
async def get_execution_item(
    service: Serving, name: FlowName, run_id: RunId, position: Position, index: Index
) -> Any:
    """One item: its failure, if that is the last there is, and its output."""
    found = await service.mirror.items(name, run_id, position)
    one = next((each for each in found.some((), None, index - 1) if each.index == index), None)
    if one is None:
        raise Problem(404, "No such item", f"item {index} of the stage has no outcome")
    packed = await service.mirror.output(name, run_id, position, index)
    return ItemDetail(
        **fields_of(one),
        step=found.stage.name,
        failures=found.attempts(index),
        output=await anyio.to_thread.run_sync(values.shown, packed) if packed else None,
    )


@router.get(f"{_ONE}/result", response_model=Result, responses=problems(404, 409, 502))
async def get_execution_result(service: Serving, name: FlowName, run_id: RunId) -> Any:
    """The result of a run that has succeeded; of a map that ends the flow, up to 1,000 items."""
    run = await service.mirror.run(name, run_id)
    if run.status != "succeeded":
        raise Problem(409, "There is no result", f"run {run_id} is {run.status}")
    last = run.stages[-1]
    if last.total > MOST_ITEMS:
        raise Problem(409, "The result is too large", f"it is a list of {last.total} items")
    executions = await service.mirror.executions()
    packed = await executions.packed_result(name, run_id)
    shown = [await anyio.to_thread.run_sync(values.shown, each) for each in packed]
    foreign = next((each for each in shown if "json" not in each), None)
    if foreign is not None:
        return Result(result=None, **foreign)
    found = [each["json"] for each in shown]
    return Result(result=found if last.kind == "map" else found[0])


# ---- lines and events ----------------------------------------------------------------------------


@router.get(f"{_ONE}/logs", response_model=LineList, responses=problems(404, 502))
async def list_execution_logs(
    service: Serving,
    name: FlowName,
    run_id: RunId,
    asked: LinesAsked,
) -> Any:
    """Log lines in the order in which CloudWatch returned them, in the form of the journal's."""
    wanted = Wanted(**asked.wanted())
    read = (await service.mirror.lines(name, run_id)).read
    after, before, limit = asked.after, asked.before, asked.limit
    if asked.tail or before is not None:
        end = len(read) if before is None else max(0, before - 1)
        after = end
        found = list(islice((line for line in reversed(read[:end]) if wanted.has(line)), limit))
        found.reverse()
    else:
        found = list(islice((line for line in read[after:] if wanted.has(line)), limit))
    return LineList(
        lines=[Line.of(line) for line in found],
        next=found[-1].id if found else after,
        previous=found[0].id if found else None,
    )


@router.get(
    f"{_ONE}/events",
    response_class=EventSourceResponse,
    responses=problems(404, 502),
    dependencies=[Depends(stream)],
)
async def stream_execution(
    service: Serving,
    name: FlowName,
    found: Annotated[Run, Depends(get_execution)],
    logs: Annotated[bool, Query(description="new log lines, too")] = False,
    last_event_id: LastEventId = None,
) -> AsyncIterator[ServerSentEvent]:
    """Send a run at once and on each change (`run`), its new lines (`lines`), its end (`end`)."""
    after = number_in(last_event_id)
    before: Any = None
    while True:
        try:
            now = await service.mirror.run(name, found.id)
            if still(now) != before:
                before = still(now)
                yield ServerSentEvent(event="run", data=now, id=str(after or 0))
            if logs:
                read = (await service.mirror.lines(name, found.id)).read
                new = [] if after is None else read[after:]
                after = len(read)
                if new:
                    lines = {"lines": [Line.of(line) for line in new]}
                    yield ServerSentEvent(event="lines", data=lines, id=str(after))
        except AwsError:  # it cannot be asked now
            await anyio.sleep(LOOK_SECONDS)
            continue
        if now.finished is not None:
            yield ServerSentEvent(event="end", data={"status": now.status}, id=str(after or 0))
            return
        await anyio.sleep(LOOK_SECONDS)
