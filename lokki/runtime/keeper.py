"""Stores what calls show while they run."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future
from threading import Lock, Thread

from lokki.model.attachment import Shown
from lokki.runtime import shown
from lokki.runtime.payloads import Payloads
from lokki.store.s3 import S3Store


class Keeper:
    """Stores what calls show at once, so that it stays if AWS ends the process during the call.

    It has a thread, with an event loop and connections to the store of its own, from the first
    value on.
    """

    def __init__(self, payloads: Payloads) -> None:
        self._flow = payloads.flow
        self._place = payloads.store.place
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._payloads: Payloads | None = None
        self._kept: deque[Future[None]] = deque()

    def take(self, run_id: str, value: Shown) -> None:
        """Begin to store something shown; any thread may call this."""
        with self._lock:
            if self._loop is None:
                self._loop = self._started()
        self._kept.append(asyncio.run_coroutine_threadsafe(self._keep(run_id, value), self._loop))

    def settle(self) -> None:
        """Wait until all of it is stored. Raises PayloadError for what cannot be."""
        problem: Exception | None = None
        while self._kept:
            problem = self._kept.popleft().exception() or problem  # type: ignore[assignment]
        if problem is not None:
            raise problem

    def close(self) -> None:
        """Close the connections, and end the thread."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    def _started(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        Thread(target=_run, args=(loop,), name="lokki-shown", daemon=True).start()
        return loop

    async def _keep(self, run_id: str, value: Shown) -> None:
        if self._payloads is None:
            bucket, prefix, endpoint, region = self._place
            store = S3Store(bucket, prefix, endpoint=endpoint, region=region)
            self._payloads = Payloads(store, self._flow)
        await shown.keep(self._payloads, run_id, [value])

    async def _close(self) -> None:
        if self._payloads is not None:
            await self._payloads.store.close()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()
