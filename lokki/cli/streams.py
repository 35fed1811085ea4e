"""What the commands write where: the result on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from lokki.secret import in_environment


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Within, what anything writes to stdout goes to stderr.

    It is the file descriptor that is turned, so threads, child processes and C libraries that a
    flow's code uses are included. From here on, no secret is shown, other than in a run's result.
    """
    from lokki import output  # not before: a command without a flow has no need of it

    output.mask(in_environment())
    if sys.stderr is None:  # it is closed, and the lowest free descriptor is its own
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the life of the process
    if sys.stdout is None:
        yield
        return
    _flush()
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        _flush()
        os.dup2(stdout, 1)
        os.close(stdout)


def _flush() -> None:
    with suppress(OSError, ValueError):
        sys.stdout.flush()


class Watched:
    """Stands in for a stream; ``before`` is called each time that something is done with it."""

    def __init__(self, stream: TextIO, before: Callable[[], object]) -> None:
        self._stream = stream
        self._before = before

    def __getattr__(self, name: str) -> Any:
        self._before()
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        self._before()
        return iter(self._stream)

    def __next__(self) -> str:
        self._before()
        return next(self._stream)
