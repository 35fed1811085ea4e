"""The campaign beyond one machine: runs on PostgreSQL or SQLite that are struck, and checked.

A run maps 5,000 items, of which every tenth fails at its first attempt, in threads, in processes,
on the event loop or on a Dask cluster of two workers. A fault strikes it at a random moment:

- *engine*: its process is killed, and the run resumed by another one;
- *worker*: one of its worker processes is killed;
- *owner*: its lease is taken away in the journal and the run is resumed while it goes on;
- *stopped*, on PostgreSQL: its process is stopped (SIGSTOP) until its lease is over, another one
  resumes the run and finishes it, and the first one goes on;
- *database*: the PostgreSQL server ends as by a power cut, and starts again a moment later;
- *sessions*: an administrator ends the engine's connections;
- *dask worker*: one of the cluster's workers is killed, and another one started;
- *dask scheduler*: it is killed, and started again a moment later;
- *network*: nothing passes between the engine and the server for some seconds, then all is cut;
- *disk*: that of the journal, a file system of its own, is full for some seconds;
- *clock*: the engine's clock goes three hours ahead or back, and another process wants the run.

*disk* needs the right to mount, *clock* a C compiler; what is missing is told, and left out.

Every call writes a line "index attempt life" at its start. Exits with 1 if a result is wrong, if an
item that was recorded before the fault was called after it, or if a process that had lost its run
wrote anything (its rows change after another one has finished it).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

import psycopg
from kill import FLOW
from observed import Observed, Outcome, was_committed
from relay import Relay
from timing import ROOT, WORK, add_options, begin, directory, table

from lokki.store.leases import LEASE_SECONDS

sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "tests" / "cluster"))
from clusters import Cluster
from postgres_server import PostgresServer

LANES = ("thread", "process", "async", "dask")
PATIENCE = 180


@dataclass
class Strikes:
    """What one kind of fault has shown."""

    struck: int = 0
    missed: int = 0
    """runs that had ended before"""
    wrong: list[str] = field(default_factory=list)
    again: int = 0
    late: int = 0
    twice: int = 0
    """calls beyond those that an undisturbed run makes"""

    @property
    def held(self) -> bool:
        return not (self.wrong or self.again or self.late)


class Trial(Observed):
    """One run, which is struck once."""

    def __init__(
        self,
        place: Path,
        lane: str,
        count: int,
        server: PostgresServer | None,
        relay: Relay | None,
        cluster: Cluster | None,
        disk: Path,
        own_clock: bool,
    ) -> None:
        flow = FLOW.replace('"calls"', repr(str(place / "calls")))  # a Dask worker is elsewhere
        flow = flow.replace('os.environ["LANE"]', repr(lane)).replace("{os.environ['LIFE']}", "0")
        super().__init__(place, flow, None if server is None else server.journal().url)
        self.cluster = cluster
        self.lane = lane
        self.count = count
        self.server = server
        self.relay = relay
        self.late = 0
        self.disk = disk
        self.journal = disk / "lokki.db"
        self.clock = place / "clock" if own_clock else None
        if self.clock is not None:
            self.clock.write_text("0")
        self.before: dict[int, Outcome] = {}
        self.offset = 0

    def begin(self, *command: str) -> subprocess.Popen[str]:
        """A process of the run, which reaches the database through the relay if there is one."""
        env = {} if self.cluster is None else {"LOKKI_LOCAL_CLUSTER": self.cluster.address}
        if self.relay is not None and self.server is not None and self.database is not None:
            near = self.database.replace(f":{self.server.port}/", f":{self.relay.port}/")
            env["LOKKI_LOCAL_JOURNAL"] = near
        if self.clock is not None:
            env |= {"LD_PRELOAD": str(CLOCK), "CLOCK": str(self.clock)}
        return self.start(*command, **env)

    def until_recorded(self, process: subprocess.Popen[str], share: float) -> bool:
        """Wait until this share of the items is recorded; False if the run ends before."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            done = self.rows("SELECT sum(succeeded) FROM stages WHERE kind = 'map'")
            if done and (done[0][0] or 0) >= share * self.count:
                return process.poll() is None
            if process.poll() is not None:
                return False
            time.sleep(0.02)
        raise SystemExit(f"nothing is recorded: {self.told()[-800:]}")

    def look(self) -> None:
        """What is recorded now, and where the calls that follow begin."""
        self.before = self.outcomes()
        self.offset = len(self.logged())

    def finish(self, process: subprocess.Popen[str]) -> str:
        """What a process prints at its end."""
        try:
            return process.communicate(timeout=PATIENCE)[0].strip()
        except subprocess.TimeoutExpired:
            process.kill()
            return f"no end after {PATIENCE} s: {process.communicate()[0]}"

    def outcome(self, process: subprocess.Popen[str]) -> str:
        """The result of a process, or of a resume if it has failed."""
        printed = self.finish(process)
        return printed if process.returncode == 0 else self.resumed()

    def resumed(self) -> str:
        """The result of a resume; a run that has a process yet is asked for again."""
        deadline = time.monotonic() + LEASE_SECONDS + PATIENCE
        while True:
            process = self.begin("resume", "last")
            printed = self.finish(process)
            if process.returncode == 0 or time.monotonic() > deadline:
                return printed
            time.sleep(1)

    def state(self) -> list[tuple]:
        """All that the journal has of the run."""
        return [
            self.rows(f"SELECT * FROM {name} ORDER BY 1")
            for name in ("runs", "stages", "items", "spans", "failures")
        ]  # type: ignore[return-value]

    def check(self, strikes: Strikes, printed: str) -> None:
        expected = self.count * (self.count + 1) // 2
        if printed != str(expected):
            strikes.wrong.append(f"{printed[-300:]!r}, not {expected}: {self.told()[-600:]}")
        items = {n: Outcome("succeeded", 1 + (n % 10 == 3)) for n in range(self.count)}
        if self.outcomes() != items:
            strikes.wrong.append("the items recorded at the end are not what they should be")
        calls = self.calls()
        later = self.logged()[: self.offset].count(b"\n")
        done = {n: each for n, each in self.before.items() if each.status == "succeeded"}
        again = [call for call in calls[later:] if was_committed(call, done)]
        strikes.again += len(again)
        strikes.wrong += [f"{each} was recorded: {self.before[each.index]}" for each in again]
        strikes.late += self.late
        strikes.twice += len(calls) - self.count - self.count // 10


