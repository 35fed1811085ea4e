"""Estimates what an execution of a durable function uses and costs. Pure.

An operation is charged, and its function runs from the top each time some of them have ended, with
the record of all before (https://docs.aws.amazon.com/lambda/latest/dg/durable-execution-sdk.html).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from math import ceil
from typing import Any

from lokki.builder import near_limits, prices
from lokki.builder.children import maps_of
from lokki.builder.concurrency import most_at_once
from lokki.builder.durable import PYTHONS, check_durable
from lokki.builder.estimate_jobs import add_jobs, seconds_of
from lokki.builder.notes import rate_notes, schedule_notes, settings_notes
from lokki.builder.sizes import is_batch, sizes_of
from lokki.builder.usage import LISTED_AT_ONCE, Estimate, Use, rows_of, uncounted
from lokki.config import Config
from lokki.durations import at_least
from lokki.errors import BuildError
from lokki.graph import FlowGraph
from lokki.model import structure
from lokki.runtime.event import Slice
from lokki.runtime.job_group import looks_in
from lokki.runtime.slices import MOST_OPERATIONS, firsts, items_in
from lokki.runtime.units import TaskUnit, units
from lokki.stages import MapStage

_RUN_ID = "0" * 36
_KEY = "0" * 80
"""A run's id and the key of a manifest, of usual lengths."""
_RECORD_BYTES = 600
"""Of an operation besides what it passes: its ids, name and state, as measured in checkpoints."""
_VALUE_BYTES = 512
"""Of what a step returns to the next one: a value in the event, or where it is."""
_CUT_BYTES = 30
"""Of a slice in what the step before a map returns."""
_MOST_WRITTEN = 100e6
"""Bytes of an execution
(https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""
_RUN_SECONDS = 0.1
"""Of a run of the orchestrator, to get the record and write to it: assumed."""
_REPLAY_SECONDS = 0.0003
"""Of one CPU, for an operation in the record of a run: measured with up to 2,990 of them, on AWS's
local runner."""


@dataclass(frozen=True, slots=True)
class _Course:
    """How a map runs: its slices, how many at a time, the calls of each by unit; its seconds.

    ``inside`` are the units in Lambda; ``jobs`` those in Batch, by what runs without another.
    """

    stage: MapStage
    inside: list[TaskUnit]
    jobs: list[list[TaskUnit]]
    items: int
    slices: int
    at_once: int
    calls: tuple[int, ...]
    seconds: float


def durable_estimate(graph: FlowGraph[Any], config: Config, items: int, seconds: float) -> Estimate:
    """As `lokki.builder.estimate.estimate_of`, for a durable function.

    Raises LokkiError for a flow that has no room in one, or that one cannot run.
    """
    check_durable(graph, config, PYTHONS[0])  # whichever it is built with: the price is the same
    courses = [_course(*each, config, items, seconds) for each in maps_of(graph)]
    use = Use(operations=2)  # the start, the structure
    use.written += _RECORD_BYTES * 2 + len(structure.dumped(graph.structure))
    for unit in units(graph):
        if not unit.in_map:
            _add_step(use, unit, config, seconds)
    for course in courses:
        _add_map(use, course, graph, config, items, seconds)
    if use.operations > MOST_OPERATIONS:
        raise BuildError(
            f"flow '{graph.name}' has {use.operations:,} operations with {items:,} items in each "
            f"map, but a durable function at most {MOST_OPERATIONS:,}: {_fewer(courses)}"
        )
    _add_runs(use, config)
    return Estimate(
        tuple(rows_of(use, config)),
        use.operations,
        "operations",
        sum(course.seconds for course in courses),
        tuple(_limits(graph, config, use, items, seconds)),
        (
            *(note for course in courses for note in _durations(course)),
            _assumed(),
            *uncounted(use, config),
            *schedule_notes(graph),
            *rate_notes(graph),
            *settings_notes(config),
        ),
        prices.DURABLE_DATE,
    )


def _fewer(courses: Iterable[_Course]) -> str:
    """What makes an execution's operations fewer: larger slices do not where time cuts them."""
    if any(calls > 1 for course in courses for calls in course.calls):
        return (
            "its items take the time of that many invocations; give their step job_type='batch', "
            'a longer timeout_seconds (at most 900), or the flow target="stepfunctions"'
        )
    return "give its maps a larger batch_size, or call fewer steps in them"


def _course(
    stage: MapStage, inside: list[TaskUnit], config: Config, items: int, seconds: float
) -> _Course:
    jobs = [list(some) for are_jobs, some in groupby(inside, is_batch) if are_jobs]
    parts = firsts(items, 0 if jobs else stage.batch_size or 0, stage.name)
    slices, each = len(parts), min(parts.step, items)
    at_once = most_at_once(stage, inside, config)
    functions = [unit for unit in inside if not is_batch(unit)]
    of_item = [seconds * len(unit.calls) for unit in functions]
    timeouts = [sizes_of(unit, config).timeout_seconds for unit in functions]
    calls = tuple(
        ceil(each / items_in(most, took)) for most, took in zip(timeouts, of_item, strict=True)
    )
    taken = ceil(slices / at_once) * each * sum(of_item)
    taken += sum(seconds_of(group, items, at_once, seconds) for group in jobs)
    return _Course(stage, functions, jobs, items, slices, at_once, calls, taken)


