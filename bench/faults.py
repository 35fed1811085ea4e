"""Faults other than a kill: each strikes a run, which is then brought to its end.

- *lost lease*: the run's process is stopped (SIGSTOP) and its lease runs out; another process
  resumes the run to its end, and perhaps removes it; then the first goes on. It may replace and add
  no file.
- *fork*: a step forks, and the child returns into the engine. No item may be called by it.
- *journal gone*: the journal is removed, moved away or replaced. The run must say so and exit
  with 1; one that was moved away is put back and resumed.
- *payload swapped*: stored results change places, lose their end, have a byte turned, or are gone.
  Resuming must refuse them, name step and item, and be right with the ``--from`` that it names.

Each item's result is 100 kB of random bytes, its index and a digest of both, which the aggregation
checks, so that a result that is not the item's own gives a wrong answer instead of an error.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from observed import Observed, Outcome, was_committed
from timing import directory

from lokki.store.references import Reference

ITEMS = 40
PATIENCE = 120
LOOK_SECONDS = 0.002
LANES = ("thread", "process", "async")
_REMOVED = 1 / 3
"""The share of the runs with lost leases that are removed before the first process goes on."""

FLOW = """
import asyncio
import hashlib
import os
import time

from lokki import current, flow, main, step

LANE = os.environ["LANE"]
NAP = 0.01


