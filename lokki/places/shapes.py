"""Runs as JSON: what each place tells, `--json` prints, the service answers with, and is drawn.

Times are RFC 3339 in UTC with milliseconds, durations are seconds in which the run was worked on,
so far if it goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from time import time
from typing import Any, TypedDict

from lokki.logging import utc
from lokki.places import AWS, LOCAL
from lokki.places.chains import steps_of
from lokki.store.history import History
from lokki.store.leases import is_worked_on
from lokki.store.lines import LogLine
from lokki.store.maps import Group, Inner
from lokki.store.offers import Needs
from lokki.store.owners import host_and_process
from lokki.store.parameters import INLINE_BYTES, short
from lokki.store.rows import StageRow
from lokki.store.runs import Run
from lokki.store.texts import short_error, shortened


class PlaceShape(TypedDict):
    """Where in the user's code."""

    file: str
    line: int
    function: str


class GroupShape(TypedDict):
    """Failures that are alike; ``items`` are the first of them."""

    id: str
    count: int
    failed: int
    retrying: int
    step: str
    type: str
    message: str
    varies: bool
    place: PlaceShape | None
    items: list[int]
    tolerated: bool
    traceback: str


class InnerShape(TypedDict):
    """An inner step of a map: ``succeeded`` is how many items are past it.

    ``mean_seconds`` is of the calls that succeeded and were timed; None: none was.
    """

    step: str
    succeeded: int
    failed_attempts: int
    mean_seconds: float | None


class _StageShape(TypedDict):
    position: int
    name: str
    kind: str
    started: str
    finished: str | None
    duration: float
    total: int
    succeeded: int
    failed: int
    tolerated: int
    retrying: int


class StageShape(_StageShape, total=False):
    """A stage that has begun; ``inner`` and ``failures`` are there where one run is told.

    ``inner`` are the inner steps of a map that has several.
    """

    inner: list[InnerShape]
    failures: list[GroupShape]


class OwnerShape(TypedDict):
    """The process that has a run; if it is not alive, the run was lost."""

    host: str
    process: int
    alive: bool


class ResumeShape(TypedDict):
    """A resume: ``by`` a command line, and what was done ``again``, in words."""

    at: str
    by: str | None
    again: list[str]


class NeedsShape(TypedDict):
    """What a server must be to take a waiting run; None: it does not matter.

    It offers the file or module ``source``, its Python has the ``sys.prefix`` ``prefix``, and it
    was started in ``folder``.
    """

    source: str | None
    prefix: str | None
    folder: str | None


class _RunShape(TypedDict):
    id: str
    where: str
    flow: str
    status: str
    params: dict[str, Any]
    params_cut: bool
    created: str
    started: str | None
    finished: str | None
    duration: float | None
    cancel_requested: str | None
    removing: bool
    chain: str
    stages: list[StageShape]
    error: dict[str, Any] | None
    source: str | None
    started_by: str | None
    owner: OwnerShape | None
    folder: str | None


class RunShape(_RunShape, total=False):
    """A run and the stages that have begun.

    ``resumes`` and ``waits_for`` are there where one run is told.
    ``folder`` is where it was started or last resumed, if that is recorded. ``where`` is `LOCAL`,
    of a journal (this machine's or a server's), or `AWS`. With ``params_cut``, long values are
    texts of their beginning.
    """

    resumes: list[ResumeShape]
    waits_for: NeedsShape | None


class RunsShape(TypedDict):
    """A page of runs, the newest first; ``next`` is the ``before`` of the next page."""

    runs: list[RunShape]
    next: str | None


class LineShape(TypedDict):
    """A line that a step printed or logged."""

    ts: str
    level: str
    step: str
    item: int | None
    attempt: int
    source: str
    message: str


# ---- what a shape says ---------------------------------------------------------------------------


def is_lost(run: RunShape) -> bool:
    """Whether a run's process is gone, and it may be resumed."""
    return run["status"] == "running" and not run["removing"] and not _has_process(run)


def goes_on(run: RunShape) -> bool:
    """Whether a run may end by itself: it is at work, or waits for a runner."""
    waits = run["status"] == "queued" and run["owner"] is None
    return run["finished"] is None and not run["removing"] and (waits or _has_process(run))


def _has_process(run: RunShape) -> bool:
    if run["where"] == AWS:  # which loses none
        return True
    return run["owner"] is not None and run["owner"]["alive"]


def seconds(at: str) -> float:
    """A time of a shape in seconds since the epoch."""
    return datetime.fromisoformat(at).timestamp()


# ---- shapes of what the journal has --------------------------------------------------------------


def runs(history: History, found: Iterable[Run]) -> list[RunShape]:
    """Runs without their failures and resumes."""
    found = list(found)
    stages: dict[str, list[StageRow]] = {run.id: [] for run in found}
    for stage in history.stages(*stages):
        stages[stage.run].append(stage)
    now = time()
    return [run_shape(run, stages[run.id], now) for run in found]


def page(
    history: History,
    flow: str | None,
    statuses: Sequence[str],
    since: float | None,
    before: str | None,
    limit: int,
    older_than: float | None = None,
) -> RunsShape:
    """A page of runs; ``before`` is the last one of the page before it. Raises RunNotFound.

    ``older_than`` is a time in its stead.
    """
    newer = None if before is None else history.find(before, flow)
    last = (older_than, "") if older_than is not None else None
    found = history.runs(
        flow=flow,
        statuses=statuses,
        since=since,
        before=last if newer is None else (newer.created, newer.id),
        limit=limit + 1,
    )
    more, found = found[limit:], found[:limit]
    return {"runs": runs(history, found), "next": found[-1].id if more else None}


