"""200 items that sleep 50 ms, 50 at a time, beside plain Python; the ideal is 200 ms."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import anyio
from timing import (
    NO_BOUND,
    Bound,
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

ITEMS, CONCURRENCY, NAP = 200, 50, 0.05
BOUND = Bound(1.15, None, times)


def nap(x: int) -> int:
    time.sleep(NAP)
    return 1


async def nap_async(x: int) -> int:
    await anyio.sleep(NAP)
    return 1


@step
def numbers() -> list[int]:
    return list(range(ITEMS))


@step
def total(values: list[int]) -> int:
    return sum(values)


nap_step = step(nap)
nap_async_step = step(nap_async)


@flow
def in_threads():
    return numbers().map(nap_step).agg(total)


@flow
def on_the_loop():
    return numbers().map(nap_async_step).agg(total)


def engine(of: Flow[..., Any]) -> float:
    with directory() as place:
        return asyncio.run(run_durably(of, ITEMS, concurrency=CONCURRENCY, place=place)).run


def thread_pool() -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        sum(pool.map(nap, range(ITEMS)))
    return time.perf_counter() - began


def gathered() -> float:
    async def run() -> float:
        began = time.perf_counter()
        semaphore = asyncio.Semaphore(CONCURRENCY)

        async def one(x: int) -> int:
            async with semaphore:
                return await nap_async(x)

        sum(await asyncio.gather(*map(one, range(ITEMS))))
        return time.perf_counter() - began

    return asyncio.run(run())


def main() -> None:
    options = arguments(__doc__)
    turns = alternate(
        options.repeat,
        lambda: engine(in_threads),
        thread_pool,
        lambda: engine(on_the_loop),
        gathered,
    )
    rows = []
    for index, name, plain in (
        (0, "lokki, sync step", "ThreadPoolExecutor.map"),
        (2, "lokki, async step", "asyncio.gather"),
    ):
        ratio = ratios(turns, index, index + 1)
        rows += (
            (name, seconds(column(turns, index)), spread(ratio), *BOUND.cells(median(ratio))),
            (plain, seconds(column(turns, index + 1)), "", *NO_BOUND),
        )
    table(
        f"{ITEMS} items of {NAP * 1000:.0f} ms, {CONCURRENCY} at a time; "
        f"medians of {options.repeat}",
        ("", "time", "ratio, turn by turn", "bound", ""),
        rows,
    )


if __name__ == "__main__":
    main()
