"""Capture of what steps print and log, line by line, with the call that wrote it.

While a run is attached, ``sys.stdout`` and ``sys.stderr`` are stand-ins that pass everything on
and, inside a step's call, also hand each whole line to the run's sink. A handler on the root logger
does the same for ``logging`` records; the program's own logging set-up is left as it is.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO, TypeAlias

from lokki.call import Running, running

Line: TypeAlias = tuple[float, str, int | None, int, str, str, str]
"""at (seconds since the epoch), step, item index, attempt, level, source, message."""
Sink: TypeAlias = Callable[[Line], None]

_sinks: dict[str, tuple[Sink, TextIO | None]] = {}
_lock = threading.Lock()


class _Lines:
    """What one call has written on each stream since its last line end."""

    def __init__(self, here: Running) -> None:
        self._here = here
        self._rest: dict[str, str] = {}

    def write(self, source: str, text: str) -> None:
        *lines, rest = (self._rest.get(source, "") + text).split("\n")
        self._rest[source] = rest
        for line in lines:
            self._emit(source, line)

    def end(self) -> None:
        for source, rest in self._rest.items():
            if rest:
                self._emit(source, rest)
        self._rest.clear()

    def _emit(self, source: str, line: str) -> None:
        _record(self._here, "INFO" if source == "stdout" else "WARNING", source, line)


def _record(here: Running, level: str, source: str, message: str) -> None:
    call, index, attempt, _ = here
    item = index if call.in_map else None
    record(call.run_id, (time.time(), call.name, item, attempt, level, source, message))


class _Stream(io.TextIOBase):
    """Stands in for a standard stream."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.source = name
        self.stream = stream

    def write(self, text: str) -> int:
        here = running.get()
        attached = None if here is None else _sinks.get(here[0].run_id)
        if here is None or attached is None:
            return self.stream.write(text)
        if here[3] is None:
            here[3] = _Lines(here)
        here[3].write(self.source, text)
        (attached[1] or self.stream).write(text)
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self.stream.errors

    @property
    def buffer(self) -> object:
        return self.stream.buffer


class _Handler(logging.Handler):
    """Records the log records of steps."""

    def emit(self, record: logging.LogRecord) -> None:
        here = running.get()
        if here is not None:
            try:
                _record(here, record.levelname, record.name, record.getMessage())
            except Exception:
                self.handleError(record)
        fallback = logging.lastResort  # what logging would have used without this handler
        if logging.root.handlers == [self] and fallback and record.levelno >= fallback.level:
            token = running.set(None)  # it writes to stderr, and is recorded already
            fallback.handle(record)
            running.reset(token)


_handler = _Handler()


def record(run_id: str, line: Line) -> None:
    """Hand a line to the sink of ``run_id``, if it is attached."""
    attached = _sinks.get(run_id)
    if attached is not None:
        attached[0](line)


def attach(run_id: str, sink: Sink, echo: TextIO | None = None) -> None:
    """Begin to hand the lines of ``run_id``'s calls to ``sink``.

    They are shown on ``echo``, by default on the stream they were written to.
    """
    with _lock:
        if not _sinks:
            sys.stdout = _Stream("stdout", sys.stdout)
            sys.stderr = _Stream("stderr", sys.stderr)
            logging.root.addHandler(_handler)
        _sinks[run_id] = (sink, echo)


def detach(run_id: str) -> None:
    """The opposite of ``attach``."""
    with _lock:
        _sinks.pop(run_id, None)
        if not _sinks:
            logging.root.removeHandler(_handler)
            if isinstance(sys.stdout, _Stream):
                sys.stdout = sys.stdout.stream
            if isinstance(sys.stderr, _Stream):
                sys.stderr = sys.stderr.stream
