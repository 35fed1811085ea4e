"""A map of 10,000 trivial items in worker processes, durable, beside pools that record nothing."""

from __future__ import annotations

import argparse
import subprocess
import sys
from functools import partial
from statistics import median

from process_pools import PROCESSES
from timing import (
    HERE,
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

BOUND = Bound(2.0, 1.0, times)


def measured(name: str, count: int, python: str = sys.executable) -> float:
    """A measure in a process of its own, with the lokki of an interpreter."""
    with directory() as place:
        command = [python, HERE / "process_pools.py", name, str(count), place]
        done = subprocess.run(
            command, env=environment(), stdout=subprocess.PIPE, text=True, check=True
        )
    result, took = done.stdout.split()
    check(int(result), sum(range(1, count + 1)))
    return float(took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser, 5)
    parser.add_argument("--before", help="the Python of an environment with an earlier lokki")
    options = parser.parse_args()
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
