"""The fault campaign: runs that are killed or struck otherwise at random moments, and checked.

A run maps 2,000 items, of which every tenth fails at its first attempt. It is killed with SIGKILL
at a random moment, resumed with ``python flow.py resume last``, perhaps killed again, and in the
end left alone. Ten runs in threads, ten in processes, ten on the event loop. Exits with 1 when

- a result is wrong, or an item's number of attempts is;
- an outcome that was committed before a kill was worked out again after it;
- a kill cost more calls than were in flight, and one commit batch.

Every call writes a line "index attempt life" at its start; a life is one process of the run. A
call takes 2.5 ms, longer than a lane works before it reports, so that what is in flight is one call
a lane. The commit batch is the largest that was seen, from outside, to arrive in the journal at
once; when a kill falls into a slow commit, what had begun since the one before it counts.

Then come the faults of `faults.py`: lost leases, forks, journals that are gone, payloads that are
swapped; and `workers.py`: workers and engines that are killed amid slices. Exits with 1 for these,
too, if a result is wrong, a recorded item runs again, or a file is replaced.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import faults
import workers
from observed import Call, Observed, Outcome, was_committed
from timing import add_options, begin, directory, script, seconds, table

LANES = ("thread", "process", "async")
LIMIT = 8
MORE_KILLS = 3
PATIENCE = 120
WATCH_SECONDS = 0.003

FLOW = """
import asyncio
import os
import time

from lokki import RetryConfig, current, flow, main, step

LANE = os.environ["LANE"]
NAP = 0.0025
RETRY = RetryConfig(retries=2, delay=0.02, exceptions=(OSError,))


