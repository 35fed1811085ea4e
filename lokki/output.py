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
from threading import get_ident
from typing import Any, TextIO, TypeAlias, cast

from lokki.call import BoundCall, Running, running
from lokki.logging import Line
from lokki.secret import redacted

Sink: TypeAlias = Callable[[Line], None]
_CallHandlers: TypeAlias = Callable[[logging.Logger, logging.LogRecord], None]

_LONGEST = 10_000
"""Characters of a line that are recorded; the rest is an ellipsis."""
_MOST_HELD = 65_536
"""Characters of a line without an end that are held back to be shown with it."""

# By run id; more than one where engines with different journals run the same id at once: their
# lines cannot be told apart, so each sink gets them all, and none loses any.
_sinks: dict[str, tuple[tuple[Sink, TextIO | None], ...]] = {}
_lock = threading.Lock()
_hook: _CallHandlers | None = None
_hooked: _CallHandlers = logging.Logger.callHandlers


# Threads that write what is not to be recorded: a handler for a log record, which is recorded
# itself, or we, on a stream that may be a stand-in of the program's over ours.
_logging: set[int] = set()
_showing: set[int] = set()


class Part:
    """What one call has written on one stream since the last line end.

    It is shown a line at a time, so that those of several calls do not run into one another.
    ``before`` is that of the call's other stream, if it has written there before.
    """

    __slots__ = ("_attempt", "_call", "_held", "_index", "_shown", "before", "stream")

    def __init__(self, here: Running, stream: _Stream) -> None:
        self._call, self._index, self._attempt, self.before = here
        self.stream = stream
        self._shown = ""  # the beginning of the line, where that was flushed
        self._held = ""

    def write(self, text: str) -> None:
        if text == "\n":  # as `print` writes it, after the rest
            self._end_lines(self._held, "")
        elif "\n" in text:
            ended, _, rest = text.rpartition("\n")
            self._end_lines(self._held + ended, rest)
        else:
            self._held += text
            if "\r" in text:  # a progress bar, which a line-buffered stream shows at once, too
                self.flush()
            elif len(self._held) > _MOST_HELD:
                self._held = redacted(self._held, self._call.secrets)
                self._show_held(len(self._held) - self._longest_secret)

    def flush(self) -> None:
        """Show what has been written so far."""
        if self._held:
            self._show_held(len(self._held))

    def end(self) -> None:
        """Take what is left for a line, unless a progress bar has wiped itself out with spaces."""
        if self.before is not None:
            self.before.end()
        if self._held or self._shown:
            held, self._held = self._held, ""
            line = self._line(held)
            if line.strip():
                self._record(line)
            self.show(held)

    def _show_held(self, length: int) -> None:
        text, self._held = self._held[:length], self._held[length:]
        self._shown = _as_seen(self._shown + text, _LONGEST + self._longest_secret + 1)
        self.show(text)

    def _end_lines(self, text: str, rest: str) -> None:
        self._held = rest
        if "\n" in text:
            for line in text.split("\n"):
                self._record(self._line(line))
        else:
            self._record(self._line(text))
        self.show(text + "\n")

    def _line(self, line: str) -> str:
        """A whole line as it is recorded."""
        if self._shown:
            line, self._shown = self._shown + line, ""
        if "\r" in line:
            line = _as_seen(line, len(line)).rstrip("\r")
        return _cut(line, self._call.secrets)

    @property
    def _longest_secret(self) -> int:
        secrets = self._call.secrets
        return len(secrets[0]) if secrets else 0

    def _record(self, line: str) -> None:
        stream = self.stream
        _record(self._call, self._index, self._attempt, stream.level, stream.source, line)

    def show(self, text: str) -> None:
        """Show a text on the stream that the run's output goes to, without secrets."""
        if self._call.secrets:
            text = redacted(text, self._call.secrets)
        attached = _sinks.get(self._call.run_id)
        if attached and (echo := attached[-1][1]) is not None:
            _show(echo, text)
            return
        thread = get_ident()
        _showing.add(thread)
        try:
            _show(self.stream.stream, text)
        finally:
            _showing.discard(thread)


def _cut(line: str, secrets: tuple[str, ...]) -> str:
    """A line without secrets, not too long; where it is cut off, no part of one is left either."""
    if not secrets:
        return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"
    room = _LONGEST + len(secrets[0])
    shown = redacted(line[:room], secrets)
    if len(line) > room:
        return shown[: min(_LONGEST, len(shown) - len(secrets[0]))] + "…"
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "…"


def _as_seen(text: str, room: int) -> str:
    """The beginning of a line as a terminal shows it: a carriage return starts it again.

    One at the end is left, for what comes next.
    """
    line = text.rstrip("\r")
    return line.rpartition("\r")[2][:room] + "\r" * (len(line) < len(text))


class _Stream:
    """Stands in for a standard stream; all but writing is the stream's own."""

    def __init__(self, source: str, stream: TextIO) -> None:
        self.source = source
        self.level = "INFO" if source == "stdout" else "WARNING"
        self.stream = stream

    def write(self, text: str) -> int:
        here = running.get()
        if (
            here is None
            or here[0].run_id not in _sinks
            or (_showing and get_ident() in _showing)
            or not isinstance(text, str)
        ):
            return self.stream.write(text)
        part: Part | None = here[3]
        if part is None or part.stream is not self:
            part = self._part(here)
        if _logging and get_ident() in _logging:
            part.flush()
            part.show(text)
        else:
            part.write(text)
        return len(text)

    def _part(self, here: Running) -> Part:
        part: Part | None = here[3]
        while part is not None and part.stream is not self:
            part = part.before
        if part is None:
            part = here[3] = Part(here, self)
        return part

    def flush(self) -> None:
        here = running.get()
        if here is not None and here[0].run_id in _sinks:
            self._part(here).flush()
            echo = _sinks[here[0].run_id][-1][1]
            if echo is not None:
                with suppress(OSError, ValueError):
                    echo.flush()
        self.stream.flush()

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
        if here is None or here[0].run_id not in _sinks or get_ident() in _logging:
            return call_handlers(self, record)
        thread = get_ident()
        _logging.add(thread)
        try:
            call, index, attempt, _ = here
            message = _cut(_message(record), call.secrets)
            _record(call, index, attempt, record.levelname, record.name, message)
            return call_handlers(self, record)
        finally:
            _logging.discard(thread)

    return callHandlers


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # the program's handlers report it, as they always do
        return f"<log message that cannot be shown: {type(error).__name__}>"


def _record(
    call: BoundCall, index: int, attempt: int, level: str, source: str, message: str
) -> None:
    item = index if call.in_map else None
    line = (time.time(), call.name, item, attempt, level, source, message)
    for sink, _ in _sinks.get(call.run_id, ()):
        sink(line)


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
