"""64 arrays of 1 MiB through a map and an aggregation, beside writing them to 64 files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from timing import (
    NO_BOUND,
    Bound,
    alternate,
    arguments,
    column,
    directory,
    megabytes,
    ratios,
    run_durably,
    seconds,
    spread,
    table,
    times,
)

from lokki import Flow, flow, step

ARRAYS, MIB, CONCURRENCY, WRITERS = 64, 1 << 20, 16, 8
BOUND = Bound(2.0, None, times)

# What the steps hand out. It is made beforehand, so that neither side is charged for its making.
data: list[bytes] = []


@step
def all_arrays() -> list[bytes]:
    return data


@step
def length(array: bytes) -> int:
    return len(array)


@step
def indexes() -> list[int]:
    return list(range(len(data)))


@step
def array_of(index: int) -> bytes:
    return data[index]


@step
def total(lengths: list[int]) -> int:
    return sum(lengths)


@step
def total_length(arrays: list[bytes]) -> int:
    return sum(map(len, arrays))


@flow
def made_by_the_source():
    return all_arrays().map(length).agg(total)


@flow
def made_by_the_map():
    return indexes().map(array_of).agg(total_length)


def engine(of: Flow[..., Any], sizes: list[int] | None = None) -> float:
    """Seconds of a run; the bytes that it left on the disk are added to ``sizes``."""
    with directory() as place:
        os.sync()
        expected = sum(map(len, data))
        took = asyncio.run(run_durably(of, expected, concurrency=CONCURRENCY, place=place))
        if sizes is not None:
            sizes.append(sum(file.stat().st_size for file in place.rglob("*") if file.is_file()))
    return took.run


def write(path: Path, array: bytes) -> None:
    with open(path, "wb") as file:
        file.write(array)
        file.flush()
        os.fsync(file.fileno())


def files(through: Callable[..., object]) -> float:
    """Seconds to write and fsync every array, by a function such as ``map``."""
    with directory() as place:
        paths = [place / str(index) for index in range(len(data))]
        os.sync()
        began = perf_counter()
        through(write, paths, data)
        return perf_counter() - began


def one_by_one(function: Callable[..., object], *iterables: Sequence[Any]) -> None:
    for _ in map(function, *iterables):
        pass


def in_threads(function: Callable[..., object], *iterables: Sequence[Any]) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        for _ in pool.map(function, *iterables):
            pass


def random_arrays(count: int) -> list[bytes]:
    return [os.urandom(MIB) for _ in range(count)]


def text_arrays(count: int) -> list[bytes]:
    """Lines of a measurement series, such as CSV files hold."""
    lines = [f"{n},station-{n % 37},{n * 7919 % 1000 / 10},ok\n" for n in range(MIB // 16)]
    text = "".join(lines).encode()
    return [text[index:MIB] + text[:index] for index in range(count)]


def main() -> None:
    options = arguments(__doc__)
    count = 4 if options.quick else ARRAYS
    flows = (("the source makes them", made_by_the_source), ("the map makes them", made_by_the_map))
    columns = ("", "time", "ratio, turn by turn", "bound", "")

    data[:] = random_arrays(count)
    rows = []
    for name, of in flows:
        turns = alternate(
            options.repeat,
            lambda of=of: engine(of),
            lambda: files(one_by_one),
            lambda: files(in_threads),
        )
        ratio = ratios(turns, 0, 1)
        rows += (
            (f"lokki, {name}", seconds(column(turns, 0)), spread(ratio))
            + BOUND.cells(median(ratio)),
            (f"{count} files, one by one", seconds(column(turns, 1)), "", *NO_BOUND),
            (f"{count} files, {WRITERS} threads", seconds(column(turns, 2)), "", *NO_BOUND),
        )
    title = f"{count} arrays of 1 MiB of random bytes, durable; medians of {options.repeat}"
    table(title, columns, rows)

    data[:] = text_arrays(count)
    rows = []
    for name, of in flows:
        sizes: list[int] = []
        took = [engine(of, sizes) for _ in range(options.repeat)]
        given, kept = sum(map(len, data)), median(sizes)
        rows.append(
            (name, seconds(median(took)), megabytes(given), megabytes(kept), times(kept / given))
        )
    title = f"{count} arrays of 1 MiB of CSV text: bytes on the disk; medians of {options.repeat}"
    table(title, ("", "time", "in", "on the disk", "ratio"), rows)


if __name__ == "__main__":
    main()
