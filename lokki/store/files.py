"""Checks that the files of an open journal are still those that were opened."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from lokki.errors import JournalGone

_BESIDE = ("-wal", "-shm")


class Files:
    """The journal's file, and those that SQLite keeps beside it while the journal is open.

    SQLite goes on in files that were removed or moved, and reports no error: what it writes is
    nowhere then (https://www.sqlite.org/howtocorrupt.html, 2.4). To ask takes some microseconds.
    Those of a journal that is not there, and is not to be made, are not ``watched``.
    """

    def __init__(self, path: Path, *, watched: bool = True) -> None:
        self.path = path
        real = os.path.realpath(path)  # SQLite's own files are beside what a link leads to
        files = [os.path.abspath(path), *(f"{real}{suffix}" for suffix in _BESIDE)]
        self._journal, self._watched = files[0], files if watched else []
        self._known: dict[str, tuple[int, int]] = {}
        self._filled = False
        self.check()

    def check(self) -> None:
        """Raise JournalGone when one of them is gone, is another now, or was emptied."""
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

    def rescue(self, connection: sqlite3.Connection) -> None:
        """Have all that is recorded in the journal's file itself, which may be elsewhere now.

        Not when another file has replaced one: who has opened that may be using the others.
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
        kind, remedy = "the journal", "put it back, then resume the run, or start it again"
        if file != self._journal:
            kind, remedy = "a file of the journal,", "leave it to SQLite, and resume the run"
        raise JournalGone(
            f"{kind} {file} {what} while it was in use, so that nothing can be recorded any more: "
            f"{remedy}"
        )


def _identity(file: str) -> tuple[int, int] | None:
    """What no other file has; None if there is no such file."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino
