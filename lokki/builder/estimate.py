"""Estimates what an execution uses and costs, and which limits it approaches. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any

from lokki.builder import near_limits, prices
from lokki.builder.children import is_express, maps_of
from lokki.builder.concurrency import most_at_once
from lokki.builder.durable import is_durable
from lokki.builder.estimate_durable import durable_estimate
from lokki.builder.estimate_jobs import SUBMITTED, add_jobs
from lokki.builder.notes import rate_notes, schedule_notes, settings_notes
from lokki.builder.sizes import is_batch, items_at_once, sizes_of
from lokki.builder.usage import LISTED_AT_ONCE, Estimate, Use, rows_of, uncounted
from lokki.config import Config
from lokki.durations import at_least
from lokki.graph import FlowGraph
from lokki.runtime.units import TaskUnit, units
from lokki.stages import MapStage

_STARTED = {False: 100, True: 1_000}
"""Executions that a map starts a second, at most, by whether they are express ones
(https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html)."""
_MOST_EVENTS = 25_000  # of an execution
_EVENTS_OF_A_STATE = 5


def estimate_of(graph: FlowGraph[Any], config: Config, items: int, seconds: float) -> Estimate:
    """What an execution uses when each map has ``items`` and each call takes ``seconds``.

    It assumes that nothing fails, and that every input is small enough for an event. Raises
    LokkiError for what AWS cannot do.
    """
    estimate = durable_estimate if is_durable(graph, config) else machine_estimate
    return estimate(graph, config, items, seconds)


def machine_estimate(graph: FlowGraph[Any], config: Config, items: int, seconds: float) -> Estimate:
    """As `estimate_of`, for a state machine."""
    use = Use(transitions=1)  # InitFlow
    for unit in units(graph):
        _add(use, unit, config, items, seconds)
    for _, inside in maps_of(graph):
        _add_map(use, inside, config, items, seconds)
    courses = [_course(*each, config, items, seconds) for each in maps_of(graph)]
    return Estimate(
        tuple(rows_of(use, config)),
        use.transitions,
        "transitions",
        sum(course.seconds for course in courses),
        tuple(_limits(graph, config, items, seconds)),
        (
            *(note for course in courses for note in _durations(course)),
            *uncounted(use, config),
            *schedule_notes(graph),
            *rate_notes(graph),
            *settings_notes(config),
        ),
    )


def _add(use: Use, unit: TaskUnit, config: Config, items: int, seconds: float) -> None:
    count = items if unit.in_map else 1
    calls = count * len(unit.calls)
    invocations = ceil(count / items_at_once(unit))
    sizes = sizes_of(unit, config)
    use.transitions += invocations
    use.writes += calls
    if any(call.step.retry.retries for call in unit.calls) and not is_batch(unit):
        use.writes += invocations  # the number of the attempt
    if is_batch(unit):
        add_jobs(use, unit, config, count, seconds)
    else:
        use.invocations += invocations
        use.gb_seconds += calls * seconds * sizes.memory_mb / 1024
        use.storage["Lambda"] += calls * seconds * sizes.paid_storage_mb / 1024


def _add_map(use: Use, inside: list[TaskUnit], config: Config, items: int, seconds: float) -> None:
    """What a map uses besides its invocations.

    Starting an execution is a state transition; in an express one, there are no others
    (https://docs.aws.amazon.com/step-functions/latest/dg/concepts-statemachines.html).
    """
    at_once = max(map(items_at_once, inside))
    children = ceil(items / at_once)
    use.transitions += 1 + children
    use.writes += 2 + ceil(items / LISTED_AT_ONCE)  # manifest, results, listing
    use.reads += items + 1
    if is_express(inside, config):
        calls = sum(len(unit.calls) for unit in inside)
        units_of_time = ceil(round(seconds * calls * at_once / prices.EXPRESS_LEAST_SECONDS, 6))
        use.transitions -= children * len(inside)
        use.express += children
        use.express_gb_seconds += (
            children * max(1, units_of_time) * prices.EXPRESS_LEAST_SECONDS * prices.EXPRESS_GB
        )
        use.reads += items * (calls + len(inside) - 1)  # whether there are results


def _limits(graph: FlowGraph[Any], config: Config, items: int, seconds: float) -> Iterator[str]:
    for unit in units(graph):
        yield from near_limits.time(unit, seconds, items_at_once(unit))
        yield from near_limits.reading(unit, config, items)
        yield from near_limits.event(unit)
    for stage, inside in maps_of(graph):
        yield from near_limits.concurrency(stage, inside, config, "a state transition")
    yield from near_limits.reserved(graph, config)
    events = (len(graph.stages) + 1) * _EVENTS_OF_A_STATE
    if events > near_limits.NEAR * _MOST_EVENTS:
        yield f"{events:,} events of {_MOST_EVENTS:,} in the history: put several steps into one"


@dataclass(frozen=True, slots=True)
class _Course:
    """How a map runs: its executions, how many at a time; its seconds, by what it waits for.

    ``started`` executions begin a second, at most; ``jobs``: whether these submit any to Batch.
    """

    name: str
    children: int
    at_once: int
    started: int
    jobs: bool
    running: float
    starting: float
    submitting: float

    @property
    def seconds(self) -> float:
        return max(self.running, self.starting, self.submitting)


def _course(
    stage: MapStage, inside: list[TaskUnit], config: Config, items: int, seconds: float
) -> _Course:
    children = ceil(items / max(map(items_at_once, inside)))
    at_once, started = most_at_once(stage, inside, config), _STARTED[is_express(inside, config)]
    of_each = seconds * sum(len(unit.calls) * items_at_once(unit) for unit in inside)
    jobs = sum(map(is_batch, inside))
    return _Course(
        stage.name,
        children,
        at_once,
        started,
        bool(jobs),
        running=ceil(children / at_once) * of_each,
        starting=children / started,
        submitting=children * jobs / SUBMITTED,
    )


def _durations(course: _Course) -> Iterator[str]:
    """How long a map takes whose items do not all run at a time, and what it waits for."""
    if course.children > course.at_once:
        what = "jobs" if course.jobs else "invocations"
        remedy = "; concurrency_limit changes it" if course.running == course.seconds else ""
        yield (
            f"map '{course.name}': {course.at_once:,} of {course.children:,} {what} at a time, "
            f"at least {at_least(course.seconds)}{remedy}"
        )
    if course.starting == course.seconds > course.running:
        yield (
            f"map '{course.name}': Step Functions starts {course.started:,} executions of this "
            "kind a second; for calls as short as these, batch_size needs fewer"
        )
    if course.submitting == course.seconds > course.running:
        yield (
            f"map '{course.name}': Batch takes {SUBMITTED} jobs a second; for calls as short "
            "as these, let one item stand for several, or use Lambda with batch_size"
        )
