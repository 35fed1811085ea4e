"""An execution of a flow's state machine as a run of the model. Pure.

It is made from what Step Functions reports about an execution (https://docs.aws.amazon.com/
step-functions/latest/apireference): its description, its history, its map runs; and from the
failures that its steps recorded.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, TypeAlias

from lokki.builder.comment import read_comment
from lokki.engine.state import Counts
from lokki.model import structure
from lokki.model.failure import Error, Failure
from lokki.model.run import AWS, FailureGroup, Resume, Run, Stage
from lokki.model.status import RunStatus
from lokki.model.structure import StageStructure, Structure
from lokki.model.times import rfc3339, utc
from lokki.runtime.deaths import as_here, trace_of
from lokki.runtime.event import NO_CACHE, TAGS, params_in
from lokki.store.groups import failure_group, group
from lokki.store.shown import shown_json, shown_params
from lokki.store.texts import short_error

Answer: TypeAlias = Mapping[str, Any]
"""An answer of AWS, or a part of one."""

_STATUSES = {
    "RUNNING": RunStatus.RUNNING,
    "PENDING_REDRIVE": RunStatus.RUNNING,
    "SUCCEEDED": RunStatus.SUCCEEDED,
    "FAILED": RunStatus.FAILED,
    "TIMED_OUT": RunStatus.FAILED,
    "ABORTED": RunStatus.CANCELLED,
}
_SHOWN = 5
"""Most items that are named for a failure group."""
_ATTEMPT_FAILED = ("TaskFailed", "TaskTimedOut", "TaskSubmitFailed", "TaskStartFailed")
_ENDS = ("ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut")


@dataclass(frozen=True, slots=True)
class Outlined:
    """A stage of a deployed flow: its state, its calls, the label of its map.

    ``batched``: its invocations have several items, whose failures only the steps report.
    """

    position: int
    state: str
    structure: StageStructure
    label: str | None
    batched: bool = False

    @property
    def name(self) -> str:
        return self.structure.name

    @property
    def calls(self) -> list[str]:
        return self.structure.steps


@dataclass(frozen=True, slots=True)
class Machine:
    """A flow, as described by its state machine.

    ``build`` is the beginning of the definition's hash; ``deployed``, where it is known, the time
    in seconds since 1970.
    """

    flow: str
    stages: tuple[Outlined, ...]
    build: str = ""
    deployed: float | None = None

    @property
    def structure(self) -> Structure:
        return [stage.structure for stage in self.stages]


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of an execution: the newest map run by label, the failures by stage.

    ``exceeded``: the maps that run on with more failures than they tolerate.
    """

    execution: Answer
    machine: Machine
    events: Sequence[Answer]
    maps: Mapping[str, Answer]
    failures: Mapping[str, Sequence[Failure]]
    exceeded: frozenset[str] = frozenset()


def machine_of(definition: str, deployed: float | None = None) -> Machine | None:
    """The flow of a state machine; None if lokki did not make it."""
    parsed = json.loads(definition)
    made = read_comment(parsed.get("Comment", ""))
    states = list(_in_order(parsed))[1:]
    if made is None or len(made[1]) != len(states):
        return None
    stages = (
        Outlined(
            position,
            state,
            stage,
            parsed["States"][state].get("Label"),
            "ItemBatcher" in parsed["States"][state],
        )
        for position, (state, stage) in enumerate(zip(states, made[1], strict=True))
    )
    build = sha256(definition.encode()).hexdigest()[:8]
    return Machine(made[0], tuple(stages), build, deployed)


def _in_order(definition: Answer) -> Iterator[str]:
    state = definition.get("StartAt")
    while state is not None:
        yield state
        state = definition["States"][state].get("Next")


def label_of(map_run: str) -> str:
    """The label of a map, from the ARN of its run."""
    return map_run.rpartition("/")[2].partition(":")[0]


def status_of(description: Answer) -> RunStatus:
    """The status of a run, from the description of its execution."""
    return _STATUSES[description["status"]]


def statuses_of(status: str) -> list[str]:
    """The statuses of executions in Step Functions for a run's status; none if it has none."""
    return [theirs for theirs, ours in _STATUSES.items() if ours == status]


def brief(description: Answer, flow: str, now: float) -> Run:
    """A run from a list of executions, without its stages and parameters."""
    started, stopped = description["startDate"].timestamp(), description.get("stopDate")
    end = stopped.timestamp() if stopped else now
    status = status_of(description)
    return Run(
        id=description["name"],
        where=AWS,
        flow=flow,
        status=status,
        params={},
        params_cut=False,
        created=utc(started),
        started=utc(started),
        finished=utc(end) if stopped and status != "running" else None,
        duration=round(max(0.0, end - started), 3),
        cancel_requested=None,
        removing=False,
        chain="",
        stages=[],
        error=None,
        source=None,
        started_by=None,
        owner=None,
        folder=None,
    )


def execution_view(observation: Observation, now: float) -> Run:
    """A run with its stages, their failures, and what ended it."""
    description, machine = observation.execution, observation.machine
    run = brief(description, machine.flow, now)
    times = _times(observation.events)
    ended = run.finished is not None
    stages = [
        _stage(observation, stage, times[stage.state], ended=ended, now=now)
        for stage in machine.stages
        if stage.state in times
    ]
    end = description["stopDate"].timestamp() if ended else now
    params, is_cut = shown_params(description.get("input") or "{}")
    return replace(
        run,
        params=params_in(params),
        params_cut=is_cut,
        duration=_worked(observation.events, description["startDate"].timestamp(), end),
        chain=structure.text_of(machine.structure),
        structure=machine.structure,
        stages=stages,
        error=_error(observation, stages) if run.status == "failed" else None,
        resumes=list(_resumes(observation.events)),
        tags=tags_of(description),
        no_cache=NO_CACHE in shown_json(description.get("input") or "{}"),
    )


