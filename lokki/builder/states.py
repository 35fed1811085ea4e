"""A flow's graph as a state machine: names, then states, then links. Pure.

    InitFlow ──► a step ──► a map over the manifest that the step wrote ──► a step ──► …

States pass a small event on, ``{"flow": {run_id, params}, "input": …}``: results are in S3, and the
event says where (see `lokki.runtime.event`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count, pairwise
from math import ceil
from typing import Any

from lokki.builder.asl import (
    Batcher,
    DistributedMap,
    Pass,
    Paths,
    Processor,
    Reader,
    State,
    StateMachine,
    Task,
    Writer,
)
from lokki.builder.children import is_express
from lokki.builder.comment import comment_of
from lokki.builder.concurrency import most_at_once
from lokki.builder.document import pascal
from lokki.builder.queues import queue_of
from lokki.builder.retries import retriers
from lokki.builder.sizes import Sizes, batched, is_batch, sizes_of
from lokki.config import Config
from lokki.graph import FlowGraph
from lokki.runtime.event import EVENT, MOST_BATCH_BYTES, REDRIVEN
from lokki.runtime.units import TaskUnit, units
from lokki.stages import MapStage, TaskStage

INIT = "InitFlow"
_MOST_LABEL = 40
"""Characters of a map's label, which is part of its ARN."""
_SLACK_SECONDS = 60
"""How much longer than its function a state waits, for capacity, say."""
_PARTITIONS = (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"))
_RUN_ID = "$$.Execution.Name"
_FLOW: Paths = {"run_id.$": _RUN_ID, "params.$": "$$.Execution.Input"}
_REDRIVEN: Paths = {"redriven.$": "$$.Execution.RedriveCount"}
_MAYBE_REDRIVEN: Paths = {"redriven": 1}
"""In an express execution: one that runs again is the same to its states
(https://docs.aws.amazon.com/step-functions/latest/dg/redrive-map-run.html), so that each looks for
results of before."""
_OWN = "$$.Execution.Input"
"""In an execution that a map started, its input: the item."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a flow's states and the labels of its maps, by the names of their calls.

    No two are alike.
    """

    calls: Mapping[str, str]
    maps: Mapping[str, str]
    labels: Mapping[str, str]


def state_machine(graph: FlowGraph[Any], config: Config) -> StateMachine:
    """The state machine of a flow.

    Its template fills in ``${S3Bucket}``, ``${…JobQueue}``, ``${…Arn}`` and ``${…Job}``. Raises
    ConfigError for a step that needs too much (see `sizes_of`).
    """
    names = names_of(graph)
    states = _States(graph, names, config)
    return StateMachine(
        comment=comment_of((graph.flow or graph).name, graph.structure),
        start_at=INIT,
        states=linked({INIT: _INIT, **dict(states.states())}),
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


def partition_of(config: Config) -> str:
    """The partition of the configured region."""
    region = config.aws.region or ""
    return next((each for start, each in _PARTITIONS if region.startswith(start)), "aws")


def _unused(name: str, used: set[str]) -> str:
    """The name, with a number if it is already ``used``; adds it to those."""
    tried = (f"{name}{number if number > 1 else ''}" for number in count(1))
    found = next(each for each in tried if each not in used)
    used.add(found)
    return found


def linked(states: Mapping[str, State]) -> dict[str, State]:
    """States linked in sequence; the last one ends."""
    done = {name: replace(states[name], next=after) for name, after in pairwise(states)}
    last = list(states)[-1]
    return {**done, last: replace(states[last], end=True)}


_INIT = Pass(parameters={"flow": _FLOW, "input": {}})  # CloudFormation accepts no null


@dataclass(frozen=True, slots=True)
class _States:
    graph: FlowGraph[Any]
    names: Names
    config: Config

    def states(self) -> Iterator[tuple[str, State]]:
        """The states of all stages, in chain order, without links."""
        every = list(units(self.graph))
        for stage in self.graph.stages:
            inside = [unit for unit in every if unit.stage is stage]
            if isinstance(stage, TaskStage):
                yield self._name(inside[0]), self._task(inside[0])
            else:
                yield self.names.maps[stage.name], self._map(stage, inside)

    def _name(self, unit: TaskUnit) -> str:
        return self.names.calls[unit.name]

    def _task(self, unit: TaskUnit, redriven: Paths = _REDRIVEN) -> Task:
        sizes = sizes_of(unit, self.config)
        return self._job(unit) if is_batch(unit) else self._function(unit, sizes, redriven)

    def _function(self, unit: TaskUnit, sizes: Sizes, redriven: Paths) -> Task:
        event = {"flow.$": "$.flow", "input.$": "$.input"}
        if isinstance(unit.stage, MapStage):
            event["index.$"] = "$.index"
            if batched(unit.stage):
                event = {"flow.$": "$.flow", "items.$": "$.items"}
                if unit.calls[0] is unit.stage.inner[0]:
                    event = {"flow.$": "$.BatchInput.flow", "items.$": "$.Items"}
        return Task(
            resource=self._service("lambda:invoke"),
            parameters={
                "FunctionName": f"${{{self._name(unit)}Arn}}",
                "Payload": {**event, "attempt.$": "$$.State.RetryCount", **redriven},
            },
            output_path="$.Payload",
            timeout_seconds=sizes.timeout_seconds + _SLACK_SECONDS,
            retry=retriers(unit, several=isinstance(unit.stage, MapStage) and batched(unit.stage)),
        )

    def _job(self, unit: TaskUnit) -> Task:
        state = self._name(unit)
        variables = [
            {"Name": EVENT, "Value.$": "States.JsonToString($)"},
            {"Name": REDRIVEN, "Value.$": f"States.Format('{{}}', {_REDRIVEN['redriven.$']})"},
        ]
        return Task(
            resource=self._service("batch:submitJob.sync"),
            parameters={
                "JobName": state,
                "JobQueue": f"${{{queue_of(unit, self.config)}}}",
                "JobDefinition": f"${{{state}Job}}",
                "ContainerOverrides": {"Environment": variables},
            },
            result_selector=self._job_output(unit),
            retry=retriers(unit),
        )

    def _job_output(self, unit: TaskUnit) -> Paths:
        """The event after a job, which returns nothing itself: the location of its result."""
        step = unit.calls[-1].name
        if unit.in_map:
            key = self._format(f"{step}/{{}}/output.pkl.gz", f"{_OWN}.flow.run_id", f"{_OWN}.index")
            return {"flow.$": f"{_OWN}.flow", "index.$": f"{_OWN}.index", "input.$": key}
        if unit.mapped is not None:
            manifest = self._format(f"{step}/map_manifest.json", _RUN_ID, url=False)
            return {"flow": _FLOW, "input": {"manifest.$": manifest}}
        return {"flow": _FLOW, "input.$": self._format(f"{step}/output.pkl.gz", _RUN_ID)}

    def _service(self, name: str) -> str:
        """The ARN of an integration, which contains the region's partition."""
        return f"arn:{partition_of(self.config)}:states:::{name}"

    def _format(self, below: str, *paths: str, url: bool = True) -> str:
        """The intrinsic function that makes a key of the run, or its URL."""
        root = "s3://${S3Bucket}/" if url else ""
        return f"States.Format('{root}{self.graph.name}/runs/{{}}/{below}', {', '.join(paths)})"

    # ---- maps ------------------------------------------------------------------------------------

    def _map(self, stage: MapStage, inside: list[TaskUnit]) -> DistributedMap:
        express = is_express(inside, self.config)
        redriven = _MAYBE_REDRIVEN if express else _REDRIVEN
        inner = {self._name(unit): self._task(unit, redriven) for unit in inside}
        item = {"index.$": "$$.Map.Item.Index", "input.$": "$$.Map.Item.Value.input"}
        several = batched(stage)
        written = self._format(f"{stage.name}/children", _RUN_ID, url=False)
        return DistributedMap(
            label=self.names.labels[stage.name],
            item_reader=Reader(
                resource=self._service("s3:getObject"),
                reader_config={"InputType": "JSON"},
                parameters={"Bucket": "${S3Bucket}", "Key.$": "$.input.manifest"},
            ),
            item_selector=item if several else {"flow": _FLOW, **item},
            item_batcher=Batcher(
                max_items_per_batch=stage.batch_size or 1,
                max_input_bytes_per_batch=MOST_BATCH_BYTES,
                batch_input={"flow": _FLOW},
            )
            if several
            else None,
            item_processor=Processor(
                processor_config={
                    "Mode": "DISTRIBUTED",
                    "ExecutionType": "EXPRESS" if express else "STANDARD",
                },
                start_at=self._name(inside[0]),
                states=linked(inner),
            ),
            result_writer=Writer(
                resource=self._service("s3:putObject"),
                parameters={"Bucket": "${S3Bucket}", "Prefix.$": written},
            ),
            result_selector={"flow": _FLOW, "input": {"map": stage.inner[-1].name}},
            max_concurrency=most_at_once(stage, inside, self.config),
            **_tolerated(stage, several=several),
        )


def _tolerated(stage: MapStage, *, several: bool) -> dict[str, Any]:
    """How many items Step Functions lets fail.

    A share is a whole percentage there, rounded up: the step after the map counts again. Where an
    invocation has several items, only the runtime counts failures: for Step Functions, all items of
    a child execution fail at once.
    """
    tolerated = stage.tolerated_failures
    if not tolerated:
        return {}
    if several:
        return {"tolerated_failure_percentage": 100}
    if isinstance(tolerated, float):
        return {"tolerated_failure_percentage": ceil(100 * tolerated)}
    return {"tolerated_failure_count": tolerated}
