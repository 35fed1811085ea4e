"""What the commands write where: the result on stdout, everything else on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def say(text: str) -> None:
    """Print on stderr, if there is something to say and somebody to read it."""
    if text:
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Within, what anything writes to stdout goes to stderr.

    It is the file descriptor that is turned, so threads, child processes and C libraries that a
    flow's code uses are included.
    """
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
