"""The durable function of a flow: it calls the functions of its steps, one stage after the other.

It runs from its top whenever something that it waits for has ended, and gets what it did before
from the execution's record: nothing here may depend on anything but its input and those records
(https://docs.aws.amazon.com/lambda/latest/dg/durable-execution-sdk.html). Results are in S3, as
with a state machine, and what is recorded is small: events, and which items of a slice have failed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, groupby, pairwise
from math import ceil
from typing import TYPE_CHECKING, Any

from aws_durable_execution_sdk_python import (
    BatchItemStatus,
    BatchResult,
    DurableContext,
    InvokeError,
)
from aws_durable_execution_sdk_python.config import (
    CompletionConfig,
    Duration,
    MapConfig,
    NestingType,
)
from aws_durable_execution_sdk_python.exceptions import WaitForConditionError
from aws_durable_execution_sdk_python.waits import (
    WaitForConditionConfig,
    WaitForConditionDecision,
)

from lokki.graph import FlowGraph
from lokki.model import structure
from lokki.retry import RetryConfig, RetryLater
from lokki.runtime.deaths import is_death, is_retried, reported
from lokki.runtime.definition import definition, traced, variable
from lokki.runtime.event import (
    MOST_LATER,
    ORCHESTRATION,
    OUTLINE,
    Slice,
    execution_input,
    params_in,
)
from lokki.runtime.job_group import Group
from lokki.runtime.slices import no_room
from lokki.runtime.units import TaskUnit, longest, units_of
from lokki.stages import MapStage

if TYPE_CHECKING:
    from lokki.runtime.jobs import Jobs

_REFUSED = (
    "TooManyRequestsException",
    "EC2ThrottledException",
    "ENILimitReachedException",
    "SubnetIPAddressLimitReachedException",
    "CodeArtifactUserPendingException",
    "ResourceConflictException",
    "ResourceNotReadyException",
    "ENINotReadyException",
    "ServiceException",
)
"""The errors of a call that has not begun
(https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors)."""
_MOST_REFUSED = 100
"""How often a call is tried again that was refused: about fifty minutes."""
_LONGEST_REFUSED = 30
_LONGEST_LATER = 300
_MOST_DEATHS = 1_000
_LEAST_DEATHS = 20
"""How many processes may end amid the slices of a map, and amid each of them if these are many:
each is an attempt of an item, and two operations."""


class Orchestrator:
    """The handler of a durable function.

    ``structure`` is the flow's at its build, as JSON. Raises ConfigError like `definition`.
    """

    def __init__(self, flow: str, built: str) -> None:
        self._flow = definition(flow)
        self._structure = structure.loaded(built)
        settings = json.loads(variable(ORCHESTRATION))
        self._functions: Mapping[str, str] = settings["functions"]
        self._concurrency: Mapping[str, int] = settings["concurrency"]
        self._jobs = _jobs(settings.get("jobs", {}))

    def __call__(self, given: Mapping[str, Any], context: DurableContext) -> Any:
        execution_input(given, durable=True)  # whoever started it
        graph = traced(self._flow, self._structure, params_in(given))
        run_id = context.execution_context.durable_execution_arn.split("/")[-2]
        flow = {"run_id": run_id, "params": dict(given)}
        context.step(partial(_outline, graph), name=OUTLINE)
        run = _Execution(graph, context, flow, self._functions, self._concurrency, self._jobs)
        return {"input": run.result()}


@dataclass(frozen=True, slots=True)
class _Execution:
    """An execution of the flow: its event's ``flow``, what it calls, how much at a time."""

    graph: FlowGraph[Any]
    context: DurableContext
    flow: Mapping[str, Any]
    functions: Mapping[str, str]
    concurrency: Mapping[str, int]
    jobs: Jobs | None

    def result(self) -> Any:
        """What the last stage returns: its value, or where it is."""
        value: Any = {}
        used = 2 + len(self.graph.stages)  # the start, the structure, one of each stage
        for stage in self.graph.stages:
            inside = units_of(self.graph, stage)
            if isinstance(stage, MapStage):
                calls = sum(not self._is_job(unit) for unit in inside)
                slices = len(value["cuts"])
                if why := no_room(used, value["count"], slices, calls, stage.name):
                    raise reported("LokkiError", why)
                used += slices * calls
                value = self._mapped(stage, inside, value)
            else:
                value = self._task(inside[0], value)
        return value

    # ---- a step ----------------------------------------------------------------------------------

    def _task(self, unit: TaskUnit, value: Any) -> Any:
        if self._is_job(unit):
            group = Group(self.flow, [unit], value, cut=self._cut_after(unit) or 0)
            return self._jobs_done(group, unit.name)["input"]
        cut = self._cut_after(unit)
        more = {} if cut is None else {"cut": cut}
        tries = _Tries(longest(unit.calls))
        for attempt in count():
            event = {"flow": self.flow, "input": value, "attempt": attempt, **more}
            try:
                answer = self._invoked(self.context, unit, event, _named(unit.name, attempt))
            except InvokeError as error:
                self._wait(self.context, tries.seconds(error), _named(unit.name, attempt))
            else:
                return answer["input"]
        raise AssertionError

    def _invoked(self, context: DurableContext, unit: TaskUnit, event: Any, name: str) -> Any:
        return context.invoke(self.functions[unit.name], event, name=name)

    def _cut_after(self, unit: TaskUnit) -> int | None:
        """How many items a slice has of the map after a step, 0 for the default."""
        stages = self.graph.stages
        after = stages[stages.index(unit.stage) + 1 :]
        if not after or not isinstance(after[0], MapStage):
            return None
        has_jobs = any(map(self._is_job, units_of(self.graph, after[0])))
        return 0 if has_jobs else after[0].batch_size or 0

    def _is_job(self, unit: TaskUnit) -> bool:
        return unit.name not in self.functions

    def _jobs_done(self, group: Group, name: str) -> Mapping[str, Any]:
        """What jobs have given once all of them have ended: one operation, tried again."""
        assert self.jobs is not None
        jobs = self.jobs
        settings = WaitForConditionConfig(_next_look, "{}")
        try:
            found = self.context.wait_for_condition(
                lambda *_: json.dumps(jobs.look(group)), settings, name
            )
        except WaitForConditionError as error:
            raise reported(str(error.error_type), str(error)) from None
        given: dict[str, Any] = json.loads(found)
        return given

    def _wait(self, context: DurableContext, seconds: int, name: str) -> None:
        context.wait(Duration(seconds=seconds), name=f"{name} wait")

    # ---- a map -----------------------------------------------------------------------------------

    def _mapped(self, stage: MapStage, inside: Sequence[TaskUnit], source: Any) -> Any:
        """Make a map: what is in Lambda by slices, what is in Batch by jobs, as often in turn."""
        slices, failed = _slices(source), list[int]()
        for are_jobs, some in groupby(inside, self._is_job) if slices else ():
            group = list(some)
            if are_jobs:
                whole = _range_name(group[-1].name, Slice(0, source["count"]))
                at_once = self.concurrency[stage.name]
                jobs = Group(self.flow, group, None, slices, failed, at_once)
                failed = self._jobs_done(jobs, whole)["failed"]
            else:
                failed = self._sliced(stage, group, slices, source["count"], failed)
            slices = [Slice(part.first, part.count) for part in slices]
        return {"map": stage.inner[-1].name}

    def _sliced(
        self,
        stage: MapStage,
        inside: Sequence[TaskUnit],
        slices: Sequence[Slice],
        total: int,
        failed: Sequence[int],
    ) -> list[int]:
        """Make the slices of consecutive steps; the items that have failed by then.

        These are known only if a step follows: a result of the map that holds many is large.
        """
        follows = inside[-1].calls[-1] is not stage.inner[-1]
        parts = [replace(part, without=_in(part, failed)) for part in slices]
        failures = [len(part.without) for part in parts]
        settings: MapConfig[Slice] = MapConfig(
            max_concurrency=self.concurrency[stage.name],
            completion_config=CompletionConfig(),
            nesting_type=NestingType.FLAT,
            item_namer=lambda part, _: _range_name(stage.name, part),
        )
        made: BatchResult[list[int] | None] = self.context.map(
            parts,
            partial(self._slice, stage, inside, total, failures, follows),
            name=stage.name,
            config=settings,
        )
        for each in made.all:
            if each.status is BatchItemStatus.FAILED:
                assert each.error is not None
                raise reported(str(each.error.type), str(each.error.message))
        return [index for each in made.all for index in each.result or ()]

    def _slice(
        self,
        stage: MapStage,
        inside: Sequence[TaskUnit],
        total: int,
        failures: list[int],
        follows: bool,
        context: DurableContext,
        part: Slice,
        index: int,
        parts: Sequence[Slice],
    ) -> list[int] | None:
        """Make a slice, unless more items have failed by then than the map tolerates.

        ``failures`` counts them, by slice. A run from the top may raise the error earlier than the
        one before, but it raises it. Those of the slice, if a step ``follows``.
        """
        failed = list(part.without)
        tries = max(_LEAST_DEATHS, _MOST_DEATHS // len(parts))
        for unit in inside:
            part = replace(part, without=tuple(failed))
            failed = self._slice_of(unit, context, part, _Tries(most_deaths=tries))
            failures[index] = len(failed)
            if not stage.tolerates(number := sum(failures), total):
                raise reported("MapFailed", f"{number} of {total} items failed")
            part = Slice(part.first, part.count)
        return failed if follows else None

    def _slice_of(
        self, unit: TaskUnit, context: DurableContext, part: Slice, tries: _Tries
    ) -> list[int]:
        """Call a function until it has done a slice; the items that have failed by then."""
        for attempt in count():
            event = {"flow": self.flow, "slice": part.to_json(), "attempt": attempt}
            name = _named(_range_name(unit.name, part), attempt)
            try:
                answer = self._invoked(context, unit, event, name)
            except InvokeError as error:
                self._wait(context, tries.seconds(error), name)
                part = _after(part, error, attempt)
            else:
                part = _rest(part, answer)
                if not part.count:
                    return list(part.without)
        raise AssertionError


def _jobs(settings: Mapping[str, Mapping[str, str]]) -> Jobs | None:
    """What submits jobs, if there are any: it is imported only then."""
    if not settings:
        return None
    from lokki.runtime.jobs import Jobs

    return Jobs(settings)


def _next_look(found: str, _: int) -> WaitForConditionDecision:
    """When to look at jobs again; what a look has found is JSON, like all that is recorded."""
    if (seconds := json.loads(found).get("wait")) is not None:
        return WaitForConditionDecision.continue_waiting(Duration(seconds=seconds))
    return WaitForConditionDecision.stop_polling()


def _outline(graph: FlowGraph[Any], _: Any) -> str:
    """The structure of a flow as JSON.

    By stage, also the steps that are called by themselves, and the failures that it tolerates.
    """
    called = [[unit.name for unit in units_of(graph, stage)] for stage in graph.stages]
    tolerated = [getattr(stage, "tolerated_failures", 0) for stage in graph.stages]
    about = {"structure": structure.dumped(graph.structure), "called": called}
    return json.dumps({**about, "tolerated": tolerated})


class _Tries:
    """How long to wait before a failed call is made again, or whether it has failed for good.

    ``policy``: that of a step; without one, for a slice, whose items are retried by the function
    that has them, only ended processes are followed by others.
    """

    def __init__(self, policy: RetryConfig | None = None, most_deaths: int = 0) -> None:
        self._policy = policy
        self._most_deaths = most_deaths
        self._failed = 0
        self._later = 0
        self._refused = 0

    def seconds(self, error: InvokeError) -> int:
        """The seconds to wait. Raises what the execution ends with."""
        name, text = _ended(error)
        if name == RetryLater.__name__ and self._later < MOST_LATER:
            self._later += 1
            return min(_LONGEST_LATER, 10 << min(self._later - 1, 5))
        if _is_refused(error) and self._refused < _MOST_REFUSED:
            self._refused += 1
            return min(_LONGEST_REFUSED, 1 << min(self._refused - 1, 5))
        self._failed += 1
        policy = self._policy
        if policy is None and is_death(name):
            if self._failed <= self._most_deaths:
                return 1
            text = f"{text} (after {self._most_deaths} others of this slice: smaller ones allow as "
            text += "many each, which batch_size makes)"
        if (
            policy is None
            or self._failed > policy.retries
            or not is_retried(name, policy.exceptions)
        ):
            raise reported(name, text)
        return max(1, ceil(policy.wait(self._failed)))


def _ended(error: InvokeError) -> tuple[str, str]:
    """The name and the text that AWS reports of a failed call."""
    return str(error.error_type), str(error)


def _is_refused(error: InvokeError) -> bool:
    """Whether a call has not begun; an error of this name in a step has a traceback."""
    return error.error_type in _REFUSED and error.stack_trace is None


def _after(part: Slice, error: InvokeError, attempt: int) -> Slice:
    """A slice as it is called again after an error."""
    name, text = _ended(error)
    if _is_refused(error):
        return part
    if is_death(name):
        return replace(part, died=(name, text, attempt))
    return replace(part, died=None, put_off=part.put_off + (name == RetryLater.__name__))


def _named(name: str, attempt: int) -> str:
    return f"{name}#{attempt + 1}" if attempt else name


def _range_name(name: str, part: Slice) -> str:
    return f"{name}[{part.first}:{part.first + part.count}]"


def _in(part: Slice, items: Sequence[int]) -> tuple[int, ...]:
    return tuple(each for each in items if part.first <= each < part.first + part.count)


def _slices(source: Mapping[str, Any]) -> list[Slice]:
    """The slices into which the step before has cut its result."""
    cuts = [*source["cuts"], (source["count"], 0, 0)]
    return [
        Slice(first, after - first, first, source["manifest"], start, end)
        for (first, start, end), (after, _, _) in pairwise(cuts)
    ]


def _rest(part: Slice, answer: Mapping[str, Any]) -> Slice:
    """What a function has left of a slice, without what has failed."""
    first = part.first + part.count - answer["left"]
    return replace(
        part, first=first, count=answer["left"], without=tuple(answer["failed"]), died=None
    )
