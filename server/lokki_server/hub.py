"""What is new in the journal, for everyone who watches: one look for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anyio

from lokki.errors import JournalError
from lokki.store.journal import Journal

_LOOK_SECONDS = 0.1
"""At most ten messages a second, whatever happens."""


class Hub:
    """Tells when the journal has changed, by whichever process; looks while somebody asks."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._watchers = 0
        self._change = 0
        self._news = anyio.Event()
        self._wanted = anyio.Event()

    async def watch(self) -> None:
        """Look for changes for as long as somebody waits for them, for ever."""
        seen = -1
        while True:
            if not self._watchers:
                self._wanted = anyio.Event()
                await self._wanted.wait()
            try:
                version = await anyio.to_thread.run_sync(self._version)
            except JournalError:
                version = seen
            if version != seen:
                seen = version
                self._change += 1
                self._news.set()
                self._news = anyio.Event()
            await asyncio.sleep(_LOOK_SECONDS)

    def _version(self) -> int:
        """Another number than before if any connection but the reader's has written."""
        ((version,),) = self._journal.read("PRAGMA data_version")
        return int(version)

    async def changes(self, quiet: float) -> AsyncIterator[None]:
        """Yield at once, after each change, and when there was none for ``quiet`` seconds."""
        self._watchers += 1
        self._wanted.set()
        try:
            while True:
                seen, news = self._change, self._news
                yield
                if self._change == seen:
                    with anyio.move_on_after(quiet):
                        await news.wait()
        finally:
            self._watchers -= 1
