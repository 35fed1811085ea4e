"""Takes what a run's calls write and show; bounds what one run may show."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from threading import Lock

from lokki.logging import Line
from lokki.model.attachment import Shown
from lokki.store.attachments import Attachments
from lokki.store.connection import Reader
from lokki.store.writer import RunWriter

MOST_OF_RUN = 10_000
MOST_BYTES_OF_RUN = 256_000_000
MOST_PREVIEWS = 10_000
"""Of results, which the calls of one process record; each has some kilobytes."""


class Recorder:
    """The sink of a run's calls, which any thread may call.

    ``warn`` is told, once, that the run has shown as much as it may.
    """

    def __init__(self, read: Reader, writer: RunWriter, warn: Callable[[str], None]) -> None:
        self._attachments = Attachments(read)
        self._writer = writer
        self._warn = warn
        self._lock = Lock()
        self._total: tuple[int, int] | None = None
        self._is_full = False
        self._previews = count()

    def take(self, said: Line | Shown) -> None:
        """Have a line, or something shown, recorded."""
        if not isinstance(said, Shown):
            self._writer.log(said)
        elif said.number is None:
            if next(self._previews) < MOST_PREVIEWS:
                self._writer.attach(said)
        elif self._has_room(said):
            self._writer.attach(said)

    def _has_room(self, shown: Shown) -> bool:
        with self._lock:
            number, size = self._total or self._attachments.total(self._writer.run_id)
            self._total = number + 1, size + len(shown.packed)
            if self._total[0] <= MOST_OF_RUN and self._total[1] <= MOST_BYTES_OF_RUN:
                return True
            self._total = number, size
            first, self._is_full = not self._is_full, True
        if first:
            self._warn(
                f"the run has shown as much as it may, {number:,} values of {size / 1e6:.0f} MB: "
                "what is too much is left out"
            )
        return False
