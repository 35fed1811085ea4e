"""200 items that sleep 50 ms, 50 at a time: what is left of the ideal 200 ms."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
from timing import (
    NO_BOUND,
    Bound,
    alternate,
    arguments,
    column,
    directory,
    run_durably,
    seconds,
    table,
)

from lokki import Flow, flow, step

ITEMS, CONCURRENCY, NAP = 200, 50, 0.05
BOUND = Bound(0.23, None, seconds)


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
    threads, pool, loop, gather = (column(turns, index) for index in range(4))
    table(
        f"{ITEMS} items of {NAP * 1000:.0f} ms, {CONCURRENCY} at a time; "
        f"medians of {options.repeat}",
        ("", "time", "bound", ""),
        (
            ("lokki, sync step", seconds(threads), *BOUND.cells(threads)),
            ("ThreadPoolExecutor.map", seconds(pool), *NO_BOUND),
            ("lokki, async step", seconds(loop), *BOUND.cells(loop)),
            ("asyncio.gather", seconds(gather), *NO_BOUND),
        ),
    )


if __name__ == "__main__":
    main()
