"""What runs next. Pure: no I/O, no clock, no threads, no randomness; outcomes in, work out.

Every rule of a run's order, retries, tolerance, limits and end is in this file. The engine claims
work, performs it, and reports the outcomes; a resumed run is the same machine, fed with recorded
outcomes (`open`). The caller uses a lock to keep calls from overlapping.

    open ──► claim ⇄ report ──► complete ──► advance ──► open the next stage, or succeeded
                        │
                        ├── pause ──► rests, once nothing is claimed ──► unpause
                        ├── a failure that is not tolerated ──► halted ──► failed
                        └── cancel ───────────────────────────► halted ──► cancelled
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import repeat
from math import inf
from typing import TypeAlias

from lokki.engine.pace import Limit, Pace, Places
from lokki.model.status import ItemStatus, RunStatus
from lokki.stages import MapStage, Stage

# Where an item is, one byte each: never handed out, waiting to be handed out again, in a claim,
# final, or left to another backend that also has the run. Outside a claim, it takes no outcome.
_PENDING, _READY, _OUT, _SUCCEEDED, _TOLERATED, _FAILED, _PAUSED = range(7)

_STATUS = (
    ItemStatus.PENDING,
    ItemStatus.RETRYING,
    ItemStatus.RUNNING,
    ItemStatus.SUCCEEDED,
    ItemStatus.TOLERATED,
    ItemStatus.FAILED,
    ItemStatus.PAUSED,
)

Work: TypeAlias = tuple[int, int, int]
"""One item to run, a plain tuple for speed: its index, the inner step to continue with, and the
number of that step's attempt (from 1)."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A failed attempt of one item at one inner step.

    ``later``: after how many seconds it asks for another try, and for how long in all.
    """

    index: int
    position: int
    attempt: int
    retryable: bool
    later: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """An item's last recorded outcome, as the journal returns it; attempt 0: it was reused."""

    index: int
    status: ItemStatus
    position: int
    attempt: int


class Claim:
    """Items that one lane runs one after the other; an idle lane may take some of them away."""

    __slots__ = ("works",)

    def __init__(self, works: deque[Work]) -> None:
        self.works = works

    def taken(self) -> list[Work]:
        """Its items, taken out so that no other lane can take them."""
        works = list[Work]()
        with suppress(IndexError):
            while True:
                works.append(self.works.popleft())
        return works


@dataclass(slots=True)
class Counts:
    """How many of a stage's ``total`` items are in which state.

    ``retrying`` counts those with a failed attempt and no outcome yet, ``reused`` those of the
    succeeded ones whose result is that of an earlier call.
    """

    total: int = 0
    succeeded: int = 0
    failed: int = 0
    tolerated: int = 0
    retrying: int = 0
    reused: int = 0

    @property
    def done(self) -> int:
        """How many have their outcome."""
        return self.succeeded + self.failed + self.tolerated


