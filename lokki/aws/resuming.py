"""Resuming a run on AWS: its execution is started again, or a new one goes on with its results.

Step Functions starts an execution again where it ended ("redrive") for 14 days, unless its history
is full (https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html). For all else
a new execution is given a copy of the results that are to be kept, and finds them before it calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import time

from lokki.aws.executions import Executions
from lokki.aws.picture import Machine, Outlined, picture
from lokki.engine.resuming import Again
from lokki.errors import AwsError, DefinitionError, FingerprintError
from lokki.model.run import Run
from lokki.model.structure import text_of, unchanged
from lokki.runtime.event import RESUMED
from lokki.store.concurrency import for_each
from lokki.store.keys import output_key

_COPIES_AT_A_TIME = 32


@dataclass(frozen=True, slots=True)
class Plan:
    """What a resume does, in words; with neither ``redrives`` nor ``new``, nothing.

    ``stages`` are the flow's, ``kept`` those whose results a ``new`` run begins with.
    """

    run: Run
    told: tuple[str, ...]
    stages: tuple[Outlined, ...]
    redrives: bool = False
    new: bool = False
    kept: tuple[Outlined, ...] = ()


async def plan(executions: Executions, flow: str, run_id: str, again: Again) -> Plan:
    """What resuming a run comes to.

    Raises RunNotFound, AwsError for a run that goes on, FingerprintError for a flow that is now
    deployed with another structure, and DefinitionError as `lokki.engine.resuming.plan`.
    """
    looked = await executions.looked(flow, run_id)
    run = picture(looked, time())
    if run.status == "running":
        raise AwsError(f"run {run_id} is running: cancel it, or wait for its end")
    before, now = looked.machine, await executions.deployed(flow)
    _check_structure(run, before, now, again)
    start, stages = _start(run, before, now, again), now.stages
    if start is None and run.status == "succeeded":
        told = (f"run {run_id} has succeeded: nothing is to be done again",)
        return Plan(run, told, stages)
    whole = again.from_stage is not None
    words = tuple(_told(run, stages, start, whole=whole))
    if start is None and looked.execution.get("redriveStatus") == "REDRIVABLE":
        return Plan(run, words, stages, redrives=True)
    last = len(stages) if start is None else start + (not whole)
    why = "" if start is not None else _why_not(looked.execution.get("redriveStatusReason"))
    note = f"a new run begins with what is stored of {run_id}{why}"
    return Plan(run, (*words, note), stages, new=True, kept=before.stages[:last])


async def resume(executions: Executions, planned: Plan, new_id: str) -> str:
    """Do what is planned; the id of the run that goes on."""
    run = planned.run
    if planned.redrives:
        await executions.redrive(run)
        return run.id
    await _copy(executions, planned, new_id)
    given = await executions.input_of(run)
    await executions.start(run.flow, new_id, {**given, RESUMED: run.id})
    return new_id


async def _copy(executions: Executions, planned: Plan, new_id: str) -> None:
    """Give a new run the results that are kept, copied within S3."""
    run, flow = planned.run, planned.run.flow
    payloads = executions.payloads(flow)
    copies: list[tuple[str, str]] = []
    for stage in planned.kept:
        for call in stage.calls:
            if stage.label is not None:
                found = await payloads.indexes(run.id, call, "output.pkl.gz")
                copies += [
                    (key, output_key(flow, new_id, call, index)) for index, key in found.items()
                ]
            elif await payloads.store.exists(key := output_key(flow, run.id, call)):
                copies.append((key, output_key(flow, new_id, call)))

    async def copy(keys: tuple[str, str]) -> None:
        await payloads.store.copy(*keys)

    await for_each(copies, copy, _COPIES_AT_A_TIME)


def _why_not(reason: str | None) -> str:
    return f", since AWS does not start it again: {reason or 'it tells no reason'}"


def _check_structure(run: Run, before: Machine, now: Machine, again: Again) -> None:
    names = [stage.name for stage in now.stages]
    if again.force and again.from_stage is None:
        raise DefinitionError(
            f"to force a resume, say which stage to start from; the flow's are {', '.join(names)}"
        )
    if before.structure == now.structure or again.force:
        return
    first = names[min(unchanged(before.structure, now.structure), len(names) - 1)]
    raise FingerprintError(
        f"run {run.id} cannot be resumed: another structure of the flow is deployed\n"
        f"  it was started as: {text_of(before.structure)}\n"
        f"  deployed is now:   {text_of(now.structure)}\n"
        "start a new run, deploy the code it was started with, or keep the results before "
        f"'{first}' and do the rest anew: --force --from {first}"
    )


def _start(run: Run, before: Machine, now: Machine, again: Again) -> int | None:
    """The stage to begin with; None when what has no result is all there is to do."""
    if again.error is not None:
        raise DefinitionError(
            "on AWS all tolerated failures of a run are run again together: say --failed instead "
            "of --error"
        )
    if again.from_stage is not None:
        return _position(again.from_stage, run, before, now, force=again.force)
    if not again.failed:
        return None
    tolerated = [stage.position for stage in run.stages if stage.tolerated]
    if not tolerated and not any(stage.failed for stage in run.stages):
        raise DefinitionError(f"run {run.id} has no failed items: resume it without --failed")
    return tolerated[0] if tolerated else None


def _position(name: str, run: Run, before: Machine, now: Machine, *, force: bool) -> int:
    """The place of the stage to begin with, in the flow as it is deployed."""
    names = [stage.name for stage in now.stages]
    if name not in names:
        raise DefinitionError(f"the flow has no stage '{name}'; it has {', '.join(names)}")
    position, kept = names.index(name), unchanged(before.structure, now.structure)
    reached = sum(stage.finished is not None for stage in run.stages)
    if position > reached and not force:
        raise DefinitionError(
            f"run {run.id} has not come to stage '{name}': the last to start from is "
            f"'{names[reached]}'"
        )
    if position > kept:
        raise DefinitionError(
            f"run {run.id} has no results for stage '{names[kept]}' as it is deployed: start "
            "from it or from one before it"
        )
    return position


def _told(run: Run, stages: Sequence[Outlined], start: int | None, *, whole: bool) -> Iterator[str]:
    """What each stage that is not done has to do."""
    first = True
    for stage in stages:
        row = next((each for each in run.stages if each.position == stage.position), None)
        if start is not None and stage.position < start:
            continue
        if start == stage.position and row is not None:
            some = f"{row.tolerated:,} of {row.total:,} items that failed and were tolerated"
            yield f"{stage.name}: {'all of it, as asked for' if whole else some}"
        elif start is not None or row is None:
            yield f"{stage.name}: {'has not begun' if first else 'runs after that'}"
        elif row.finished is not None:
            continue
        elif stage.label is None:
            yield f"{stage.name}: its call that has no result"
        else:
            open_items = row.total - row.succeeded
            yield f"{stage.name}: {open_items:,} of {row.total:,} items that have no result"
        first = False
