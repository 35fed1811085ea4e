"""A map of 10,000 trivial items on a Dask cluster of two processes, durable, beside Dask itself.

The cluster and the engine are there before: what is measured is a run, or `client.map` with
`gather`, which records nothing, or the same run in worker processes of this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter, sleep

from process_pools import PROCESSES, in_processes, in_threads
from timing import (
    NO_BOUND,
    ROOT,
    Bound,
    add_options,
    alternate,
    begin,
    check,
    column,
    directory,
    ratios,
    seconds,
    spread,
    table,
    times,
)

from lokki import Engine

OF_DASK, OF_PROCESSES = Bound(0.02, 0.005, times), Bound(3.0, 1.5, times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, 3)
    options = parser.parse_args()
    begin(options)
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "cluster")]
    from clusters import Cluster  # the one that the tests use

    count = 1_000 if options.quick else 10_000
    with directory() as place, Cluster(place) as cluster:
        names = [f"worker-{each}" for each in range(PROCESSES)]
        for name in names:
            cluster.start_worker(name)
        for name in names:
            cluster.until_worker(name)
        with asyncio.Runner() as loop:
            turns = loop.run(measured(cluster.address, count, options.repeat, str(place / "db")))
    titles = ("lokki on Dask, durable", "client.map and gather", "lokki in processes, durable")
    bounds = (None, OF_DASK, OF_PROCESSES)
    rows = []
    for position, (title, bound) in enumerate(zip(titles, bounds, strict=True)):
        taken, ratio = column(turns, position), ratios(turns, 0, position)
        cells = NO_BOUND if bound is None else bound.cells(median(ratio))
        rows.append((title, seconds(taken), seconds(taken / count), spread(ratio), *cells))
    table(
        f"Map of {count:,} trivial items on {PROCESSES} Dask workers; medians of {options.repeat}",
        ("", "time", "per item", "lokki on Dask to it, turn by turn", "bound", ""),
        rows,
    )


async def measured(address: str, count: int, repeat: int, journal: str) -> list[tuple[float, ...]]:
    """The seconds of each, in turns; the first turn, in which all warm up, does not count."""
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.ERROR)
    expected = sum(range(1, count + 1))
    async with Engine(journal=journal, cluster=address, processes=PROCESSES) as engine:
        with Client(address, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            loop = asyncio.get_running_loop()

            def run(flow: object) -> Callable[[], float]:
                def total(count: int) -> object:
                    running = engine.run(flow, {"count": count})  # type: ignore[call-overload]
                    return asyncio.run_coroutine_threadsafe(running, loop).result()

                def measure() -> float:
                    total(100)  # workers end that had nothing to do for a minute
                    began = perf_counter()
                    check(total(count), expected)
                    return perf_counter() - began

                return measure

            def mapped() -> float:
                began = perf_counter()
                futures = client.map(lambda x: x + 1, range(count), pure=False)
                check(sum(client.gather(futures)), expected)
                took = perf_counter() - began
                del futures
                while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)):
                    sleep(0.1)  # it forgets them one by one, which others must not wait for
                return took

            measures = run(in_threads), mapped, run(in_processes)
            return await asyncio.to_thread(alternate, repeat, *measures)


if __name__ == "__main__":
    main()
