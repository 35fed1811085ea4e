"""The commands over a large journal, as whole processes, and what a captured print costs.

The journal holds 10,000 finished runs, a run that was killed half through 1,000,000 items with
some failures, and a run with 1,000,000 log lines.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import TextIO

from timing import (
    NO_BOUND,
    START,
    Bound,
    alternate,
    arguments,
    column,
    directory,
    process_seconds,
    ratios,
    seconds,
    spread,
    start_seconds,
    table,
    times,
)

from lokki import Engine, flow, step
from lokki.model.structure import dumped, of_text
from lokki.store.journal import Journal
from lokki.store.outcomes import Outcomes
from lokki.store.records import Opening
from lokki.store.rows import StageRow, stage_id
from lokki.store.spans import Span

HELP = Bound(2.0, None, times)
RUNS = Bound(4.0, None, times)
SHOW = Bound(4.0, None, times)
LOGS = Bound(3.0, None, times)
LINE = Bound(20.0, None, times)
LOKKI = [sys.executable, "-m", "lokki"]


def fill(path: Path, runs: int, items: int) -> None:
    """Make the journal."""
    with closing(Journal(path)) as journal:
        for number in range(runs):
            _create(journal, f"run-{number:05}", float(number))
            last = journal.finish(f"run-{number:05}", "succeeded", number + 1.0, None)
        last.result()
        _half_a_map(journal, items)
        _create(journal, "wordy", runs + 2.0).result()
        writer = journal.own("wordy", lambda error: None)
        for number in range(items):
            writer.log((float(number), "work", number, 1, "INFO", "stdout", f"line {number}"))
        journal.finish("wordy", "succeeded", runs + 3.0, None).result()


def _create(journal: Journal, run_id: str, now: float):
    return journal.create(
        run_id, flow="many", source=None, fingerprint="f",
        structure=dumped(of_text("numbers → map(work)")),
        params=b"", params_json='{"limit": 5}', now=now,
    )  # fmt: skip


def _half_a_map(journal: Journal, items: int) -> None:
    number = _create(journal, "large", 1e9).result()
    writer = journal.own("large", lambda error: None)
    stage = stage_id(number, 1)
    writer.add(Opening(StageRow(stage, "large", 1, "work", "map", 1e9, None, items)))
    half, slices = items // 2, 500
    for start in range(0, half, slices):
        rows = Outcomes(stage, (start + slices, 0, start // slices, 0))
        done = slices - 1
        rows.spans.append(Span.of(start, 1.0, [2.0] * done, [1] * done))
        item = stage << 32 | (start + slices - 1)
        rows.items.append((item, "tolerated", 0, 1, 1.0, 2.0, None, None))
        trace = f'  File "work.py", line {5 + start % 3}, in work\n'
        rows.failures.append((item, "work", 1, 2.0, "ValueError", f"bad {start}", trace, None))
        writer.add(rows)
        journal.commits.wait_for_room()
    journal.finish("large", "failed", 2e9, None).result()


def first_line(place: Path, path: Path) -> float:
    """Seconds until `lokki logs` has printed something."""
    import subprocess

    began = time.perf_counter()
    with subprocess.Popen(
        [*LOKKI, "logs", "wordy"], cwd=place, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "LOKKI_LOCAL_JOURNAL": str(path)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline().endswith("line 0\n")
        took = time.perf_counter() - began
        process.kill()
    return took


@step
def numbers(count):
    return list(range(count))


@step
def silent(number):
    return number


@step
def printing(number):
    print("line")
    return number


@flow
def silently(count: int):
    return numbers(count).map(silent)


@flow
def printed(count: int):
    return numbers(count).map(printing)


def engine_seconds(each, count: int, path: Path) -> float:
    """Seconds of a map whose output goes nowhere, the engine's opening and closing left out."""

    async def run(nowhere: TextIO) -> float:
        async with Engine(journal=path, echo=nowhere) as engine:
            began = time.perf_counter()
            await engine.run(each, {"count": count})
            return time.perf_counter() - began

    with open(os.devnull, "w") as nowhere:
        return asyncio.run(run(nowhere))


def print_seconds(count: int) -> float:
    """Seconds of so many prints that nobody captures."""
    with open(os.devnull, "w") as nowhere:
        began = time.perf_counter()
        for _ in range(count):
            print("line", file=nowhere)
        return time.perf_counter() - began


def main() -> None:
    options = arguments(__doc__)
    runs, items, lines = (100, 10_000, 2_000) if options.quick else (10_000, 1_000_000, 50_000)
    with directory() as place:
        path = place / "lokki.db"
        fill(path, runs, items)

        def command(*words: str) -> float:
            return process_seconds([*LOKKI, *words], cwd=place, LOKKI_LOCAL_JOURNAL=str(path))

        turns = alternate(
            options.repeat,
            lambda: command("--help"),
            lambda: command("runs"),
            lambda: command("show", "large"),
            lambda: first_line(place, path),
            lambda: start_seconds(place),
            lambda: engine_seconds(silently, lines, place / "a.db"),
            lambda: engine_seconds(printed, lines, place / "b.db"),
            lambda: print_seconds(lines),
        )
    rows = [(START, seconds(column(turns, 4)), "", *NO_BOUND)]
    for index, name, bound in (
        (0, "lokki --help", HELP),
        (1, "lokki runs", RUNS),
        (2, "lokki show, half a map", SHOW),
        (3, "lokki logs, first line", LOGS),
    ):
        ratio = ratios(turns, index, 4)
        rows.append(
            (name, seconds(column(turns, index)), spread(ratio), *bound.cells(median(ratio)))
        )
    captured = [(turn[6] - turn[5]) / turn[7] for turn in turns]
    rows += (
        ("a print to a file", seconds(column(turns, 7) / lines), "", *NO_BOUND),
        ("a captured print", seconds(median(turn[6] - turn[5] for turn in turns) / lines))
        + (spread(captured), *LINE.cells(median(captured))),
    )
    table(
        f"The terminal with {runs:,} runs, {items:,} items and lines; medians of {options.repeat}",
        ("", "time", "ratio, turn by turn", "bound", ""),
        rows,
    )


if __name__ == "__main__":
    main()
