"""What the engine learns of a cluster meanwhile: how many threads it has, how far orders are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

from lokki.engine.cluster.connection import Client, Connection
from lokki.engine.cluster.pending import FIRST_LOOK_SECONDS, Pending
from lokki.errors import ClusterError

_COUNT_SECONDS = 2.0
_ANSWER_SECONDS = 5.0


class Watcher:
    """A thread that asks the Dask workers about the orders of the engine ``name``."""

    def __init__(
        self,
        name: str,
        connection: Connection,
        widen: Callable[[int], None],
        wake: Callable[[], None],
    ) -> None:
        self._name = name
        self._connection = connection
        self._widen = widen
        self._wake_lanes = wake
        self._threads = 0
        self._counted = 0.0
        self._workers: list[Mapping[str, float]] = []
        self._client: Client | None = None
        self._answered = monotonic()
        self._missed: dict[tuple[tuple[str, float], ...], float] = {}
        self._lock = threading.Lock()
        self._pending: dict[int, Pending] = {}
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._watch, name="lokki-cluster", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        """End the thread, and the processes of the engine on the workers."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(4 * _ANSWER_SECONDS)
            from lokki.engine.cluster import host

            with suppress(Exception):  # they end by themselves, too
                self.asked(host.forget)

    @contextmanager
    def watching(self, pending: Pending) -> Iterator[None]:
        """Inside this context, ask how far an order is."""
        self.start()
        with self._lock:
            self._pending[pending.number] = pending
        try:
            yield
        finally:
            with self._lock:
                del self._pending[pending.number]

    def stop_orders(self, owner: object) -> None:
        """Have the orders of an owner killed; does not wait."""
        with self._lock:
            for each in self._pending.values():
                if each.request.owner is owner:
                    each.stop()
        self._wake.set()

    @property
    def silence(self) -> float:
        """For how many seconds the scheduler has not answered, or has been away."""
        return monotonic() - self._answered

    def missing(self, resources: Mapping[str, float]) -> float | None:
        """For how many seconds there has been no worker with these resources; None if there is."""
        name = tuple(resources.items())
        fits = (all(has.get(each, 0) >= n for each, n in name) for has in self._workers)
        if any(fits):
            self._missed.pop(name, None)
            return None
        return monotonic() - self._missed.setdefault(name, monotonic())

    def asked(self, question: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """The answers of all workers that answer in time, by their addresses."""
        client = self._connection.now
        if client is None:
            return {}
        found: dict[str, Any] = client.sync(
            _asked, client, question, self._name, *arguments, callback_timeout=2 * _ANSWER_SECONDS
        )
        return found

    def _watch(self) -> None:
        while not self._closing:
            with suppress(ClusterError):  # the lanes learn it, too
                client = self._connection.client(lambda: self._closing)
                if client is None:
                    return
                if client is not self._client:  # a new one
                    self._client, self._answered = client, monotonic()
                with suppress(Exception):  # the connection is lost
                    self._look()
            self._wake.wait(FIRST_LOOK_SECONDS / 2)
            self._wake.clear()

    def _look(self) -> None:
        from lokki.engine.cluster import host

        now = monotonic()
        if now >= self._counted + _COUNT_SECONDS:
            self._count()
            self._counted = now
        with self._lock:
            pending = list(self._pending.values())
        if stopped := [each.number for each in pending if each.stopped is not None]:
            self.asked(host.stop, stopped)
        due = {each.number: each for each in pending if each.due <= now}
        if due:
            for seen in self.asked(host.look, list(due)).values():
                for number, each in seen.items():
                    due[number].hear(each)
            if any(each.has_spare for each in due.values()):
                self._wake_lanes()
            for one in due.values():
                one.look_later(monotonic(), len(self._workers))

    def _count(self) -> None:
        client = self._connection.now
        if client is None:
            return
        workers = client.sync(_workers, client, callback_timeout=_ANSWER_SECONDS)
        self._answered = monotonic()
        self._workers = [each["resources"] for each in workers.values()]
        threads = sum(each["nthreads"] for each in workers.values())
        if threads and threads != self._threads:
            self._threads = threads
            self._widen(threads)


async def _workers(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = (await client.scheduler.identity(n_workers=-1))["workers"]
    return found


async def _asked(client: Client, question: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Ask each worker apart, so that one that does not answer keeps no others from it."""
    found: dict[str, Any] = {}

    async def ask(worker: str) -> None:
        with suppress(Exception):
            answer = client.run(
                question, *arguments, workers=[worker], on_error="ignore", asynchronous=True
            )
            found.update(await asyncio.wait_for(answer, _ANSWER_SECONDS))

    workers = await client.scheduler.ncores()
    await asyncio.gather(*map(ask, workers))
    return found
