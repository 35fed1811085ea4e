"""How long a resumed run of 10,000 done items takes until the first new item starts.

The run is killed with SIGKILL. Two of its items wait for ever, each alone in its lane, until the
run is resumed; all others are recorded by then.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median

from timing import (
    NO_BOUND,
    START,
    Bound,
    arguments,
    directory,
    environment,
    process_seconds,
    seconds,
    spread,
    start_seconds,
    table,
    times,
)

BOUND = Bound(5.0, None, times)
PATIENCE = 120

FLOW = """
import os
import time

from lokki import flow, main, step

HELD = 2


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def work(x: int) -> int:
    if x < HELD:
        with open("starts", "a") as file:
            file.write(f"{time.time()}\\n")
        while "HOLD" in os.environ:
            time.sleep(60)
    return x + 1


@step
def total(values: list[int]) -> int:
    return sum(values)


@flow
def held_flow(count: int = 10_002):
    return numbers().map(work).agg(total)


if __name__ == "__main__":
    main(held_flow)
"""


def succeeded(journal: str) -> int:
    """How many items of the map are recorded as done."""
    with closing(sqlite3.connect(journal)) as connection:
        try:
            rows = connection.execute("SELECT succeeded FROM stages WHERE kind = 'map'").fetchall()
        except sqlite3.OperationalError:  # it is being made
            return 0
    return sum(row[0] for row in rows)


def kill_when_done(place: Path, journal: str, count: int) -> None:
    """Run the flow until all but the two held items are recorded, and kill it."""
    command = [sys.executable, "flow.py", "run", "--count", str(count + 2)]
    env = environment(LOKKI_LOCAL_JOURNAL=journal, HOLD="1")
    process = subprocess.Popen(command, cwd=place, env=env, stdout=subprocess.PIPE, stderr=-1)
    patience = time.monotonic() + PATIENCE
    while succeeded(journal) < count:
        if process.poll() is not None or time.monotonic() > patience:
            process.kill()
            raise SystemExit(f"the run did not come to {count} items: {process.communicate()}")
        time.sleep(0.01)
    process.kill()
    process.communicate()


def measure(count: int) -> tuple[float, float, float]:
    """Seconds from the start of the resuming process to its first item, to its end; of a start."""
    with directory() as place:
        journal = str(place / "lokki.db")
        (place / "flow.py").write_text(FLOW)
        kill_when_done(place, journal, count)
        (place / "starts").unlink()
        with closing(sqlite3.connect(journal)) as connection:
            (run_id,) = connection.execute("SELECT id FROM runs").fetchone()
        command = [sys.executable, "flow.py", "resume", run_id]
        began = time.time()
        took = process_seconds(command, cwd=place, LOKKI_LOCAL_JOURNAL=journal)
        first = min(map(float, (place / "starts").read_text().split()))
        return first - began, took, start_seconds(place)


def main() -> None:
    options = arguments(__doc__)
    count = 1_000 if options.quick else 10_000
    turns = [measure(count) for _ in range(options.repeat)]
    first, took, start = zip(*turns, strict=True)
    ratio = [turn[0] / turn[2] for turn in turns]
    table(
        f"Resume of a killed run with {count:,} done items; medians of {options.repeat}",
        ("", "time", "ratio, turn by turn", "bound", ""),
        (
            ("to the first new item", seconds(median(first)), spread(ratio))
            + BOUND.cells(median(ratio)),
            ("to the end of the process", seconds(median(took)), "", *NO_BOUND),
            (START, seconds(median(start)), "", *NO_BOUND),
        ),
    )


if __name__ == "__main__":
    main()
