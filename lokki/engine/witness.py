"""Detects steps that close descriptors of others, since nothing works after that.

The event loop no longer wakes, and SQLite would write into whichever file gets its number next.
"""

from __future__ import annotations

import os
import threading

from lokki.forks import end_process

CLOSED = (
    "a step has closed descriptors that it did not open, with os.closerange() or the like, and "
    "lokki cannot go on without them; close only what the step has opened, or use subprocess, "
    "which closes them in the child. What was recorded is safe"
)

reporting = threading.Lock()
"""Taken for good by the thread that reports this and ends the process: several may notice it."""


class Witness:
    """A descriptor that only this object has a reason to close.

    ``stage`` is the name of the stage whose calls returned last.
    """

    def __init__(self) -> None:
        self.stage = ""
        self._lock = threading.Lock()
        self._open = True
        self._ends = os.pipe()
        self._was = self._found()

    def _found(self) -> tuple[int, int] | None:
        try:
            found = os.fstat(self._ends[0])
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def check(self) -> None:
        """End the process, and say why on stderr, if the descriptor was closed meanwhile."""
        with self._lock:
            if not self._open or self._found() == self._was:
                return
        reporting.acquire()
        try:
            os.write(2, f"Error: in '{self.stage}', {CLOSED}; this process ends.\n".encode())
        finally:
            end_process(1)

    def close(self) -> None:
        """Stop looking; from any thread."""
        with self._lock:
            self._open = False
            for end in self._ends:
                os.close(end)
