"""What runs in a Dask worker: it passes orders on to worker processes of its own.

The user's code runs in these, never in the Dask worker itself. So a call can be killed, nothing
that it raises or breaks reaches Dask, and a process that dies is replaced and tells which item it
was at.

Dask starts a task again, up to four times, when its worker has died. An order is begun once: the
worker that begins it notes that with the scheduler, and one that finds such a note reports it, and
whether the other worker has left as it was meant to.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
import threading
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any, TypeVar

from lokki.config import Local
from lokki.engine.cluster.dask import imported
from lokki.engine.cluster.messages import KEY, VERSIONS, Kept, News, Order, Reply, Seen
from lokki.engine.cluster.stores import Results
from lokki.engine.cluster.versions import versions_of
from lokki.engine.elsewhere import Again, Unimportable, Unloadable
from lokki.engine.perform import CallCancelled
from lokki.engine.program import Program
from lokki.engine.progress import Begun
from lokki.engine.sliced import Items
from lokki.engine.spawning import cores
from lokki.engine.storing import Packed, Put
from lokki.engine.workers import WorkerPool
from lokki.errors import WorkerDied, described
from lokki.location import in_library
from lokki.store.keys import key_of_start

if TYPE_CHECKING:
    from distributed.worker import Worker

Answer = TypeVar("Answer")
_get_worker = imported("distributed.worker").get_worker
_MOST_NEWS = 64
_MOST_ENGINES = 8
_SCHEDULER_SECONDS = 10.0
_LOOK_SECONDS = 0.5


class _Host:
    """The orders of one engine in this process."""

    def __init__(self, news: News, worker: Worker) -> None:
        threads = worker.state.nthreads
        settings = news.settings
        share = settings.worker_threads or max(1, cores() // threads)
        local = replace(Local(), **{**settings._asdict(), "worker_threads": share})
        self.pool = WorkerPool(threads, local)
        self.results = Results(news.place, _loop(worker))
        self.news: OrderedDict[int, News] = OrderedDict()
        self.orders: dict[int, _Served] = {}

    def learn(self, key: int, news: News) -> None:
        self.news[key] = news._replace(program=_here(news.program))
        while len(self.news) > _MOST_NEWS:
            self.news.popitem(last=False)


_lock = threading.Lock()
_hosts: OrderedDict[str, _Host] = OrderedDict()
_stopped: OrderedDict[tuple[str, int], None] = OrderedDict()
_watching = False


# ---- tasks ---------------------------------------------------------------------------------------


def serve(known: str, raw: bytes) -> bytes:
    """The Dask task of an order: a pickled `Reply`, whatever happens."""
    try:
        reply = _served(known, raw)
    except BaseException as error:
        reply = _without_answer("refused", described(error))
    return pickle.dumps(reply, pickle.HIGHEST_PROTOCOL)


def _served(known: str, raw: bytes) -> Reply:
    worker = _get_worker()
    if known != VERSIONS:
        return _without_answer("refused", f"{worker.address} has {VERSIONS}, the engine {known}")
    order: Order = pickle.loads(raw)  # noqa: S301 - from an engine of lokki
    host = _host(order, worker)
    if host is not None and isinstance(order.content, Kept):
        content = host.results.content(order.content.key)
        if content is None:
            return _without_answer("unreached", None)
        order = order._replace(content=pickle.loads(content))  # noqa: S301 - from an engine, too
    before = _begun_at(worker, KEY.format(engine=order.engine, number=order.number))
    if before:
        return _without_answer("second" if before - _left(worker, before) else "left", None)
    if host is None or order.key not in host.news:
        return _without_answer("unknown", None)
    served = _Served(order, host.news[order.key], worker, host.results)
    with _lock:
        if (order.engine, order.number) in _stopped:
            return _without_answer("cancelled", None)
        host.orders[order.number] = served
        _watch()
    try:
        kind, content = _asked(host.pool, served)
    finally:
        with _lock:
            del host.orders[order.number]
    return Reply(kind, content, served.seen())


def _without_answer(kind: str, content: Any) -> Reply:
    return Reply(kind, content, Seen(0, 0, []))


def _asked(pool: WorkerPool, served: _Served) -> tuple[str, Any]:
    try:
        return "answer", pool.ask(served)
    except Again:
        return "again", None
    except Unloadable as error:
        return "unloadable", str(error)
    except Unimportable as error:
        return "unimportable", error.args
    except TimeoutError as error:
        return "late", str(error)
    except WorkerDied as error:
        return "died", str(error)
    except CallCancelled:
        return "cancelled", None


def _host(order: Order, worker: Worker) -> _Host | None:
    """The host of an order's engine; None if this process does not know it yet."""
    with _lock:
        host = _hosts.get(order.engine)
        if order.news is not None:
            news: News = pickle.loads(order.news)  # noqa: S301
            if host is None:
                host = _hosts[order.engine] = _Host(news, worker)
            host.learn(order.key, news)
        idle = [name for name, each in _hosts.items() if not each.orders and each is not host]
        surplus = [_hosts.pop(name) for name in idle[: len(_hosts) - _MOST_ENGINES]]
    for each in surplus:
        each.pool.close()
    return host


def _begun_at(worker: Worker, key: str) -> set[str]:
    """The other workers that have begun an order; notes that this one does.

    The note is there before anyone looks, so of two workers at most one finds no other. The
    scheduler drops the notes of a task with the task.
    """
    mine = token_hex(8)

    async def noted() -> dict[str, str]:
        scheduler: Any = worker.scheduler
        await scheduler.set_metadata(keys=[key, mine], value=worker.address)
        return dict(await scheduler.get_metadata(keys=[key]))

    notes = _awaited(worker, noted())
    return {notes[each] for each in notes.keys() - {mine}}


