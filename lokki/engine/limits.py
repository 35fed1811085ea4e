"""The shared limits of an engine: those of its configuration that the steps of its runs name."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from math import inf
from time import monotonic, time
from typing import Any, TypeVar

from lokki.engine.pace import AT_ONCE_SECONDS, Limit, Places
from lokki.errors import ConfigError, JournalError
from lokki.graph import FlowGraph
from lokki.rate import Rate, limit_of
from lokki.store.journal import Journal
from lokki.store.limits import Line, line_up, reserve

T = TypeVar("T")

_RESERVED_SECONDS = 0.5
"""A process reserves the times of about this period at once."""
_LOOK_SECONDS = 0.1
"""How long unused places are kept, and how often a process looks at a line in which it waits."""


class SharedRate:
    """A rate that all processes with the same journal share, as a `Limit` of maps.

    Times at which items may begin are reserved in the journal, some at once, by ``ask``, while
    items wait for them; the answer comes later. All methods are called under the lock of the lanes.
    """

    def __init__(self, rate: Rate, ask: Callable[[SharedRate, int], None]) -> None:
        self._ask = ask
        self._every = rate.seconds / rate.count
        self._bulk = max(1, int(_RESERVED_SECONDS / self._every))
        self._at_once = max(1, int(AT_ONCE_SECONDS / self._every))
        self._reserved: deque[list[float]] = deque()  # the first time, and how many there are
        self._returned = 0
        self._is_asked = False

    def reserved(self, begin: float) -> None:
        """Note the times that were asked for: the first is ``begin``."""
        self._is_asked = False
        self._reserved.append([begin, self._bulk])

    def room(self, now: float) -> int:
        due = sum(self._come(first, count, now) for first, count in self._reserved)
        late = due - self._at_once
        if late > 0:  # nobody has used them, and all at once would be too many
            self._drop(late)
            due -= late
        left = sum(int(count) for _, count in self._reserved) - due
        if not self._is_asked and left < self._bulk:
            self._is_asked = True
            self._ask(self, self._bulk)
        return due + self._returned

    def _come(self, first: float, count: float, now: float) -> int:
        """How many of some times have come."""
        return 0 if now < first else min(int(count), int((now - first) / self._every) + 1)

    def take(self, count: int, now: float) -> None:
        again = min(count, self._returned)
        self._returned -= again
        self._drop(count - again)

    def _drop(self, count: int) -> None:
        while count > 0 and self._reserved:
            times = self._reserved[0]
            some = min(count, int(times[1]))
            times[0] += some * self._every
            times[1] -= some
            count -= some
            if not times[1]:
                self._reserved.popleft()

    def give_back(self, count: int) -> None:
        self._returned = min(self._at_once, self._returned + count)

    @property
    def due(self) -> float:
        if self._returned:
            return -inf
        return self._reserved[0][0] if self._reserved else inf


class SharedPlaces:
    """How many calls run at a time in all processes with the same journal, as `Places` of maps.

    This process stands in the line of a limit in the journal: in front, with a place for each of
    its calls, and behind, with as many while there is work for them. ``line_up`` gives up the
    places of calls that have ended, and asks for so many; the answer comes later. ``later`` calls a
    function after some seconds. All methods are called under the lock of the lanes.
    """

    def __init__(
        self,
        line_up: Callable[[SharedPlaces, int, int], None],
        later: Callable[[Callable[[], None], float], None],
    ) -> None:
        self._line_up = line_up
        self._later = later
        self._used = self._free = self._behind = self._ended = 0
        self._alone_until = -inf
        self._is_wanted = False  # since the last question
        self._is_asked = self._asks_soon = self._looks_later = False

    @property
    def free(self) -> bool:
        return self._free > 0

    def want(self) -> None:
        self._is_wanted = True
        if not self._behind:
            self._ask_soon()

    def take(self) -> None:
        self._free -= 1
        self._used += 1

    def end(self) -> None:
        self._used -= 1
        if monotonic() < self._alone_until:
            self._free += 1
            self._look_later()
        else:
            self._ended += 1
            self._ask_soon()

    def answered(self, line: Line) -> None:
        """Note the places that were asked for."""
        self._is_asked = False
        self._free = max(0, line.front - self._used - self._ended)
        self._behind = line.behind
        self._alone_until = monotonic() + _LOOK_SECONDS if line.is_alone else -inf
        if self._ended:
            self._ask_soon()
        if self._free or self._behind:
            self._look_later()

    def _ask_soon(self) -> None:
        """Ask when the lane that has ended a call has looked for another one."""
        if not (self._is_asked or self._asks_soon):
            self._asks_soon = True
            self._later(self._ask_for_more, 0.0)

    def _ask_for_more(self) -> None:
        self._asks_soon = False
        self._ask(self._used + self._free + self._behind)

    def _look_later(self) -> None:
        if not self._looks_later:
            self._looks_later = True
            self._later(self._look, _LOOK_SECONDS)

    def _look(self) -> None:
        """Give up what nobody has used meanwhile, and see whether the line has moved on."""
        self._looks_later = False
        if self._free or self._behind:
            self._free = 0
            self._ask(self._used)
            self._look_later()

    def _ask(self, least: int) -> None:
        if not self._is_asked:
            wanted = max(least, self._used + max(1, self._used) * self._is_wanted)
            ended, self._ended, self._is_wanted = self._ended, 0, False
            self._is_asked = True
            self._line_up(self, ended, wanted)


class Limits:
    """The limits of an engine.

    ``change`` has its lanes look for work, with a function before it, after some seconds.
    """

    def __init__(
        self,
        configured: Mapping[str, str | int],
        journal: Journal,
        change: Callable[[Callable[[], None], float], None],
    ) -> None:
        self._configured = configured
        self._journal = journal
        self._change = change
        self._shared: dict[str, SharedRate | SharedPlaces] = {}

    def of(self, graph: FlowGraph[Any]) -> dict[str, Limit | Places]:
        """The limits that the steps of a flow name; all runs of the engine have the same ones."""
        return {name: self._one(name) for name in named(graph)}

    def _one(self, name: str) -> SharedRate | SharedPlaces:
        if name not in self._shared:
            limit = limit_of(self._configured[name])
            made = self._places(name, limit) if isinstance(limit, int) else self._rate(name, limit)
            self._shared[name] = made
        return self._shared[name]

    def _rate(self, name: str, rate: Rate) -> SharedRate:
        def ask(shared: SharedRate, count: int) -> None:
            asked = reserve(self._journal, name, rate, count, time())
            self._tell(asked, lambda seconds: shared.reserved(monotonic() + seconds))

        return SharedRate(rate, ask)

    def _places(self, name: str, most: int) -> SharedPlaces:
        def ask(shared: SharedPlaces, ended: int, wanted: int) -> None:
            asked = line_up(self._journal, name, most, ended=ended, wanted=wanted, now=time())
            self._tell(asked, shared.answered)

        return SharedPlaces(ask, self._change)

    def _tell(self, asked: Future[T], take: Callable[[T], None]) -> None:
        """Have an answer of the journal taken when it has come."""

        def come(answer: Future[T]) -> None:
            with suppress(JournalError, RuntimeError):  # the runs end with the journal's own error
                found = answer.result()
                self._change(lambda: take(found), 0.0)

        asked.add_done_callback(come)

    def check(self, graph: FlowGraph[Any]) -> None:
        """Raise ConfigError for a limit of a step that is not configured, or is none."""
        for name, step in named(graph).items():
            if name not in self._configured:
                raise ConfigError(
                    f"step '{step}' has the limit '{name}', which is not among the [limits]: add "
                    f'{name} = "500/m" or {name} = 2, say, to lokki.toml'
                )
            try:
                limit_of(self._configured[name])
            except ValueError as error:
                raise ConfigError(f"key 'limits.{name}' {error}") from None


def named(graph: FlowGraph[Any]) -> dict[str, str]:
    """The limits that the steps of a flow name, and a step of each."""
    calls = [call for stage in graph.stages for call in stage.calls]
    return {call.step.limit: call.name for call in calls if call.step.limit is not None}
