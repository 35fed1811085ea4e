"""Flows, starting runs of them, and their schedules."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from lokki_server import models, shapes
from lokki_server.problems import Problem
from lokki_server.routes.common import FlowName, IdempotencyKey, Serving, problems
from lokki_server.service import Service

router = APIRouter(tags=["flows"])


@router.get("/flows", response_model=models.Flows)
def flows(service: Serving) -> Any:
    """Every flow that can be run, and the files that cannot be read."""
    return {
        "flows": [_shape(service, name) for name in service.catalog.flows],
        "problems": service.catalog.problems,
    }


@router.get("/flows/{name}", response_model=models.Flow, responses=problems(404, 409))
def flow(service: Serving, name: FlowName) -> Any:
    """One flow."""
    return _shape(service, name)


def _shape(service: Service, name: str) -> dict[str, Any]:
    file, found = service.catalog.find(name)
    return {**found, "file": file.place, "schedule": service.clock.shape(name, found["schedule"])}


_RUN_REQUEST = {"schema": {"$ref": "#/components/schemas/RunRequest"}}  # `start` on AWS has it


@router.post(
    "/flows/{name}/runs",
    response_model=models.Run,
    status_code=202,
    responses=problems(404, 409),
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": _RUN_REQUEST}}
    },
)
async def start(
    service: Serving,
    name: FlowName,
    request: Request,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Queue a run. The same `Idempotency-Key` gives the same run again."""
    run = await service.start(name, await request.body(), idempotency_key)
    response.headers["Location"] = f"/runs/{run.id}"
    return shapes.runs(service.history, [run])[0]


@router.get("/schedules", response_model=models.Schedules)
def schedules(service: Serving) -> Any:
    """The schedules of all flows that have one."""
    shapes = [(name, _shape(service, name)["schedule"]) for name in service.catalog.flows]
    return {"schedules": [{"flow": name, **found} for name, found in shapes if found is not None]}


@router.get("/schedules/{name}", response_model=models.ScheduleDetail, responses=problems(404))
def followed(
    service: Serving, name: FlowName, n: Annotated[int, Query(ge=1, le=1_000)] = 50
) -> Any:
    """A flow's schedule, and what became of its latest times, in `n` rows of a thousand."""
    found = schedule(service, name)
    return {"flow": name, **found, "ticks": service.clock.ticks(name, n)}


@router.get("/flows/{name}/schedule", response_model=models.Schedule, responses=problems(404))
def schedule(service: Serving, name: FlowName) -> Any:
    """When runs of a flow are started."""
    found = _shape(service, name)["schedule"]
    if found is None:
        raise Problem(404, "No schedule", f"the flow '{name}' has no schedule")
    return found


@router.post("/flows/{name}/schedule", response_model=models.Schedule, responses=problems(404))
async def pause(service: Serving, name: FlowName, request: models.ScheduleRequest) -> Any:
    """Pause a flow's schedule, or go on with it. What it would have started meanwhile is not."""
    schedule(service, name)
    await service.clock.pause(name, request.paused)
    return schedule(service, name)
