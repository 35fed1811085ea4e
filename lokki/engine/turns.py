"""Whose turn it is: which stage a free lane serves next, and how many of its items it takes.

Pure: no clock, no threads. The lanes call it under their lock.
"""

from __future__ import annotations

from collections import deque

from lokki.engine.items import Slice, StageWork
from lokki.steps import Lane

SLICE_SECONDS = 0.002
"""How long a lane aims to work before it reports: long enough to make the report cheap."""
_MOST_ITEMS = 4096
WORKER_SECONDS = 0.05
"""The same for a worker process, which waits for its next slice while the last one is reported."""
_CLUSTER_SECONDS = 0.02, 0.2
"""The same for a worker of a cluster: at least and at most. The way there and back takes 10 to 20
milliseconds."""
_MOST_TURNS = 8
"""Async lanes take turns on one loop: a slice may last this many turns."""
_PATIENCE_SECONDS = 0.02
"""A slice that takes longer has met a long item: other lanes may take what it has not begun."""
_SHORT_LANES = 2
"""Short items are bound by the interpreter's lock: more than two lanes would only pass it around
and make the event loop and the journal wait. Overdue slices do not count."""


class Turns:
    """The open stages of an engine, and the lanes that work for them.

    ``limits`` is the most lanes of each kind that work at a time, ``total`` of all kinds together.
    """

    def __init__(self, limits: dict[Lane, int], total: int) -> None:
        self.limits: dict[Lane, int] = dict(limits)
        self.total = total
        self._usual: tuple[dict[Lane, int], int] = dict(limits), total
        self._tuned: dict[StageWork, int] = {}
        self._busy: dict[Lane, int] = dict.fromkeys(limits, 0)
        self._works: deque[StageWork] = deque()
        self._held_back = False

    def add(self, work: StageWork) -> None:
        """Begin to serve a stage."""
        self._works.append(work)

    def tune(self, work: StageWork, concurrency: int) -> None:
        """Run this many claims of a stage at a time, for which there are lanes meanwhile.

        Worker processes, and those of a cluster, stay as many as they are.
        """
        work.state.tune(concurrency)
        if work.lane in ("thread", "async"):
            self._tuned[work] = concurrency
            self._set_limits()

    def widen(self, lane: Lane, limit: int) -> None:
        """Have this many lanes of a kind, as those of a cluster that grows or shrinks."""
        limits, total = self._usual
        self._usual = {**limits, lane: limit}, total + limit - limits[lane]
        self._set_limits()

    def _set_limits(self) -> None:
        """The usual limits, or those of the stages that are tuned, if they are higher."""
        limits, self.total = self._usual
        self.limits = dict(limits)
        for work, concurrency in self._tuned.items():
            self.limits[work.lane] = max(self.limits[work.lane], concurrency)
            self.total = max(self.total, concurrency)

    def remove_if_done(self, work: StageWork) -> bool:
        """Whether the stage has just turned out complete, or its run ended or rests."""
        state = work.state
        if work in self._works and (state.complete or state.ended or state.rests):
            self._works.remove(work)
            if self._tuned.pop(work, None) is not None:
                self._set_limits()
            return True
        return False

    @property
    def has_more(self) -> bool:
        """Whether another lane may find work, now or later; not in stages of one item."""
        return any(work.state.counts.total > 1 for work in self._works)

    def next(self, now: float) -> Slice | None:
        """The next slice, from the stages in turn, or None if there is nothing to do now."""
        if sum(self._busy.values()) >= self.total:
            return None
        self._held_back = False
        for _ in range(len(self._works)):
            work = self._works[0]
            self._works.rotate(-1)
            if self._busy[work.lane] < self.limits[work.lane]:
                granted = self._claimed(work, now)
                if granted is not None:
                    self._busy[work.lane] += 1
                    return granted
        return None

    def _claimed(self, work: StageWork, now: float) -> Slice | None:
        begun = work.slices.values()  # in order, the newest last
        young = [at for at, _ in zip(reversed(begun), range(_SHORT_LANES), strict=False)]
        young = [at for at in young if now - at < _PATIENCE_SECONDS]
        self._held_back |= bool(young)
        if work.short and len(young) >= _SHORT_LANES:
            return None
        steal = bool(begun) and now - next(iter(begun)) >= _PATIENCE_SECONDS
        claim = work.state.claim(self._size(work), now, steal=steal)
        if claim is None:
            return None
        granted = Slice(work, claim, now)
        work.slices[granted] = now
        return granted

    def _size(self, work: StageWork) -> int:
        """How many items fill a slice, judged by the previous one; grows from one."""
        if work.batch_size is not None:
            return work.batch_size
        if not work.last_size:
            return 1
        side_by_side = min(len(work.slices) + 1, _MOST_TURNS) if work.lane == "async" else 1
        fitting = int(SLICE_SECONDS * side_by_side / work.seconds_per_item)
        growth = 4
        if work.remote:
            share = work.state.fresh // (2 * self.limits[work.lane])  # the last slices are shorter
            if work.lane == "dask":
                least, most = (int(each / work.seconds_per_item) for each in _CLUSTER_SECONDS)
                fitting, growth = min(most, max(share, least)), _MOST_ITEMS
            elif fitting:
                growth = 16
                fitting = max(fitting, min(int(WORKER_SECONDS / work.seconds_per_item), share))
        return max(1, min(fitting, growth * work.last_size, _MOST_ITEMS))

    def finish(self, done: Slice, seconds: float, now: float) -> bool:
        """Report a slice that took ``seconds``; return whether its stage is done."""
        work = done.work
        self._busy[work.lane] -= 1
        del work.slices[done]
        if done.worked is not None:
            seconds = done.worked
        if len(done):
            work.seconds_per_item = max(seconds / len(done), 1e-9)
            work.last_size = len(done)
        work.report(done, now)
        return self.remove_if_done(work)

    def first_due(self, now: float) -> float | None:
        """When to look again for work that is not available now.

        None where a limit is reached: the lane that returns its turn looks by itself.
        """
        if sum(self._busy.values()) >= self.total:
            return None
        dues = [
            due
            for work in self._works
            if self._busy[work.lane] < self.limits[work.lane]
            and (due := work.state.next_due) is not None
        ]
        if self._held_back:
            dues.append(now + _PATIENCE_SECONDS)
        return min(dues, default=None)

    def enter_thread(self) -> bool:
        """Take a thread's turn for one call of an async lane, if there is one."""
        if self._busy["thread"] >= self.limits["thread"]:
            return False
        self._busy["thread"] += 1
        return True

    def leave_thread(self) -> None:
        self._busy["thread"] -= 1
