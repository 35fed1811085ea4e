"""Deployed flows and their runs on AWS, which have the same routes as runs of the journal."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from lokki.engine.engine import new_run_id
from lokki.errors import LokkiError
from lokki.model.run import Run, RunList
from lokki.runtime.event import in_trace
from lokki_server import models
from lokki_server.routes.common import (
    FlowName,
    IdempotencyKey,
    RunsAsked,
    Serving,
    TraceParent,
    problems,
)

router = APIRouter(prefix="/aws/flows", tags=["aws"])


@router.get("", response_model=models.AwsFlows)
async def list_deployed_flows(service: Serving) -> Any:
    """The deployed flows, or why AWS cannot be reached."""
    if not service.mirror.is_configured:
        return {"flows": [], "account": None, "problem": None}
    try:
        runs = await service.mirror.runs()
        return {"flows": await runs.flows(), "account": runs.name, "problem": None}
    except LokkiError as error:
        return {"flows": [], "account": None, "problem": str(error)}


@router.get("/{name}/executions", response_model=RunList, responses=problems(404, 502))
async def list_executions(service: Serving, name: FlowName, asked: RunsAsked) -> Any:
    """Runs of a flow, the newest first, without their stages."""
    return await asked.of(await service.mirror.of(name), name)


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
    traceparent: TraceParent = None,
) -> Any:
    """Start a run on AWS, with parameters that this server's code of the flow accepts.

    The same `Idempotency-Key` returns the same run of the flow again. Spans of its steps are below
    that of `traceparent`.
    """
    _, checked = await service.checked(name, request.model_dump_json().encode())
    runs = await service.mirror.of(name)
    given = request.params | in_trace(traceparent)
    asked: dict[str, Any] = {"tags": checked["tags"], "no_cache": request.no_cache}
    if idempotency_key is None:
        started = await runs.start(name, new_run_id(), given, **asked)
    else:
        started = await runs.start_once(name, idempotency_key, given, **asked)
    return await runs.run(started.id)
