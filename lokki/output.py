"""Capture of what steps print and log, line by line, with the call that wrote it.

While a run is attached, ``sys.stdout`` and ``sys.stderr`` are stand-ins that pass everything on
and, inside a step's call, also hand each whole line to the run's sink. ``logging`` records are
seen where loggers call their handlers, so the program's own logging set-up is left as it is.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TextIO, TypeAlias, cast

from lokki.call import Running, running
from lokki.secret import redacted

Line: TypeAlias = tuple[float, str, int | None, int, str, str, str]
"""at (seconds since the epoch), step, item index, attempt, level, source, message."""
Sink: TypeAlias = Callable[[Line], None]
_CallHandlers: TypeAlias = Callable[[logging.Logger, logging.LogRecord], None]

_LONGEST = 10_000
"""Characters of a printed line that are recorded; the rest is an ellipsis."""

# By run id; more than one where engines with different journals run the same id at once: their
# lines cannot be told apart, so each sink gets them all, and none loses any.
_sinks: dict[str, tuple[tuple[Sink, TextIO | None], ...]] = {}
_lock = threading.Lock()
_hook: _CallHandlers | None = None
_hooked: _CallHandlers = logging.Logger.callHandlers


class _Busy(threading.local):
    """What this thread does for a text that is recorded already, or is about to be."""

    logging = False
    writing = False


_busy = _Busy()


class _Part:
    """The line so far, as a terminal would show it: a carriage return starts it again."""

    __slots__ = ("_longest_secret", "_pieces", "_returned", "_room", "_secrets")

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets
        self._longest_secret = len(secrets[0]) if secrets else 0
        self._returned = False
        self._clear()

    def add(self, text: str) -> None:
        if self._returned or "\r" in text:
            self._return(text)
        elif text:
            if self._room > 0:
                self._pieces.append(text[: self._room])
            self._room -= len(text)

    def _return(self, text: str) -> None:
        shown = text.rstrip("\r")
        if shown:
            _, returned, last = shown.rpartition("\r")
            if returned or self._returned:
                self._clear()
            self.add(last)
        if len(shown) < len(text):
            self._returned = True

    def take(self) -> str:
        """The line without secrets; of one that is cut off, no part of a secret is left either."""
        line = redacted("".join(self._pieces), self._secrets)
        if self._room < 0:
            line = line[: max(0, len(line) - self._longest_secret)]
        if self._room < 0 or len(line) > _LONGEST:
            line = line[:_LONGEST] + "…"
        self._clear()
        return line

    def _clear(self) -> None:
        self._pieces: list[str] = []
        self._room = _LONGEST + self._longest_secret
        self._returned = False


class _Lines:
    """What one call has written on each stream since its last line end.

    It is echoed a line at a time, so that those of several calls do not run into one another.
    """

    def __init__(self, here: Running) -> None:
        self._here = here
        self._secrets: tuple[str, ...] = here[0].secrets
        self._parts = {"stdout": _Part(self._secrets), "stderr": _Part(self._secrets)}
        self._held: dict[str, list[str]] = {"stdout": [], "stderr": []}

    def write(self, source: str, text: str) -> None:
        part = self._parts[source]
        if text == "\n":  # as `print` writes it, after the rest
            self._emit(source, part.take())
            return
        *lines, rest = text.split("\n")
        for line in lines:
            part.add(line)
            self._emit(source, part.take())
        if rest:
            part.add(rest)

    def echo(self, source: str, text: str, echo: TextIO) -> None:
        """Show a text, or hold it until its line ends or is flushed."""
        held = self._held[source]
        held.append(text)
        if text.endswith("\n"):
            _show(echo, redacted("".join(held), self._secrets))
            held.clear()

    def flush(self, source: str) -> None:
        """Show what is held."""
        text = redacted("".join(self._held[source]), self._secrets)
        self._held[source].clear()
        for _, echo in _sinks.get(self._here[0].run_id, ())[-1:]:
            if text and echo is not None:
                _show(echo, text)
                with suppress(OSError, ValueError):
                    echo.flush()

    def end(self) -> None:
        for source, part in self._parts.items():
            self.flush(source)
            line = part.take()
            if line.strip():  # a progress bar wipes itself out with spaces
                self._emit(source, line)

    def _emit(self, source: str, line: str) -> None:
        _record(self._here, "INFO" if source == "stdout" else "WARNING", source, line)


def _record(here: Running, level: str, source: str, message: str) -> None:
    call, index, attempt, _ = here
    if call.secrets:
        message = redacted(message, call.secrets)
    item = index if call.in_map else None
    record(call.run_id, (time.time(), call.name, item, attempt, level, source, message))


class _Stream:
    """Stands in for a standard stream; all but writing is the stream's own."""

    def __init__(self, source: str, stream: TextIO) -> None:
        self.source = source
        self.stream = stream

    def write(self, text: str) -> int:
        here = running.get()
        attached = None if here is None else _sinks.get(here[0].run_id)
        if here is None or not attached or _busy.writing or not isinstance(text, str):
            return self.stream.write(text)
        if here[3] is None:
            here[3] = _Lines(here)
        if not _busy.logging:
            here[3].write(self.source, text)
        echo = attached[-1][1]
        if echo is None:
            self._pass_on(redacted(text, here[0].secrets))
        else:
            here[3].echo(self.source, text, echo)
        return len(text)

    def flush(self) -> None:
        here = running.get()
        if here is not None and here[3] is not None:
            here[3].flush(self.source)
        self.stream.flush()

    def _pass_on(self, text: str) -> None:
        """Write on the stream; it may be a stand-in of the program's, which writes on ours."""
        _busy.writing = True
        try:
            self.stream.write(text)
        finally:
            _busy.writing = False

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _standard, (self.source,)


