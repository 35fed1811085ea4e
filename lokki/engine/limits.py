"""The shared limits of an engine: those of its configuration that the steps of its runs name."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from math import inf
from time import monotonic, time
from typing import Any

from lokki.engine.pace import AT_ONCE_SECONDS, Limit
from lokki.errors import ConfigError, JournalError
from lokki.graph import FlowGraph
from lokki.rate import Rate, rate_of
from lokki.store.journal import Journal
from lokki.store.limits import reserve

_RESERVED_SECONDS = 0.5
"""A process reserves the times of about this period at once."""


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


class Limits:
    """The limits of an engine. ``soon`` has its lanes look for work, with a function before it."""

    def __init__(
        self,
        configured: Mapping[str, str],
        journal: Journal,
        soon: Callable[[Callable[[], None]], None],
    ) -> None:
        self._configured = configured
        self._journal = journal
        self._soon = soon
        self._shared: dict[str, SharedRate] = {}

    def of(self, graph: FlowGraph[Any]) -> dict[str, Limit]:
        """The limits that the steps of a flow name; all runs of the engine have the same ones."""
        return {name: self._one(name) for name in named(graph)}

    def _one(self, name: str) -> SharedRate:
        if name not in self._shared:
            rate = rate_of(self._configured[name])

            def ask(shared: SharedRate, count: int) -> None:
                asked = reserve(self._journal, name, rate, count, time())
                asked.add_done_callback(lambda answer: self._take(shared, answer))

            self._shared[name] = SharedRate(rate, ask)
        return self._shared[name]

    def _take(self, shared: SharedRate, answer: Future[float]) -> None:
        with suppress(JournalError, RuntimeError):  # the runs end with the journal's own error
            begin = monotonic() + answer.result()
            self._soon(lambda: shared.reserved(begin))

    def check(self, graph: FlowGraph[Any]) -> None:
        """Raise ConfigError for a limit of a step that is not configured, or is no rate."""
        for name, step in named(graph).items():
            if name not in self._configured:
                raise ConfigError(
                    f"step '{step}' has the limit '{name}', which is not among the [limits]: add "
                    f'{name} = "500/m", say, to lokki.toml'
                )
            try:
                rate_of(self._configured[name])
            except ValueError as error:
                raise ConfigError(f"key 'limits.{name}' {error}") from None


def named(graph: FlowGraph[Any]) -> dict[str, str]:
    """The limits that the steps of a flow name, and a step of each."""
    calls = [call for stage in graph.stages for call in stage.calls]
    return {call.step.limit: call.name for call in calls if call.step.limit is not None}
