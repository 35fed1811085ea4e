"""How fast a map begins its items. Pure: the caller has the clock.

A map has the rate of its flow, if any, those that its steps share with other runs, and a lower one
while its step asks for later tries: many of them halve it, and it grows back when there are fewer.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from math import inf
from typing import Protocol, runtime_checkable

from lokki.rate import Rate

AT_ONCE_SECONDS = 0.1
"""What accrues in this time may begin at once: a lane that wakes late loses nothing."""
_PARTS = 1_000
"""Begun items are remembered with this precision of a rate's period."""
_ROUND_SECONDS = 1.0
"""How long items are counted before the pace changes."""
_MANY = 0.05
"""This share of items that ask for a later try slows the map down."""
_SLOWEST = 1.0
"""Items a second that begin in any case."""
_GROWTH = 0.1
"""The share of the usual pace that is regained in a second."""


class Limit(Protocol):
    """What bounds how many items may begin."""

    def room(self, now: float) -> int:
        """How many items may begin now."""
        ...

    def take(self, count: int, now: float) -> None:
        """Note that items begin."""

    def give_back(self, count: int) -> None:
        """Note that items have not begun after all."""

    @property
    def due(self) -> float:
        """When the next item may begin; in the past, if it may now, or ``inf``: not known."""
        ...


@runtime_checkable
class Places(Protocol):
    """What bounds how many claims there are at a time, of all runs."""

    @property
    def free(self) -> bool:
        """Whether there may be another claim."""
        ...

    def want(self) -> None:
        """Note that there is work for another one."""

    def take(self) -> None:
        """Note that there is another one."""

    def end(self) -> None:
        """Note that one has ended."""


class _Bucket:
    """Items that may begin: so many a second, evenly."""

    def __init__(self, per_second: float, now: float) -> None:
        self.per_second = per_second
        self._free = 1.0
        self._at = now

    def room(self, now: float) -> int:
        most = max(1.0, AT_ONCE_SECONDS * self.per_second)
        self._free = min(most, self._free + (now - self._at) * self.per_second)
        self._at = now
        return int(self._free + 1e-9)

    def take(self, count: int, now: float) -> None:
        self._free -= count

    def give_back(self, count: int) -> None:
        self._free += count

    @property
    def due(self) -> float:
        return self._at + max(0.0, 1 - self._free) / self.per_second


class _Window:
    """The items that have begun in the last period of a rate."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._begun: deque[list[float]] = deque()  # first, last, count
        self._count = 0

    def room(self, now: float) -> int:
        while self._begun and self._begun[0][1] <= now - self._rate.seconds:
            self._count -= int(self._begun.popleft()[2])
        return self._rate.count - self._count

    def take(self, count: int, now: float) -> None:
        self._count += count
        newest = self._begun[-1] if self._begun else None
        if newest is not None and now - newest[0] < self._rate.seconds / _PARTS:
            newest[1], newest[2] = now, newest[2] + count
        else:
            self._begun.append([now, now, count])

    def give_back(self, count: int) -> None:
        for each in reversed(self._begun):
            back = min(count, int(each[2]))
            each[2] -= back
            self._count -= back
            count -= back

    @property
    def due(self) -> float:
        return -inf if self._count < self._rate.count else self._begun[0][1] + self._rate.seconds


class Pace:
    """How many items of a map may begin now, by its ``rate``, other ``limits``, and its step."""

    def __init__(self, rate: Rate | None = None, limits: Iterable[Limit] = ()) -> None:
        self._rate = rate
        self._limits = list(limits)
        self._slow: _Bucket | None = None
        self._usual = 0.0
        self._since: float | None = None
        self._begun = 0
        self._put_off = 0

    @property
    def slowed_to(self) -> float | None:
        """How many items a second begin while the step asks for later tries; None: as usual."""
        return None if self._slow is None else self._slow.per_second

    @property
    def _all(self) -> list[Limit]:
        return self._limits if self._slow is None else [*self._limits, self._slow]

    def room(self, now: float) -> int:
        """How many items may begin now."""
        if self._since is None:
            self._since = now
            if self._rate is not None:
                per_second = self._rate.count / self._rate.seconds
                self._limits += [_Bucket(per_second, now), _Window(self._rate)]
        elif now - self._since >= _ROUND_SECONDS:
            self._end_round(now - self._since, now)
        return max(0, min((limit.room(now) for limit in self._all), default=sys.maxsize))

    def begin(self, count: int, now: float) -> None:
        """Note that items begin."""
        self._begun += count
        for limit in self._all:
            limit.take(count, now)

    def give_back(self, count: int) -> None:
        """Note that items have not begun after all."""
        self._begun -= count
        for limit in self._all:
            limit.give_back(count)

    def put_off(self) -> None:
        """Note that an item asks for a later try."""
        self._put_off += 1

    @property
    def due(self) -> float:
        """As in `Limit`."""
        return max((limit.due for limit in self._all), default=-inf)

    def _end_round(self, seconds: float, now: float) -> None:
        """Slow down, or regain speed, by what has happened in a round."""
        if self._begun <= 0:  # calls that take long: the round lasts until more begin
            return
        pace = self._begun / seconds
        few = 0 if self._slow else 1  # one is none that is many, unless it is slow already
        if self._put_off > max(few, _MANY * self._begun):
            self._usual = max(self._usual, pace)
            before = pace if self._slow is None else min(pace, self._slow.per_second)
            self._slow = _Bucket(max(_SLOWEST, before / 2), now)
        elif self._slow is not None:
            self._slow.per_second += _GROWTH * self._usual * seconds
            if self._slow.per_second >= self._usual:
                self._slow = None
        self._since, self._begun, self._put_off = now, 0, 0
