"""A payload store in a directory: one file per object, with its key as the path."""

from __future__ import annotations

import contextlib
import errno
import os
from collections import deque
from itertools import islice
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from lokki.errors import PayloadError
from lokki.store.keys import check_key, is_part, zip_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lokki.store.protocol import Data, Keys

T = TypeVar("T")

# File I/O must not take the threads of steps, so it has its own (more than a handful do not write
# faster), one set per event loop, since a limiter cannot serve two.
_THREADS = 8
_limiter: RunVar[anyio.CapacityLimiter] = RunVar("lokki_local_store")

# How often a write starts again because a concurrent deletion removed its directory.
_ATTEMPTS = 20
_MOST_BUFFERS = 1024  # of one writev: IOV_MAX on Linux and macOS
_MAX_SETTLED = 4096

_NOTHING_HERE = (errno.ENOENT, errno.ENOTDIR)
_KEEP_DIRECTORY = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EBUSY)
_FREE_SPACE = "free some space and resume; nothing recorded is lost"
_REMEDIES = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EFBIG: "raise the file size limit and resume; nothing recorded is lost",
    errno.EROFS: "make the directory writable and resume; nothing recorded is lost",
    errno.EACCES: "give this user access to it and resume; nothing recorded is lost",
    errno.EPERM: "give this user access to it and resume; nothing recorded is lost",
    errno.EEXIST: "move away the file that is in the way and resume; nothing recorded is lost",
    errno.ENOTDIR: "move away the file that is in the way and resume; nothing recorded is lost",
}
_FIX = "fix that and resume; nothing recorded is lost"