def begin(x: int) -> None:
    attempt = current().attempt
    calls = os.open("calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(calls, f"{x} {attempt} {os.environ['LIFE']}\\n".encode())
    os.close(calls)


def end(x: int) -> int:
    if x % 10 == 3 and current().attempt == 1:
        raise OSError("the first attempt fails")
    return x + 1


if LANE == "async":

    @step(retry=RETRY)
    async def work(x: int) -> int:
        begin(x)
        await asyncio.sleep(NAP)
        return end(x)

else:

    @step(retry=RETRY, executor=LANE)
    def work(x: int) -> int:
        begin(x)
        time.sleep(NAP)
        return end(x)


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def total(values: list[int]) -> int:
    return sum(values)


@flow
def killed_flow(count: int):
    return numbers().map(work, concurrency_limit=LIMIT).agg(total)


if __name__ == "__main__":
    main(killed_flow)
""".replace("=LIMIT", f"={LIMIT}")


class Kill(NamedTuple):
    """What a kill has cost: the calls that had to be made again."""

    lost: int
    waiting: int
    """Calls that had begun since the journal was last seen to grow."""


@dataclass
class Campaign:
    """What the runs of one kind of lane have shown."""

    lane: str
    runs: int = 0
    wrong: list[str] = field(default_factory=list)
    committed_again: int = 0
    kills: list[Kill] = field(default_factory=list)
    largest_batch: int = 0

    in_the_map: int = 0
    """Kills that found some items recorded, and not all."""

    @property
    def in_flight(self) -> int:
        cores = os.cpu_count() or 1
        return min(LIMIT, {"thread": 4 * cores, "process": cores}.get(self.lane, LIMIT))

    def allowed(self, kill: Kill) -> int:
        return self.in_flight + max(self.largest_batch, kill.waiting)

    @property
    def worst(self) -> Kill:
        """The kill that came nearest to what it may cost, or went furthest beyond."""
        return max(self.kills, key=lambda kill: kill.lost - self.allowed(kill))

    @property
    def held(self) -> bool:
        kept = self.worst.lost <= self.allowed(self.worst)
        return kept and not self.wrong and not self.committed_again


class Trial(Observed):
    """One run that is killed, perhaps again and again, and resumed."""

    def __init__(self, place: Path, campaign: Campaign, count: int) -> None:
        super().__init__(place, FLOW)
        self.campaign = campaign
        self.count = count
        self.life = 0
        self.log_when_it_grew = 0
        self.snapshots: list[dict[int, Outcome]] = []
        self.waiting: list[int] = []

    def live(self, until: float | None) -> str | None:
        """One process of the run, killed after ``until``: the result, or None if there is none."""
        known = bool(self.rows("SELECT id FROM runs"))
        command = ["resume", "last"] if known else ["run", "--count", str(self.count)]
        self.life += 1
        process = self.start(*command, LANE=self.campaign.lane, LIFE=str(self.life))
        killed = self._watch(process, until)
        printed = process.communicate()[0]
        if killed:
            self.waiting.append(self.logged()[self.log_when_it_grew :].count(b"\n"))
            snapshot = self.outcomes()
            self.snapshots.append(snapshot)
            done = sum(outcome.status == "succeeded" for outcome in snapshot.values())
            self.campaign.in_the_map += 0 < done < self.count
            return self.result()
        if process.returncode:
            self.campaign.wrong.append(f"exit code {process.returncode}: {self.told()[-800:]}")
        return printed.strip()

    def _watch(self, process: subprocess.Popen[str], until: float | None) -> bool:
        """Kill a process after ``until`` seconds, and see how much arrives in the journal at once.

        Returns whether it was killed before it had ended.
        """
        self.log_when_it_grew = len(self.logged())
        began = looked = time.monotonic()
        before: int | None = None
        while process.poll() is None:
            passed = time.monotonic() - began
            if passed > (PATIENCE if until is None else until):
                process.kill()
                if until is None:
                    self.campaign.wrong.append(f"no end after {PATIENCE} s")
                return process.wait() < 0
            size = self.log.stat().st_size if self.log.exists() else 0
            now = self._committed()
            if now != before:
                self.log_when_it_grew = size
            # Between two looks that lie far apart, several batches may have arrived.
            near = time.monotonic() - looked < 3 * WATCH_SECONDS
            looked = time.monotonic()
            if near and before is not None and now is not None:
                self.campaign.largest_batch = max(self.campaign.largest_batch, now - before)
            before = now
            left = WATCH_SECONDS if until is None else min(WATCH_SECONDS, until - passed)
            time.sleep(max(left, 0))
        return False

    def _committed(self) -> int | None:
        """How many outcomes of the map's items have been recorded, failed attempts included."""
        rows = self.rows(
            "SELECT succeeded, (SELECT count(*) FROM failures) FROM stages WHERE kind = 'map'"
        )
        return sum(rows[0]) if rows else None

    def map_started(self) -> float:
        return self.rows("SELECT started FROM stages WHERE kind = 'map'")[0][0]

    def check(self, printed: str | None) -> None:
        """Hold the end of the run, and all its calls, against the rules."""
        campaign = self.campaign
        expected = self.count * (self.count + 1) // 2
        if printed != str(expected):
            campaign.wrong.append(f"result {printed!r}, not {expected}")
        items = {n: Outcome("succeeded", 1 + (n % 10 == 3)) for n in range(self.count)}
        if self.outcomes() != items:
            campaign.wrong.append("the items recorded at the end are not what they should be")
        calls = self.calls()
        missing = {(n, 1 + (n % 10 == 3)) for n in range(self.count)} - {
            (call.index, call.attempt) for call in calls
        }
        if missing:
            campaign.wrong.append(f"{len(missing)} items were never called")
        campaign.committed_again += sum(map(self._was_committed, calls))
        for life, waiting in enumerate(self.waiting, 1):
            campaign.kills.append(Kill(self._lost(calls, life), waiting))
        twice = Counter(calls)
        if again := [call for call, times in twice.items() if times > 1]:
            campaign.wrong.append(f"called twice in one life: {again[:3]}")

    def _was_committed(self, call: Call) -> bool:
        """Whether a call was made although a kill before it had found its outcome recorded."""
        return any(was_committed(call, snapshot) for snapshot in self.snapshots[: call.life - 1])

    def _lost(self, calls: list[Call], life: int) -> int:
        """How many calls of this life were made again in a later one."""
        later = {(call.index, call.attempt) for call in calls if call.life > life}
        return sum(call.life == life and call[:2] in later for call in calls)


class Usual(NamedTuple):
    """When a run that nobody kills begins its map, and when it ends, in seconds."""

    map: float
    end: float

    @classmethod
    def of(cls, lane: str, count: int) -> Usual:
        campaign = Campaign(lane)
        with directory() as place:
            began = time.time()
            trial = Trial(place, campaign, count)
            trial.check(trial.live(None))
            ended = time.time()
            if campaign.wrong:
                raise SystemExit(f"{lane}: a run that was not killed went wrong: {campaign.wrong}")
            return cls(trial.map_started() - began, ended - began)

    def moment(self, chance: random.Random, share: float = 1.0) -> float:
        """A random moment, a few before the map begins, and the last after ``share`` of it."""
        return chance.uniform(0.8 * self.map, self.map + share * (self.end - self.map))


def wage(lane: str, runs: int, count: int, chance: random.Random) -> Campaign:
    """Kill ``runs`` runs of one kind of lane, each at least once."""
    campaign = Campaign(lane)
    usual = Usual.of(lane, count)
    while campaign.runs < runs:
        with directory() as place:
            trial = Trial(place, campaign, count)
            printed = trial.live(usual.moment(chance))
            if printed is None:
                campaign.runs += 1
                for _ in range(chance.randint(0, MORE_KILLS)):
                    printed = trial.live(usual.moment(chance, 0.4))
                    if printed is not None:
                        break
            if printed is None:
                printed = trial.live(None)
            trial.check(printed)
    return campaign


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser, 10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--lane", choices=LANES, action="append", help="only this kind of lane")
    parser.add_argument(
        "--faults", type=int, default=32, help="how often each other kind of fault strikes"
    )
    parser.add_argument(
        "--slices", type=int, default=200, help="how many workers and engines `workers.py` kills"
    )
    options = parser.parse_args()
    begin(options)
    count = 300 if options.quick else 2_000
    again = " ".join([Path(script("kill.py")[1]).name, "--seed", str(options.seed)])
    print(f"seed {options.seed} (the same moments again: {again})", end="\n\n", flush=True)
    began = time.monotonic()
    campaigns = [
        wage(lane, options.repeat, count, random.Random(f"{options.seed} {lane}"))
        for lane in options.lane or LANES
    ]
    rows = [
        (
            campaign.lane,
            str(campaign.runs),
            f"{len(campaign.kills)}, {campaign.in_the_map} in the map",
            str(len(campaign.wrong)),
            str(campaign.committed_again),
            f"{mean(kill.lost for kill in campaign.kills):.1f}, at worst {campaign.worst.lost}",
            f"{campaign.in_flight} + {campaign.allowed(campaign.worst) - campaign.in_flight}",
            "held" if campaign.held else "BROKEN",
        )
        for campaign in campaigns
    ]
    table(
        f"Runs of {count:,} items killed with SIGKILL, in {seconds(time.monotonic() - began)}",
        ("lanes", "runs", "kills", "wrong", "committed, yet run again", "run again a kill")
        + ("in flight + a commit batch", ""),
        rows,
    )
    began = time.monotonic()
    struck = [
        faults.strike(kind, options.faults, random.Random(f"{options.seed} {kind}"))
        for kind in faults.KINDS
    ]
    table(
        f"Runs of {faults.ITEMS} large results under other faults, in "
        + seconds(time.monotonic() - began),
        ("fault", "runs", "wrong", "committed, yet run again", "files replaced", ""),
        faults.rows(struck),
    )
    began = time.monotonic()
    deaths = workers.strike(options.slices, random.Random(f"{options.seed} slices"))
    table(
        f"Slices of {workers.ITEMS:,} short items under kills, in "
        + seconds(time.monotonic() - began),
        ("runs", "workers", "engines", "attempts lost", "wrong", "committed, yet run again", ""),
        [
            (
                *map(str, (deaths.runs, deaths.workers, deaths.engines, deaths.attempts_lost)),
                *(str(len(deaths.wrong)), str(deaths.committed_again)),
                "held" if deaths.held else "BROKEN",
            )
        ],
    )
    for wrong in deaths.wrong:
        print(f"slices: {wrong}")
    for campaign in campaigns:
        for wrong in campaign.wrong:
            print(f"{campaign.lane}: {wrong}")
    for kind in struck:
        for wrong in kind.wrong:
            print(f"{kind.kind}: {wrong}")
    return 0 if all(each.held for each in (*campaigns, *struck, deaths)) else 1


if __name__ == "__main__":
    sys.exit(main())
