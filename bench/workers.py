"""Workers and engines that are killed with SIGKILL while slices of short items run in processes.

A run maps 12,000 items of about 0.1 ms, so that a worker has many of them in one message. At random
moments a worker is killed, or the engine, which is then resumed. It is wrong if

- the result is not right, or an item has no outcome;
- the deaths of workers cost more attempts than there were deaths: only the item that a worker was
  at may lose one;
- an outcome that was committed before the engine was killed was worked out again;
- a line is not recorded for the item that has written it.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from observed import Observed, Outcome, was_committed
from timing import directory

from lokki.store.history import read_history

ITEMS = 12_000
MOST_KILLS = 5
PATIENCE = 120
EXPECTED = str(ITEMS * (ITEMS + 1) // 2)

FLOW = """
import os
import time

from lokki import RetryConfig, WorkerDied, current, flow, main, step

known = False


def note(file: str, text: str) -> None:
    opened = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(opened, (text + "\\n").encode())
    os.close(opened)


@step(executor="process", retry=RetryConfig(retries=9, delay=0.001, exceptions=(WorkerDied,)))
def work(x: int) -> int:
    global known
    if not known:
        note("workers", str(os.getpid()))
        known = True
    note("calls", f"{x} {current().attempt} {os.environ['LIFE']}")
    if x % 50 == 0:
        print("this is", x)
    until = time.thread_time() + 0.0001
    while time.thread_time() < until:
        pass
    return x + 1


@step
def numbers() -> list[int]:
    return list(range(ITEMS))


@step
def total(values: list[int]) -> int:
    return sum(values)


@flow
def sliced():
    return numbers().map(work).agg(total)


if __name__ == "__main__":
    main(sliced)
""".replace("ITEMS", str(ITEMS))


@dataclass
class Deaths:
    """What the kills have shown."""

    workers: int = 0
    engines: int = 0
    runs: int = 0
    attempts_lost: int = 0
    committed_again: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        return not (self.wrong or self.committed_again)


class Trial(Observed):
    """A run whose workers and engines are killed."""

    def __init__(self, place: Path, deaths: Deaths, chance: random.Random) -> None:
        super().__init__(place, FLOW)
        self.deaths = deaths
        self.chance = chance
        self.life = 0
        self.killed = 0
        self.snapshots: list[dict[int, Outcome]] = []

    def run(self) -> None:
        """Run to the end, through some deaths."""
        for _ in range(self.chance.randint(1, MOST_KILLS)):
            process = self._begin()
            if self._strike(process):
                break
        else:
            process = self._begin()
        printed = process.communicate(timeout=PATIENCE)[0].strip()
        if (process.returncode, printed) != (0, EXPECTED):
            self._wrong(f"exit code {process.returncode}, result {printed!r}: {self.told()[-800:]}")
            return
        self._check()

    def _begin(self) -> subprocess.Popen[str]:
        command = ["resume", "last"] if self.rows("SELECT id FROM runs") else ["run"]
        self.life += 1
        return self.start(*command, LIFE=str(self.life))

    def _strike(self, process: subprocess.Popen[str]) -> bool:
        """Kill some workers at random moments, then perhaps the engine; whether it goes on."""
        for _ in range(self.chance.randint(1, MOST_KILLS)):
            time.sleep(self.chance.uniform(0.05, 0.3))
            self._kill_worker()
        if self.chance.random() < 0.5 or process.poll() is not None:
            return True
        process.kill()
        process.communicate()
        self.snapshots.append(self.outcomes())
        self.deaths.engines += 1
        return False

    def _kill_worker(self) -> None:
        file = self.place / "workers"
        if file.exists():
            for worker in reversed(file.read_text().split()):
                with suppress(FileNotFoundError, ProcessLookupError):
                    if str(self.journal).encode() in Path("/proc", worker, "environ").read_bytes():
                        os.kill(int(worker), signal.SIGKILL)
                        self.killed += 1
                        return

    def _check(self) -> None:
        deaths, outcomes = self.deaths, self.outcomes()
        if sorted(outcomes) != list(range(ITEMS)) or any(
            outcome.status != "succeeded" for outcome in outcomes.values()
        ):
            self._wrong("not every item has succeeded")
        lost = sum(outcome.attempts - 1 for outcome in outcomes.values())
        if lost > self.killed:
            self._wrong(f"{self.killed} deaths of workers cost {lost} attempts")
        for call in self.calls():
            before = self.snapshots[: call.life - 1]
            deaths.committed_again += any(was_committed(call, each) for each in before)
        with read_history(self.journal) as history:
            (run,) = history.runs()
            for line in history.lines(run.id):
                if line.source == "stdout" and line.message != f"this is {line.item}":
                    self._wrong(f"item {line.item} has the line {line.message!r}")
        deaths.workers += self.killed
        deaths.attempts_lost += lost
        deaths.runs += 1

    def _wrong(self, what: str) -> None:
        self.deaths.wrong.append(what)


def strike(kills: int, chance: random.Random) -> Deaths:
    """Kill about this many workers and engines."""
    deaths = Deaths()
    while deaths.workers + deaths.engines < kills and len(deaths.wrong) < kills:
        with directory() as place:
            Trial(place, deaths, chance).run()
    return deaths
