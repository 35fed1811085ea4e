"""Flows, starting runs of them, and their schedules."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from lokki.backends import recorded
from lokki.backends.schedules import offered
from lokki.model.base import fields_of
from lokki.model.flow import Flow, FlowList, FlowSchedule, Schedule, ScheduleDetail, ScheduleList
from lokki.model.run import Run
from lokki.model.trend import Trend
from lokki_server import models
from lokki_server.problems import Problem
from lokki_server.routes.common import FlowName, IdempotencyKey, Serving, problems
from lokki_server.service import Service

router = APIRouter(tags=["flows"])


@router.get("/flows", response_model=FlowList)
def list_flows(service: Serving) -> Any:
    """Every flow that can be run, and the unreadable files."""
    flows = [_flow(service, name) for name in service.catalog.flows]
    return FlowList(flows=flows, problems=service.catalog.problems)


@router.get("/flows/{name}", response_model=Flow, responses=problems(404, 409))
def get_flow(service: Serving, name: FlowName) -> Any:
    """One flow."""
    return _flow(service, name)


def _flow(service: Service, name: str) -> Flow:
    file, found = service.catalog.find(name)
    return offered(found, file.source, service.clock.shown(name, found["schedule"]))


@router.get("/flows/{name}/trend", response_model=Trend, responses=problems(404, 409))
def get_trend(service: Serving, name: FlowName, n: Annotated[int, Query(ge=1, le=500)] = 60) -> Any:
    """Durations and failures of the latest runs of a flow that have ended, at most 500."""
    found = recorded.trend(service.history, name, n)
    if not found.runs:
        service.catalog.find(name)  # for a flow that there is not, it raises Problem
    return found


START = "/flows/{name}/runs"
"""The path that starts a run of a flow."""
_RUN_REQUEST = {"schema": {"$ref": "#/components/schemas/RunRequest"}}  # `start` on AWS has it


@router.post(
    START,
    response_model=Run,
    status_code=202,
    responses=problems(404, 409),
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": _RUN_REQUEST}}
    },
)
async def start_run(
    service: Serving,
    name: FlowName,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Queue a run. The same `Idempotency-Key` returns the same run again."""
    return await started(service, name, await request.body(), idempotency_key)


async def started(service: Service, name: str, body: bytes, key: str | None = None) -> Response:
    """Queue a run; what `start_run` answers."""
    run = await service.start(name, body, key)
    (shown,) = recorded.runs(service.history, [run])
    return Response(
        json.dumps(shown, default=fields_of, ensure_ascii=False, separators=(",", ":")),
        status_code=202,
        headers={"Location": f"/runs/{run.id}"},
        media_type="application/json",
    )


@router.get("/schedules", response_model=ScheduleList)
def list_schedules(service: Serving) -> Any:
    """The schedules of all flows that have one."""
    flows = [_flow(service, name) for name in service.catalog.flows]
    return ScheduleList(
        schedules=[
            FlowSchedule(flow=each.name, **fields_of(each.schedule))
            for each in flows
            if each.schedule is not None
        ]
    )


@router.get("/schedules/{name}", response_model=ScheduleDetail, responses=problems(404))
def get_schedule(
    service: Serving, name: FlowName, n: Annotated[int, Query(ge=1, le=1_000)] = 50
) -> Any:
    """A flow's schedule, and the outcomes of its latest times, `n` rows of at most a thousand."""
    found = get_flow_schedule(service, name)
    return ScheduleDetail(flow=name, **fields_of(found), ticks=service.clock.ticks(name, n))


@router.get("/flows/{name}/schedule", response_model=Schedule, responses=problems(404))
def get_flow_schedule(service: Serving, name: FlowName) -> Any:
    """When runs of a flow start."""
    found = _flow(service, name).schedule
    if found is None:
        raise Problem(404, "No schedule", f"the flow '{name}' has no schedule")
    return found


@router.post("/flows/{name}/schedule", response_model=Schedule, responses=problems(404))
async def update_flow_schedule(
    service: Serving, name: FlowName, request: models.ScheduleRequest
) -> Any:
    """Pause or continue a flow's schedule. Times that pass while it is paused start no run."""
    get_flow_schedule(service, name)
    await service.clock.pause(name, request.paused)
    return get_flow_schedule(service, name)
