"""Which limits of Lambda an execution comes near, each with what to change. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lokki.builder.concurrency import ACCOUNT_CONCURRENCY, functions
from lokki.builder.sizes import MOST_LAMBDA_SECONDS, STORING_SECONDS, is_batch, sizes_of
from lokki.config import Config
from lokki.graph import FlowGraph
from lokki.runtime.event import INLINE_BYTES
from lokki.runtime.units import TaskUnit, units
from lokki.stages import MapStage

NEAR = 0.8
"""The share of a limit from which on it is reported."""
MB_OF_A_CPU = 1_769
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""
_LEFT_UNRESERVED = 100
"""Functions of an account that cannot be reserved
(https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html)."""
_READ_SECONDS = 0.0017
"""Of one CPU, to list, read and unpack a small result, measured with 3,000 of them."""


def time(unit: TaskUnit, seconds: float, at_once: int) -> Iterator[str]:
    """Where an invocation, which has ``at_once`` items, may not have the time."""
    taken = seconds * len(unit.calls) * at_once
    most = MOST_LAMBDA_SECONDS - STORING_SECONDS
    if not is_batch(unit) and taken > NEAR * most:
        remedy = "give it job_type='batch'"
        if len(unit.calls) > 1 or at_once > 1:
            remedy = "lower batch_size or leave direct_pass out, or " + remedy
        yield f"step '{unit.name}': an invocation takes {taken:,.0f} s of {most} s: {remedy}"


def event(unit: TaskUnit) -> Iterator[str]:
    """What the event of a Batch job may have."""
    if is_batch(unit):
        yield (
            f"step '{unit.name}': a Batch job takes an event of 8 KiB; keep the flow's "
            f"parameters below {8 - INLINE_BYTES // 1024} KiB"
        )


def reading(unit: TaskUnit, config: Config, items: int) -> Iterator[str]:
    """Where a function may not have the time to read the results of a map."""
    if not isinstance(unit.source, MapStage) or unit.in_map or is_batch(unit):
        return
    memory, most = sizes_of(unit, config).memory_mb, MOST_LAMBDA_SECONDS - STORING_SECONDS
    taken = items * _READ_SECONDS / min(1.0, memory / MB_OF_A_CPU)
    if taken > NEAR * most:
        more = f"memory_mb={MB_OF_A_CPU} for a whole CPU, or " if memory < MB_OF_A_CPU else ""
        yield (
            f"step '{unit.name}': reading {items:,} results takes about {taken:,.0f} s of {most} "
            f"s: give it {more}job_type='batch', or let one item of the map stand for several"
        )


def concurrency(
    stage: MapStage, inside: list[TaskUnit], config: Config, charged: str
) -> Iterator[str]:
    """Where a flow asks for more functions at a time than there are; a retry is ``charged``."""
    asked, most = stage.concurrency_limit or 0, functions(config)
    whose, remedy = "of the account", "request a higher quota and set lambda.concurrency"
    if config.lambda_.reserved_concurrency is not None:
        whose, remedy = "that are reserved", "set a higher lambda.reserved_concurrency"
    if asked > most and not any(map(is_batch, inside)):
        yield (
            f"map '{stage.name}': concurrency_limit={asked} is more than the {most:,} functions "
            f"at a time {whose}: calls that are refused are retried, and each retry is "
            f"{charged}; lower it, or {remedy}"
        )


def reserved(graph: FlowGraph[Any], config: Config) -> Iterator[str]:
    """Where reservations leave the account too little."""
    steps = sum(unit.in_map and not is_batch(unit) for unit in units(graph))
    account = config.lambda_.concurrency or ACCOUNT_CONCURRENCY
    functions = steps * (config.lambda_.reserved_concurrency or 0)
    if functions > account - _LEFT_UNRESERVED:
        yield (
            f"{functions:,} functions are reserved for {steps} steps, but of {account:,} the "
            f"account has to keep {_LEFT_UNRESERVED}, or the stack fails: lower "
            "lambda.reserved_concurrency, or request a higher quota and set lambda.concurrency"
        )
