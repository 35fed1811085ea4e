"""A map of a million items beside one of ten thousand: time per item and peak memory."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
from statistics import median
from typing import NamedTuple

from map import CONCURRENCY, in_threads
from timing import (
    NO_BOUND,
    Bound,
    arguments,
    directory,
    megabytes,
    run_durably,
    script,
    seconds,
    spread,
    table,
    times,
)

GROWTH = Bound(1.3, None, times)
MEMORY = Bound(300e6, None, megabytes)


class Measured(NamedTuple):
    per_item: float
    peak_bytes: float


def measure(count: int) -> Measured:
    """One run in a process of its own, since a process's peak never falls."""
    command = [*script("growth.py"), "--child", str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return Measured(*json.loads(done.stdout))


def child(count: int) -> None:
    with directory() as place:
        graph, expected = in_threads.trace({"count": count}), count * (count + 1) // 2
        took = asyncio.run(run_durably(graph, expected, concurrency=CONCURRENCY, place=place))
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps((took.run / count, peak)))


def main() -> None:
    options = arguments(__doc__)
    few, many = (1_000, 10_000) if options.quick else (10_000, 1_000_000)
    measure(few)
    turns = [(measure(few), measure(many)) for _ in range(options.repeat)]
    rows = []
    for index, count in enumerate((few, many)):
        per_item = median(turn[index].per_item for turn in turns)
        peak = median(turn[index].peak_bytes for turn in turns)
        rows.append((f"{count:,} items", seconds(per_item), megabytes(peak), *NO_BOUND))
    growth = [large.per_item / small.per_item for small, large in turns]
    peak = max(large.peak_bytes for _, large in turns)
    rows += (
        ("growth, turn by turn", spread(growth), "", *GROWTH.cells(median(growth))),
        (f"largest peak at {many:,}", "", megabytes(peak), *MEMORY.cells(peak)),
    )
    table(
        f"Growth, a process a run; medians of {options.repeat}",
        ("", "per item", "peak memory", "bound", ""),
        rows,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]))
    else:
        main()