class RunState:
    """The state of one run over a graph's stages, from the stage at ``position`` on.

    ``limits`` are those that its steps share with other runs, by name. Unless it ``waits``, what
    failed is tried again at once.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        position: int = 0,
        limits: Mapping[str, Limit | Places] = {},
        *,
        waits: bool = True,
    ) -> None:
        self.stages = stages
        self._waits = waits
        self._limits = limits
        self.position = position
        self.status = RunStatus.RUNNING if position < len(stages) else RunStatus.SUCCEEDED
        self.halted = False
        self.counts = Counts()
        self.cancelled = False
        self.paused = False
        self._limit: int | None = None
        self._pace: Pace | None = None
        self._places: list[Places] = []
        self._put_off: dict[int, float] = {}  # since when an item asks for later tries
        self._opened = False
        self._some_left = False
        self._items = bytearray()
        self._cursor = 0
        self._ready: deque[Work] = deque()
        self._delayed: list[tuple[float, Work]] = []
        self._retrying: set[int] = set()
        self._claims: dict[Claim, None] = {}  # oldest first, so that a theft is deterministic

    # ---- the stage -----------------------------------------------------------------------------

    @property
    def stage(self) -> Stage:
        return self.stages[self.position]

    def open(
        self, count: int, recorded: Iterable[Recorded] = (), succeeded: Iterable[range] = ()
    ) -> None:
        """Begin the current stage with ``count`` items, some of which may have outcomes already.

        ``succeeded`` are indices in a row; other outcomes are ``recorded`` one by one. Recorded
        successes and tolerated failures stand. An item that was retrying continues with its next
        attempt. A paused one is left, and the run is cancelled once all others are done. Anything
        else (failed and cancelled items, too) runs again. A run that was cancelled before stays as
        it is.
        """
        assert not self._opened
        if self.ended:
            return
        self._opened = True
        self._some_left = False
        stage = self.stage
        self._limit = stage.concurrency_limit if isinstance(stage, MapStage) else None
        rate = stage.rate_limit if isinstance(stage, MapStage) else None
        names = {call.step.limit for call in stage.calls}
        shared = [limit for name, limit in self._limits.items() if name in names]
        self._places = [limit for limit in shared if isinstance(limit, Places)]
        limits = [limit for limit in shared if not isinstance(limit, Places)]
        self._pace = Pace(rate, limits) if rate or limits else None
        self._put_off = {}
        self._items = bytearray(count)
        self._cursor = 0
        self.counts = counts = Counts(total=count)
        for indices in succeeded:
            self._items[indices.start : indices.stop] = bytes((_SUCCEEDED,)) * len(indices)
            counts.succeeded += len(indices)
        for item in recorded:
            index, status = item.index, item.status
            if status is ItemStatus.SUCCEEDED:
                self._items[index] = _SUCCEEDED
                counts.succeeded += 1
                counts.reused += item.attempt == 0
            elif status is ItemStatus.TOLERATED:
                self._items[index] = _TOLERATED
                counts.tolerated += 1
            elif status is ItemStatus.RETRYING:
                self._items[index] = _READY
                self._ready.append((index, item.position, item.attempt + 1))
                self._retrying.add(index)
            elif status is ItemStatus.PAUSED:
                self._items[index] = _PAUSED
                self._some_left = True
        counts.retrying = len(self._retrying)
        self._leave_paused()

    def _leave_paused(self) -> None:
        """Cancel the run when only paused items of the stage are left."""
        open_items = self._claims or self._ready or self._delayed
        if self._some_left and not open_items and self._items.find(_PENDING, self._cursor) < 0:
            self.cancel()

    @property
    def complete(self) -> bool:
        """Whether every item of the open stage has its outcome, so that `advance` may follow."""
        counts = self.counts
        return (
            self._opened
            and not self.halted
            and counts.succeeded + counts.tolerated == counts.total
            and not self._claims
        )

    def advance(self) -> None:
        """Leave a complete stage, once its outcomes are on disk."""
        assert self.complete
        self._opened = False
        self.position += 1
        if self.position == len(self.stages):
            self.status = RunStatus.SUCCEEDED

    @property
    def fresh(self) -> int:
        """About how many items of the open stage have never been handed out."""
        return len(self._items) - self._cursor

    # ---- claim and report ------------------------------------------------------------------------

    def claim(self, most: int, now: float, *, steal: bool = True) -> Claim | None:
        """Hand out up to ``most`` items, or None when there is nothing to do at ``now``.

        Returned items and due retries come first, then fresh items in order, then, with ``steal``,
        half of what the fullest claim has not begun (however many): no item waits behind a long one
        while a lane is idle.
        """
        if not self._opened or self.halted or self.paused or self._full:
            return None
        if not self._has_places and self._has_work(now, steal=steal):
            for places in self._places:
                places.want()
        if not self._has_places:
            return None
        works: deque[Work] = deque()
        if self._pace is not None:
            most = min(most, self._pace.room(now))
        while self._delayed and self._delayed[0][0] <= now:
            self._ready.append(heappop(self._delayed)[1])
        while self._ready and len(works) < most:
            work = self._ready.popleft()
            self._items[work[0]] = _OUT
            works.append(work)
        if len(works) < most:
            works.extend(self._fresh(most - len(works)))
        if self._pace is not None and works:
            self._pace.begin(len(works), now)
        if not works and steal:
            works = self._stolen()
        if not works:
            return None
        claim = Claim(works)
        self._claims[claim] = None
        for places in self._places:
            places.take()
        return claim

    @property
    def _has_places(self) -> bool:
        return all(places.free for places in self._places)

    def _has_work(self, now: float, *, steal: bool) -> bool:
        return bool(
            self._ready
            or (self._delayed and self._delayed[0][0] <= now)
            or self._items.find(_PENDING, self._cursor) >= 0
            or (steal and any(claim.works for claim in self._claims))
        )

    @property
    def _full(self) -> bool:
        return self._limit is not None and len(self._claims) >= self._limit

    def _fresh(self, most: int) -> Iterable[Work]:
        items = self._items
        start = items.find(_PENDING, self._cursor)
        if start < 0:
            self._cursor = len(items)
            return ()
        run = items[start : start + most]
        stop = start + len(run) - len(run.lstrip(bytes((_PENDING,))))
        items[start:stop] = bytes((_OUT,)) * (stop - start)
        self._cursor = stop
        return zip(range(start, stop), repeat(0), repeat(1), strict=False)

    def tune(self, limit: int) -> None:
        """Hand out at most ``limit`` claims at a time of the open stage, from now on."""
        self._limit = limit

    def pause(self) -> None:
        """Hand out nothing, and take back what the claims have not begun."""
        self.paused = True
        for claim in self._claims:
            while works := self._taken(claim, len(claim.works)):
                self._return(works)

    def unpause(self) -> None:
        """Hand out items again."""
        self.paused = False

    @property
    def rests(self) -> bool:
        """Whether it is paused, and nothing is claimed."""
        return self.paused and not self._claims

    def _stolen(self) -> deque[Work]:
        fullest = max(self._claims, key=lambda claim: len(claim.works), default=None)
        if fullest is None:
            return deque()
        return self._taken(fullest, (len(fullest.works) + 1) // 2)

    def _taken(self, claim: Claim, most: int) -> deque[Work]:
        """The last items of a claim that it has not begun."""
        works: deque[Work] = deque()
        for _ in range(most):
            try:
                works.appendleft(claim.works.pop())
            except IndexError:  # its lane was faster
                break
        return works

    def report(
        self, claim: Claim, succeeded: Iterable[range], failed: Iterable[Failed], now: float
    ) -> list[ItemStatus]:
        """Take back a claim that has ended: its outcomes, and what it has not begun.

        ``succeeded`` are indices in a row. Returns what each of ``failed`` has become: pending (put
        off), retrying, tolerated or failed. A second outcome of an item, or one of an item in no
        claim, changes nothing.
        """
        if claim not in self._claims:
            return []
        del self._claims[claim]
        for places in self._places:
            places.end()
        items, counts = self._items, self.counts
        self._return(claim.works)
        claim.works.clear()
        for indices in succeeded:
            if self._retrying:
                self._retrying.difference_update(each for each in indices if items[each] == _OUT)
            here = slice(indices.start, indices.stop)
            counts.succeeded += items[here].count(_OUT)
            items[here] = items[here].replace(bytes((_OUT,)), bytes((_SUCCEEDED,)))
        verdicts = [self._fail(failure, now) for failure in failed]
        counts.retrying = len(self._retrying)
        if self.halted and not self._claims:
            self.status = RunStatus.CANCELLED if self.cancelled else RunStatus.FAILED
        self._leave_paused()
        return verdicts

    def _return(self, works: Iterable[Work]) -> None:
        """Take back items that have not begun."""
        works = tuple(works)
        for work in works:
            self._items[work[0]] = _READY
        self._ready.extend(works)
        if self._pace is not None:
            self._pace.give_back(len(works))

    def give_back(self, count: int) -> None:
        """Note that so many claimed items needed no call: the pace of their map has room again."""
        if self._pace is not None:
            self._pace.give_back(count)

    def _fail(self, failure: Failed, now: float) -> ItemStatus:
        index, attempt = failure.index, failure.attempt
        items = self._items
        if items[index] != _OUT:
            return _STATUS[items[index]]
        if failure.later is not None and self._puts_off(failure, *failure.later, now):
            return ItemStatus.PENDING
        policy = self.stage.calls[failure.position].step.retry
        if failure.retryable and attempt <= policy.retries:
            items[index] = _READY
            due = now + policy.wait(attempt) if self._waits else now
            heappush(self._delayed, (due, (index, failure.position, attempt + 1)))
            self._retrying.add(index)
            return ItemStatus.RETRYING
        counts, stage = self.counts, self.stage
        self._retrying.discard(index)
        if isinstance(stage, MapStage) and stage.tolerates(counts.tolerated + 1, counts.total):
            items[index] = _TOLERATED
            counts.tolerated += 1
            return ItemStatus.TOLERATED
        items[index] = _FAILED
        counts.failed += 1
        self.halted = True
        return ItemStatus.FAILED

    def _puts_off(self, failure: Failed, seconds: float, most: float, now: float) -> bool:
        """Try an item again later without using up an attempt, unless it has waited too long."""
        index, due = failure.index, now + seconds
        if due - self._put_off.setdefault(index, now) > most:
            return False
        if not self._waits:
            self._put_off[index] -= seconds
            due = now
        self._items[index] = _READY
        heappush(self._delayed, (due, (index, failure.position, failure.attempt)))
        self._retrying.add(index)
        if isinstance(self.stage, MapStage) and self._waits:
            self._pace = self._pace or Pace()
            self._pace.put_off()
        return True

    @property
    def slowed_to(self) -> float | None:
        """How many items a second begin while the step asks for later tries; None: as usual."""
        return None if self._pace is None else self._pace.slowed_to

    # ---- the end ---------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop claiming; the run is cancelled when the last claim has been reported."""
        if self.status is not RunStatus.RUNNING or self.halted:
            return
        self.cancelled = self.halted = True
        if not self._claims:
            self.status = RunStatus.CANCELLED

    @property
    def ended(self) -> bool:
        return self.status is not RunStatus.RUNNING

    @property
    def next_due(self) -> float | None:
        """When an item that waits may be claimed; None when time alone makes none claimable.

        It waits for its retry, or for the pace of its map.
        """
        if self.halted or self.paused or not self._opened or self._full:
            return None
        if not self._has_places and self._has_work(-inf, steal=False):
            return None
        if self._pace is None:
            return self._delayed[0][0] if self._delayed else None
        due = self._pace.due
        if not (self._ready or self._items.find(_PENDING, self._cursor) >= 0):
            due = max(due, self._delayed[0][0] if self._delayed else inf)
        return due if due < inf else None