# ---- the faults ----------------------------------------------------------------------------------


def kill_engine(trial: Trial, process: subprocess.Popen[str]) -> str:
    process.kill()
    trial.finish(process)
    trial.look()
    return trial.resumed()


def kill_worker(trial: Trial, process: subprocess.Popen[str]) -> str:
    """Its item fails, and the run is resumed if it ends with that."""
    workers = _descendants(process.pid)
    if not workers:
        return trial.finish(process)
    trial.look()
    os.kill(random.choice(workers), signal.SIGKILL)
    return trial.outcome(process)


def stop(trial: Trial, process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGSTOP)
    time.sleep(LEASE_SECONDS + 2)
    trial.look()
    printed = trial.resumed()
    return _go_on(trial, process, printed)


def take(trial: Trial, process: subprocess.Popen[str]) -> str:
    """Give the run to another process while the first one is at it."""
    trial.write("UPDATE runs SET leased_until = 0, owner = 'another:1:1'")
    trial.look()
    printed = trial.resumed()
    return _go_on(trial, process, printed)


def _go_on(trial: Trial, process: subprocess.Popen[str], printed: str) -> str:
    before = trial.state()
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
    trial.finish(process)
    trial.late += trial.state() != before
    return printed


def end_database(trial: Trial, process: subprocess.Popen[str]) -> str:
    assert trial.server is not None
    trial.look()
    trial.server.stop()
    time.sleep(random.uniform(0, 2))
    trial.server.start()
    return trial.outcome(process)


def end_sessions(trial: Trial, process: subprocess.Popen[str]) -> str:
    assert trial.server is not None
    trial.look()
    trial.server.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    return trial.outcome(process)


def cut_network(trial: Trial, process: subprocess.Popen[str]) -> str:
    assert trial.relay is not None
    trial.look()
    with trial.relay.silent():
        time.sleep(random.uniform(1, 8))
    return trial.outcome(process)


def kill_dask_worker(trial: Trial, process: subprocess.Popen[str]) -> str:
    """Its item fails, and the run is resumed if it ends with that."""
    assert trial.cluster is not None
    trial.look()
    trial.cluster.kill("first")
    trial.cluster.start_worker("first")
    return trial.outcome(process)


def kill_dask_scheduler(trial: Trial, process: subprocess.Popen[str]) -> str:
    assert trial.cluster is not None
    trial.look()
    trial.cluster.kill("scheduler")
    time.sleep(random.uniform(0, 2))
    trial.cluster.start_scheduler()
    for name in WORKERS:  # they end with their scheduler
        trial.cluster.start_worker(name)
    return trial.outcome(process)


def fill_disk(trial: Trial, process: subprocess.Popen[str]) -> str:
    trial.look()
    filler = trial.disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    if trial.server is not None:
        with suppress(psycopg.Error):  # its log has room, until it begins another file
            trial.server.ask("SELECT pg_switch_wal()")
    time.sleep(random.uniform(1, 3))
    filler.unlink()
    if trial.server is not None and trial.server.process.poll() is not None:
        trial.server.start()
    return trial.outcome(process)


def set_clock(trial: Trial, process: subprocess.Popen[str]) -> str:
    assert trial.clock is not None
    trial.look()
    trial.clock.write_text(random.choice(("10800", "-10800")))
    other = trial.finish(trial.start("resume", "last"))
    printed = trial.finish(process)
    return printed or other if process.returncode == 0 else trial.resumed()


def _descendants(pid: int) -> list[int]:
    """The processes that a process's fork server has forked."""
    found = []
    for child in _children(pid):
        found += _children(child)
    return found


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(each) for task in tasks for each in (task / "children").read_text().split()]
    return []


