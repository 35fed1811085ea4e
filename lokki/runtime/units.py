"""The task units of a flow: what AWS invokes, each as a separate function or job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from lokki.errors import DefinitionError
from lokki.graph import FlowGraph
from lokki.retry import RetryConfig
from lokki.stages import MapStage, Stage, StepCall, TaskStage


@dataclass(frozen=True, slots=True)
class TaskUnit:
    """The calls that one invocation makes for an item, one after the other.

    ``stage`` has the calls; ``source`` is the previous stage, whose result they take; ``mapped``
    names the step that maps over their result, if any.
    """

    stage: Stage
    calls: tuple[StepCall, ...]
    source: Stage | None
    mapped: str | None

    @property
    def name(self) -> str:
        """The name of the first call, which is also that of the state, function or job."""
        return self.calls[0].name

    @property
    def in_map(self) -> bool:
        return isinstance(self.stage, MapStage)


def units(graph: FlowGraph[Any]) -> Iterator[TaskUnit]:
    """Yield the task units of a flow, in chain order.

    Each call is a unit; the calls of a map with ``direct_pass`` form one unit.
    """
    after = chain(graph.stages[1:], [None])
    source: Stage | None = None
    for stage, following in zip(graph.stages, after, strict=True):
        mapped = following.name if isinstance(following, MapStage) else None
        if isinstance(stage, TaskStage):
            yield TaskUnit(stage, stage.calls, source, mapped)
        elif stage.direct_pass:
            yield TaskUnit(stage, stage.inner, source, None)
        else:
            yield from (TaskUnit(stage, (call,), source, None) for call in stage.inner)
        source = stage


def units_of(graph: FlowGraph[Any], stage: Stage) -> list[TaskUnit]:
    """The task units of a stage, in chain order."""
    return [unit for unit in units(graph) if unit.stage is stage]


def unit_of(graph: FlowGraph[Any], step: str) -> TaskUnit:
    """Return the unit whose first call is ``step``. Raises DefinitionError for an unknown step."""
    for unit in units(graph):
        if unit.name == step:
            return unit
    raise DefinitionError(f"flow '{graph.name}' calls no step '{step}': {graph.shape}")


def longest(calls: Sequence[StepCall]) -> RetryConfig:
    """The policy of the call with the most attempts."""
    return max((call.step.retry for call in calls), key=lambda policy: policy.retries)
