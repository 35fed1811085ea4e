"""Resumes a run on AWS: redrives its execution, or starts a new one with its results.

Step Functions can start an execution again where it ended ("redrive") for 14 days, unless its
history is full (https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html).
Otherwise, a new execution gets a copy of the kept results, and finds them before it makes calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from time import time

from lokki.aws.execution_view import Answer, Machine, Observation, Outlined, execution_view
from lokki.aws.executions import Executions
from lokki.errors import AwsError, DefinitionError
from lokki.model.run import FailureGroup, Run
from lokki.resumption import ResumeOptions, Unfinished, plan_resume
from lokki.runtime.event import RESUMED
from lokki.store.concurrency import for_each
from lokki.wording import Arguments, Wording

_COPIES_AT_A_TIME = 32


@dataclass(frozen=True, slots=True)
class Plan:
    """What a resume does, with a ``summary``; with neither ``redrives`` nor ``new``, nothing.

    ``stages`` are the flow's, ``kept`` those whose results a ``new`` run begins with; with
    ``no_cache``, that uses no cached results.
    """

    run: Run
    summary: tuple[str, ...]
    stages: tuple[Outlined, ...]
    redrives: bool = False
    new: bool = False
    kept: tuple[Outlined, ...] = ()
    no_cache: bool = False


async def plan(executions: Executions, flow: str, run_id: str, again: ResumeOptions) -> Plan:
    """The plan of a resume.

    Raises RunNotFound, AwsError for a running run, and whatever `plan_resume` raises.
    """
    observation = await executions.observe(flow, run_id)
    run = execution_view(observation, time())
    if run.status == "running":
        raise AwsError(f"run {run_id} is running: cancel it, or wait for its end")
    if again.error is not None:
        one, all_of_them = Arguments(error=...), Arguments(failed=True)
        raise DefinitionError(
            Wording(
                "on AWS, all tolerated failures of a run run again together: give ",
                all_of_them,
                " instead of ",
                one,
            )
        )
    own, now = observation.machine, await executions.deployed(flow)
    leaves_cache = again.no_cache and not run.no_cache
    if _is_redriven(observation, again) and not leaves_cache:
        planned = plan_resume(_Execution(run, own), again)
        if planned.start is None:
            summary = (*planned.summary, _code_of(own, now))
            return Plan(run, summary, own.stages, redrives=True)
    planned, stages = plan_resume(_Execution(run, now), again), now.stages
    start = planned.start
    if start is None and run.status == "succeeded":
        return Plan(run, planned.summary, stages)
    last = len(stages) if start is None else start + (not planned.whole)
    note = f"a new run begins with the stored results of {run_id}, and has the deployed code"
    if leaves_cache:
        note += "; AWS starts this one again only as it was, which uses the cache"
    elif start is None and not again.deployed:
        note += _why_not(observation.execution)
    summary = (*planned.summary, note)
    return Plan(run, summary, stages, new=True, kept=own.stages[:last], no_cache=again.no_cache)


def _is_redriven(observation: Observation, again: ResumeOptions) -> bool:
    """Whether AWS starts an execution again, unless tolerated failures are to run again."""
    may = observation.execution.get("redriveStatus") == "REDRIVABLE"
    return may and not again.deployed and again.from_stage is None


def _code_of(own: Machine, now: Machine) -> str:
    """What a redrive runs: it has the definition and the versions that the run started with."""
    code = "with the code, retries and timeouts of its deploy"
    if own.deployed is not None:
        code += f" of {datetime.fromtimestamp(own.deployed, UTC):%Y-%m-%d %H:%M} UTC"
    code += f" (build {own.build})"
    if own.build == now.build:
        return f"{code}, which is the newest"
    newest = Arguments(deployed=True)
    return Wording(f"{code}; ", newest, f" takes what is deployed now (build {now.build})")


class _Execution:
    """An execution, and the flow as deployed for what continues it."""

    code = "what is deployed"

    def __init__(self, run: Run, now: Machine) -> None:
        self.id = run.id
        self.now = now.structure
        self.before = run.structure or self.now  # a durable one may end before it has recorded any
        self.succeeded = run.status == "succeeded"
        self.begun = run.stages

    def groups(self, position: int) -> list[FailureGroup]:
        return self.begun[position].failures

    def unfinished(self, position: int) -> Unfinished:
        stage = self.begun[position]
        left = stage.total - stage.succeeded - stage.tolerated
        has = "have" if stage.kind == "map" else "has"
        return [(left, f"that {has} no result")] if left else []


async def resume(executions: Executions, planned: Plan, new_id: str) -> str:
    """Carry out a plan; the id of the run that continues."""
    run = planned.run
    if planned.redrives:
        await executions.redrive(run)
        return run.id
    await _copy(executions, planned, new_id)
    given = await executions.input_of(run)
    begun = {**given, RESUMED: run.id}
    await executions.start(run.flow, new_id, begun, no_cache=planned.no_cache)
    return new_id


async def _copy(executions: Executions, planned: Plan, new_id: str) -> None:
    """Copy the kept results to a new run, within S3."""
    run, flow = planned.run, planned.run.flow
    payloads = executions.payloads(flow)
    copies: list[tuple[str, str]] = []
    for stage in planned.kept:
        for call in stage.calls:
            if stage.label is not None:
                found = await payloads.indexes(run.id, call, "output.pkl.gz")
                copies += [
                    (key, payloads.output_key(new_id, call, index)) for index, key in found.items()
                ]
            elif await payloads.store.exists(key := payloads.output_key(run.id, call)):
                copies.append((key, payloads.output_key(new_id, call)))

    async def copy(keys: tuple[str, str]) -> None:
        await payloads.store.copy(*keys)

    await for_each(copies, copy, _COPIES_AT_A_TIME)


def _why_not(execution: Answer) -> str:
    reason = execution.get("redriveStatusReason") or "it reports no reason"
    return f", since AWS does not start it again: {reason}"