def _add_step(use: Use, unit: TaskUnit, config: Config, seconds: float) -> None:
    if is_batch(unit):
        _add_jobs(use, [unit], config, 1, 1, seconds)
        return
    sizes = sizes_of(unit, config)
    use.operations += 1
    use.written += _RECORD_BYTES + 2 * _VALUE_BYTES
    use.invocations += 1
    use.gb_seconds += len(unit.calls) * seconds * sizes.memory_mb / 1024
    use.storage["Lambda"] += len(unit.calls) * seconds * sizes.paid_storage_mb / 1024
    use.writes += len(unit.calls)
    if any(call.step.retry.retries for call in unit.calls):
        use.writes += 1  # the number of the attempt


def _add_jobs(
    use: Use, group: list[TaskUnit], config: Config, count: int, at_once: int, seconds: float
) -> None:
    """The jobs of consecutive units, and the looks at them, of which each reads a record."""
    for unit in group:
        add_jobs(use, unit, config, count, seconds)
        use.writes += 2 * count * len(unit.calls)  # its result, and that it was submitted
    looks = looks_in(seconds_of(group, count, at_once, seconds))
    use.operations += looks
    use.written += looks * (_RECORD_BYTES + _VALUE_BYTES)
    use.writes += looks
    use.reads += 2 * looks


def _add_map(
    use: Use, course: _Course, graph: FlowGraph[Any], config: Config, items: int, seconds: float
) -> None:
    calls = course.slices * sum(course.calls)
    use.operations += calls + bool(course.inside)
    for group in course.jobs:
        _add_jobs(use, group, config, items, course.at_once, seconds)
    event = {
        "flow": {"run_id": _RUN_ID, "params": dict(graph.params)},
        "slice": Slice(items, items, items, _KEY, items, items).to_json(),
        "attempt": 0,
    }
    passed = len(json.dumps(event, default=str)) + len(json.dumps({"failed": [], "left": items}))
    use.written += calls * (_RECORD_BYTES + passed) + course.slices * _CUT_BYTES + _RECORD_BYTES
    use.invocations += calls
    for unit in course.inside:
        sizes, took = sizes_of(unit, config), items * len(unit.calls) * seconds
        use.gb_seconds += took * sizes.memory_mb / 1024
        use.storage["Lambda"] += took * sizes.paid_storage_mb / 1024
        use.writes += items * len(unit.calls)
    use.writes += 1 + ceil(items / LISTED_AT_ONCE)  # manifest, listing
    use.reads += 1 + items  # by the step after: the manifest, the results
    use.reads += course.slices * course.calls[0] if course.calls else 0  # the manifest's part
    use.reads += items * (len(course.inside) + sum(map(len, course.jobs)) - 1)
    use.reads += items * sum(calls > 1 for calls in course.calls)  # whether it is done


def _add_runs(use: Use, config: Config) -> None:
    """The runs of the orchestrator: one for each operation that ends, each with all before it."""
    memory = config.lambda_.memory
    use.runs = use.operations
    replayed = use.operations * (use.operations + 1) / 2
    cpu = min(1.0, memory / near_limits.MB_OF_A_CPU)
    took = use.runs * _RUN_SECONDS + replayed * _REPLAY_SECONDS / cpu
    use.run_gb_seconds = took * memory / 1024


def _limits(
    graph: FlowGraph[Any], config: Config, use: Use, items: int, seconds: float
) -> Iterator[str]:
    for unit in units(graph):
        yield from near_limits.time(unit, seconds, 1)
        yield from near_limits.reading(unit, config, items)
        yield from near_limits.event(unit)
    for stage, inside in maps_of(graph):
        yield from near_limits.concurrency(stage, inside, config, "two operations")
    yield from near_limits.reserved(graph, config)
    if use.operations > near_limits.NEAR * MOST_OPERATIONS:
        yield (
            f"{use.operations:,} operations of {MOST_OPERATIONS:,}, and a slice that is tried "
            "again is two more: give the maps a larger batch_size"
        )
    if use.written > near_limits.NEAR * _MOST_WRITTEN:
        yield (
            f"checkpoints of {use.written / 1e6:,.0f} MB of {_MOST_WRITTEN / 1e6:,.0f}: make the "
            "flow's parameters smaller, which each call gets"
        )


def _durations(course: _Course) -> Iterator[str]:
    """How long a map takes whose calls do not all run at a time, or are called several times."""
    if course.jobs and course.items > course.at_once:
        yield (
            f"map '{course.stage.name}': {course.at_once:,} of {course.items:,} jobs at a time, at "
            f"least {at_least(course.seconds)}; concurrency_limit changes it"
        )
    if course.inside and course.slices > course.at_once:
        yield (
            f"map '{course.stage.name}': {course.at_once:,} of {course.slices:,} slices at a time, "
            f"at least {at_least(course.seconds)}; concurrency_limit changes it"
        )
    if (most := max(course.calls, default=1)) > 1:
        yield (
            f"map '{course.stage.name}': one invocation has not the time for all items of a slice, "
            f"which takes {most}, one after the other; with a smaller batch_size, more slices run "
            "at a time"
        )


def _assumed() -> str:
    return (
        f"assumed: the orchestrator runs once for each operation, for {_RUN_SECONDS} s and "
        f"{_REPLAY_SECONDS * 1e3} ms of a CPU for each operation before it, and the record of an "
        f"operation has {_RECORD_BYTES} bytes besides what it passes, {_VALUE_BYTES} for a step's "
        "value; a slice that is tried again is two operations more"
    )
