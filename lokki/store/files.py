"""Checks that the files of an open journal are still those that were opened."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from lokki.errors import JournalGone
from lokki.store.sql import Connection

_BESIDE = ("-wal", "-shm")


class Files:
    """The journal's file, and those that SQLite keeps beside it while the journal is open.

    SQLite keeps using files that were removed or moved, without an error, and what it writes is
    lost (https://www.sqlite.org/howtocorrupt.html, 2.4). A check takes some microseconds. Without
    ``watched``, for a journal that does not exist and must not be created, there are no checks.
    """

    def __init__(self, path: Path, *, watched: bool = True) -> None:
        self.path = path
        real = os.path.realpath(path)  # SQLite's own files are beside the target of a link
        files = [os.path.abspath(path), *(f"{real}{suffix}" for suffix in _BESIDE)]
        self._journal, self._watched = files[0], files if watched else []
        self._known: dict[str, tuple[int, int]] = {}
        self._filled = False
        self.check()

    def check(self) -> None:
        """Raise JournalGone if one of them is gone, was replaced or was emptied."""
        for file in self._watched:
            try:
                found = os.stat(file)
            except (FileNotFoundError, NotADirectoryError):
                if file in self._known:
                    self._refuse(file, "was removed or moved away")
                continue
            except OSError:  # SQLite reports it
                continue
            identity = found.st_dev, found.st_ino
            if self._known.setdefault(file, identity) != identity:
                self._refuse(file, "was replaced by another file")
            if file == self._journal:
                self._refuse_emptied(found.st_size)

    def rescue(self, connection: Connection) -> None:
        """Move everything recorded into the journal's file itself, which may have been moved.

        Not if a file was replaced: whoever opened the new one may be using the others.
        """
        if all(_identity(file) in (None, known) for file, known in self._known.items()):
            with suppress(sqlite3.Error):
                connection.execute("PRAGMA busy_timeout = 1000")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _refuse_emptied(self, size: int) -> None:
        if self._filled and not size:
            self._refuse(self._journal, "was emptied")
        self._filled = bool(size)

    def _refuse(self, file: str, what: str) -> NoReturn:
        kind, remedy = "the journal", "put it back and resume the run, or start it again"
        if file != self._journal:
            kind, remedy = "a file of the journal,", "leave it to SQLite, and resume the run"
        raise JournalGone(
            f"{kind} {file} {what} while it was in use, so nothing more can be recorded: {remedy}"
        )


def _identity(file: str) -> tuple[int, int] | None:
    """What identifies a file; None if there is no such file."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino
