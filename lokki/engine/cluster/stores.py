"""Large results of Dask workers: they store them where the engine reads them, if they can.

Otherwise the results go with the outcomes, and the engine stores them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lokki.engine.perform import Packed
from lokki.errors import LokkiError
from lokki.store.local import LocalStore
from lokki.store.protocol import PayloadStore

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
