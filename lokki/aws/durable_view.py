"""An execution of a durable function in the form in which Step Functions reports one. Pure.

So that all that shows, copies or resumes runs on AWS is the same for both. A state is a stage; a
map has its items' counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lokki.aws.durable_history import JOBS, Operation, named_error
from lokki.aws.execution_view import Answer, Machine, Observation, Outlined
from lokki.model import structure
from lokki.model.failure import Failure
from lokki.model.structure import Structure
from lokki.runtime.event import OUTLINE
from lokki.stages import tolerates

_STATUSES = {"STOPPED": "ABORTED"}
"""Statuses under which Step Functions has what durable functions name otherwise."""
_THEIRS = {ours: theirs for theirs, ours in _STATUSES.items()}
_NOT_REDRIVEN = "a durable execution has no redrive"


def machine_of(flow: str, stages: Structure, version: str) -> Machine:
    """A flow as deployed, or as it was when an execution started."""
    outlined = (
        Outlined(number, each.name, each, each.name if each.kind == "map" else None, batched=True)
        for number, each in enumerate(stages)
    )
    return Machine(flow, tuple(outlined), version)


@dataclass(frozen=True, slots=True)
class Outline:
    """A flow as an execution has recorded it.

    By stage, ``last`` is the step that ends its items, ``tolerated`` which failures it tolerates.
    """

    machine: Machine
    last: Mapping[str, str]
    tolerated: Mapping[str, int | float]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a stage has stored: its failures and, for a map with some, how many results."""

    failures: Sequence[Failure]
    done: int | None


def outline_of(flow: str, done: Sequence[Operation], version: str) -> Outline | None:
    """The flow of an execution, once it has recorded it."""
    recorded = next((each.result for each in done if each.name == OUTLINE), None)
    if recorded is None:
        return None
    about = json.loads(recorded)
    stages = structure.loaded(about["structure"])
    last = {stage.name: called[-1] for stage, called in zip(stages, about["called"], strict=True)}
    tolerated = {stage.name: limit for stage, limit in zip(stages, about["tolerated"], strict=True)}
    return Outline(machine_of(flow, stages, version), last, tolerated)


def description(execution: Answer) -> dict[str, Any]:
    """What a durable execution is, from the answer about it alone, or about many."""
    made = {
        "name": execution["DurableExecutionName"],
        "status": _STATUSES.get(execution["Status"], execution["Status"]),
        "startDate": execution["StartTimestamp"],
        "input": execution.get("InputPayload") or "{}",
        "redriveStatusReason": _NOT_REDRIVEN,
    }
    if execution.get("EndTimestamp") is not None:
        made["stopDate"] = execution["EndTimestamp"]
    if execution.get("Error"):
        made["error"], made["cause"] = named_error(execution["Error"])
    return made


def status_there(status: str) -> str:
    """The status of a durable execution for one of Step Functions."""
    return _THEIRS.get(status, status)


def observation(
    described: Answer,
    outline: Outline,
    done: Sequence[Operation],
    recorded: Mapping[str, Recorded],
) -> Observation:
    """What is known of an execution."""
    machine = outline.machine
    calls = [each for each in done if each.is_call]
    counts = {
        stage.name: _counts(outline, stage, calls, total, recorded.get(stage.name))
        for stage in machine.stages
        if stage.label is not None and (total := _total(machine, stage, calls)) is not None
    }
    maps = {
        name: {"status": described["status"], "itemCounts": each} for name, each in counts.items()
    }
    exceeded = frozenset(
        name
        for name, each in counts.items()
        if not tolerates(outline.tolerated[name], each["failed"], each["total"])
    )
    events = _events(machine, done, succeeded=described["status"] == "SUCCEEDED")
    failures = {name: each.failures for name, each in recorded.items()}
    return Observation(described, machine, sorted(events, key=_at), maps, failures, exceeded)


def begun(machine: Machine, done: Sequence[Operation]) -> list[Outlined]:
    """The stages of which something has begun."""
    steps = {each.step for each in done if each.is_call}
    maps = {each.name for each in done if each.kind == "Context"}
    return [stage for stage in machine.stages if steps & {*stage.calls} or stage.name in maps]


def has_failed(stage: Outlined, done: Sequence[Operation]) -> bool:
    """Whether a call of a stage has failed, or an item of one."""
    return any(
        each.outcome not in (None, "Succeeded") or bool(each.result and each.result.get("failed"))
        for each in done
        if each.is_call and each.step in stage.calls
    )


def waits_for_jobs(stage: Outlined, done: Sequence[Operation]) -> bool:
    """Whether jobs of a stage are running, of which only their results say how many are done."""
    return any(
        each.kind == JOBS and each.outcome is None and each.step in stage.calls for each in done
    )


def _events(machine: Machine, done: Sequence[Operation], *, succeeded: bool) -> Iterator[Answer]:
    """The beginnings and ends of stages, and the failures of their calls.

    A stage has ended once the one after it has begun, or the execution has succeeded.
    """
    stages = begun(machine, done)
    for stage in stages:
        calls = [each for each in done if each.is_call and each.step in stage.calls]
        whole = [each for each in done if each.kind == "Context" and each.name == stage.name]
        yield _event("StateEntered", min(each.started for each in [*whole, *calls]), stage.name)
        for each in calls:
            if each.outcome not in (None, "Succeeded") and each.ended is not None:
                yield {"type": "TaskFailed", "timestamp": each.ended}
        last = (whole or calls)[-1].ended
        if (stage is not stages[-1] or succeeded) and last is not None:
            yield _event("StateExited", last, stage.name)


def _at(event: Answer) -> datetime:
    at: datetime = event["timestamp"]
    return at


def _event(kind: str, at: datetime, state: str) -> Answer:
    details = f"state{kind.removeprefix('State')}EventDetails"
    return {"type": f"Task{kind}", "timestamp": at, details: {"name": state}}


def _total(machine: Machine, stage: Outlined, calls: Sequence[Operation]) -> int | None:
    """The items of a map, which the step before it has counted."""
    before = machine.stages[stage.position - 1].calls[-1]
    for each in calls:
        if each.step == before and each.outcome == "Succeeded":
            total: int = each.result["input"]["count"]
            return total
    return None


def _counts(
    outline: Outline,
    stage: Outlined,
    calls: Sequence[Operation],
    total: int,
    recorded: Recorded | None,
) -> dict[str, int]:
    """The items of a map with a result, and those that have failed.

    A slice that has failed does not say which of its items are done: what is stored does.
    """
    if recorded is not None and recorded.done is not None:
        return {"total": total, "succeeded": recorded.done, "failed": len(recorded.failures)}
    over: set[int] = set()
    failed: set[int] = set()
    for each in calls:
        if each.step in stage.calls and each.outcome == "Succeeded" and each.items is not None:
            failed.update(each.result["failed"])
            if each.step == outline.last[stage.name]:
                over.update(each.items[: len(each.items) - each.result["left"]])
    return {"total": total, "succeeded": len(over - failed), "failed": len(failed)}
