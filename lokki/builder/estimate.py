"""Estimates what an execution uses and costs, and which limits it approaches. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from lokki.builder import prices
from lokki.builder.children import is_express, maps_of
from lokki.builder.concurrency import ACCOUNT_CONCURRENCY, functions, most_at_once
from lokki.builder.notes import rate_notes, schedule_notes, settings_notes
from lokki.builder.sizes import (
    MOST_LAMBDA_SECONDS,
    STORING_SECONDS,
    is_batch,
    items_at_once,
    platform_of,
    sizes_of,
)
from lokki.config import Config
from lokki.graph import FlowGraph
from lokki.runtime.event import INLINE_BYTES
from lokki.runtime.units import TaskUnit, units
from lokki.stages import MapStage

_LISTED_AT_ONCE = 1_000  # keys of one LIST
_SUBMITTED = 50
"""Jobs that an account submits a second, at most
(https://repost.aws/knowledge-center/aws-batch-requests-error)."""
_STARTED = {False: 100, True: 1_000}
"""Executions that a map starts a second, at most, by whether they are express ones
(https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html)."""
_LEFT_UNRESERVED = 100
"""Functions of an account that cannot be reserved
(https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html)."""
_READ_SECONDS = 0.0017
"""Of one CPU, to list, read and unpack a small result, measured with 3,000 of them."""
_MB_OF_A_CPU = 1_769
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""
_MOST_EVENTS = 25_000  # of an execution
_EVENTS_OF_A_STATE = 5
_NEAR = 0.8


@dataclass(frozen=True, slots=True)
class Row:
    """One billed item."""

    what: str
    amount: str
    dollars: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """Usage, limits that come near (each with what to change), and notes.

    ``seconds``: those that the maps take, one after the other, at least.
    """

    rows: tuple[Row, ...]
    transitions: int
    seconds: float
    limits: tuple[str, ...]
    notes: tuple[str, ...]
    prices_date: str = prices.DATE
    prices_region: str = prices.REGION

    @property
    def dollars(self) -> float:
        return sum(row.dollars for row in self.rows)


@dataclass(slots=True)
class _Use:
    transitions: int = 1  # InitFlow
    express: int = 0
    express_gb_seconds: float = 0.0
    invocations: int = 0
    gb_seconds: float = 0.0
    jobs: int = 0
    vcpu_seconds: float = 0.0
    job_gb_seconds: float = 0.0
    host_seconds: float = 0.0
    """vCPU-seconds of jobs on EC2, whose hosts are paid."""
    storage: dict[str, float] = field(default_factory=lambda: {"Lambda": 0.0, "Batch": 0.0})
    """GB-seconds beyond what is included."""
    writes: int = 0
    reads: int = 0


def estimate_of(graph: FlowGraph[Any], config: Config, items: int, seconds: float) -> Estimate:
    """What an execution uses when each map has ``items`` and each call takes ``seconds``.

    It assumes that nothing fails, and that every input is small enough for an event. Raises
    BuildError for what AWS cannot do.
    """
    use = _Use()
    for unit in units(graph):
        _add(use, unit, config, items, seconds)
    for _, inside in maps_of(graph):
        _add_map(use, inside, config, items, seconds)
    courses = [_course(*each, config, items, seconds) for each in maps_of(graph)]
    return Estimate(
        tuple(_rows(use, config)),
        use.transitions,
        sum(course.seconds for course in courses),
        tuple(_limits(graph, config, items, seconds)),
        (
            *(note for course in courses for note in _durations(course)),
            *_uncounted(use, config),
            *schedule_notes(graph),
            *rate_notes(graph),
            *settings_notes(config),
        ),
    )


def _add(use: _Use, unit: TaskUnit, config: Config, items: int, seconds: float) -> None:
    count = items if unit.in_map else 1
    calls = count * len(unit.calls)
    invocations = ceil(count / items_at_once(unit))
    sizes = sizes_of(unit, config)
    use.transitions += invocations
    use.writes += calls
    if any(call.step.retry.retries for call in unit.calls) and not is_batch(unit):
        use.writes += invocations  # the number of the attempt
    if is_batch(unit) and platform_of(unit, config) == "EC2":
        use.host_seconds += calls * seconds * (sizes.vcpu or 0)
    elif is_batch(unit):
        use.jobs += invocations
        charged = max(seconds * len(unit.calls), prices.FARGATE_LEAST_SECONDS)
        use.vcpu_seconds += count * charged * (sizes.vcpu or 0)
        use.job_gb_seconds += count * charged * sizes.memory_mb / 1024
        use.storage["Batch"] += count * charged * sizes.paid_storage_mb / 1024
    else:
        use.invocations += invocations
        use.gb_seconds += calls * seconds * sizes.memory_mb / 1024
        use.storage["Lambda"] += calls * seconds * sizes.paid_storage_mb / 1024


def _add_map(use: _Use, inside: list[TaskUnit], config: Config, items: int, seconds: float) -> None:
    """What a map uses besides its invocations.

    Starting an execution is a state transition; in an express one, there are no others
    (https://docs.aws.amazon.com/step-functions/latest/dg/concepts-statemachines.html).
    """
    at_once = max(map(items_at_once, inside))
    children = ceil(items / at_once)
    use.transitions += 1 + children
    use.writes += 2 + ceil(items / _LISTED_AT_ONCE)  # manifest, results, listing
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


def _rows(use: _Use, config: Config) -> Iterator[Row]:
    architecture = config.lambda_.architecture
    gb_second = prices.LAMBDA_GB_SECOND[architecture]
    yield Row(
        "state transitions", f"{use.transitions:,}", use.transitions * prices.STATE_TRANSITION
    )
    if use.express:
        requests = use.express * prices.EXPRESS_REQUEST
        dollars = use.express_gb_seconds * prices.EXPRESS_GB_SECOND
        yield Row("express executions", f"{use.express:,}", requests)
        yield Row("express GB-seconds", f"{use.express_gb_seconds:,.0f}", dollars)
    if use.invocations:
        requests = use.invocations * prices.LAMBDA_REQUEST
        yield Row("Lambda invocations", f"{use.invocations:,}", requests)
        yield Row("Lambda GB-seconds", f"{use.gb_seconds:,.0f}", use.gb_seconds * gb_second)
    if use.jobs:
        vcpu = use.vcpu_seconds * prices.FARGATE_VCPU_SECOND[architecture]
        memory = use.job_gb_seconds * prices.FARGATE_GB_SECOND[architecture]
        yield Row("Batch vCPU-seconds (Fargate)", f"{use.vcpu_seconds:,.0f}", vcpu)
        yield Row("Batch GB-seconds (Fargate)", f"{use.job_gb_seconds:,.0f}", memory)
    for service, used in use.storage.items():
        if used:
            dollars = used * prices.STORAGE_GB_SECOND[service]
            yield Row(f"{service} GB-seconds of disk", f"{used:,.0f}", dollars)
    yield Row("S3 writes and lists", f"{use.writes:,}", use.writes * prices.S3_WRITE)
    yield Row("S3 reads", f"{use.reads:,}", use.reads * prices.S3_READ)


def _uncounted(use: _Use, config: Config) -> Iterator[str]:
    """What makes the sum too low or too high."""
    if use.host_seconds:
        yield (
            f"jobs on EC2 use {use.host_seconds:,.0f} vCPU-seconds, which are not in the sum: "
            "their hosts are paid, by type, as long as they are there"
        )
    if config.batch.spot and use.jobs:
        yield "spot prices vary: the sum has those of Fargate on demand, which are higher"
    if config.aws.kms_key is not None:
        yield "calls of KMS are not in the sum: see https://aws.amazon.com/kms/pricing"


def _limits(graph: FlowGraph[Any], config: Config, items: int, seconds: float) -> Iterator[str]:
    for unit in units(graph):
        yield from _time(unit, seconds)
        yield from _reading(unit, config, items)
        if is_batch(unit):
            yield (
                f"step '{unit.name}': a Batch job takes an event of 8 KiB; keep the flow's "
                f"parameters below {8 - INLINE_BYTES // 1024} KiB"
            )
    for stage, inside in maps_of(graph):
        yield from _concurrency(stage, inside, config)
    yield from _reserved(graph, config)
    events = (len(graph.stages) + 1) * _EVENTS_OF_A_STATE
    if events > _NEAR * _MOST_EVENTS:
        yield f"{events:,} events of {_MOST_EVENTS:,} in the history: put several steps into one"


def _time(unit: TaskUnit, seconds: float) -> Iterator[str]:
    taken = seconds * len(unit.calls) * items_at_once(unit)
    most = MOST_LAMBDA_SECONDS - STORING_SECONDS
    if not is_batch(unit) and taken > _NEAR * most:
        remedy = "give it job_type='batch'"
        if len(unit.calls) > 1 or items_at_once(unit) > 1:
            remedy = "lower batch_size or leave direct_pass out, or " + remedy
        yield f"step '{unit.name}': an invocation takes {taken:,.0f} s of {most} s: {remedy}"


def _reading(unit: TaskUnit, config: Config, items: int) -> Iterator[str]:
    """Where a function may not have the time to read the results of a map."""
    if not isinstance(unit.source, MapStage) or unit.in_map or is_batch(unit):
        return
    memory, most = sizes_of(unit, config).memory_mb, MOST_LAMBDA_SECONDS - STORING_SECONDS
    taken = items * _READ_SECONDS / min(1.0, memory / _MB_OF_A_CPU)
    if taken > _NEAR * most:
        more = f"memory_mb={_MB_OF_A_CPU} for a whole CPU, or " if memory < _MB_OF_A_CPU else ""
        yield (
            f"step '{unit.name}': reading {items:,} results takes about {taken:,.0f} s of {most} "
            f"s: give it {more}job_type='batch', or let one item of the map stand for several"
        )


def _concurrency(stage: MapStage, inside: list[TaskUnit], config: Config) -> Iterator[str]:
    """Where a flow asks for more functions at a time than there are."""
    asked, most = stage.concurrency_limit or 0, functions(config)
    whose, remedy = "of the account", "request a higher quota and set lambda.concurrency"
    if config.lambda_.reserved_concurrency is not None:
        whose, remedy = "that are reserved", "set a higher lambda.reserved_concurrency"
    if asked > most and not any(map(is_batch, inside)):
        yield (
            f"map '{stage.name}': concurrency_limit={asked} is more than the {most:,} functions "
            f"at a time {whose}: calls that are refused are retried, and each retry is a "
            f"state transition; lower it, or {remedy}"
        )


def _reserved(graph: FlowGraph[Any], config: Config) -> Iterator[str]:
    """Where reservations leave the account too little."""
    count = sum(unit.in_map and not is_batch(unit) for unit in units(graph))
    account = config.lambda_.concurrency or ACCOUNT_CONCURRENCY
    reserved = count * (config.lambda_.reserved_concurrency or 0)
    if reserved > account - _LEFT_UNRESERVED:
        yield (
            f"{reserved:,} functions are reserved for {count} steps, but of {account:,} the "
            f"account has to keep {_LEFT_UNRESERVED}, or the stack fails: lower "
            "lambda.reserved_concurrency, or request a higher quota and set lambda.concurrency"
        )


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
        submitting=children * jobs / _SUBMITTED,
    )


def _durations(course: _Course) -> Iterator[str]:
    """How long a map takes whose items do not all run at a time, and what it waits for."""
    if course.children > course.at_once:
        what = "jobs" if course.jobs else "invocations"
        remedy = "; concurrency_limit changes it" if course.running == course.seconds else ""
        yield (
            f"map '{course.name}': {course.at_once:,} of {course.children:,} {what} at a time, "
            f"at least {course.seconds:,.0f} s{remedy}"
        )
    if course.starting == course.seconds > course.running:
        yield (
            f"map '{course.name}': Step Functions starts {course.started:,} executions of this "
            "kind a second; for calls as short as these, batch_size needs fewer"
        )
    if course.submitting == course.seconds > course.running:
        yield (
            f"map '{course.name}': Batch takes {_SUBMITTED} jobs a second; for calls as short "
            "as these, let one item stand for several, or use Lambda with batch_size"
        )