def _left(worker: Worker, addresses: set[str]) -> set[str]:
    """Those of these workers that have not died, but were retired or told to end."""

    async def left() -> set[str]:
        scheduler: Any = worker.scheduler
        return {each for each in addresses if any(map(_leaves, await scheduler.events(topic=each)))}

    return _awaited(worker, left())


def _leaves(event: tuple[float, Any]) -> bool:
    """Whether a scheduler's event is that a worker goes as it is meant to."""
    content = event[1]
    if not isinstance(content, dict):
        return False
    action = content.get("action")
    return action == "closing-worker" or bool(action == "remove-worker" and content["expected"])


def _awaited(worker: Worker, asked: Coroutine[Any, Any, Answer]) -> Answer:
    """The scheduler's answer to a task's thread."""
    return asyncio.run_coroutine_threadsafe(asked, _loop(worker)).result(_SCHEDULER_SECONDS)


def _loop(worker: Worker) -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = worker.loop.asyncio_loop  # type: ignore[attr-defined]
    return loop


def _here(program: Program) -> Program:
    """The engine's program as it is on this machine: with the packages that are installed here.

    The user's modules come from their texts, wherever their files are.
    """
    own = [each for each in program.path if not in_library(os.path.join(each, "module.py"))]
    path = tuple(dict.fromkeys([*own, *sys.path]))
    folder = program.folder if program.folder and os.path.isdir(program.folder) else None
    return replace(program, path=path, folder=folder)


class _Served:
    """An order while a worker process serves it: what `WorkerPool` knows of a request."""

    def __init__(self, order: Order, news: News, worker: Worker, results: Results) -> None:
        self.key = order.key
        self.content = order.content
        self.timeouts = order.timeouts
        self.resources: dict[str, float] = {}  # Dask has seen to them
        self.secret = False  # the engine has
        self.flow = ""
        self.run_id = news.run_id
        self.program = news.program
        self.definition = news.definition
        self.cancelled = False
        self._task = KEY.format(engine=order.engine, number=order.number)
        self._start = f"{order.engine}-{order.number}"
        self._results = results
        self._worker = worker
        self._progress: Begun | None = None
        self._messages: list[tuple[str, Any, Any]] = []
        self._ended = Seen(0, 0, [])
        self._lock = threading.Lock()

    @property
    def owner(self) -> object:
        return self

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for the outcome: the engine or the scheduler is gone."""
        task = self._worker.state.tasks.get(self._task)
        closing = self._worker.status.name in ("closing", "closed", "failed")
        return closing or task is None or task.state == "cancelled"

    def begin(self, progress: Begun, most: int) -> int:
        works = self.content.works if isinstance(self.content, Items) else [None]
        count = min(most, len(works))
        progress.reset(count)
        with self._lock:
            self._progress = progress
        return count

    def end(self) -> None:
        with self._lock:
            if self._progress is not None:
                self._ended = Seen(self._progress.begun, self._progress.position, [])
            self._progress = None

    def hear(self, kind: str, of: Any, content: Any) -> Any:
        answer = None
        if kind == "find":  # the engine hears of it too late to answer
            return None
        if kind == "put":
            content = Packed.of(Put(key_of_start(content[0], self._start), content[1]))
            answer = content.ref
            if self._results.keeps(content):
                return answer
        with self._lock:
            self._messages.append((kind, of, content))
        return answer

    def seen(self) -> Seen:
        """How far it is; hands over the messages so far."""
        with self._lock:
            messages, self._messages = self._messages, []
            now = self._progress or self._ended
            return Seen(now.begun, now.position, messages)

    def kill(self, pool: WorkerPool) -> None:
        """Kill the process that serves it."""
        self.cancelled = True
        pool.kill(self)

    def release(self) -> None:
        """Begin no more items, so that others can run them."""
        with self._lock:
            progress = self._progress
            while progress is not None and progress.take_back():
                pass


# ---- questions, answered by the Dask worker's event loop -----------------------------------------


def look(engine: str, numbers: Sequence[int]) -> dict[int, Seen]:
    """How far these orders are, as far as they are here; they begin no more items."""
    with _lock:
        host = _hosts.get(engine)
        found = {} if host is None else {n: host.orders[n] for n in numbers if n in host.orders}
    for each in found.values():
        each.release()
    return {number: each.seen() for number, each in found.items()}


def stop(engine: str, numbers: Sequence[int]) -> None:
    """Kill the processes that serve these orders; those not begun never are."""
    with _lock:
        host = _hosts.get(engine)
        for number in numbers:
            _stopped[engine, number] = None
            if host is not None and number in host.orders:
                host.orders[number].kill(host.pool)
        while len(_stopped) > 10_000:
            _stopped.popitem(last=False)


def versions(engine: str, names: Sequence[str]) -> dict[str, str]:
    """The versions of these packages here."""
    return versions_of(names)


def forget(engine: str) -> None:
    """End the processes of an engine that closes, whatever they are at."""
    with _lock:
        host = _hosts.pop(engine, None)
        if host is None:
            return
        for served in host.orders.values():
            served.kill(host.pool)
    threading.Thread(target=host.pool.close, daemon=True).start()


# ---- orders that nobody waits for ----------------------------------------------------------------


def _watch() -> None:
    """Watch the orders as long as there are any; the caller holds the lock."""
    global _watching
    if not _watching:
        _watching = True
        threading.Thread(target=_watched, name="lokki-watch", daemon=True).start()


def _watched() -> None:
    global _watching
    while True:
        threading.Event().wait(_LOOK_SECONDS)
        with _lock:
            orders = [(host, each) for host in _hosts.values() for each in host.orders.values()]
            if not orders:
                _watching = False
                return
        for host, each in orders:
            if each.abandoned:
                each.kill(host.pool)
