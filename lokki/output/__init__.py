"""Captures what steps print and log, line by line, with the call that wrote it.

While a run is attached, everything that its calls write to the standard streams still goes where it
went before, and each complete line also to the run's sink (`streams.py`, `line_buffers.py`,
`sinks.py`). So do the records that they log; the program's own logging setup is left unchanged
(`records.py`). A call covers its own thread, the threads that it starts (`threads.py`), and the
processes that it forks (`forks.py`) or starts with ``multiprocessing`` (`processes.py`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import TextIO

from lokki.output.forks import drain
from lokki.output.processes import process_starts
from lokki.output.records import log_levels, log_records
from lokki.output.records import own_code as own_code
from lokki.output.sinks import Sink, attached, busy
from lokki.output.sinks import record as record
from lokki.output.sinks import show as show
from lokki.output.streams import capture_streams, masks, release_streams
from lokki.output.threads import thread_starts
from lokki.secret import redacted

_lock = threading.Lock()


def attach(run_id: str, sink: Sink, echo: TextIO | None = None) -> None:
    """Begin to pass the lines of ``run_id``'s calls to ``sink``.

    They are shown on ``echo``, by default the stream they were written to.
    """
    with _lock:
        if not attached:
            capture_streams()
            for hook in _hooks:
                hook.put()
        attached[run_id] = (*attached.get(run_id, ()), (sink, echo))


_hooks = (log_records, log_levels, process_starts(attach), *thread_starts)


def detach(run_id: str, sink: Sink | None = None) -> None:
    """The opposite of ``attach``; without a ``sink``, for the last one of this run id."""
    drain()
    with _lock:
        there = list(attached.pop(run_id, ()))
        for position in reversed(range(len(there))):
            if sink is None or there[position][0] == sink:
                del there[position]
                break
        if there:
            attached[run_id] = tuple(there)
        if not attached:
            for hook in _hooks:
                hook.take()
            if not masks.secrets:
                release_streams()


def mask(secrets: tuple[str, ...]) -> None:
    """From now on, mask secrets in everything that this process writes to the standard streams.

    For processes that serve a flow alone: until the process ends, this also masks what is written
    outside calls, by a flow's body, threads or finalizers.
    """
    if secrets:
        with _lock:
            masks.add(secrets)
            capture_streams()


def masked(text: str) -> str:
    """A text with the secrets of this process masked."""
    return redacted(text, masks.secrets)


@contextmanager
def as_it_is() -> Iterator[None]:
    """Inside this context, what this thread writes is not masked or captured: a run's result."""
    busy.add(get_ident())
    try:
        yield
    finally:
        busy.discard(get_ident())


def _renew_lock() -> None:
    """In a forked child: another thread of the parent may have held it."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
