"""The flow of `durable.py`: it is packaged, and imported where nothing of the benchmarks is."""

from __future__ import annotations

from lokki import flow, step


@step
def numbers(items: int) -> list[int]:
    return list(range(items))


@step
def double(number: int) -> int:
    return 2 * number


@step
def total(doubled: list[int]) -> int:
    return sum(doubled)


@flow
def mapped(items: int = 100, size: int = 0):
    return numbers().map(double, batch_size=size or None).agg(total)
