"""A flow's graph as a state machine: names, then states, then links. Pure.

    InitFlow ──► a step ──► a map over the manifest that the step has written ──► a step ──► …

What goes from state to state is a small event, ``{"flow": {run_id, params}, "input": …}``: results
are in S3, and the event says where.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, pairwise
from math import ceil
from typing import Any

from lokki.builder.asl import (
    DistributedMap,
    Pass,
    Paths,
    Processor,
    Reader,
    Retrier,
    State,
    StateMachine,
    Task,
    Writer,
)
from lokki.builder.document import pascal
from lokki.chain import Step
from lokki.graph import FlowGraph, MapStage, StepCall, TaskStage
from lokki.retry import RetryConfig

INIT = "InitFlow"
_MOST_LABEL = 40
"""Characters of a map's label, which is part of its ARN."""
_FLOW: Paths = {"run_id.$": "$$.Execution.Name", "params.$": "$$.Execution.Input"}
_LAMBDA_ERRORS = (  # https://docs.aws.amazon.com/step-functions/latest/dg/bp-lambda-serviceexception.html
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
)
_SERVICE = Retrier(
    error_equals=_LAMBDA_ERRORS,
    interval_seconds=1,
    max_attempts=6,
    backoff_rate=2.0,
    max_delay_seconds=60,
    jitter_strategy="FULL",
)


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a flow's states and the labels of its maps, by the names of their calls.

    No two are alike.
    """

    calls: Mapping[str, str]
    maps: Mapping[str, str]
    labels: Mapping[str, str]


def state_machine(graph: FlowGraph[Any]) -> StateMachine:
    """The state machine of a flow.

    ``${S3Bucket}`` and ``${…Arn}`` in it stand for what its template fills in.
    """
    names = names_of(graph)
    states = dict(_states(graph, names))
    return StateMachine(
        comment=f"{graph.name}: {graph.shape}",
        start_at=INIT,
        states=linked({INIT: _INIT, **states}),
    )


def names_of(graph: FlowGraph[Any]) -> Names:
    """The names of a flow's states, in PascalCase."""
    used = {INIT}
    calls = {call.name: _unused(pascal(call.name), used) for call in graph.calls}
    maps = {
        stage.name: _unused(f"Map{pascal(stage.name)}", used)
        for stage in graph.stages
        if isinstance(stage, MapStage)
    }
    labelled: set[str] = set()
    labels = {name: _unused(state[: _MOST_LABEL - 3], labelled) for name, state in maps.items()}
    return Names(calls, maps, labels)


def _unused(name: str, used: set[str]) -> str:
    """The name, or with a number what is not ``used`` yet; it is from now on."""
    tried = (f"{name}{number if number > 1 else ''}" for number in count(1))
    found = next(each for each in tried if each not in used)
    used.add(found)
    return found


def linked(states: Mapping[str, State]) -> dict[str, State]:
    """States, each of which goes on with the next; the last one is the end."""
    done = {name: replace(states[name], next=after) for name, after in pairwise(states)}
    last = list(states)[-1]
    return {**done, last: replace(states[last], end=True)}


_INIT = Pass(parameters={"flow": _FLOW, "input": None})


def _states(graph: FlowGraph[Any], names: Names) -> Iterator[tuple[str, State]]:
    before: TaskStage | MapStage | None = None
    for stage in graph.stages:
        if isinstance(stage, TaskStage):
            event = {"flow.$": "$.flow", "input.$": "$.input"}
            yield names.calls[stage.name], _task(names, stage.call, event)
        else:
            assert before is not None
            yield names.maps[stage.name], _map(graph.name, names, stage, before)
        before = stage


def _task(names: Names, call: StepCall, event: Paths) -> Task:
    return Task(
        resource="arn:${AWS::Partition}:states:::lambda:invoke",
        parameters={
            "FunctionName": f"${{{names.calls[call.name]}Arn}}",
            "Payload": {**event, "attempt.$": "$$.State.RetryCount"},
        },
        output_path="$.Payload",
        retry=retriers(call.step),
    )


def _map(flow: str, names: Names, stage: MapStage, source: TaskStage | MapStage) -> DistributedMap:
    first, *later = stage.inner
    item = {"flow.$": "$.flow", "index.$": "$.index", "input.$": "$.input"}
    inner = {names.calls[call.name]: _task(names, call, item) for call in (first, *later)}
    written = f"States.Format('{flow}/runs/{{}}/{stage.name}/children', $$.Execution.Name)"
    tolerated = stage.tolerated_failures
    return DistributedMap(
        label=names.labels[stage.name],
        item_reader=Reader(
            resource="arn:${AWS::Partition}:states:::s3:getObject",
            reader_config={"InputType": "JSON"},
            parameters={"Bucket": "${S3Bucket}", "Key.$": "$.input.manifest"},
        ),
        item_selector={
            "flow": _FLOW,
            "index.$": "$$.Map.Item.Index",
            "input.$": "$$.Map.Item.Value.input",
        },
        item_processor=Processor(
            processor_config={"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            start_at=names.calls[first.name],
            states=linked(inner),
        ),
        result_writer=Writer(
            resource="arn:${AWS::Partition}:states:::s3:putObject",
            parameters={"Bucket": "${S3Bucket}", "Prefix.$": written},
        ),
        result_selector={"flow": _FLOW, "input": {"map": stage.inner[-1].name}},
        max_concurrency=stage.concurrency_limit,
        tolerated_failure_count=tolerated if isinstance(tolerated, int) and tolerated else None,
        tolerated_failure_percentage=100.0 * tolerated if isinstance(tolerated, float) else None,
    )


# ---- retries -------------------------------------------------------------------------------------


def retriers(step: Step[..., Any]) -> tuple[Retrier, ...]:
    """The retries of a step as they are locally, and those of Lambda's own failures besides."""
    policy = step.retry
    if not policy.retries:
        return (_SERVICE,)
    return (_SERVICE, _retrier(policy))


def _retrier(policy: RetryConfig) -> Retrier:
    """A policy in whole seconds, from one; the longest wait is longer than the first."""
    first = max(1, ceil(policy.delay))
    return Retrier(
        error_equals=error_names(policy.exceptions),
        interval_seconds=first,
        max_attempts=policy.retries,
        backoff_rate=max(1.0, policy.backoff),
        max_delay_seconds=max(first + 1, ceil(policy.max_delay)),
    )


def error_names(exceptions: Sequence[type[BaseException]]) -> tuple[str, ...]:
    """The names by which Step Functions knows exceptions and all their subclasses.

    Of ``Exception``, whatever a task can fail with, timeouts and lost processes included.
    """
    if any(issubclass(Exception, each) for each in exceptions):
        return ("States.TaskFailed", "States.Timeout")
    return tuple(sorted({name for each in exceptions for name in _names(each)}))


def _names(kind: type[BaseException]) -> Iterator[str]:
    yield kind.__name__
    for each in kind.__subclasses__():
        yield from _names(each)