def begin(x: int) -> None:
    calls = os.open("calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(calls, f"{x} {current().attempt} {os.environ['LIFE']}\\n".encode())
    os.close(calls)
    if os.environ.get("FORK_AT") == str(x):
        os.fork()


def end(x: int):
    block = os.urandom(100_000)
    return x, block, hashlib.sha256(b"%d " % x + block).hexdigest()


if LANE == "async":

    @step
    async def work(x: int):
        begin(x)
        await asyncio.sleep(NAP)
        return end(x)

else:

    @step(executor=LANE)
    def work(x: int):
        begin(x)
        time.sleep(NAP)
        return end(x)


@step
def numbers() -> list[int]:
    return list(range(ITEMS))


@step
def total(rows) -> int:
    if "FAIL" in os.environ:
        raise OSError("the aggregation is to fail")
    return sum(
        x + 1
        for place, (x, block, digest) in enumerate(rows)
        if x == place and hashlib.sha256(b"%d " % x + block).hexdigest() == digest
    )


@flow
def faulty():
    return numbers().map(work, concurrency_limit=4).agg(total)


if __name__ == "__main__":
    main(faulty)
""".replace("ITEMS", str(ITEMS))
EXPECTED = str(ITEMS * (ITEMS + 1) // 2)


@dataclass
class Faults:
    """What the faults of one kind have shown."""

    kind: str
    struck: int = 0
    wrong: list[str] = field(default_factory=list)
    committed_again: int = 0
    files_replaced: int = 0

    @property
    def held(self) -> bool:
        return not (self.wrong or self.committed_again or self.files_replaced)


class Trial(Observed):
    """One run that a fault strikes."""

    def __init__(self, place: Path, faults: Faults, lane: str, chance: random.Random) -> None:
        super().__init__(place, FLOW)
        self.faults = faults
        self.lane = lane
        self.chance = chance
        self.life = 0

    def begin(self, *command: str, **env: str) -> subprocess.Popen[str]:
        self.life += 1
        return self.start(*command, LANE=self.lane, LIFE=str(self.life), **env)

    def until_recorded(self, process: subprocess.Popen[str], count: int) -> bool:
        """Wait until so many items are recorded; False when the process ends before."""
        deadline = time.monotonic() + PATIENCE
        while len(self.outcomes()) < count:
            if process.poll() is not None:
                return False
            if time.monotonic() > deadline:
                process.kill()
                return False
            time.sleep(LOOK_SECONDS)
        return process.poll() is None

    def expire_lease(self) -> bool:
        """Let the lease of the run end now; False when another process is writing."""
        with closing(sqlite3.connect(self.journal, timeout=0.2)) as journal, journal:
            try:
                journal.execute("UPDATE runs SET leased_until = 0")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise
                return False
        return True

    def end(self, process: subprocess.Popen[str]) -> str:
        """What a process prints until its end, which must come."""
        try:
            return process.communicate(timeout=PATIENCE)[0].strip()
        except subprocess.TimeoutExpired:
            process.kill()
            self.wrong(f"no end after {PATIENCE} s")
            return process.communicate()[0].strip()

    def wrong(self, what: str) -> None:
        self.faults.wrong.append(f"{self.lane}: {what}; stderr: {self.told()[-800:]}")

    def expect(self, printed: str) -> None:
        if printed != EXPECTED:
            self.wrong(f"result {printed!r}, not {EXPECTED}")

    def expect_refusal(self, process: subprocess.Popen[str], *words: str) -> None:
        """A process must exit with 1 and print no result, and name what is wrong."""
        printed, told = self.end(process), self.told()
        missing = [word for word in words if word not in told]
        if (process.returncode, printed) != (1, "") or missing:
            self.wrong(f"exit {process.returncode}, printed {printed!r}, not told: {missing}")

    def files(self) -> dict[Path, str]:
        """The payload files of the map's items, with digests of what is in them."""
        return {
            path: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((self.place / "payloads").rglob("work/**/*"))
            if path.is_file()
        }

    def recorded_files(self) -> set[Path]:
        """The files that the journal refers to."""
        rows = self.rows("SELECT ref FROM items WHERE ref IS NOT NULL")
        return {self.place / "payloads" / Reference.parse(ref).key for (ref,) in rows}

    def count_again(self, recorded: dict[int, Outcome], from_life: int) -> None:
        """Count the calls from a life on whose outcome had been recorded before."""
        self.faults.committed_again += sum(
            call.life >= from_life and was_committed(call, recorded) for call in self.calls()
        )


def lose_lease(trial: Trial) -> bool:
    """The first process is stopped, loses its lease, and goes on when its run is over."""
    first = trial.begin("run")
    if not trial.until_recorded(first, trial.chance.randint(1, ITEMS - 8)):
        return _spared(first)
    first.send_signal(signal.SIGSTOP)
    while not trial.expire_lease():  # it was stopped amid a transaction
        first.send_signal(signal.SIGCONT)
        time.sleep(LOOK_SECONDS)
        first.send_signal(signal.SIGSTOP)
    if trial.result() is not None:
        first.send_signal(signal.SIGCONT)
        return _spared(first)
    recorded = trial.outcomes()
    second = trial.begin("resume", "last")
    trial.expect(trial.end(second))
    if second.returncode:
        trial.wrong(f"the successor exited with {second.returncode}")
    if trial.chance.random() < _REMOVED:
        removal = trial.begin("gc", "--keep", "0")
        trial.end(removal)
        if removal.returncode:
            trial.wrong(f"gc exited with {removal.returncode}")
    before = trial.files()
    first.send_signal(signal.SIGCONT)
    if printed := trial.end(first):
        trial.wrong(f"the process that had lost its lease printed {printed!r}")
    if first.returncode != 1:
        trial.wrong(f"the process that had lost its lease exited with {first.returncode}")
    after = trial.files()
    # What the first process could not record, it may take away again.
    gone = {path for path in before.keys() - after.keys() if path not in trial.recorded_files()}
    kept = {path: digest for path, digest in before.items() if path not in gone}
    trial.faults.files_replaced += len(kept.items() ^ after.items())
    trial.count_again(recorded, from_life=2)
    if before:
        again = trial.begin("resume", "last")  # which only reads the result
        trial.expect(trial.end(again))
    return True


def fork(trial: Trial) -> bool:
    """A child returns from the step that has forked it."""
    process = trial.begin("run", FORK_AT=str(trial.chance.randrange(ITEMS)))
    trial.expect(trial.end(process))
    if process.returncode:
        trial.wrong(f"exit code {process.returncode}")
    twice = [call for call, times in Counter(trial.calls()).items() if times > 1]
    trial.faults.committed_again += len(twice)
    if "fork" not in trial.told():
        trial.wrong("nothing is told of the fork")
    return True


def take_journal(trial: Trial) -> bool:
    """The journal goes away under a run."""
    process = trial.begin("run")
    if not trial.until_recorded(process, trial.chance.randint(1, ITEMS - 8)):
        return _spared(process)
    how = trial.chance.choice(("remove", "move", "replace"))
    files = list(trial.place.glob("lokki.db*"))
    aside = trial.place / "aside"
    aside.mkdir()
    if how == "replace":
        with closing(sqlite3.connect(aside / "new.db")) as other:
            other.execute("CREATE TABLE other (x)")
        os.replace(aside / "new.db", trial.journal)
    else:
        for path in files:
            os.replace(path, aside / path.name)
    trial.expect_refusal(process, str(trial.journal))
    if how == "move":
        for path in aside.iterdir():
            os.replace(path, trial.place / path.name)
        recorded = trial.outcomes()
        again = trial.begin("resume", "last")
        trial.expect(trial.end(again))
        trial.count_again(recorded, from_life=2)
    return True


def swap_payloads(trial: Trial) -> bool:
    """Stored results are not what was recorded any more."""
    first = trial.begin("run", FAIL="1")
    trial.expect_refusal(first, "the aggregation is to fail")
    one, other = trial.chance.sample(sorted(trial.files()), 2)
    how = trial.chance.choice(("swap", "cut", "turn", "remove"))
    if how == "swap":
        aside = trial.place / "aside"
        os.replace(one, aside)
        os.replace(other, one)
        os.replace(aside, other)
    elif how == "cut":
        os.truncate(one, one.stat().st_size - 1)
    elif how == "turn":
        content = bytearray(one.read_bytes())
        content[trial.chance.randrange(len(content))] ^= 1
        one.write_bytes(content)
    else:
        one.unlink()
    recorded = trial.outcomes()
    again = trial.begin("resume", "last")
    trial.expect_refusal(again, "'work'", "item", "--from work")
    trial.count_again(recorded, from_life=2)
    anew = trial.begin("resume", "last", "--from", "work")
    trial.expect(trial.end(anew))
    return True


def _spared(process: subprocess.Popen[str]) -> bool:
    """A run that had ended before its fault came counts for nothing."""
    process.wait()
    return False


KINDS: dict[str, Callable[[Trial], bool]] = {
    "lost lease": lose_lease,
    "fork": fork,
    "journal gone": take_journal,
    "payload swapped": swap_payloads,
}


def strike(kind: str, times: int, chance: random.Random) -> Faults:
    """Strike ``times`` runs with one kind of fault, in each kind of lane in turn."""
    faults = Faults(kind)
    while faults.struck < times:
        with directory() as place:
            trial = Trial(place, faults, LANES[faults.struck % len(LANES)], chance)
            faults.struck += KINDS[kind](trial)
    return faults


def rows(all_faults: list[Faults]) -> list[tuple[str, ...]]:
    return [
        (
            faults.kind,
            str(faults.struck),
            str(len(faults.wrong)),
            str(faults.committed_again),
            str(faults.files_replaced),
            "held" if faults.held else "BROKEN",
        )
        for faults in all_faults
    ]
