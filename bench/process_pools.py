"""What `processes.py` measures, in a process of its own: ``process_pools.py NAME COUNT FOLDER``.

A worker of lokki imports this file, as it imports any program; a pool that forks has it already.
So what only the measuring process needs is imported where it is used.
"""

from __future__ import annotations

import sys
from time import perf_counter

from lokki import flow, step

PROCESSES = 2


def add_one(x: int) -> int:
    return x + 1


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def total(values: list[int]) -> int:
    return sum(values)


add_one_step = step(add_one)
add_one_apart = step(executor="process")(add_one)


@flow
def in_threads(count: int):
    return numbers().map(add_one_step).agg(total)


@flow
def in_processes(count: int):
    return numbers().map(add_one_apart).agg(total)


def lokki(count: int, folder: str) -> tuple[int, float]:
    """A run, in which its workers start; the engine is open before."""
    import asyncio
    from pathlib import Path

    from lokki import Engine

    async def run() -> tuple[int, float]:
        async with Engine(journal=Path(folder, "lokki.db"), processes=PROCESSES) as engine:
            began = perf_counter()
            result = await engine.run(in_processes, {"count": count})
            return result, perf_counter() - began

    return asyncio.run(run())


def pool_executor(count: int, folder: str, start: str = "fork") -> tuple[int, float]:
    """With workers that ``start`` as forks, or as Python 3.14 has it on Linux: "forkserver"."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    began = perf_counter()
    with ProcessPoolExecutor(PROCESSES, get_context(start)) as pool:
        result = sum(pool.map(add_one, range(count), chunksize=100))
    return result, perf_counter() - began


def pool_imap(count: int, folder: str) -> tuple[int, float]:
    """With the chunks that `Pool.map` would make: four a worker."""
    import multiprocessing

    began = perf_counter()
    with multiprocessing.Pool(PROCESSES) as pool:
        chunk = -(-count // (4 * PROCESSES))
        result = sum(pool.imap(add_one, range(count), chunksize=chunk))
    return result, perf_counter() - began


MEASURES = {"lokki": lokki, "executor": pool_executor, "imap": pool_imap}


def main() -> None:
    _, name, count, folder = sys.argv
    result, seconds = MEASURES[name](int(count), folder)
    print(result, seconds)


if __name__ == "__main__":
    main()
