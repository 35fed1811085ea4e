"""Runs of a journal as types of the model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from time import time

from lokki.model import structure
from lokki.model.failure import Error
from lokki.model.run import (
    LOCAL,
    FailureGroup,
    InnerStep,
    Needs,
    Owner,
    Resume,
    Run,
    RunList,
    Stage,
)
from lokki.model.run_filter import RunFilter
from lokki.model.status import RunStatus
from lokki.model.times import rfc3339, utc
from lokki.model.trend import Trend, TrendRun
from lokki.store.history import History
from lokki.store.leases import is_worked_on
from lokki.store.offers import Needs as Needed
from lokki.store.owners import host_and_process
from lokki.store.rows import StageRow
from lokki.store.runs import RunRecord
from lokki.store.shown import shown_json, shown_params
from lokki.store.texts import short_error


def runs(history: History, found: Iterable[RunRecord]) -> list[Run]:
    """Runs without their failures and resumes."""
    found = list(found)
    stages: dict[str, list[StageRow]] = {run.id: [] for run in found}
    for stage in history.stages(*(run.id for run in found if run.started is not None)):
        stages[stage.run].append(stage)
    now = time()
    return [
        run_of(run, [stage_of(run, stage, now) for stage in stages[run.id]], now) for run in found
    ]


def page(history: History, wanted: RunFilter) -> RunList:
    """A page of runs. Raises RunNotFound."""
    newer = None if wanted.before is None else history.find(wanted.before, wanted.flow)
    last = (wanted.older_than, "") if wanted.older_than is not None else None
    found = history.runs(
        flow=wanted.flow,
        statuses=wanted.statuses,
        since=wanted.since,
        tags=wanted.tags,
        params=wanted.params,
        search=wanted.search,
        before=last if newer is None else (newer.created, newer.id),
        limit=wanted.limit + 1,
    )
    more, found = found[wanted.limit :], found[: wanted.limit]
    return RunList(runs=runs(history, found), next=found[-1].id if more else None)


def trend(history: History, flow: str, limit: int) -> Trend:
    """How the latest runs of a flow went that have ended."""
    return Trend(
        runs=[
            TrendRun(
                id=run.id,
                status=run.status,
                started=run.started or run.created,
                duration=run.duration or 0.0,
                items=sum(stage.total for stage in maps),
                failed=sum(stage.failed + stage.tolerated for stage in maps),
            )
            for run in reversed(runs(history, history.ended(flow, limit)))
            for maps in [[stage for stage in run.stages if stage.kind == "map"]]
        ]
    )


def is_pausing(run: RunRecord) -> bool:
    """Whether a process is about to pause a run."""
    return run.status == "running" and run.pause_requested is not None and run.goes_on(time())


def run(history: History, found: RunRecord) -> Run:
    """A run with its failures and resumes, and the server that it waits for."""
    now, flow = time(), structure.loaded(found.structure)
    stages = [
        stage_of(found, stage, now, _inner_steps(history, stage, flow), history.groups(stage))
        for stage in history.stages(found.id)
    ]
    resumes = [_resume(*each) for each in history.resumes(found.id)]
    needed = history.needs(found.id)
    return run_of(found, stages, now, resumes, None if needed is None else _needs(needed))


def run_of(
    run: RunRecord,
    stages: list[Stage],
    now: float,
    resumes: Sequence[Resume] = (),
    waits_for: Needs | None = None,
) -> Run:
    """A run with its stages; ``owner`` is the process that runs it, or ran it when it was lost."""
    owner = None
    if run.owner is not None:
        host, process = host_and_process(run.owner)
        owner = Owner(host=host, process=process, alive=is_worked_on(run, now))
    params, is_cut = shown_params(run.params_json)
    flow = structure.loaded(run.structure)
    return Run(
        id=run.id,
        where=LOCAL,
        flow=run.flow,
        status=RunStatus(run.status),
        params=params,
        params_cut=is_cut or run.params_ref is not None,
        created=utc(run.created),
        started=rfc3339(run.started),
        finished=rfc3339(run.finished),
        duration=None if run.started is None else _worked(run, run.started, None, now),
        cancel_requested=rfc3339(run.cancel_requested),
        removing=run.removing,
        chain=structure.text_of(flow),
        structure=flow,
        stages=stages,
        error=short_error(Error(**shown_json(run.error))) if run.error else None,
        source=run.source,
        started_by=run.started_by,
        owner=owner,
        folder=run.folder,
        resumes=list(resumes),
        waits_for=waits_for,
        pause_requested=rfc3339(run.pause_requested),
        no_cache=bool(run.no_cache),
        tags=json.loads(run.tags),
        lokki_version=run.lokki_version,
        python_version=run.python_version,
        code=run.code,
        commit=run.commit,
    )


def stage_of(
    run: RunRecord,
    stage: StageRow,
    now: float,
    inner: Iterable[InnerStep] = (),
    failures: Iterable[FailureGroup] = (),
) -> Stage:
    """A stage of a run and the counts of its items."""
    return Stage(
        position=stage.position,
        name=stage.name,
        kind=stage.kind,
        started=utc(stage.started),
        finished=rfc3339(stage.finished),
        duration=_worked(run, stage.started, stage.finished, now),
        total=stage.total,
        succeeded=stage.succeeded,
        failed=stage.failed,
        tolerated=stage.tolerated,
        retrying=0 if run.finished is not None else stage.retrying,
        reused=stage.reused,
        inner=list(inner),
        failures=list(failures),
    )


def _inner_steps(
    history: History, stage: StageRow, flow: structure.Structure
) -> Iterable[InnerStep]:
    """The inner steps of a map with several."""
    steps = flow[stage.position].steps if stage.position < len(flow) else ()
    return history.inner(stage, steps) if len(steps) > 1 else ()


def _resume(at: float, detail: str | None) -> Resume:
    """A resume of a run, from its record."""
    recorded = json.loads(detail or "{}")
    return Resume(at=utc(at), by=recorded.get("by"), again=recorded.get("again", []))


def _needs(needed: Needed) -> Needs:
    return Needs(source=needed.source, prefix=needed.prefix, folder=needed.folder)


def _worked(run: RunRecord, started: float, finished: float | None, now: float) -> float:
    return round(run.worked(started, finished or run.end(now)), 3)
