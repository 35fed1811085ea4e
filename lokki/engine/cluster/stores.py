"""Large inputs and results of Dask workers: they pass through the payload store, if all can use it.

Otherwise inputs go with the orders, and results with the outcomes, and the engine stores them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lokki.engine.storing import Packed
from lokki.errors import LokkiError
from lokki.store.keys import order_key
from lokki.store.local import LocalStore
from lokki.store.protocol import DeletingStore, PayloadStore

if TYPE_CHECKING:
    from lokki.store.s3 import S3Store

_FOLDER = "lokki-cluster"
_PUT_SECONDS = 600.0


class Place(NamedTuple):
    """A payload store, for another machine: a ``folder``, or a bucket.

    ``mark`` is the key of what the engine has put into the folder: another machine may have a
    folder of the same name.
    """

    mark: str
    folder: str | None
    bucket: tuple[str, str, str | None, str | None] | None


def place_of(store: PayloadStore, engine: str) -> Place | None:
    """Where a store is; None for one that only the engine's process has."""
    mark = f"{_FOLDER}/{engine}"
    if isinstance(store, LocalStore):
        store.write(mark, b"")
        return Place(mark, store.folder, None)
    bucket = getattr(store, "place", None)
    return None if bucket is None else Place(mark, None, bucket)


def unmark(place: Place) -> None:
    """Remove the mark of an engine that closes."""
    if place.folder is not None:
        Path(place.folder, place.mark).unlink(missing_ok=True)


class Results:
    """The payload store as a Dask worker sees it; its ``loop`` is for requests to S3."""

    def __init__(self, place: Place | None, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._local: LocalStore | None = None
        self._s3: S3Store | None = None
        if place is not None and place.folder is not None and _has(place.folder, place.mark):
            self._local = LocalStore(Path(place.folder))
        if place is not None and place.bucket is not None:
            self._s3 = _s3_store(place.bucket)

    def keeps(self, put: Packed) -> bool:
        """Store a result, from a task's thread; False if it must be sent instead."""
        data, _ = put.packed()
        try:
            if self._local is not None:
                self._local.write(put.key, data)
            elif self._s3 is not None:
                putting = asyncio.run_coroutine_threadsafe(self._s3.put(put.key, data), self._loop)
                putting.result(_PUT_SECONDS)
            else:
                return False
        except (LokkiError, OSError, TimeoutError):
            return False
        return True

    def content(self, key: str) -> bytes | None:
        """What an order comes with, for a task's thread; None if it cannot be read here."""
        try:
            if self._local is not None:
                return self._local.read(key)
            if self._s3 is not None:
                getting = asyncio.run_coroutine_threadsafe(self._s3.get(key), self._loop)
                return getting.result(_PUT_SECONDS)
        except (LokkiError, OSError, TimeoutError):
            pass
        return None


class Orders:
    """The payload store as the engine sees it: it keeps the contents of large orders there.

    Made on the event loop of the store.
    """

    def __init__(self, store: PayloadStore) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()

    @contextmanager
    def keeping(self, flow: str, run_id: str, order: str, content: bytes) -> Iterator[str | None]:
        """The key of ``content`` inside this context, from a lane's thread; None if that fails."""
        try:
            key = order_key(flow, run_id, order)
            self._done(self._store.put(key, content))
        except (LokkiError, OSError, TimeoutError):
            yield None
            return
        try:
            yield key
        finally:
            if isinstance(self._store, DeletingStore):  # otherwise it is removed with its run
                with suppress(LokkiError, OSError, TimeoutError):
                    self._done(self._store.delete(key))

    def _done(self, asked: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(asked, self._loop).result(_PUT_SECONDS)


async def reaches(engine: str, place: Place) -> bool:
    """Whether this process can use a store."""
    if place.bucket is None:
        return place.folder is not None and _has(place.folder, place.mark)
    store = _s3_store(place.bucket)
    if store is None:
        return False
    try:
        await store.exists(place.mark)
    except LokkiError:
        return False
    finally:
        await store.close()
    return True


def _has(folder: str, mark: str) -> bool:
    return Path(folder, mark).exists()


def _s3_store(bucket: tuple[str, str, str | None, str | None]) -> S3Store | None:
    """A store in a bucket; None if the library for S3 is not installed here."""
    try:
        from lokki.store.s3 import S3Store
    except ImportError:
        return None
    name, prefix, endpoint, region = bucket
    return S3Store(name, prefix, endpoint=endpoint, region=region)
