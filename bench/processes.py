"""A map of 10,000 trivial items in worker processes, durable, beside pools that record nothing."""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

from timing import (
    NO_BOUND,
    Bound,
    add_options,
    alternate,
    begin,
    check,
    column,
    directory,
    environment,
    ratios,
    seconds,
    spread,
    table,
    times,
)

from lokki import Engine, flow, step

PROCESSES = 2
BOUND = Bound(2.0, 1.0, times)


def add_one(x: int) -> int:
    return x + 1


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def total(values: list[int]) -> int:
    return sum(values)


add_one_step = step(executor="process")(add_one)


@flow
def in_processes(count: int):
    return numbers().map(add_one_step).agg(total)


def lokki(count: int) -> float:
    """Seconds of a run, in which its workers start; the engine is open before."""

    async def run(place: Path) -> float:
        async with Engine(journal=place / "lokki.db", processes=PROCESSES) as engine:
            began = perf_counter()
            result = await engine.run(in_processes, {"count": count})
            took = perf_counter() - began
        check(result, sum(range(1, count + 1)))
        return took

    with directory() as place:
        return asyncio.run(run(place))


def pool_executor(count: int) -> float:
    began = perf_counter()
    with ProcessPoolExecutor(PROCESSES) as pool:
        result = sum(pool.map(add_one, range(count), chunksize=100))
    took = perf_counter() - began
    check(result, sum(range(1, count + 1)))
    return took


def pool_imap(count: int) -> float:
    """With the chunks that `Pool.map` would make: four a worker."""
    began = perf_counter()
    with multiprocessing.Pool(PROCESSES) as pool:
        chunk = -(-count // (4 * PROCESSES))
        result = sum(pool.imap(add_one, range(count), chunksize=chunk))
    took = perf_counter() - began
    check(result, sum(range(1, count + 1)))
    return took


MEASURES = {"lokki": lokki, "executor": pool_executor, "imap": pool_imap}


def measured(name: str, count: int, python: str = sys.executable) -> float:
    """A measure in a process of its own, with the lokki of an interpreter."""
    command = [python, __file__, "--measure", name, "--count", str(count)]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, 5)
    parser.add_argument("--before", help="the Python of an environment with an earlier lokki")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(MEASURES[options.measure](options.count))
        return
    begin(options)
    count = 1_000 if options.quick else 10_000
    subjects = [
        ("ProcessPoolExecutor.map, chunksize=100", partial(measured, "executor", count)),
        ("lokki, durable", partial(measured, "lokki", count)),
        ("multiprocessing.Pool.imap", partial(measured, "imap", count)),
    ]
    if options.before:
        before = partial(measured, "lokki", count, options.before)
        subjects.append(("lokki, the build before", before))
    turns = alternate(options.repeat, *(measure for _, measure in subjects))
    rows = []
    for position, (name, _) in enumerate(subjects):
        taken, ratio = column(turns, position), ratios(turns, position, 0)
        cells = BOUND.cells(median(ratio)) if name == "lokki, durable" else NO_BOUND
        rows.append((name, seconds(taken), seconds(taken / count), spread(ratio), *cells))
    table(
        f"Map of {count:,} trivial items in {PROCESSES} processes, their start included; "
        f"medians of {options.repeat}",
        ("", "time", "per item", "ratio, turn by turn", "bound", ""),
        rows,
    )


if __name__ == "__main__":
    main()
