"""The soak: two servers on one journal, as they are used for weeks, in twenty minutes.

Runs of three flows are started all the time, with idempotency keys: maps in threads, in processes
and on the event loop. A fourth one has a schedule that ticks each minute. Their files and a module
that they import are edited every 30 seconds, every other time with a broken half in between. Every
two minutes one server is killed with SIGKILL, every other time with its runners, and started again
at once, as a service manager does. With ``--postgres``, the journal is in a PostgreSQL database, as
on two hosts, whose server is ended as by a power cut each time, too, and comes back only after the
server was started. Exits with 1 when

- a run has failed, is not there, or has not ended;
- a result is wrong;
- an outcome that was committed before a kill was worked out again after it;
- a server has ended by itself: the end of its log is printed, and it is started again;
- memory, descriptors or connections to the database have grown: the median of the last quarter of
  the time, to that of the second one, of what a server and its children have.

Every call appends a line "run index time" to the file ``calls`` at its start.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from kept import Server, Used
from observed import EVERY_ITEM
from timing import ROOT, WORK, add_options, begin, directory, megabytes, table

from lokki.store.codec import loads

sys.path.insert(0, str(ROOT / "tests"))
from postgres_server import PostgresServer

COUNT = 120
EDIT_SECONDS = 30
KILL_SECONDS = 120
START_SECONDS = 2.5
SAMPLE_SECONDS = 5
TEND_SECONDS = 1
PATIENCE = 120
MOST_GROWTH = 1.25
INDEX = (1 << 32) - 1

COMMON = """
import os, time
from pathlib import Path
import lokki

CALLS = Path(__file__).with_name("calls")
VERSION = {version}