def _standard(name: str) -> Any:
    return getattr(sys, name)


io.TextIOBase.register(_Stream)


def _show(echo: TextIO, text: str) -> None:
    """Write on a stream that the step does not know of, so that its errors are not the step's."""
    try:
        echo.write(text)
    except UnicodeEncodeError as error:
        escaped = text.encode(error.encoding, "backslashreplace").decode(error.encoding)
        with suppress(OSError, ValueError):
            echo.write(escaped)
    except (OSError, ValueError):
        pass


def _recording(call_handlers: _CallHandlers) -> _CallHandlers:
    """A ``Logger.callHandlers`` that records the log records of steps before it calls another's.

    A handler on the root logger would be seen by ``logging.basicConfig``, which would then do
    nothing. What the handlers write on the standard streams is not recorded a second time.
    """

    def callHandlers(self: logging.Logger, record: logging.LogRecord) -> None:  # noqa: N802
        here = running.get()
        if here is None or here[0].run_id not in _sinks or _busy.logging:
            return call_handlers(self, record)
        _busy.logging = True
        try:
            _record(here, record.levelname, record.name, _message(record))
            return call_handlers(self, record)
        finally:
            _busy.logging = False

    return callHandlers


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # the program's handlers report it, as they always do
        return f"<log message that cannot be shown: {type(error).__name__}>"


def record(run_id: str, line: Line) -> None:
    """Hand a line to the sink of ``run_id``, if it is attached."""
    for sink, _ in _sinks.get(run_id, ()):
        sink(line)


def show(run_id: str, text: str) -> None:
    """Show what a call of ``run_id`` has written in another process."""
    attached = _sinks.get(run_id)
    stream = (attached[-1][1] if attached else None) or sys.stderr
    if stream is not None:
        _show(stream, text)


def attach(run_id: str, sink: Sink, echo: TextIO | None = None) -> None:
    """Begin to hand the lines of ``run_id``'s calls to ``sink``.

    They are shown on ``echo``, by default on the stream they were written to.
    """
    with _lock:
        if not _sinks:
            _stand_in()
        _sinks[run_id] = (*_sinks.get(run_id, ()), (sink, echo))


def detach(run_id: str, sink: Sink | None = None) -> None:
    """The opposite of ``attach``; without a ``sink``, of the last for this run id."""
    with _lock:
        attached = list(_sinks.pop(run_id, ()))
        for place in reversed(range(len(attached))):
            if sink is None or attached[place][0] == sink:
                del attached[place]
                break
        if attached:
            _sinks[run_id] = tuple(attached)
        if not _sinks:
            _step_back()


def _stand_in() -> None:
    global _hook, _hooked
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Stream):
            setattr(sys, name, cast("TextIO", _Stream(name, stream)))
    if logging.Logger.callHandlers is not _hook:
        _hooked = logging.Logger.callHandlers
        _hook = _recording(_hooked)
        logging.Logger.callHandlers = _hook  # type: ignore[method-assign, assignment]


def _step_back() -> None:
    """Undo ``_stand_in``, except where the program has put something of its own since then."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, _Stream):
            setattr(sys, name, stream.stream)
    if logging.Logger.callHandlers is _hook:
        logging.Logger.callHandlers = _hooked  # type: ignore[method-assign, assignment]


def _forget() -> None:
    """In a forked child: the sinks, and the locks they take, are the parent's."""
    global _lock
    _lock = threading.Lock()
    _sinks.clear()


os.register_at_fork(after_in_child=_forget)
