"""Runs: listing, showing, cancelling and resuming them, and their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar

import anyio
from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse

from lokki.backends import recorded, values
from lokki.model.run import AllParams, Plan, Result, Run, RunList
from lokki.model.status import RunStatus
from lokki.resumption import ResumeOptions
from lokki.store.codec import compress, contained, dumps_list
from lokki.store.parameters import with_params
from lokki.store.references import stored
from lokki.store.rows import StageRow
from lokki.store.runs import RunRecord
from lokki_server import models
from lokki_server.problems import Problem
from lokki_server.routes import common
from lokki_server.routes.common import FlowName, RunId, Serving, problems
from lokki_server.service import Service

T = TypeVar("T")

router = APIRouter(tags=["runs"])


@router.get("/runs", response_model=RunList, responses=problems(404))
def list_runs(
    service: Serving,
    flow: FlowName | None = None,
    status: Annotated[list[RunStatus], Query(max_length=6)] = [],  # noqa: B006
    since: Annotated[datetime | None, Query(description="only runs created since then")] = None,
    before: Annotated[str | None, Query(pattern=r"^[A-Za-z0-9_-]{1,80}$")] = None,
    older_than: Annotated[
        datetime | None, Query(description="only runs created before then")
    ] = None,
    n: Annotated[int, Query(ge=1, le=1000)] = 20,
) -> Any:
    """Runs, the newest first."""
    times = common.seconds(since), common.seconds(older_than)
    return recorded.page(service.history, flow, status, times[0], before, n, times[1])


@router.get("/runs/{run_id}", response_model=Run, responses=problems(404))
def get_run(service: Serving, run_id: RunId) -> Any:
    """One run, with its failures in groups."""
    return recorded.run(service.history, service.history.find(run_id))


@router.get("/runs/{run_id}/params", response_model=AllParams, responses=problems(404, 409))
async def get_params(service: Serving, run_id: RunId) -> Response:
    """The parameters of a run, whole, however long they are."""
    run = await with_params(await service.run(run_id), service.payloads)
    return common.json_text(['{"params":', run.params_json, "}"])


@router.post(
    "/runs/{run_id}/cancel",
    response_model=Run,
    status_code=202,
    responses=problems(404, 409),
)
async def cancel_run(service: Serving, run_id: RunId, request: models.CancelRequest) -> Any:
    """Request a run's cancellation, whichever process runs it. What has finished is kept."""
    return recorded.runs(service.history, [await service.cancel(run_id)])[0]


@router.post(
    "/runs/{run_id}/resume",
    response_model=Run,
    status_code=202,
    responses=problems(404, 409),
)
async def resume_run(service: Serving, run_id: RunId, request: models.ResumeRequest) -> Any:
    """Queue a run to be resumed: results are kept, except those of what is named here."""
    run = await service.resume(run_id, again_from(request))
    return recorded.runs(service.history, [run])[0]


@router.post("/runs/{run_id}/plan", response_model=Plan, responses=problems(404, 409))
async def plan_resume(service: Serving, run_id: RunId, request: models.ResumeRequest) -> Any:
    """Describe what a resume would do, without doing it."""
    _, planned = await service.plan(run_id, again_from(request))
    summary = planned["summary"]
    return Plan(summary=summary, anything=planned["anything"], told=summary)


def again_from(request: models.ResumeRequest) -> ResumeOptions:
    """What a request names to be done again."""
    return ResumeOptions(request.failed, request.error, request.from_)


@router.get("/runs/{run_id}/result", response_model=Result, responses=problems(404, 409))
async def get_result(service: Serving, run_id: RunId) -> Any:
    """The result of a run that has succeeded; of a map that ends the flow, up to 1,000 items."""
    run = await service.run(run_id)
    packed = await anyio.to_thread.run_sync(_packed, service, run)
    shown = [await _shown(service, each) for each in packed]
    if not all("json" in each for each in shown):
        foreign = next(each for each in shown if "json" not in each)
        return Result(result=None, **foreign, download=f"/runs/{run.id}/result.pickle")
    found = [each["json"] for each in shown]
    return Result(result=found if _is_list(service, run) else found[0])


@router.get(
    "/runs/{run_id}/result.txt", response_class=PlainTextResponse, responses=problems(404, 409)
)
async def get_result_text(service: Serving, run_id: RunId) -> PlainTextResponse:
    """The result as `lokki run` prints it: nothing for None."""
    run = await service.run(run_id)
    packed = await anyio.to_thread.run_sync(_packed, service, run)
    found = []
    for each in packed:
        try:
            found.append(await _used(service, each, values.loaded))
        except values.NotShown as error:
            detail = f"it is {error.type}, {error.bytes:,} bytes: /runs/{run.id}/result.pickle"
            raise Problem(409, "The result cannot be printed", detail) from None
    value = found if _is_list(service, run) else found[0]
    return PlainTextResponse("" if value is None else values.text(value))


class _Pickle(Response):
    media_type = "application/octet-stream"


_BYTES = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "/runs/{run_id}/result.pickle",
    response_class=_Pickle,
    responses=problems(404, 409) | {200: {"content": {_Pickle.media_type: _BYTES}}},
)
async def download_result(service: Serving, run_id: RunId) -> Response:
    """The result as a gzipped pickle. Unpickling runs code: do it where you trust the flow."""
    run = await service.run(run_id)
    packed = await anyio.to_thread.run_sync(_packed, service, run)
    found = [await _fetched(service, each) for each in packed]
    is_list = await anyio.to_thread.run_sync(_is_list, service, run)
    return _Pickle(
        await anyio.to_thread.run_sync(lambda: compress(dumps_list(found)))
        if is_list
        else contained(found[0]),
        headers={"Content-Disposition": f'attachment; filename="{run.id}.pickle"'},
    )


MOST_ITEMS = 1_000


def _is_list(service: Service, run: RunRecord) -> bool:
    """Whether the result is a list of a map's items."""
    return service.history.stages(run.id)[-1].kind == "map"


@dataclass(frozen=True, slots=True)
class _Packed:
    """A result of a stage, packed or by reference."""

    stage: StageRow
    index: int
    data: bytes | None
    ref: str | None


def _packed(service: Service, run: RunRecord) -> list[_Packed]:
    """What a run's last stage gave. Raises Problem for a run that has not succeeded."""
    if run.status != "succeeded":
        raise Problem(409, "There is no result", f"run {run.id} is {run.status}")
    last = service.history.stages(run.id)[-1]
    if last.total > MOST_ITEMS:
        raise Problem(409, "The result is too large", f"it is a list of {last.total} items")
    return [_Packed(last, *row) for row in service.journal.outputs(last.id)]


async def _fetched(service: Service, packed: _Packed) -> bytes:
    if packed.data is not None:
        return packed.data
    assert packed.ref is not None
    return await stored(service.payloads, packed.stage, packed.index, packed.ref, bytes)


async def _used(service: Service, packed: _Packed, use: Callable[[bytes], T]) -> T:
    return await service.output(packed.stage, packed.index, packed.data, packed.ref, use)


async def _shown(service: Service, packed: _Packed) -> dict[str, Any]:
    try:
        return await _used(service, packed, values.shown)
    except values.NotShown as error:
        return error.description