class LocalStore:
    """A ``PayloadStore``, ``BlockingStore`` and ``DeletingStore`` under the directory ``root``.

    The first write creates ``root``. New directories and files are accessible only to their owner
    (modes 0700 and 0600). Several processes may share one root. Symbolic links under it are
    followed, except while deleting and listing. A power cut may undo a deletion.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.abspath(root)
        self._root_url = Path(self._root).as_uri()
        # Directories above those of objects that are known to survive a power cut.
        self._settled: set[str] = set()

    @property
    def folder(self) -> str:
        """The absolute path of ``root``."""
        return self._root

    def write(self, key: str, data: Data) -> None:
        path = self._path(key)
        try:
            for _ in range(_ATTEMPTS - 1):
                with contextlib.suppress(FileNotFoundError):
                    self._write_once(path, data)
                    return
            self._write_once(path, data)
        except OSError as error:
            self._refuse("store", key, error)

    def read(self, key: str) -> bytes:
        try:
            with open(self._path(key), "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise PayloadError(f"no payload is stored under {key!r} in {self._root}") from None
        except OSError as error:
            self._refuse("read", key, error)

    async def close(self) -> None:
        """Does nothing: there is nothing to close."""

    async def put(self, key: str, data: Data) -> None:
        await _in_thread(self.write, key, data)

    async def get(self, key: str) -> bytes:
        return await _in_thread(self.read, key)

    async def exists(self, key: str) -> bool:
        return await _in_thread(self._exists, key)

    async def delete(self, key: str) -> None:
        await _in_thread(self._delete, key)

    async def delete_prefix(self, prefix: str) -> int:
        return await _in_thread(self._delete_prefix, prefix)

    async def list(self, prefix: str) -> Keys:
        return await _in_thread(self._list, prefix)

    def url(self, key: str) -> str:
        return f"{self._root_url}/{check_key(key)}"

    async def upload_lambda_zip(self, flow_name: str, zip_data: bytes) -> str:
        key = zip_key(flow_name)
        await self.put(key, zip_data)
        return self.url(key)

    def _path(self, key: str, what: str = "storage key") -> str:
        return os.path.join(self._root, check_key(key, what))

    def _exists(self, key: str) -> bool:
        try:
            return S_ISREG(os.stat(self._path(key)).st_mode)
        except OSError as error:
            if error.errno in _NOTHING_HERE:
                return False
            self._refuse("look for", key, error)

    def _list(self, prefix: str) -> Keys:
        keys = []
        try:
            for directory, directories, files in _walk(self._path(prefix, "prefix"), topdown=True):
                directories[:] = filter(is_part, directories)
                parts = os.path.relpath(directory, self._root).replace(os.sep, "/")
                keys += [f"{parts}/{name}" for name in files if is_part(name)]
        except OSError as error:
            self._refuse("list", prefix, error)
        return sorted(keys)

    def _delete(self, key: str) -> None:
        path = self._path(key)
        try:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(path)
                self._remove_empty(os.path.dirname(path))
        except OSError as error:
            self._refuse("delete", key, error)
        finally:
            self._settled.clear()

    def _delete_prefix(self, prefix: str) -> int:
        removed, gone = 0, False
        try:
            top = self._path(prefix, "prefix")
            for directory, _, files in _walk(top, topdown=False):
                for name in files:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(directory, name))
                        removed += is_part(name)
                gone = _remove_if_empty(directory)
            if gone:  # if nothing was here, others may just be creating those above
                self._remove_empty(os.path.dirname(top))
        except OSError as error:
            self._refuse("delete", prefix, error)
        finally:
            self._settled.clear()
        return removed

    def _remove_empty(self, directory: str) -> None:
        """Remove a directory and those above it, as far as they are empty."""
        while directory != self._root and _remove_if_empty(directory):
            directory = os.path.dirname(directory)

    def _write_once(self, path: str, data: Data) -> None:
        import tempfile  # slow to import, and few runs have large payloads

        directory = os.path.dirname(path)
        self._make(directory)
        # The leading dot distinguishes it from every key. From here on, no directory above it is
        # empty, so a deletion of its siblings removes none of them.
        handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=directory)
        try:
            try:
                _write_all(handle, data)
                os.fsync(handle)
            finally:
                os.close(handle)
            self._settle(directory)  # little is left: a file system commits what came before a file
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_directory(directory)

    def _make(self, directory: str) -> None:
        """Make a directory and what is missing above it."""
        if os.path.isdir(directory):
            return
        above = os.path.dirname(directory)
        self._make(above)
        self._settled.discard(directory)
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            # If it has gone meanwhile, stat says so, and the write starts again.
            if not S_ISDIR(os.stat(directory).st_mode):
                raise
        if len(directory) <= len(self._root):
            _sync_directory(above)

    def _settle(self, directory: str) -> None:
        """Make durable the entries of a directory and of those between it and the root.

        A directory counts only if this object has synced it: its creator may not have done so yet.
        """
        synced = []
        below = directory
        while below != self._root and below not in self._settled:
            above = os.path.dirname(below)
            _sync_directory(above)
            synced.append(below)
            below = above
        if len(self._settled) >= _MAX_SETTLED:
            self._settled.clear()
        self._settled.update(synced)

    def _refuse(self, verb: str, key: str, error: OSError) -> NoReturn:
        remedy = _REMEDIES.get(error.errno or 0, _FIX)
        reason = error.strerror or str(error)
        raise PayloadError(f"cannot {verb} {key!r} in {self._root}: {reason}: {remedy}") from error


async def _in_thread(function: Callable[..., T], *args: Any) -> T:
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(_THREADS)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(function, *args, limiter=limiter)


def _sync_directory(directory: str) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(handle: int, data: Data) -> None:
    buffers = data if isinstance(data, list) else [data]
    waiting = deque(memoryview(buffer) for buffer in buffers)
    while waiting:
        written = os.writev(handle, tuple(islice(waiting, _MOST_BUFFERS)))
        while waiting and written >= len(waiting[0]):
            written -= len(waiting.popleft())
        if written:
            waiting[0] = waiting[0][written:]


def _walk(top: str, *, topdown: bool) -> Iterator[tuple[str, list[str], list[str]]]:
    """Like os.walk, but raises the errors that it ignores, unless something has just gone."""

    def check(error: OSError) -> None:
        if error.errno not in _NOTHING_HERE:
            raise error

    return os.walk(top, topdown=topdown, onerror=check)


def _remove_if_empty(directory: str) -> bool:
    try:
        os.rmdir(directory)
    except OSError as error:
        if error.errno in _KEEP_DIRECTORY:
            return False
        raise
    return True
