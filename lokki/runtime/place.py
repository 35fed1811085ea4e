"""Where a call is in its flow, and so what it is given and what is made of its result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from lokki.errors import DefinitionError
from lokki.graph import FlowGraph
from lokki.stages import MapStage, Stage, StepCall, TaskStage


@dataclass(frozen=True, slots=True)
class Place:
    """The calls that one invocation makes for an item, one after the other.

    ``stage`` is theirs, ``source`` the stage before it; ``mapped`` is the step that goes over the
    items of their result.
    """

    stage: Stage
    calls: tuple[StepCall, ...]
    source: Stage | None
    mapped: str | None

    @property
    def name(self) -> str:
        """That of its first call, which is that of its state, its function or its job."""
        return self.calls[0].name

    @property
    def in_map(self) -> bool:
        return isinstance(self.stage, MapStage)


def places(graph: FlowGraph[Any]) -> Iterator[Place]:
    """What there is to invoke in a flow, in chain order.

    Each call by itself, but those of a map with ``direct_pass``, which are invoked together.
    """
    after = chain(graph.stages[1:], [None])
    source: Stage | None = None
    for stage, following in zip(graph.stages, after, strict=True):
        mapped = following.name if isinstance(following, MapStage) else None
        if isinstance(stage, TaskStage):
            yield Place(stage, stage.calls, source, mapped)
        elif stage.direct_pass:
            yield Place(stage, stage.inner, source, None)
        else:
            yield from (Place(stage, (call,), source, None) for call in stage.inner)
        source = stage


def place_of(graph: FlowGraph[Any], step: str) -> Place:
    """The place whose first call has this name. Raises DefinitionError when there is none."""
    for place in places(graph):
        if place.name == step:
            return place
    raise DefinitionError(f"flow '{graph.name}' calls no step '{step}': {graph.shape}")
