"""Where a worker is in the slice that it was sent: memory that it and the engine have mapped.

A message for every item would cost more than a short item does. The worker counts the items that
it begins; the engine lowers how many of them are the worker's, to take back those at the end.
Each writes its own word and then reads the other's, so that no item is both begun and taken back;
taking a lock in between keeps the processor from reading before it has written.
"""

from __future__ import annotations

import mmap
import os
import threading

_BYTES = 4 * 8
_BEGUN, _LIMIT, _POSITION, _SINCE = range(4)


def shared_memory() -> int:
    """A descriptor of memory for a `Progress`."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("lokki-progress")
    else:  # macOS
        import tempfile  # with much else

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _BYTES)
    return descriptor


class Progress:
    """The memory behind a descriptor, which may be closed then."""

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, _BYTES)
        self._words: memoryview[int] = memoryview(self._map).cast("Q")
        self._seconds: memoryview[float] = memoryview(self._map).cast("d")
        self._fence = threading.Lock()

    @property
    def begun(self) -> int:
        """How many items the worker has begun; it is at the last of them."""
        return self._words[_BEGUN]

    @property
    def limit(self) -> int:
        """How many items are the worker's."""
        return self._words[_LIMIT]

    @property
    def position(self) -> int:
        """The inner step that the worker is at."""
        return self._words[_POSITION]

    @property
    def since(self) -> float:
        """When the call began that the worker is at, in seconds of the monotonic clock; or 0."""
        return self._seconds[_SINCE]

    # ---- of the engine ---------------------------------------------------------------------------

    def reset(self, count: int) -> None:
        """Begin a slice of so many items."""
        words = self._words
        words[_BEGUN] = words[_POSITION] = 0
        self._seconds[_SINCE] = 0.0
        words[_LIMIT] = count

    def take_back(self) -> bool:
        """Take the worker's last item back; False if it has begun that, or is about to.

        The first item is always the worker's: somebody has to answer for it, should it never begin.
        """
        words = self._words
        limit = words[_LIMIT] - 1
        if limit < 1 or words[_BEGUN] > limit:
            return False
        words[_LIMIT] = limit
        with self._fence:
            pass
        return words[_BEGUN] <= limit

    # ---- of the worker ---------------------------------------------------------------------------

    def begin(self) -> bool:
        """Begin the next item; False if there is none, or it was taken back."""
        words = self._words
        begun = words[_BEGUN] + 1
        words[_BEGUN] = begun
        with self._fence:
            pass
        if begun > words[_LIMIT]:
            words[_BEGUN] = begun - 1
            return False
        return True

    def enter(self, position: int, since: float) -> None:
        """Note that the call of an inner step begins."""
        self._words[_POSITION] = position
        self._seconds[_SINCE] = since

    def leave(self) -> None:
        """Note that the call has ended."""
        self._seconds[_SINCE] = 0.0
