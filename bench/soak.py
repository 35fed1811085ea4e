"""The soak: two servers on one journal, as they are used for weeks, in twenty minutes.

Runs of three flows are started all the time, with idempotency keys: maps in threads, in processes
and on the event loop. A fourth one has a schedule that ticks each minute. Their files and a module
that they import are edited every 30 seconds, every other time with a broken half in between. Every
two minutes one server is killed with SIGKILL, every other time with its runners, and started again.
With ``--postgres``, the journal is in a PostgreSQL database, as on two hosts, whose server is ended
as by a power cut and started again each time, too. Exits with 1 when

- a run has failed, is not there, or has not ended;
- a result is wrong;
- an outcome that was committed before a kill was worked out again after it;
- memory or descriptors have grown: the median of the last quarter of the time, to that of the
  second one, of what a server and its children have.

Every call appends a line "run index time" to the file ``calls`` at its start.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from observed import EVERY_ITEM
from timing import (
    ROOT,
    WORK,
    add_options,
    begin,
    directory,
    environment,
    megabytes,
    resident_bytes,
    table,
)

from lokki.store.codec import loads

sys.path.insert(0, str(ROOT / "tests"))
from postgres_server import PostgresServer

COUNT = 120
EDIT_SECONDS = 30
KILL_SECONDS = 120
START_SECONDS = 2.5
SAMPLE_SECONDS = 5
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


class Server:
    """A `lokki serve` at an address that it keeps, over and over."""

    def __init__(self, place: Path, name: str, journal: str) -> None:
        self.place = place
        self.journal = journal
        self.log = place / f"{name}.log"
        with closing(socket.create_server(("127.0.0.1", 0))) as found:
            self.port = found.getsockname()[1]
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with open(self.log, "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "lokki", "serve", "flows.py", "--port", str(self.port)],
                cwd=self.place,
                stdout=log,
                stderr=log,
                env=environment(HOME=str(self.place), LOKKI_LOCAL_JOURNAL=self.journal),
            )

    def children(self) -> list[int]:
        """Its processes, and theirs."""
        found, new = [], [self.process.pid]
        while new:
            pid = new.pop()
            with suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    new += map(int, (task / "children").read_text().split())
            found.append(pid)
        return found

    def kill(self, *, whole: bool) -> None:
        """End it at once, perhaps with its runners."""
        for pid in self.children() if whole else [self.process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def start(self) -> None:
        self.process = self._start()

    def ask(self, path: str, body: Any, key: str) -> Any:
        """The JSON that it answers to a POST; None while it does not."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Idempotency-Key": key},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code in (404, 409, 503):  # its file is half-written
                return None
            raise SystemExit(f"{path}: {error.code} {error.read().decode()}") from None
        except OSError:
            return None

    def used(self) -> tuple[int, int]:
        """What its processes have: bytes of memory, and descriptors."""
        memory = descriptors = 0
        for pid in self.children():
            with suppress(OSError, StopIteration):
                memory += resident_bytes(pid)
                descriptors += len(os.listdir(f"/proc/{pid}/fd"))
        return memory, descriptors


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
    samples: list[tuple[int, int]] = field(default_factory=list)
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
            self.database.start()
        server.start()  # which would end if there were no database yet
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

    def sample(self) -> None:
        used = [each.used() for each in self.servers]
        self.samples.append((sum(each[0] for each in used), sum(each[1] for each in used)))

    def wait(self) -> Counter[str]:
        """Until nothing is at work; how the runs have ended."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            statuses = Counter(dict(self.rows("SELECT status, count(*) FROM runs GROUP BY 1")))
            if not statuses["queued"] + statuses["running"]:
                break
            time.sleep(0.5)
        return statuses


def growth(samples: list[tuple[int, int]], column: int) -> tuple[float, float]:
    """The medians of the second quarter and of the last one."""
    quarter = len(samples) // 4
    parts = samples[quarter : 2 * quarter], samples[-quarter:]
    first, last = (median(sample[column] for sample in part) for part in parts)
    return first, last


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
        soak.servers = [Server(place, name, journal) for name in ("first", "second")]
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
                server.process.terminate()
            for server in soak.servers:
                server.process.wait()
        told = "".join(server.log.read_text() for server in soak.servers)
        (place.parent / "soak.log").write_text(told)
        failed = soak.rows("SELECT id, flow, error FROM runs WHERE status != 'succeeded'")
    memory, descriptors = growth(soak.samples, 0), growth(soak.samples, 1)
    checks = [
        ("runs that have not succeeded", sum(statuses.values()) - statuses["succeeded"], 0),
        ("runs that were taken and are not there", missing, 0),
        ("wrong results", wrong, 0),
        ("committed items that ran again", again, 0),
    ]
    grown = [("memory", memory, megabytes), ("descriptors", descriptors, "{:.0f}".format)]
    rows = [[name, str(value), str(most), _held(value <= most)] for name, value, most in checks]
    rows += [
        [
            name,
            f"{show(first)} to {show(last)}",
            f"≤ {MOST_GROWTH}x",
            _held(last <= MOST_GROWTH * first),
        ]
        for name, (first, last), show in grown
    ]
    table(
        f"Two servers on one journal for {minutes:g} minutes: {statuses.total()} runs, "
        f"{soak.edits} edits, {soak.kills} kills, seed {options.seed}",
        ["", "seen", "bound", ""],
        rows,
    )
    for each in failed:
        print(each)
    return int(any(row[-1] != "held" for row in rows))


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