def note(index):
    calls = os.open(CALLS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(calls, f"{{lokki.current().run_id}} {{index}} {{time.time()}}\\n".encode())
    os.close(calls)
"""
FLOWS = """
import asyncio, time
from lokki import flow, step
from common import note

VERSION = {version}

@step
def numbers(count):
    return range(count)

@step
def in_thread(index):
    note(index)
    time.sleep(0.02)
    return index + 1

@step
async def on_loop(index):
    note(index)
    await asyncio.sleep(0.02)
    return index + 1

@step(executor="process")
def in_process(index):
    note(index)
    time.sleep(0.005)
    return index + 1

@step
def total(values):
    return sum(values)

@flow
def threads(count: int):
    return numbers(count).map(in_thread, concurrency_limit=4).agg(total)

@flow
def loop(count: int):
    return numbers(count).map(on_loop, concurrency_limit=4).agg(total)

@flow
def processes(count: int):
    return numbers(count).map(in_process, concurrency_limit=2).agg(total)

@flow(schedule="rate(1 minute)")
def ticking(count: int = 5):
    return numbers(count).map(in_thread).agg(total)
"""
NAMES = ("threads", "loop", "processes")
HOSTS = ("first", "second")
SHOWN = {"memory": megabytes, "descriptors": "{:.0f}".format, "connections": "{:.0f}".format}


@dataclass
class Soak:
    """What was done, and what was seen."""

    place: Path
    chance: random.Random
    journal: str
    database: PostgresServer | None = None
    servers: list[Server] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    edits: int = 0
    kills: int = 0
    samples: list[list[Used]] = field(default_factory=list)
    committed: list[tuple[float, set[tuple[str, int]]]] = field(default_factory=list)

    def write(self, *, halves: bool) -> None:
        """The files as they are from now on, perhaps with a broken moment in between."""
        self.edits += 1
        for name, text in (("common.py", COMMON), ("flows.py", FLOWS)):
            whole = text.format(version=self.edits)
            path = self.place / name
            if halves:
                path.write_text(whole[: len(whole) // 2].rstrip() + "\n@")
                time.sleep(self.chance.uniform(0, 2))
            path.write_text(whole)

    def start(self) -> None:
        """A run of some flow, on some server; asked again until one takes it."""
        name, key = self.chance.choice(NAMES), f"run-{len(self.started)}"
        body = {"params": {"count": COUNT}}
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self.chance.choice(self.servers).ask(f"/flows/{name}/runs", body, key)
            if found is not None:
                self.started.append(found["id"])
                return
            time.sleep(0.2)
        raise SystemExit(f"no server takes a run of {name}")

    def kill(self) -> None:
        server = self.servers[self.kills % 2]
        self.committed.append((time.time(), self.recorded()))
        server.kill(whole=self.kills // 2 % 2 == 0)
        if self.database is not None:
            self.database.stop()
        server.start()
        if self.database is not None:
            self.database.start()
        self.kills += 1

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        if self.database is not None:
            with closing(psycopg.connect(self.journal)) as reader:
                return reader.execute(sql.encode()).fetchall()
        uri = f"file:{self.journal}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=60)) as connection:
            return connection.execute(sql).fetchall()

    def recorded(self) -> set[tuple[str, int]]:
        """The items that have an outcome, of runs that have not ended."""
        rows = self.rows(
            f"SELECT run, items.id FROM {EVERY_ITEM} JOIN stages ON stages.id = items.id >> 32"
            " JOIN runs ON runs.id = run WHERE kind = 'map' AND runs.finished IS NULL"
            " AND items.status = 'succeeded'"
        )
        return {(run, item & INDEX) for run, item in rows}

    def again(self) -> int:
        """The calls of items whose outcome had been committed before a kill."""
        lines = (line.split() for line in (self.place / "calls").read_text().splitlines())
        calls = [(run, int(index), float(at)) for run, index, at in lines]
        return sum(
            at > killed and (run, index) in recorded
            for killed, recorded in self.committed
            for run, index, at in calls
        )

    def work(self, seconds: float, pace: float) -> None:
        """All of it at once, for a while; ``pace`` is how many times as often as usual."""
        began = time.monotonic()
        due = {
            self.start: START_SECONDS,
            self.tend: TEND_SECONDS,
            self.edit: EDIT_SECONDS / pace,
            self.kill: KILL_SECONDS / pace,
            self.sample: SAMPLE_SECONDS / pace,
        }
        next_at = {action: began + every for action, every in due.items()}
        while (now := time.monotonic()) < began + seconds:
            for action, at in next_at.items():
                if now >= at:
                    action()
                    next_at[action] = max(at, now - due[action]) + due[action]
            time.sleep(0.02)

    def edit(self) -> None:
        self.write(halves=self.edits % 2 == 0)

    def tend(self) -> None:
        for server in self.servers:
            server.tend()

    def sample(self) -> None:
        connections = self.connections()
        self.samples.append([each.used(connections[each.name]) for each in self.servers])

    def connections(self) -> Counter[str]:
        """Those of each server to the database, with those of its processes."""
        if self.database is None:
            return Counter()
        names = "SELECT application_name, count(*) FROM pg_stat_activity GROUP BY 1"
        return Counter(dict(self.rows(names)))

    def wait(self) -> Counter[str]:
        """Until nothing is at work; how the runs have ended."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            statuses = Counter(dict(self.rows("SELECT status, count(*) FROM runs GROUP BY 1")))
            if not statuses["queued"] + statuses["running"]:
                break
            time.sleep(0.5)
        return statuses


def growth(samples: list[list[Used]], name: str) -> tuple[float, float]:
    """What both servers have of something: the medians of the second quarter and the last one."""
    quarter = len(samples) // 4
    parts = samples[quarter : 2 * quarter], samples[-quarter:]
    first, last = (median(sum(getattr(u, name) for u in each) for each in part) for part in parts)
    return first, last


def usage(samples: list[list[Used]], minutes: float) -> None:
    """Print what each server had after a tenth of the time, half of it, and all of it."""
    width = max(1, len(samples) // 20)
    rows = []
    for number, host in enumerate(HOSTS):
        for name, show in SHOWN.items():
            of_host = [getattr(each[number], name) for each in samples]
            ends = (len(samples) // 10, len(samples) // 2, len(samples))
            rows.append(
                [host, name, *(show(median(of_host[max(0, end - width) : end])) for end in ends)]
            )
    times = (f"after {minutes * part:g} minutes" for part in (0.1, 0.5, 1))
    table("What each server and its processes had", ["server", "", *times], rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser, 1)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--postgres", action="store_true", help="with the journal on PostgreSQL")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    begin(options)
    minutes, pace = (1.5, 6.0) if options.quick else (options.minutes, 1.0)
    with ExitStack() as opened:
        place = opened.enter_context(directory())
        database, journal = None, str(place / "lokki.db")
        if options.postgres:
            database = opened.enter_context(closing(PostgresServer(fsync=True, place=WORK)))
            journal = database.journal().url
        soak = Soak(place, random.Random(options.seed), journal, database)
        soak.write(halves=False)
        soak.servers = [Server(place, name, _journal_of(name, soak)) for name in HOSTS]
        try:
            soak.work(60 * minutes, pace)
            statuses = soak.wait()
            wrong = _wrong(soak)
            missing = len(soak.started) - len(
                {run for (run,) in soak.rows("SELECT id FROM runs")} & set(soak.started)
            )
            again = soak.again()
        finally:
            for server in soak.servers:
                server.stop()
                (WORK / f"soak-{server.name}.log").write_text(server.log())
        failed = soak.rows("SELECT id, flow, error FROM runs WHERE status != 'succeeded'")
    usage(soak.samples, minutes)
    checks = [
        ("runs that have not succeeded", sum(statuses.values()) - statuses["succeeded"], 0),
        ("runs that were taken and are not there", missing, 0),
        ("wrong results", wrong, 0),
        ("committed items that ran again", again, 0),
        ("servers that ended by themselves", sum(each.ended for each in soak.servers), 0),
    ]
    rows = [[name, str(value), str(most), _held(value <= most)] for name, value, most in checks]
    rows += [_growth_row(soak.samples, name, show) for name, show in SHOWN.items()]
    table(
        f"Two servers on one journal for {minutes:g} minutes: {statuses.total()} runs, "
        f"{soak.edits} edits, {soak.kills} kills, seed {options.seed}",
        ["", "seen", "bound", ""],
        rows,
    )
    for each in failed:
        print(each)
    return int(any(row[-1] != "held" for row in rows))


def _journal_of(host: str, soak: Soak) -> str:
    """The place of the journal for a host, by whose name its connections can be found."""
    return soak.journal if soak.database is None else f"{soak.journal}&application_name={host}"


def _growth_row(samples: list[list[Used]], name: str, show: Callable[[float], str]) -> list[str]:
    first, last = growth(samples, name)
    is_held = _held(last <= MOST_GROWTH * first)
    return [name, f"{show(first)} to {show(last)}", f"≤ {MOST_GROWTH}x", is_held]


def _wrong(soak: Soak) -> int:
    rows = soak.rows(
        "SELECT flow, results FROM runs JOIN stages ON run = runs.id JOIN spans"
        " ON stages.id = spans.id >> 32 WHERE runs.status = 'succeeded' AND name = 'total'"
    )
    expected = {"ticking": sum(range(1, 6))}
    return sum(
        loads(results) != [expected.get(flow, sum(range(1, COUNT + 1)))] for flow, results in rows
    )


def _held(is_so: bool) -> str:
    return "held" if is_so else "BROKEN"


if __name__ == "__main__":
    sys.exit(main())
