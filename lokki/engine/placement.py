"""Which lanes make a stage's calls."""

from __future__ import annotations

from collections.abc import Iterable

from lokki.errors import DefinitionError
from lokki.graph import FlowGraph
from lokki.stages import MapStage, Stage
from lokki.steps import Lane, StepDefinition

ELSEWHERE: tuple[Lane, ...] = ("process", "dask")
"""Lanes whose calls other processes make."""


def lanes_of(stage: Stage, *, cluster: bool) -> tuple[Lane, ...]:
    """The lane of each call of a stage.

    With a cluster, maps run there, unless a step of theirs is async or says where it runs.
    """
    steps = [call.step for call in stage.calls]
    if cluster and isinstance(stage, MapStage) and all(map(_is_free, steps)):
        return tuple("dask" for _ in steps)
    return tuple(step.lane for step in steps)


def _is_free(step: StepDefinition[..., object]) -> bool:
    return step.executor == "dask" or (step.executor is None and not step.is_async)


def lane_of(lanes: Iterable[Lane]) -> Lane:
    """The kind of lane that the items of a stage with calls in these lanes need."""
    kinds: tuple[Lane, ...] = ("async", "dask", "process", "thread")
    found = set(lanes)
    return next(kind for kind in kinds if kind in found)


def lanes_needed(graph: FlowGraph[object], *, cluster: bool) -> set[Lane]:
    """The lanes that make a graph's calls."""
    return {lane for stage in graph.stages for lane in lanes_of(stage, cluster=cluster)}


def check_cluster(graph: FlowGraph[object]) -> None:
    """Raise DefinitionError if a step needs a cluster; for an engine without one."""
    for stage in graph.stages:
        for call in stage.calls:
            if call.step.executor == "dask":
                raise DefinitionError(
                    f"step '{call.step.name}' has executor='dask', but there is no cluster: set "
                    'cluster under [local], or write Engine(cluster="tcp://scheduler:8786")'
                )
