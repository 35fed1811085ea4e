"""Chains that type checkers accept, with the types they must find."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, assert_type

from lokki import Failure, Flow, FlowGraph, MapBlock, StepNode, current, flow, step


@step
def numbers(limit: int = 3) -> list[int]:
    return list(range(limit))


@step
def doubled(number: int) -> int:
    return number * 2


@step
def scaled(number: int, factor: float = 1.0) -> float:
    return number * factor


@step
def needs_factor(number: int, factor: float) -> float:
    return number * factor


@step
async def fetched(number: int) -> str:
    return str(number)


@step
def generated() -> Iterator[int]:
    yield 1


@step
async def streamed() -> AsyncIterator[str]:
    yield "a"


@step(retry={"retries": 3}, timeout_seconds=5)
def with_options(number: int) -> bytes:
    return bytes(number)


@step(job_type="batch", vcpu=2)
async def async_with_options(number: int) -> dt.date:
    return dt.date(2026, 1, number)


@step
def total(values: Iterable[float]) -> float:
    return sum(values)


@step
def joined(values: list[str], separator: str = ", ") -> str:
    return separator.join(values)


@step
def untyped(value, **params):  # type: ignore[no-untyped-def]
    return value


assert_type(numbers(limit=5), StepNode[list[int]])
assert_type(numbers().map(doubled), MapBlock[int])
assert_type(numbers().map(doubled, concurrency_limit=5), MapBlock[int])
assert_type(numbers().map(scaled, factor=2.0), MapBlock[float])
assert_type(numbers().map(scaled, concurrency_limit=2, factor=2.0), MapBlock[float])
assert_type(numbers().map(needs_factor), MapBlock[float])
assert_type(numbers().map(needs_factor, tolerated_failures=0.05), MapBlock[float])
assert_type(numbers().map(fetched).agg(joined), StepNode[str])
assert_type(numbers().map(fetched).agg(joined, separator="/"), StepNode[str])
assert_type(numbers().map(doubled).next(scaled, factor=3.0).agg(total), StepNode[float])
assert_type(numbers().map(doubled).map(fetched), MapBlock[str])
assert_type(numbers().map([doubled, scaled]), MapBlock[Any])
assert_type(generated().map(doubled), MapBlock[int])
assert_type(streamed().next(joined), StepNode[str])
assert_type(numbers().map(with_options), MapBlock[bytes])
assert_type(numbers().map(async_with_options), MapBlock[dt.date])
numbers().map(untyped).agg(untyped)


@flow
def summed(limit: int, label: str = "x") -> StepNode[float]:
    return numbers(limit).map(doubled).agg(total)


@flow(schedule="rate(1 hour)", timezone="Europe/Helsinki", overlap="queue", target="durable")
def mapped() -> MapBlock[str]:
    return numbers().map(fetched)


@flow
def unannotated():  # type: ignore[no-untyped-def]
    return numbers().map(fetched)


assert_type(summed(5), FlowGraph[float])
assert_type(summed.run_sync(limit=5), float)
assert_type(summed.resume_sync("last"), float)
assert_type(mapped.run_sync(), list[str])
assert_type(mapped, Flow[[], list[str]])


@step
def reasons(values: list[int]) -> list[str]:
    failures = current().failures
    assert_type(failures, tuple[Failure, ...])
    return [assert_type(failure.reason, str) for failure in failures]
