"""One run: shows, cancels and resumes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import Response

from lokki.model.run import AllParams, Plan, Run, Tuned
from lokki.resumption import ResumeOptions
from lokki.wording import said
from lokki_server import models
from lokki_server.routes import common
from lokki_server.routes.common import RunId, RunRoutes, Runs, problems
from lokki_server.wording import as_fields

of_run = RunRoutes("runs")


@of_run.get("", response_model=Run, responses=problems(404))
async def get_run(runs: Runs, run_id: RunId) -> Any:
    """One run, with its failure groups."""
    return await runs.run(run_id)


@of_run.get("/params", response_model=AllParams, responses=problems(404, 409))
async def get_params(runs: Runs, run_id: RunId) -> Response:
    """The full parameters of a run, of any length."""
    return common.json_text(['{"params":', await runs.params_json(run_id), "}"])


@of_run.post("/cancel", response_model=Run, status_code=202, responses=problems(404, 409))
async def cancel_run(runs: Runs, run_id: RunId, request: models.CancelRequest) -> Any:
    """Request a run's cancellation, whichever process runs it. Results are kept."""
    return await runs.cancel(run_id)


@of_run.post("/pause", response_model=Run, status_code=202, responses=problems(404, 409))
async def pause_run(runs: Runs, run_id: RunId, request: models.PauseRequest) -> Any:
    """Have a run begin no more calls; it is paused when those that run have ended. Not on AWS."""
    return await runs.pause(run_id)


@of_run.post("/unpause", response_model=Run, status_code=202, responses=problems(404, 409))
async def unpause_run(runs: Runs, run_id: RunId, request: models.PauseRequest) -> Any:
    """Have a paused run continue, in its process or in a runner of this server."""
    return await runs.unpause(run_id)


@of_run.post("/tune", response_model=Tuned, responses=problems(404, 409))
async def tune_run(runs: Runs, run_id: RunId, request: models.TuneRequest) -> Any:
    """Change how many items of a run's map run at a time, while the map runs."""
    return await runs.tune(run_id, request.concurrency)


@of_run.post("/resume", response_model=Run, status_code=202, responses=problems(404, 409))
async def resume_run(runs: Runs, run_id: RunId, request: models.ResumeRequest) -> Any:
    """Resume a run; its results are kept, except those named here.

    On AWS, the same execution continues if possible, otherwise a new one with its results.
    """
    return await runs.resume(run_id, _options(request))


@of_run.post("/plan", response_model=Plan, responses=problems(404, 409))
async def plan_resume(runs: Runs, run_id: RunId, request: models.ResumeRequest) -> Any:
    """Describe what a resume would do, without doing it."""
    planned = await runs.plan(run_id, _options(request))
    summary = [said(line, as_fields) for line in planned.summary]
    return replace(planned, summary=summary, told=summary)


def _options(request: models.ResumeRequest) -> ResumeOptions:
    """What a request names to run again."""
    return ResumeOptions(
        request.failed,
        request.error,
        request.from_,
        deployed=request.deployed,
        no_cache=request.no_cache,
    )