def run(history: History, found: Run) -> RunShape:
    """A run with its failures and resumes, and the server that it waits for."""
    stages = history.stages(found.id)
    shape = run_shape(found, stages, time())
    chain = dict(enumerate(steps_of(found.shape)))
    for stage, each in zip(stages, shape["stages"], strict=True):
        steps = chain.get(stage.position, ())
        inner = history.inner(stage, steps) if len(steps) > 1 else ()
        each["inner"] = [inner_shape(one) for one in inner]
        each["failures"] = [group_shape(group) for group in history.groups(stage)]
    shape["resumes"] = [resume_shape(*each) for each in history.resumes(found.id)]
    needs = history.needs(found.id)
    shape["waits_for"] = None if needs is None else needs_shape(needs)
    return shape


def run_shape(run: Run, stages: Sequence[StageRow], now: float) -> RunShape:
    """A run with its stages; ``owner`` is the process that runs it, or did when it was lost."""
    owner: OwnerShape | None = None
    if run.owner is not None:
        host, process = host_and_process(run.owner)
        owner = {"host": host, "process": process, "alive": is_worked_on(run, now)}
    params, is_cut = shown_params(run.params_json)
    return {
        "id": run.id,
        "where": LOCAL,
        "flow": run.flow,
        "status": run.status,
        "params": params,
        "params_cut": is_cut or run.params_ref is not None,
        "created": utc(run.created),
        "started": rfc3339(run.started),
        "finished": rfc3339(run.finished),
        "duration": None if run.started is None else _worked(run, run.started, None, now),
        "cancel_requested": rfc3339(run.cancel_requested),
        "removing": run.removing,
        "chain": run.shape,
        "stages": [stage_shape(run, stage, now) for stage in stages],
        "error": short_error(shown_json(run.error)) if run.error else None,
        "source": run.source,
        "started_by": run.started_by,
        "owner": owner,
        "folder": run.folder,
    }


def stage_shape(run: Run, stage: StageRow, now: float) -> StageShape:
    """A stage of a run and where its items are."""
    return {
        "position": stage.position,
        "name": stage.name,
        "kind": stage.kind,
        "started": utc(stage.started),
        "finished": rfc3339(stage.finished),
        "duration": _worked(run, stage.started, stage.finished, now),
        "total": stage.total,
        "succeeded": stage.succeeded,
        "failed": stage.failed,
        "tolerated": stage.tolerated,
        "retrying": stage.retrying,
    }


def resume_shape(at: float, detail: str | None) -> ResumeShape:
    """A resume of a run, of what is recorded of it."""
    told = json.loads(detail or "{}")
    return {"at": utc(at), "by": told.get("by"), "again": told.get("again", [])}


def needs_shape(needs: Needs) -> NeedsShape:
    """What a waiting run waits for."""
    return {"source": needs.place, "prefix": needs.prefix, "folder": needs.folder}


def inner_shape(inner: Inner) -> InnerShape:
    """An inner step of a map."""
    return {
        "step": inner.step,
        "succeeded": inner.succeeded,
        "failed_attempts": inner.failed_attempts,
        "mean_seconds": None if inner.seconds is None else round(inner.seconds, 6),
    }


def group_shape(group: Group) -> GroupShape:
    """Failures that are alike."""
    place = group.place
    message, traceback = shortened(group.reason, group.traceback)
    return {
        "id": group.id,
        "count": group.count,
        "failed": group.failed,
        "retrying": group.retrying,
        "step": group.step,
        "type": group.type,
        "message": message,
        "varies": group.varies,
        "place": None
        if place is None
        else {"file": place[0], "line": place[1], "function": place[2]},
        "items": list(group.items),
        "tolerated": group.tolerated == group.count,
        "traceback": traceback,
    }


def line_shape(line: LogLine) -> LineShape:
    """A line that a step printed or logged."""
    return {
        "ts": utc(line.at),
        "level": line.level,
        "step": line.step,
        "item": line.item,
        "attempt": line.attempt,
        "source": line.source,
        "message": line.message,
    }


def rfc3339(at: float | None) -> str | None:
    """A time as the shapes have it."""
    return None if at is None else utc(at)


DEEPEST = 100
"""How many levels of lists and objects of a value are shown: readers of JSON have limits, too."""
_TOO_DEEP = "… (nested too deeply to be shown)"


def plain(value: Any) -> Any:
    """A value of JSON without lone surrogates, which no UTF-8 can be made of."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def shown_json(text: str) -> Any:
    """A recorded value as it is shown: `plain`, with at most `DEEPEST` levels of nesting."""
    try:
        value = json.loads(text)
    except RecursionError:
        return {"…": _TOO_DEEP}
    return plain(_cut(value, DEEPEST) if is_deep(value, text) else value)


def shown_params(text: str) -> tuple[dict[str, Any], bool]:
    """Parameters as a list of runs has them, and whether long ones are cut."""
    params, is_long = shown_json(text), len(text) > INLINE_BYTES
    return short(params) if is_long else params, is_long


def is_deep(value: Any, text: str) -> bool:
    """Whether a value, whose JSON ``text`` is, is nested more deeply than `DEEPEST`."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for each in level for inner in _inner(each)]
    return any(isinstance(each, list | dict) for each in level)


def _inner(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _cut(value: Any, deep: int) -> Any:
    if not isinstance(value, list | dict):
        return value
    if deep == 0:
        return _TOO_DEEP
    if isinstance(value, dict):
        return {name: _cut(each, deep - 1) for name, each in value.items()}
    return [_cut(each, deep - 1) for each in value]


def _worked(run: Run, started: float, finished: float | None, now: float) -> float:
    return round(run.worked(started, finished or run.end(now)), 3)
