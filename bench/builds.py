"""This build beside an earlier one and its peers, in turns: the figures of `docs/benchmarks.md`.

    git worktree add --detach ../before COMMIT && (cd ../before && uv sync --locked)
    uv run --with joblib --with numpy python bench/builds.py --before ../before/.venv/bin/python

joblib and NumPy are installed for this command; the earlier build gets NumPy by
``uv pip install --python ../before/.venv/bin/python numpy``. Each figure has a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from timing import (
    ROOT,
    Bound,
    add_options,
    alternate,
    begin,
    directory,
    environment,
    process_seconds,
    script,
    seconds,
    spread,
    table,
    times,
)

Figures = dict[str, float]


def measured(python: str, name: str, count: int) -> Figures:
    """The figures of a measure of `measures.py`."""
    with directory() as place:
        command = [python, *script("measures.py")[1:], name, str(count), str(place)]
        done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True)
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


def birds(python: str) -> float:
    """Seconds of the smallest flow, as a process."""
    with directory() as place:
        command = [python, ROOT / "examples" / "birds.py", "run"]
        return process_seconds(command, cwd=place, LOKKI_LOCAL_JOURNAL=str(place / "lokki.db"))


@dataclass(frozen=True)
class Work:
    """A row: what lokki does, at most how much of what, and what is measured beside it.

    ``figure`` is the one that is compared. The first of ``peers`` is what the bound is a ratio to;
    None: the build before.
    """

    title: str
    measure: str
    count: int
    bound: Bound
    peers: tuple[str, ...] = ()
    figure: str = "seconds"
    quick: int = 1_000


WORKS = (
    Work("10,000 trivial items in processes, their start included", "processes", 10_000,
         Bound(2.0, 1.0, times), ("executor", "forkserver", "imap", "joblib")),
    Work("10,000 items of 1 ms CPU, 2 processes", "cpu", 10_000,
         Bound(1.05, 1.02, times), ("ideal",), quick=100),
    Work("64 arrays of 1 MiB, made and read by processes", "arrays", 64,
         Bound(1.3, 1.0, times), ("joblib_arrays",), quick=4),
    Work("10,000 trivial items in threads", "threads", 10_000,
         Bound(0.25, 0.15, times), ("thread_pool",)),
    Work("the same by flow.run_sync, all included", "run_sync", 10_000,
         Bound(0.3, 0.2, times), ("thread_pool",)),
    Work("10,000 async items with one suspension", "coroutines", 10_000,
         Bound(0.6, 0.4, times), ("gather",)),
    Work("64 arrays of 1 MiB, durable, in threads", "durable", 64,
         Bound(1.2, None, times), ("files", "files_in_threads"), quick=4),
    Work("1,000,000 trivial items: time", "growth", 1_000_000, Bound(0.5, None, times)),
    Work("1,000,000 trivial items: peak memory", "growth", 1_000_000,
         Bound(0.6, None, times), figure="peak"),
    Work("1,000,000 trivial items: bytes of the journal", "growth", 1_000_000,
         Bound(0.4, None, times), figure="bytes"),
    Work("resume with 1,000,000 items done, to the first new item", "resume", 1_000_000,
         Bound(3.0, None, times), ("birds",)),
    Work("a one-step run of `lokki serve`, 2 runners", "serve", 2_000, Bound(0.4, None, times),
         quick=100),
)  # fmt: skip


Turns = list[tuple[Figures, ...]]


def take(work: Work, before: str | None, repeat: int, quick: bool) -> Turns:
    """Measure lokki, its peers and the build before in turns."""
    count = work.quick if quick else work.count

    def figures(python: str, name: str) -> Callable[[], Figures]:
        if name == "birds":
            return lambda: {"seconds": birds(python)}
        return lambda: measured(python, name, count)

    measures = [figures(sys.executable, name) for name in (work.measure, *work.peers)]
    if before:
        measures.append(figures(before, work.measure))
    return alternate(repeat, *measures)


def compared(work: Work, turns: Turns) -> list[str]:
    """A row of the table."""
    columns = [[each[work.figure] for each in column] for column in zip(*turns, strict=True)]
    lokki, *others = columns
    ratios = [[a / b for a, b in zip(lokki, other, strict=True)] for other in others]
    names = [*work.peers, "before"][: len(others)]
    show = seconds if work.figure == "seconds" else lambda value: f"{value:,.0f}"
    beside = ", ".join(
        f"{name} {show(median(other))}: {spread(ratio)}"
        for name, other, ratio in zip(names, others, ratios, strict=True)
    )
    cells = work.bound.cells(median(ratios[0])) if ratios else ("", "")
    return [work.title, show(median(lokki)), beside, *cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser, 5)
    parser.add_argument("--before", help="the Python of an environment with an earlier lokki")
    parser.add_argument("--only", action="append", help="measures to take; may be given again")
    options = parser.parse_args()
    begin(options)
    rows, taken = list[list[str]](), dict[str, Turns]()
    for work in WORKS:
        if options.only and work.measure not in options.only:
            continue
        if work.measure not in taken:
            taken[work.measure] = take(work, options.before, options.repeat, options.quick)
        rows.append(compared(work, taken[work.measure]))
    columns = ("", "lokki", "beside it, and the ratio turn by turn", "bound", "")
    table(f"This build, peers, and the build before; medians of {options.repeat}", columns, rows)


if __name__ == "__main__":
    main()
