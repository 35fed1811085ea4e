"""The result of a succeeded run, as JSON, as text or as a pickle."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from fastapi import Request, Response
from fastapi.responses import PlainTextResponse

from lokki.backends import values
from lokki.backends.outputs import Output
from lokki.model.comparison import Comparison, compare
from lokki.model.run import Result, Run
from lokki.store.codec import compress, contained, dumps_list
from lokki_server.operated import OperatedBackend
from lokki_server.problems import Problem
from lokki_server.routes.common import RunId, RunRoutes, Runs, problems

of_run = RunRoutes("runs")

_MOST_ITEMS = 1_000


@of_run.get("/result", response_model=Result, responses=problems(404, 409))
async def get_result(request: Request, runs: Runs, run_id: RunId) -> Any:
    """The result of a succeeded run; if a map ends the flow, up to 1,000 items."""
    run = await runs.run(run_id)
    shown = await _shown(await _outputs(runs, run), run)
    if "json" not in shown:
        return Result(result=None, **shown, download=f"{request.url.path}.pickle")
    return Result(result=shown["json"])


@of_run.get("/result.txt", response_class=PlainTextResponse, responses=problems(404, 409))
async def get_result_text(request: Request, runs: Runs, run_id: RunId) -> PlainTextResponse:
    """The result as `lokki run` prints it; empty for None."""
    run = await runs.run(run_id)
    outputs = await _outputs(runs, run)
    try:
        found = [await each.loaded() for each in outputs]
    except values.NotShown as error:
        pickle = request.url.path.removesuffix(".txt") + ".pickle"
        detail = f"it is {error.type}, {error.bytes:,} bytes: {pickle}"
        raise Problem(409, "The result cannot be printed", detail) from None
    value = found if _is_list(run) else found[0]
    return PlainTextResponse("" if value is None else values.text(value))


@of_run.get("/compare/{other}", response_model=Comparison, responses=problems(404))
async def compare_runs(runs: Runs, run_id: RunId, other: RunId) -> Any:
    """Two runs, and what differs between them."""
    first, second = await runs.run(run_id), await runs.run(other)
    return compare(first, second, await _compared(runs, first), await _compared(runs, second))


async def _compared(runs: OperatedBackend, run: Run) -> dict[str, Any] | None:
    """The result of a run that has one, as it is shown."""
    if run.status != "succeeded" or run.removing:
        return None
    if run.stages[-1].total > _MOST_ITEMS:
        return {"type": f"a list of {run.stages[-1].total:,} items"}
    return await _shown(await runs.outputs(run.id), run)


async def _shown(outputs: list[Output], run: Run) -> dict[str, Any]:
    """A result as JSON or by its type."""
    shown = [await each.shown() for each in outputs]
    foreign = next((each for each in shown if "json" not in each), None)
    if foreign is not None:
        return foreign
    found = [each["json"] for each in shown]
    return {"json": found if _is_list(run) else found[0]}


class _Pickle(Response):
    media_type = "application/octet-stream"


_BYTES = {"schema": {"type": "string", "format": "binary"}}


@of_run.get(
    "/result.pickle",
    response_class=_Pickle,
    responses=problems(404, 409) | {200: {"content": {_Pickle.media_type: _BYTES}}},
)
async def download_result(runs: Runs, run_id: RunId) -> Response:
    """The result as a gzipped pickle. Unpickling runs code: do it only if you trust the flow."""
    run = await runs.run(run_id)
    outputs = await _outputs(runs, run)
    found = [await each.packed() for each in outputs]
    whole = (
        await anyio.to_thread.run_sync(lambda: compress(dumps_list(found)))
        if _is_list(run)
        else contained(found[0])
    )
    headers = {"Content-Disposition": f'attachment; filename="{run.id}.pickle"'}
    return _Pickle(whole, headers=headers)


def _is_list(run: Run) -> bool:
    """Whether the result is a list of a map's items."""
    return run.stages[-1].kind == "map"


async def _outputs(runs: OperatedBackend, run: Run) -> list[Output]:
    """The result of a run's last stage.

    Raises Problem for a run that has not succeeded, and for a list that is too long.
    """
    if run.status != "succeeded":
        raise Problem(409, "There is no result", f"run {run.id} is {run.status}")
    if run.stages[-1].total > _MOST_ITEMS:
        detail = f"it is a list of {run.stages[-1].total} items"
        raise Problem(409, "The result is too large", detail)
    return await runs.outputs(run.id)
