"""A map of 10,000 trivial items, durable, beside plain Python that records nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from time import perf_counter
from typing import Any

import anyio
from process_pools import add_one, in_threads, numbers, total
from timing import (
    NO_BOUND,
    Bound,
    Durable,
    alternate,
    arguments,
    column,
    directory,
    ratios,
    run_durably,
    seconds,
    spread,
    table,
    times,
)

from lokki import Flow, flow, step

CONCURRENCY = 16
THREADS = Bound(1.0, 0.5, times)
ASYNC = Bound(1.5, 1.0, times)


async def add_one_async(x: int) -> int:
    await anyio.sleep(0)  # noqa: ASYNC115 (what a user writes)
    return x + 1


add_one_async_step = step(add_one_async)


@flow
def on_the_loop(count: int):
    return numbers().map(add_one_async_step).agg(total)


def engine(of: Flow[..., Any], count: int) -> Durable:
    with directory() as place:
        expected = sum(range(1, count + 1))
        return asyncio.run(
            run_durably(of.trace({"count": count}), expected, concurrency=CONCURRENCY, place=place)
        )


def thread_pool(count: int) -> float:
    began = perf_counter()
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        sum(pool.map(add_one, range(count)))
    return perf_counter() - began


def gathered(count: int) -> float:
    async def run() -> float:
        began = perf_counter()
        semaphore = asyncio.Semaphore(CONCURRENCY)

        async def one(x: int) -> int:
            async with semaphore:
                return await add_one_async(x)

        sum(await asyncio.gather(*map(one, range(count))))
        return perf_counter() - began

    return asyncio.run(run())


def compare(
    of: Flow[..., Any], plain: Callable[[int], float], count: int, repeat: int
) -> tuple[list[tuple[float, ...]], float]:
    """Turns of (the run, plain Python), and the median with the engine opened and closed."""
    whole: list[float] = []

    def durable() -> float:
        measured = engine(of, count)
        whole.append(measured.whole)
        return measured.run

    return alternate(repeat, durable, lambda: plain(count)), median(whole[1:])


def main() -> None:
    options = arguments(__doc__)
    count = 1_000 if options.quick else 10_000
    rows = []
    for name, of, plain_name, plain, bound in (
        ("sync step", in_threads, "ThreadPoolExecutor.map", thread_pool, THREADS),
        ("async step", on_the_loop, "asyncio.gather", gathered, ASYNC),
    ):
        turns, whole = compare(of, plain, count, options.repeat)
        run, other = column(turns, 0), column(turns, 1)
        ratio = ratios(turns, 0, 1)
        rows += (
            (f"lokki, {name}", seconds(run), seconds(run / count), spread(ratio))
            + bound.cells(median(ratio)),
            ("  engine opened and closed, too", seconds(whole), seconds(whole / count))
            + (times(whole / other), *NO_BOUND),
            (plain_name, seconds(other), seconds(other / count), "", *NO_BOUND),
        )
    table(
        f"Map of {count:,} trivial items, {CONCURRENCY} at a time; medians of {options.repeat}",
        ("", "time", "per item", "ratio, turn by turn", "bound", ""),
        rows,
    )


if __name__ == "__main__":
    main()
