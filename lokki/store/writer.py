"""The write side of a run: its records wait here for the next commit."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from secrets import token_hex
from typing import NamedTuple, Protocol

from lokki.errors import JournalError
from lokki.logging import Line
from lokki.model.attachment import Shown
from lokki.store.keys import WRITER
from lokki.store.leases import LEASE_SECONDS
from lokki.store.outcomes import Outcomes
from lokki.store.records import Entry

MOST_PENDING = 16_000
"""How many rows or lines may be queued before those that add more have to wait."""


class Wanted(NamedTuple):
    """What is wanted of a run that goes on.

    ``paused``: since when it is to be paused, if so. ``concurrency``: how many items of the map at
    the position ``tuned_stage`` run at a time; None: as many as the flow says.
    """

    paused: float | None = None
    tuned_stage: int | None = None
    concurrency: int | None = None


class Queue(Protocol):
    """Writes the records of runs: `Committer`."""

    def queue(self, writer: RunWriter, entry: Entry) -> None:
        """Have a record of a run written."""

    def note_lines(self, writer: RunWriter) -> None:
        """Have the lines of a run written."""

    def wait_for_room(self) -> None:
        """Block while too much is queued."""


class RunWriter:
    """The write side of one run that this process owns; any thread may call its methods.

    ``on_lost`` is called once, in the committer's thread, when the run was taken over, or when one
    of its rows, or the journal, cannot be written. Nothing is recorded after that: whatever is
    queued then or later is dropped, as after `Committer.release`. ``on_cancel`` is called there as
    long as another process wants to cancel the run, ``on_control`` whenever ``wanted`` has changed.
    ``name`` is unique to this writer, and part of the keys of what it stores.
    """

    def __init__(
        self,
        committer: Queue,
        run_id: str,
        on_lost: Callable[[JournalError], None],
        on_cancel: Callable[[], None],
        on_control: Callable[[Wanted], None],
    ) -> None:
        self.run_id = run_id
        self.name = f"{WRITER}{token_hex(5)}"
        self.on_lost = on_lost
        self.on_cancel = on_cancel
        self.on_control = on_control
        self.wanted = Wanted()
        self.leased_until = time.time() + LEASE_SECONDS
        self.entries: deque[Entry] = deque()
        self.lines: deque[Line] = deque()
        self.noted = False  # whether the committer knows that there are lines
        self.closed = False
        self._committer = committer

    def add(self, entry: Entry) -> None:
        """Queue a record; it is on disk when a later `Committer.call` of the run is done.

        Never waits: callers that add much call `Committer.wait_for_room` now and then.
        """
        self._committer.queue(self, entry)

    def log(self, line: Line) -> None:
        """Queue a line: at, step, item, attempt, level, source, message.

        Waits while the journal is congested, unless an event loop runs in this thread.
        """
        self.note(line)
        if len(self.lines) > MOST_PENDING and not _on_loop():
            self._committer.wait_for_room()

    def attach(self, shown: Shown) -> None:
        """Queue something that a step has shown; waits like `log`."""
        self.add(shown)
        if not _on_loop():
            self._committer.wait_for_room()

    def note(self, line: Line) -> None:
        """Queue a line like `log`, but never wait."""
        if self.closed:
            return
        self.lines.append(line)
        if not self.noted:  # otherwise the committer finds it: it resets this before it looks
            self._committer.note_lines(self)

    def take(self, most: int) -> tuple[list[Entry], list[Line]]:
        """Take what was queued first: records of about ``most`` rows, and ``most`` lines.

        Consecutive outcomes of a stage are merged. The caller holds the committer's lock.
        """
        taken: list[Entry] = []
        rows = 0
        while self.entries and rows < most:
            entry = self.entries.popleft()
            rows += len(entry)
            match taken[-1:], entry:
                case [Outcomes() as before], Outcomes() if before.stage == entry.stage:
                    before.add(entry)
                case _:
                    taken.append(entry)
        self.noted = False
        lines = [self.lines.popleft() for _ in range(min(most, len(self.lines)))]
        self.noted = bool(self.lines)
        return taken, lines

    def close(self) -> int:
        """Take no more and drop what is queued; the number of dropped rows."""
        self.closed = True
        rows = sum(map(len, self.entries))
        self.entries.clear()
        self.lines.clear()
        return rows


def _on_loop() -> bool:
    import asyncio  # slow to import, and rarely needed

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
