"""200 slices of an Arrow table of 8 MB through one map, beside the same map over NumPy's views."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import median
from typing import Any

from timing import (
    NO_BOUND,
    Bound,
    arguments,
    directory,
    megabytes,
    run_durably,
    seconds,
    table,
    times,
)

from lokki import flow, step

BYTES, SLICES, CONCURRENCY = 8_000_000, 200, 16
BOUND = Bound(3.0, None, times)


def numpy_views() -> list[Any]:
    import numpy as np

    return np.array_split(np.random.default_rng(7).random(BYTES // 8), SLICES)


def arrow_tables() -> list[Any]:
    import pyarrow as pa

    views = numpy_views()
    whole = pa.table({"x": pa.concat_arrays([pa.array(view) for view in views])})
    return [whole.slice(sum(map(len, views[:n])), len(view)) for n, view in enumerate(views)]


def arrow_arrays() -> list[Any]:
    return [each["x"].chunk(0) for each in arrow_tables()]


KINDS: dict[str, Callable[[], list[Any]]] = {
    "NumPy views": numpy_views,
    "slices of a pyarrow.Table": arrow_tables,
    "slices of a pyarrow.Array": arrow_arrays,
}


@step
def sliced(kind: str) -> list[Any]:
    return KINDS[kind]()


@step
def half(part: Any) -> Any:
    return part[: len(part) // 2]


@step
def rows(parts: list[Any]) -> int:
    return sum(map(len, parts))


@flow
def halves(kind: str):
    return sliced().map(half).agg(rows)


def measured(kind: str) -> tuple[float, float, float]:
    """Seconds, bytes of memory above the slices' own, and bytes on the disk of a run."""
    expected = sum(len(part) // 2 for part in KINDS[kind]())
    before = peak()
    with directory() as place:
        os.sync()
        graph = halves.trace({"kind": kind})
        took = asyncio.run(run_durably(graph, expected, concurrency=CONCURRENCY, place=place))
        disk = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    return took.run, peak() - before, disk


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    options = arguments(__doc__)
    turns: dict[str, list[tuple[float, float, float]]] = {kind: [] for kind in KINDS}
    for _ in range(options.repeat):
        for kind, found in turns.items():
            # A process for each: its peak of memory is that of one run.
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                found.append(pool.submit(measured, kind).result())
    middle = {
        kind: [median(column) for column in zip(*found, strict=True)]
        for kind, found in turns.items()
    }
    views = middle["NumPy views"]
    lines = []
    for kind, (took, memory, disk) in middle.items():
        over = [one / base for one, base in zip(middle[kind], views, strict=True)]
        compared = ("", *NO_BOUND) if middle[kind] is views else ratios_and_bound(over)
        lines.append((kind, seconds(took), megabytes(memory), megabytes(disk), *compared))
    table(
        f"{SLICES} slices of {BYTES / 1e6:.0f} MB through a map; medians of {options.repeat}",
        ("", "time", "memory", "on the disk", "ratios", "bound", ""),
        lines,
    )


def ratios_and_bound(over: list[float]) -> tuple[str, ...]:
    return (", ".join(map(times, over)), *BOUND.cells(max(over)))


if __name__ == "__main__":
    main()
