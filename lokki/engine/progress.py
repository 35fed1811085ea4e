"""The progress of a worker in its slice, in memory that it shares with the engine.

A message for every item would cost more than a short item does. The worker counts the items that it
begins; the engine lowers the limit to take back items at the end of the slice. Each writes its own
word and then reads the other's, so that no item is both begun and taken back. The lock between the
two keeps the processor from reading before it has written.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator
from typing import Protocol

_BYTES = 4 * 8
_BEGUN, _LIMIT, _POSITION, _SINCE = range(4)


def shared_memory() -> int:
    """A descriptor of memory for a `Progress`."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("lokki-progress")
    else:  # macOS
        import tempfile  # slow to import

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _BYTES)
    return descriptor


class Begun(Protocol):
    """How far a worker is in a slice, as the engine knows it; see `Progress`."""

    @property
    def begun(self) -> int: ...
    @property
    def limit(self) -> int: ...
    @property
    def position(self) -> int: ...
    def reset(self, count: int) -> None: ...
    def take_back(self) -> bool: ...


class Progress:
    """The memory behind a descriptor, which may be closed afterwards."""

    def __init__(self, descriptor: int) -> None:
        self._map = mmap.mmap(descriptor, _BYTES)
        self._words: memoryview[int] = memoryview(self._map).cast("Q")
        self._seconds: memoryview[float] = memoryview(self._map).cast("d")
        self._fence = threading.Lock()

    @property
    def begun(self) -> int:
        """How many items the worker has begun; it runs the last of them."""
        return self._words[_BEGUN]

    @property
    def limit(self) -> int:
        """How many items the worker may begin."""
        return self._words[_LIMIT]

    @property
    def position(self) -> int:
        """The position of the inner step that the worker runs."""
        return self._words[_POSITION]

    @property
    def since(self) -> float:
        """When the current call began, in seconds of the monotonic clock; 0 between calls."""
        return self._seconds[_SINCE]

    # ---- of the engine ---------------------------------------------------------------------------

    def reset(self, count: int) -> None:
        """Begin a slice with this number of items."""
        words = self._words
        words[_BEGUN] = words[_POSITION] = 0
        self._seconds[_SINCE] = 0.0
        words[_LIMIT] = count

    def take_back(self) -> bool:
        """Take back the last item; False if the worker has begun it, or is about to.

        The first item always stays: it is the one that fails if the worker never begins.
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

    def items(self) -> Iterator[None]:
        """Begin one item after the other, as long as there are any left."""
        words, begun = self._words, 0
        acquire, release = self._fence.acquire, self._fence.release
        while True:
            begun += 1
            words[_BEGUN] = begun
            acquire(False)  # rather than `with`, which takes twice as long
            release()
            if begun > words[_LIMIT]:
                words[_BEGUN] = begun - 1
                return
            yield

    def enter(self, position: int, since: float) -> None:
        """Note that the call of an inner step begins."""
        self._words[_POSITION] = position
        self._seconds[_SINCE] = since

    def leave(self) -> None:
        """Note that the call has ended."""
        self._seconds[_SINCE] = 0.0
