"""Which executions a map starts for its items: standard ones, or express ones.

Both cost a state transition to start
(https://docs.aws.amazon.com/step-functions/latest/dg/concepts-statemachines.html). The states of an
express one cost none: it is charged by time. It may take five minutes, cannot wait for a Batch job,
and may run more than once
(https://docs.aws.amazon.com/step-functions/latest/dg/choosing-workflow-type.html).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lokki.builder.retries import most_wait
from lokki.builder.sizes import is_batch, sizes_of
from lokki.config import Config
from lokki.graph import FlowGraph
from lokki.runtime.units import TaskUnit, units
from lokki.stages import MapStage

MOST_EXPRESS_SECONDS = 300


def maps_of(graph: FlowGraph[Any]) -> Iterator[tuple[MapStage, list[TaskUnit]]]:
    """The maps of a flow, each with its units."""
    every = list(units(graph))
    for stage in graph.stages:
        if isinstance(stage, MapStage):
            yield stage, [unit for unit in every if unit.stage is stage]


def is_express(inside: Sequence[TaskUnit], config: Config) -> bool:
    """Whether a map, given by its units, starts express executions."""
    return config.aws.map == "express" and why_standard(inside, config) is None


def why_standard(inside: Sequence[TaskUnit], config: Config) -> str | None:
    """Why a map needs standard executions; None if express ones have the time for all attempts.

    Raises ConfigError for a step that needs too much.
    """
    jobs = next(filter(is_batch, inside), None)
    if jobs is not None:
        return f"step '{jobs.name}' is a Batch job, and express executions cannot wait for one"
    seconds = sum(_most_seconds(unit, config) for unit in inside)
    if seconds > MOST_EXPRESS_SECONDS:
        return (
            f"an item may take {seconds:,.0f} s with its retries, and an express execution "
            f"{MOST_EXPRESS_SECONDS} s: lower timeout_seconds and retries of its steps, or "
            "lambda.timeout"
        )
    return None


def standard_notes(graph: FlowGraph[Any], config: Config) -> Iterator[str]:
    """Notes on the maps that start standard executions although express ones are configured."""
    for stage, inside in maps_of(graph):
        why = why_standard(inside, config)
        if config.aws.map == "express" and why is not None:
            yield f"map '{stage.name}' starts standard executions in spite of aws.map: {why}"


def _most_seconds(unit: TaskUnit, config: Config) -> float:
    attempts = max(call.step.retry.retries for call in unit.calls) + 1
    return attempts * sizes_of(unit, config).timeout_seconds + most_wait(unit)
