"""Captures what calls write to the standard streams while a run is attached.

The stream objects stay, so that references to them (in logging handlers, in loguru) are captured,
too: ``write`` and ``flush`` of the objects are replaced, and ``write`` of the bytes below them.
A stream that is not one of Python's own gets a stand-in.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from threading import get_ident
from typing import Any, TextIO, cast

from lokki.call import Running, running
from lokki.output.hooks import Hook
from lokki.output.line_buffers import LineBuffer
from lokki.output.sinks import attached, busy
from lokki.secret import redacted

logging_now: set[int] = set()
"""Threads in which a handler writes a log record that is recorded already."""

_NAMES = ("stdout", "stderr", "__stdout__", "__stderr__")


class Masks:
    """The secrets that are masked in everything on the streams, whoever writes it."""

    def __init__(self) -> None:
        self.secrets: tuple[str, ...] = ()

    def add(self, secrets: tuple[str, ...]) -> None:
        self.secrets = tuple(sorted({*self.secrets, *secrets}, key=len, reverse=True))


masks = Masks()


class Stream:
    """A standard stream for writes of calls; everything else goes to the stream itself."""

    def __init__(self, source: str, stream: TextIO) -> None:
        self.source = source
        self.level = "INFO" if source == "stdout" else "WARNING"
        self.stream = stream
        self._write = stream.write
        self._flush = stream.flush
        self._hooks: list[Hook] = []
        if isinstance(stream, io.TextIOWrapper):
            self._hooks = [
                Hook(stream, "write", lambda _: self.write),
                Hook(stream, "flush", lambda _: self.flush),
            ]
            below = stream.buffer
            self._write_bytes = below.write
            if hasattr(below, "__dict__"):
                self._hooks.append(Hook(below, "write", lambda _: self.write_bytes))

    def place(self, name: str) -> None:
        """Begin to capture, as ``sys.NAME``."""
        for hook in self._hooks:
            hook.put()
        if not self._hooks:
            setattr(sys, name, cast(TextIO, self))

    def step_back(self) -> None:
        """Undo `place`, except where the program has put something else since then."""
        for hook in self._hooks:
            hook.take()
        for name in _NAMES:
            if getattr(sys, name) is self:
                setattr(sys, name, self.stream)

    # ---- as calls use it -------------------------------------------------------------------------

    def write(self, text: str) -> int:
        here = running.get()
        if (
            here is None
            or here[0].run_id not in attached
            or (busy and get_ident() in busy)
            or not isinstance(text, str)
        ):
            return self._pass_on(here, text)
        buffer: LineBuffer | None = here[3]
        if buffer is None or buffer.stream is not self or buffer.thread != get_ident():
            buffer = self._buffer(here)
        if logging_now and get_ident() in logging_now:
            buffer.flush()
            buffer.show(text)
        else:
            buffer.write(text)
        return len(text)

    def write_bytes(self, data: Any) -> Any:
        """Write to the bytes below the text; the text itself comes through here, too."""
        here = running.get()
        if here is None or here[0].run_id not in attached or get_ident() in busy:
            return self._pass_bytes_on(here, data)
        raw = bytes(data)
        self.write(raw.decode(self.stream.encoding, "surrogateescape"))
        return len(raw)

    def _pass_on(self, here: Running | None, text: str) -> int:
        """Write something that is not recorded."""
        secrets = _secrets(here)
        if not secrets or not isinstance(text, str):
            return self._write(text)
        self._write(redacted(text, secrets))
        return len(text)

    def _pass_bytes_on(self, here: Running | None, data: Any) -> Any:
        secrets = _secrets(here)
        if not secrets:
            return self._write_bytes(data)
        raw = bytes(data)
        text = raw.decode(self.stream.encoding, "surrogateescape")
        shown = redacted(text, secrets)
        self._write_bytes(
            raw if shown == text else shown.encode(self.stream.encoding, "surrogateescape")
        )
        return len(raw)

    def _buffer(self, here: Running) -> LineBuffer:
        """What the call is writing here, in this thread."""
        thread = get_ident()
        with _making:  # threads may share a call's context
            buffer: LineBuffer | None = here[3]
            while buffer is not None and (buffer.stream is not self or buffer.thread != thread):
                buffer = buffer.before
            if buffer is None:
                buffer = here[3] = LineBuffer(here, self, thread)
        return buffer

    def flush(self) -> None:
        here = running.get()
        thread = get_ident()
        if here is None or here[0].run_id not in attached or thread in busy:
            self._flush()
            return
        self._buffer(here).flush()
        echo = attached[here[0].run_id][-1][1]
        busy.add(thread)
        try:
            if echo is not None:
                with suppress(OSError, ValueError):
                    echo.flush()
            if not _left:
                self._flush()
        finally:
            busy.discard(thread)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _standard, (self.source,)


_making = threading.RLock()


def _renew_lock() -> None:
    """In a forked child: another thread of the parent may have held it."""
    global _making
    _making = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


_left = False


def leave_streams() -> None:
    """In a child that a call has forked, which sends what it writes: flush no stream itself.

    Another thread of the parent may have been writing: its lock would be held here forever.
    """
    global _left
    _left = True


def _standard(name: str) -> Any:
    return getattr(sys, name)


io.TextIOBase.register(Stream)


def _secrets(here: Running | None) -> tuple[str, ...]:
    """The secrets to mask in a text that is not recorded."""
    if here is None and get_ident() in busy:
        return ()
    own: tuple[str, ...] = here[0].secrets if here is not None else ()
    return (*masks.secrets, *own) if masks.secrets and own else masks.secrets or own


_placed: list[Stream] = []


def capture_streams() -> None:
    """Begin to capture; each stream once, under its first name."""
    known = {id(each.stream) for each in _placed}
    for name in _NAMES:
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, Stream) or id(stream) in known:
            continue
        if isinstance(stream, io.TextIOWrapper) and _is_detached(stream):
            continue
        placed = Stream(name.strip("_"), stream)
        placed.place(name)
        _placed.append(placed)
        known.add(id(stream))


def _is_detached(stream: io.TextIOWrapper) -> bool:
    try:
        return stream.buffer is None
    except ValueError:
        return True


def release_streams() -> None:
    while _placed:
        _placed.pop().step_back()
