"""Whether the files of an open journal are still those that were opened."""

from __future__ import annotations

import os
from pathlib import Path

from lokki.errors import JournalGone

_SUFFIXES = ("", "-wal", "-shm")


class Files:
    """The journal's file, and those that SQLite keeps beside it while the journal is open.

    SQLite goes on in files that were removed or moved, and reports no error: what it writes is
    nowhere then (https://www.sqlite.org/howtocorrupt.html, 2.4). To ask takes some microseconds.
    Those of a journal that is not there, and is not to be made, are not ``watched``.
    """

    def __init__(self, path: Path, *, watched: bool = True) -> None:
        self.path = path
        self._suffixes = _SUFFIXES if watched else ()
        self._known: dict[str, tuple[int, int]] = {}
        self._filled = False
        self.check()

    def check(self) -> None:
        """Raise JournalGone when one of them is gone, is another now, or was emptied."""
        for suffix in self._suffixes:
            name = f"{self.path}{suffix}"
            try:
                found = os.stat(name)
            except (FileNotFoundError, NotADirectoryError):
                if suffix in self._known:
                    self._refuse(suffix, "was removed or moved away")
                continue
            except OSError:  # SQLite will tell
                continue
            if self._known.setdefault(suffix, (found.st_dev, found.st_ino)) != (
                found.st_dev,
                found.st_ino,
            ):
                self._refuse(suffix, "was replaced by another file")
            if not suffix:
                self._refuse_emptied(found.st_size)

    @property
    def free(self) -> bool:
        """Whether a file is missing and none is in its place: the others are still ours alone."""
        return not all(os.path.lexists(f"{self.path}{suffix}") for suffix in self._known)

    def _refuse_emptied(self, size: int) -> None:
        if self._filled and not size:
            self._refuse("", "was emptied")
        self._filled = bool(size)

    def _refuse(self, suffix: str, what: str) -> None:
        file, remedy = "the journal", "put it back, then resume the run, or start it again"
        if suffix:
            file, remedy = "a file of the journal,", "leave it to SQLite, and resume the run"
        raise JournalGone(
            f"{file} {self.path}{suffix} {what} while it was in use, so that nothing can be "
            f"recorded any more: {remedy}"
        )
