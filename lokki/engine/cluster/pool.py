"""Has the workers of a Dask cluster serve requests, each in one Dask task; `host.py` is there.

Dask is asked for little: to start a task once some worker has a free thread, and to return its
bytes. Whatever else may happen to a task, the engine notices by itself: each wait has a limit, and
a task that Dask starts again reports only that.
"""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from secrets import token_hex
from time import monotonic
from typing import Any

from lokki.config import Local
from lokki.engine import by_name
from lokki.engine.cluster.address import is_open
from lokki.engine.cluster.connection import Client, Connection, Future
from lokki.engine.cluster.messages import KEY, VERSIONS, Kept, News, Order, Reply, Settings
from lokki.engine.cluster.pending import Pending
from lokki.engine.cluster.stores import Orders, Place, place_of, reaches, unmark
from lokki.engine.cluster.versions import packages_of
from lokki.engine.cluster.watcher import Watcher
from lokki.engine.elsewhere import Again, Asked, Elsewhere, Lost, Unimportable, Unloadable
from lokki.engine.perform import CallCancelled
from lokki.engine.program import Program
from lokki.engine.sliced import Items, Ran
from lokki.errors import ClusterError, WorkerDied
from lokki.model.failure import Failure
from lokki.store.protocol import PayloadStore

_MOST = 10_000
_MOST_BYTES = 1_000_000
"""Inputs of an order in a message; more pass through the payload store, where workers reach it."""
_RESULT_SECONDS = 30.0
"""How long the bytes of a task that has ended may take."""
_STOP_SECONDS = 3.0
"""How long a killed call may take to say so."""
_LOOK_SECONDS = 1.0
_TELL_SECONDS = 5.0


class ClusterPool(Elsewhere):
    """The workers of the cluster at ``address``, which store large results in ``payloads``.

    ``widen`` is called with the number of their threads, when it is first known and when it has
    changed; ``wake`` when others may take items of an order; ``tell`` with sentences about the
    cluster.
    """

    def __init__(
        self,
        address: str,
        local: Local,
        payloads: PayloadStore,
        *,
        widen: Callable[[int], None],
        wake: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        super().__init__(_MOST)
        self._name = token_hex(8)
        self._patience = local.reconnect
        self._connection = Connection(address, local.reconnect, tell)
        self._tell = tell
        self._settings = Settings(
            local.worker_threads, local.worker_idle, local.worker_calls, local.worker_memory
        )
        self._payloads = payloads
        self._place: Place | None = None
        self._orders = Orders(payloads)
        self._all_reach = False
        self._numbers = count()
        self._known: set[int] = set()
        self._is_open = is_open(address)
        self._told: set[str] = set()
        self._compared: set[str] = set()
        self._comparing = threading.Lock()
        self._watcher = Watcher(self._name, self._connection, widen, wake)

    def prepare(self, run_id: str, program: Program) -> None:
        by_name.prepare()
        self._watcher.start()

    def kill(self, owner: object) -> None:
        self._watcher.stop_orders(owner)

    def close(self) -> None:
        self._watcher.close()
        self._connection.close()
        if self._place is not None:
            unmark(self._place)

    def ask(self, request: Asked) -> Any:
        with_news = request.key not in self._known
        while True:
            pending = Pending(request, next(self._numbers))
            request.begin(pending.known, sys.maxsize)
            try:
                reply = self._exchanged(pending, with_news)
            finally:
                request.end()
            if reply.kind == "unreached":
                self._all_reach = False
            elif reply.kind != "unknown":
                self._tell_of_modules(reply.content)
                return _answer(reply)
            with_news |= reply.kind == "unknown"

    def _exchanged(self, pending: Pending, with_news: bool) -> Reply:
        request = pending.request
        client = self._connection.client(lambda: request.cancelled)
        if client is None:
            raise CallCancelled
        self._compare(request)
        self._tell_of_secrets(request)
        with self._watcher.watching(pending), self._content(pending) as content:
            try:
                self._submit(client, pending, with_news, content)
                reply = _reply(self._finished(pending))
                pending.hear(reply.seen)
            finally:
                if pending.future is not None:
                    pending.future.release()
        if reply.kind == "answer":
            self._known.add(request.key)
        return reply

    @contextmanager
    def _content(self, pending: Pending) -> Iterator[Any]:
        """What an order comes with, or where that is inside this context."""
        request = pending.request
        inputs = request.content.inputs if isinstance(request.content, Items) else [request.content]
        size = sum(len(each[0]) for each in inputs if isinstance(each, tuple))
        if size <= _MOST_BYTES or not self._all_reach:
            yield request.content
            return
        order = f"{self._name}-{pending.number}"
        raw = pickle.dumps(request.content, pickle.HIGHEST_PROTOCOL)
        with self._orders.keeping(request.flow, request.run_id, order, raw) as key:
            yield request.content if key is None else Kept(key)

    def _submit(self, client: Client, pending: Pending, with_news: bool, content: Any) -> None:
        request, news = pending.request, None
        if with_news:
            described = News(
                request.run_id, request.program, request.definition, self._settings, self._place
            )
            news = pickle.dumps(described, pickle.HIGHEST_PROTOCOL)
        order = Order(
            self._name,
            pending.number,
            request.key,
            news,
            tuple(request.timeouts),
            content,
        )
        key = KEY.format(engine=self._name, number=pending.number)
        raw = pickle.dumps(order, pickle.HIGHEST_PROTOCOL)
        future = pending.future = client.submit(
            _serve, VERSIONS, raw, key=key, pure=False, resources=dict(request.resources)
        )
        future.add_done_callback(lambda _: pending.news.set())

    def _finished(self, pending: Pending) -> Future:
        """The future of an order, once it is done. Raises CallCancelled and ClusterError."""
        future: Any = pending.future
        while not future.done():
            pending.news.wait(_LOOK_SECONDS)
            if future.done():
                break
            pending.news.clear()
            if pending.stopped is not None and monotonic() > pending.stopped + _STOP_SECONDS:
                raise CallCancelled
            self._check_workers(pending.request.resources)
        return future

    def _check_workers(self, resources: Mapping[str, float]) -> None:
        """Tell that no worker can take a request; raise ClusterError when that lasts too long.

        Also when the scheduler does not answer, although it is connected.
        """
        if self._watcher.silence > self._patience:
            raise ClusterError(
                f"the Dask scheduler at {self._connection.address} has not answered for "
                f"{self._patience:g} s ([local] reconnect); resume the run once it does"
            )
        missing, having = self._watcher.missing(resources), _having(resources)
        if missing is None or missing < _TELL_SECONDS:
            return
        if missing > self._patience:
            raise ClusterError(
                f"the Dask cluster at {self._connection.address} has had no worker{having} for "
                f"{self._patience:g} s ([local] reconnect); resume the run once it has one"
            )
        self._tell_once(
            f"the Dask cluster at {self._connection.address} has no worker{having}; the run "
            f"waits for one for up to {self._patience:g} s"
        )

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._tell(text)

    def _tell_of_secrets(self, request: Asked) -> None:
        if self._is_open and request.secret:
            self._tell_once(
                f"secret parameters are sent to {self._connection.address} unencrypted: whoever "
                "can read the network sees them, unless the scheduler has a tls:// address"
            )

    def _tell_of_modules(self, content: Any) -> None:
        """Tell what to do about modules of the user that a worker does not have."""
        failures = [each.failure for each in content.failed] if isinstance(content, Ran) else []
        for failure in [content] if isinstance(content, Failure) else failures:
            if failure.type == "ModuleNotFoundError":
                self._tell_once(
                    f"a Dask worker says: {failure.reason}; what the flow's module imports at its "
                    "top is sent there, installed packages apart: import it there, or install it"
                )

    def _compare(self, request: Asked) -> None:
        """Tell what is different there, before the first item: packages, the payload store."""
        from lokki.engine.cluster import host

        with self._comparing:
            if request.run_id in self._compared:
                return
            if not self._compared:
                self._find_store()
            self._compared.add(request.run_id)
            here = packages_of(request.program)
            for worker, there in self._watcher.asked(host.versions, list(here)).items():
                differing = [
                    f"{name} {there.get(name) or '(not installed)'} instead of {version}"
                    for name, version in here.items()
                    if there.get(name) != version
                ]
                if differing:
                    self._tell(f"the Dask worker {worker} has {', '.join(differing)}")

    def _find_store(self) -> None:
        """Find where workers can store large results; tell which of them cannot."""
        place = self._place = place_of(self._payloads, self._name)
        if place is None:
            return
        reached = self._watcher.asked(reaches, place)
        self._all_reach = all(reached.values())
        for worker, there in reached.items():
            if not there:
                self._tell(
                    f"the Dask worker {worker} cannot reach the payload store: large inputs, and "
                    "its results over 64 KiB, pass through the scheduler; set payloads under "
                    "[local] to a folder that all machines have, or to s3://bucket/prefix"
                )


def _serve(versions: str, raw: bytes) -> bytes:
    from lokki.engine.cluster import host

    return host.serve(versions, raw)


_serve.__module__ = "__main__"  # sent by value: the scheduler unpickles it, and needs no lokki


def _having(resources: Mapping[str, float]) -> str:
    listed = ", ".join(f"{name}={amount:g}" for name, amount in resources.items())
    return f" with {listed}" if listed else ""


def _reply(future: Future) -> Reply:
    """What a Dask task has returned. Raises Again, Lost, ClusterError."""
    from distributed import CancelledError, KilledWorker

    try:
        raw = future.result(timeout=_RESULT_SECONDS)
    except (CancelledError, TimeoutError, OSError):
        raise Again from None  # the scheduler is gone, and with it whatever was there
    except KilledWorker:
        raise Lost("the Dask worker died") from None
    except ImportError as error:
        raise ClusterError(
            f"a Dask worker cannot import lokki ({error}): install lokki-engine[dask] there"
        ) from None
    except Exception as error:
        raise ClusterError(f"a Dask worker cannot run a slice: {error!r}") from error
    reply: Reply = pickle.loads(raw)  # noqa: S301 - from a host of lokki
    return reply


def _answer(reply: Reply) -> Any:
    kind, content = reply.kind, reply.content
    if kind == "answer":
        return content
    if kind in ("again", "left"):
        raise Again
    if kind == "unloadable":
        raise Unloadable(content)
    if kind == "unimportable":
        raise Unimportable(*content)
    if kind == "late":
        raise TimeoutError(content)
    if kind == "died":
        raise WorkerDied(content)
    if kind == "cancelled":
        raise CallCancelled
    if kind == "second":
        raise Lost("the Dask worker died")
    raise ClusterError(f"a Dask worker refuses to run a slice: {content}")
