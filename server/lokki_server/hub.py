"""Notifies all watchers of changes in the journal: one look serves them all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from time import monotonic
from typing import Any, TypeVar

import anyio

from lokki.postgres_url import PostgresUrl
from lokki.store.journal import Journal
from lokki_server.connections import most_connections
from lokki_server.problems import Problem

T = TypeVar("T")

_LOOK_SECONDS = 0.1
"""At most ten messages per second, whatever happens."""
_HEARD_SECONDS = 1.0
"""How often to look where a server tells of changes."""
_QUIET_SECONDS = 5.0
"""After this long without a change, one is assumed: a run's process may be gone."""
_MOST_STREAMS = 200
_RETRY_SECONDS = 5


class Hub:
    """Notifies of changes to the journal by any process; looks only while somebody waits."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._streams = 0
        self._watchers = 0
        self._change = 0
        self._news = anyio.Event()
        self._wanted = anyio.Event()
        self._looks: dict[Any, asyncio.Future[Any]] = {}
        self._seen, self._notified = -1, 0.0
        self._heard = asyncio.Event()
        self._hears = False

    async def look_for_changes(self) -> None:
        """Notify the watchers if there is a change."""
        version = await anyio.to_thread.run_sync(self._journal.read.version)
        if version != self._seen or monotonic() > self._notified + _QUIET_SECONDS:
            self._seen, self._notified = version, monotonic()
            self._change += 1
            self._looks = {}
            self._news.set()
            self._news = anyio.Event()

    async def wanted(self) -> None:
        """Wait until the next look is due and somebody waits for a change."""
        await asyncio.sleep(_LOOK_SECONDS)
        if not self._watchers:
            if self._wanted.is_set():
                self._wanted = anyio.Event()
            await self._wanted.wait()
        elif self._hears:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._heard.wait(), _HEARD_SECONDS)
        self._heard.clear()

    async def hear(self, place: PostgresUrl) -> None:
        """Have looks follow what the server tells, as long as somebody waits for a change."""
        from lokki.store.postgres_news import changes

        while True:
            while not self._watchers:
                await self._wanted.wait()
                await asyncio.sleep(_LOOK_SECONDS)
            async with aclosing(changes(place)) as told:
                async for _ in told:
                    self._hears = True
                    self._heard.set()
                    if not self._watchers:
                        break
            self._hears = False

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Take one of the streams that may be open. Raises Problem when there are too many."""
        most = min(_MOST_STREAMS, most_connections() // 2)
        if self._streams >= most:
            detail = f"{most} streams of events are open"
            raise Problem(503, "Too many streams", detail, retry_after=_RETRY_SECONDS)
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def changes(self) -> AsyncIterator[None]:
        """Yield at once and after each change."""
        self._looks = {}  # a new watcher sees the current state
        self._watchers += 1
        self._wanted.set()
        try:
            while True:
                seen, news = self._change, self._news
                yield
                if self._change == seen:
                    await news.wait()
        finally:
            self._watchers -= 1

    async def look(self, key: object, ask: Callable[[], T]) -> T:
        """What ``ask`` returns in a thread, asked once per key until a change."""
        look = self._looks.get(key)
        if look is None:
            look = self._looks[key] = asyncio.ensure_future(anyio.to_thread.run_sync(ask))
        found: T = await asyncio.shield(look)
        return found
