"""Where the commands write: the result to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from lokki.secret import in_environment


def can_ask() -> bool:
    """Whether there is a terminal to ask at."""
    return sys.stdin is not None and sys.stdin.isatty()


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Inside this context, everything written to stdout goes to stderr.

    The file descriptor itself is redirected, so this includes threads, child processes and C
    libraries that a flow's code uses. From here on, secrets are shown only in a run's result.
    """
    from lokki import output  # not earlier: a command without a flow does not need it

    output.mask(in_environment())
    if sys.stderr is None:  # it is closed, and the lowest free descriptor is its number
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
    """Stands in for a stream; ``before`` is called each time it is used."""

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
