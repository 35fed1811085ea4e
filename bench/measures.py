"""What `builds.py` measures, in a process of its own: ``measures.py NAME COUNT FOLDER``.

Prints figures as JSON. A worker of lokki imports this file, as it imports any program, so what only
the measuring process needs is imported where it is used.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

from process_pools import (
    PROCESSES,
    add_one,
    in_threads,
    lokki,
    numbers,
    pool_executor,
    pool_imap,
    total,
)

from lokki import flow, step

CONCURRENCY = 16
CPU_SECONDS = 0.001
ELEMENTS = 131_072
"""Of doubles, in an array of 1 MiB."""


def busy(x: int) -> int:
    """Compute for a millisecond."""
    until = thread_time() + CPU_SECONDS
    while thread_time() < until:
        pass
    return x


def array_of(seed: int) -> Any:
    import numpy as np

    return np.random.default_rng(seed).random(ELEMENTS)


def read(array: Any) -> float:
    return float(array.sum())


busy_step = step(executor="process")(busy)
make_step = step(executor="process")(array_of)
read_step = step(executor="process")(read)


@flow
def busily(count: int):
    return numbers().map(busy_step).agg(total)


@flow
def with_arrays(count: int):
    return numbers().map(make_step).map(read_step).agg(total)


def run(of: Any, count: int, folder: str, **options: Any) -> float:
    """Seconds of a run; the engine is open before."""
    import asyncio

    from lokki import Engine

    async def begin() -> float:
        async with Engine(journal=Path(folder, "lokki.db"), **options) as engine:
            began = perf_counter()
            await engine.run(of, {"count": count})
            return perf_counter() - began

    return asyncio.run(begin())


def threads(count: int, folder: str) -> float:
    return run(in_threads, count, folder, concurrency=CONCURRENCY)


def coroutines(count: int, folder: str) -> float:
    from map import on_the_loop

    return run(on_the_loop, count, folder, concurrency=CONCURRENCY)


def took(function: Callable[[], object]) -> float:
    began = perf_counter()
    function()
    return perf_counter() - began


def run_sync(count: int, folder: str) -> float:
    import os

    os.environ["LOKKI_LOCAL_JOURNAL"] = str(Path(folder, "lokki.db"))
    in_threads.run_sync(count=1)  # imports what a run needs
    return took(lambda: in_threads.run_sync(count=count))


def ideal(count: int, folder: str) -> float:
    """What the calls take, one after the other, shared evenly."""
    return took(lambda: [busy(x) for x in range(count)]) / PROCESSES


def joblib(count: int, folder: str) -> float:
    from joblib import Parallel, delayed

    return took(lambda: sum(Parallel(PROCESSES)(delayed(add_one)(x) for x in range(count))))


def joblib_arrays(count: int, folder: str) -> float:
    from joblib import Parallel, delayed

    def both() -> None:
        with Parallel(PROCESSES) as pool:
            sum(pool(delayed(read)(each) for each in pool(map(delayed(array_of), range(count)))))

    return took(both)


def thread_pool(count: int, folder: str) -> float:
    from map import thread_pool

    return thread_pool(count)


def gather(count: int, folder: str) -> float:
    from map import gathered

    return gathered(count)


def durable(count: int, folder: str) -> float:
    import payloads

    payloads.data[:] = payloads.random_arrays(count)
    return payloads.engine(payloads.made_by_the_map)


def files(count: int, folder: str) -> float:
    import payloads

    payloads.data[:] = payloads.random_arrays(count)
    return payloads.files(payloads.one_by_one)


def files_in_threads(count: int, folder: str) -> float:
    import payloads

    payloads.data[:] = payloads.random_arrays(count)
    return payloads.files(payloads.in_threads)


def resume(count: int, folder: str) -> float:
    import resume

    return resume.measure(count)[0]


def serve(count: int, folder: str) -> float:
    """Seconds a run."""
    from server import runs_a_second

    return 1 / runs_a_second(count)[0]


def growth(count: int, folder: str) -> dict[str, float]:
    """The time, the peak of the memory and the bytes on the disk."""
    import resource

    seconds = threads(count, folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return {"seconds": seconds, "peak": peak * 1024, "bytes": size}


MEASURES: dict[str, Callable[[int, str], Any]] = {
    "processes": lambda count, folder: lokki(count, folder)[1],
    "executor": lambda count, folder: pool_executor(count, folder)[1],
    "forkserver": lambda count, folder: pool_executor(count, folder, "forkserver")[1],
    "imap": lambda count, folder: pool_imap(count, folder)[1],
    "joblib": joblib,
    "cpu": lambda count, folder: run(busily, count, folder, processes=PROCESSES),
    "ideal": ideal,
    "arrays": lambda count, folder: run(with_arrays, count, folder, processes=PROCESSES),
    "joblib_arrays": joblib_arrays,
    "threads": threads,
    "thread_pool": thread_pool,
    "run_sync": run_sync,
    "coroutines": coroutines,
    "gather": gather,
    "durable": durable,
    "files": files,
    "files_in_threads": files_in_threads,
    "growth": growth,
    "resume": resume,
    "serve": serve,
}


def main() -> None:
    _, name, count, folder = sys.argv
    found = MEASURES[name](int(count), folder)
    print(json.dumps(found if isinstance(found, dict) else {"seconds": found}))


if __name__ == "__main__":
    main()