Fault = Callable[[Trial, "subprocess.Popen[str]"], str]
"""Strikes a run that a process is at, and returns the result that was printed in the end."""
EVERYWHERE: dict[str, Fault] = {
    "engine": kill_engine,
    "owner": take,
    "worker": kill_worker,
    "dask worker": kill_dask_worker,
    "dask scheduler": kill_dask_scheduler,
    "disk": fill_disk,
    "clock": set_clock,
}
SLOW: dict[str, Fault] = {"stopped": stop}
"""Those that take as long as a lease."""
OF_POSTGRES: dict[str, Fault] = {
    "database": end_database,
    "sessions": end_sessions,
    "network": cut_network,
}


LANES_OF: dict[str, tuple[str, ...]] = {
    "worker": ("process",),
    "dask worker": ("dask",),
    "dask scheduler": ("dask",),
}
"""Where a fault can strike, if not everywhere."""
WORKERS = ("first", "second")
DISK_BYTES = {"sqlite": "32m", "postgres": "160m"}
"""SQLite's log alone takes up to 16 MB before it is written back."""
CLOCK = WORK / "clock.so"


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """A file system in memory, which any user may enter."""
    place = WORK / f"disk-{token_hex(4)}"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
        place.rmdir()


def missing(fault: Fault) -> str | None:
    """What this machine has not that a fault needs."""
    if fault is set_clock and shutil.which("cc") is None:
        return "there is no C compiler"
    if fault is fill_disk and os.geteuid() != 0:
        return "only root may mount a small disk"
    return None


def strike(
    strikes: Strikes,
    fault: Fault,
    lane: str,
    count: int,
    server: PostgresServer | None,
    cluster: Cluster | None,
) -> bool:
    """Begin a run and strike it; False if it has ended before."""
    with ExitStack() as opened:
        relay = None
        if fault is cut_network and server is not None:
            relay = opened.enter_context(closing(Relay(server.port)))
        place = opened.enter_context(directory())
        if fault is set_clock and not CLOCK.exists():
            source = Path(__file__).with_name("clock.c")
            subprocess.run(["cc", "-shared", "-fPIC", "-O2", source, "-o", CLOCK], check=True)
        disk = place
        if fault is fill_disk:
            size = DISK_BYTES["sqlite" if server is None else "postgres"]
            disk = opened.enter_context(small_disk(size))
            if server is not None:
                server = opened.enter_context(closing(PostgresServer(fsync=True, place=disk)))
        on = cluster if lane == "dask" else None
        trial = Trial(place, lane, count, server, relay, on, disk, fault is set_clock)
        process = trial.begin("run", "--count", str(count))
        try:
            if not trial.until_recorded(process, random.uniform(0.02, 0.8)):
                strikes.missed += 1
                return False
            strikes.struck += 1
            trial.check(strikes, fault(trial, process))
            return True
        finally:
            process.kill()
            process.communicate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser, 1)
    parser.add_argument("--times", type=int, default=10, help="how often each fault strikes")
    parser.add_argument("--fault", action="append", help="only this one")
    parser.add_argument("--lane", action="append", choices=LANES, help="only in this one")
    parser.add_argument("--journal", choices=("sqlite", "postgres"), action="append")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    begin(options)
    random.seed(options.seed)
    count, repeat = (1_000, 1) if options.quick else (5_000, options.times)
    lanes = options.lane or LANES
    rows, held = [], True
    WORK.mkdir(exist_ok=True)
    for journal in options.journal or ("sqlite", "postgres"):
        with ExitStack() as opened:
            server = None
            cluster = None
            if "dask" in lanes:
                cluster = opened.enter_context(Cluster(opened.enter_context(directory())))
                for worker in WORKERS:
                    cluster.start_worker(worker)
                    cluster.until_worker(worker)
            if journal == "postgres":
                server = opened.enter_context(closing(PostgresServer(fsync=True, place=WORK)))
            faults = EVERYWHERE | (SLOW | OF_POSTGRES if server is not None else {})
            for name, fault in faults.items():
                if options.fault and name not in options.fault:
                    continue
                if (lack := missing(fault)) is not None:
                    print(f"{journal}, {name}: left out: {lack}", flush=True)
                    continue
                strikes = Strikes()
                times = max(1, repeat // 5) if name in SLOW else repeat
                for lane in LANES_OF.get(name, LANES) * times:
                    if lane in lanes:
                        while not strike(strikes, fault, lane, count, server, cluster):
                            pass
                held &= strikes.held
                rows.append(
                    (journal, name, strikes.struck, len(strikes.wrong), strikes.again,
                     strikes.late, strikes.twice, "held" if strikes.held else "BROKEN")
                )  # fmt: skip
                print(journal, name, strikes, sep=", ", flush=True)
                for each in strikes.wrong[:3]:
                    print(f"{journal}, {name}: {each}", flush=True)
    struck = sum(row[2] for row in rows)
    table(
        f"{struck} faults in runs of {count:,} items, seed {options.seed}",
        ("journal", "fault", "struck", "wrong", "recorded, called again", "late writes",
         "calls made twice", ""),
        [tuple(map(str, row)) for row in rows],
    )  # fmt: skip
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