def params_of(description: Answer) -> dict[str, Any]:
    """The parameters of a run, from the input of its execution."""
    return params_in(json.loads(description.get("input") or "{}"))


def shown_params_of(description: Answer) -> dict[str, Any]:
    """Like `params_of`, without values nested too deeply to show."""
    return params_in(shown_json(description.get("input") or "{}"))


def tags_of(description: Answer) -> list[str]:
    """The tags of a run, from the input of its execution."""
    tags: list[str] = shown_json(description.get("input") or "{}").get(TAGS, [])
    return tags


@dataclass(slots=True)
class _Times:
    """When a state was entered and left, and whether its last attempt failed."""

    entered: float
    left: float | None = None
    retrying: bool = False


def _times(events: Sequence[Answer]) -> dict[str, _Times]:
    times: dict[str, _Times] = {}
    current: _Times | None = None
    for event in events:
        kind, at = event["type"], event["timestamp"].timestamp()
        if kind.endswith("StateEntered"):
            name = event["stateEnteredEventDetails"]["name"]
            current = times.setdefault(name, _Times(at))
        elif kind.endswith("StateExited"):
            times[event["stateExitedEventDetails"]["name"]].left = at
        if current is not None:
            current.retrying = kind in _ATTEMPT_FAILED
    return times


def _worked(events: Sequence[Answer], begin: float, end: float) -> float:
    """The seconds of a period, without those between an end of the execution and its redrive."""
    idle, ended = 0.0, begin
    for event in events:
        at = event["timestamp"].timestamp()
        if event["type"] in _ENDS:
            ended = max(begin, at)
        elif event["type"] == "ExecutionRedriven":
            idle += max(0.0, min(end, at) - ended)
    return round(max(0.0, end - begin - idle), 3)


def _resumes(events: Sequence[Answer]) -> Iterator[Resume]:
    for event in events:
        if event["type"] == "ExecutionRedriven":
            yield Resume(at=utc(event["timestamp"].timestamp()), by=None, again=[])


def _stage(
    observation: Observation, stage: Outlined, times: _Times, *, ended: bool, now: float
) -> Stage:
    broken = times.left is None and (ended or stage.name in observation.exceeded)
    failures = observation.failures.get(stage.name, ())
    end = times.left or (observation.execution["stopDate"].timestamp() if ended else now)
    counts = _counts(observation, stage, times, failures, broken=broken)
    return Stage(
        position=stage.position,
        name=stage.name,
        kind=stage.structure.kind,
        started=utc(times.entered),
        finished=rfc3339(times.left),
        duration=_worked(observation.events, times.entered, end),
        total=counts.total,
        succeeded=counts.succeeded,
        failed=counts.failed,
        tolerated=counts.tolerated,
        retrying=counts.retrying,
        failures=grouped(failures, tolerated=not broken),
    )


def _counts(
    observation: Observation,
    stage: Outlined,
    times: _Times,
    failures: Sequence[Failure],
    *,
    broken: bool,
) -> Counts:
    """The counts of a stage; for a map those of its run, which counts a batch as one item."""
    if stage.label is None:
        failed = broken and observation.execution["status"] != "ABORTED"
        retrying = times.retrying and not broken
        return Counts(1, int(times.left is not None), int(failed), 0, int(retrying))
    counts = observation.maps.get(stage.label, {}).get("itemCounts", {})
    map_failed = counts.get("failed", 0) + counts.get("timedOut", 0)
    failed = max(map_failed, len(failures)) if stage.batched else map_failed
    total, succeeded = counts.get("total", 0), counts.get("succeeded", 0) - failed + map_failed
    return Counts(total, succeeded, failed if broken else 0, 0 if broken else failed)


def grouped(failures: Sequence[Failure], *, tolerated: bool) -> list[FailureGroup]:
    """Failures in groups, the largest first."""
    groups: dict[str, list[Failure]] = {}
    for each in failures:
        groups.setdefault(group(each.type, each.reason, each.traceback), []).append(each)
    return [
        failure_group(
            name,
            alike[0].step,
            alike[0].type,
            alike[0].reason,
            alike[0].traceback,
            count=len(alike),
            items=[each.index or 0 for each in alike[:_SHOWN]],
            tolerated=len(alike) if tolerated else 0,
            varies=len({each.reason for each in alike}) > 1,
        )
        for name, alike in sorted(groups.items(), key=lambda each: -len(each[1]))
    ]


def _error(observation: Observation, stages: Sequence[Stage]) -> Error:
    """What ended a run, in a step's own words or in those of Step Functions."""
    description = observation.execution
    failing = stages[-1] if stages and not stages[-1].finished else None
    failures = observation.failures.get(failing.name, ()) if failing else ()
    if failures:
        return short_error(Error.of(failures[0]))
    told = description.get("cause") or "AWS reports no cause"
    kind, text = as_here(description.get("error") or description["status"], told)
    return Error(
        step=failing.name if failing else None,
        attempt=1,
        type=kind,
        message=text,
        traceback=trace_of(told),
    )


def cells(
    done: range | set[int], failed: Mapping[int, str], total: int, width: int
) -> list[Counter[str]]:
    """The items of a stage in ``width`` cells of neighbours, or fewer for fewer items."""
    width = min(width, total)
    counted: list[Counter[str]] = [Counter() for _ in range(width)]
    for index in range(total):
        status = failed.get(index) or ("succeeded" if index in done else "pending")
        counted[((index + 1) * width - 1) // total][status] += 1
    return counted
