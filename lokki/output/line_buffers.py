"""Buffers what calls write to streams, and cuts it into lines."""

from __future__ import annotations

from threading import get_ident
from time import time
from typing import Protocol, TextIO

from lokki.call import Running
from lokki.output.sinks import attached, busy, write_otherwise
from lokki.secret import begun, redacted

_LONGEST = 10_000
"""Most characters of a line that are recorded; an ellipsis replaces the rest."""
_MOST_HELD = 65_536
"""Most characters of an unfinished line that are held back until it ends."""
_NOT_ATTACHED = ((lambda line: None, None),)


class Stream(Protocol):
    """A captured standard stream; ``stream`` is the original."""

    source: str
    level: str
    stream: TextIO


class LineBuffer:
    """What one call has written in one thread to one stream since the last end of line.

    It is shown line by line, so that lines of several calls do not mix. ``before`` is the call's
    previous buffer.
    """

    __slots__ = ("_held", "_of", "_run_id", "_secrets", "_shown", "before", "stream", "thread")

    def __init__(self, here: Running, stream: Stream, thread: int) -> None:
        call, index, attempt, self.before = here[:4]
        item = index if call.in_map else None
        self._run_id: str = call.run_id
        self._secrets: tuple[str, ...] = call.secrets
        self._of = (call.name, item, attempt, stream.level, stream.source)
        self.stream = stream
        self.thread = thread
        self._shown = ""  # the beginning of the line, if it was flushed
        self._held = ""

    def write(self, text: str) -> None:
        if text == "\n":  # as `print` writes it, after the rest
            text, self._held = self._held, ""
            self._emit(text + "\n", self._line(text))
        elif "\n" in text:
            ended, _, rest = text.rpartition("\n")
            ended, self._held = self._held + ended, rest
            self._emit(ended + "\n", *map(self._line, ended.split("\n")))
        else:
            self._held += text
            if "\r" in text:  # a progress bar, which a line-buffered stream also shows at once
                self.flush()
            elif len(self._held) > _MOST_HELD:
                self._held = redacted(self._held, self._secrets)
                self._show_held(len(self._held) - self._longest_secret)

    def flush(self) -> None:
        """Show what has been written so far, without what may be the beginning of a secret."""
        if self._held:
            self._show_held(len(self._held) - begun(self._held, self._secrets))

    def end(self) -> None:
        """Take the rest as a line, unless a progress bar has erased itself with spaces."""
        if self.before is not None:
            self.before.end()
        if self._held or self._shown:
            held, self._held = self._held, ""
            line = self._line(held)
            if line.strip():
                self._emit(held, line)
            else:
                self._emit(held)

    def show(self, text: str) -> None:
        """Show a text that belongs to no recorded line."""
        self._emit(text)

    def _show_held(self, length: int) -> None:
        text, self._held = self._held[:length], self._held[length:]
        self._shown = _as_seen(self._shown + text, _LONGEST + self._longest_secret + 1)
        self._emit(text)

    def _line(self, line: str) -> str:
        """A complete line as it is recorded."""
        if self._shown:
            line, self._shown = self._shown + line, ""
        if "\r" in line:
            line = _as_seen(line, len(line)).rstrip("\r")
        if self._secrets or len(line) > _LONGEST:
            return cut(line, self._secrets)
        return line

    @property
    def _longest_secret(self) -> int:
        secrets = self._secrets
        return len(secrets[0]) if secrets else 0

    def _emit(self, text: str, *lines: str) -> None:
        """Record lines, and show a text without secrets where the run's output is shown."""
        if self._secrets:
            text = redacted(text, self._secrets)
        thread = get_ident()
        busy.add(thread)
        try:
            try:
                to = attached[self._run_id]
            except KeyError:  # a thread that outlives its run
                to = _NOT_ATTACHED
            for line in lines:
                record = (time(), *self._of, line)
                for sink, _ in to:
                    sink(record)
            stream = to[-1][1] or self.stream.stream
            try:
                stream.write(text)
            except (OSError, ValueError) as error:
                write_otherwise(stream, text, error)
        finally:
            busy.discard(thread)


def cut(line: str, secrets: tuple[str, ...]) -> str:
    """A line without secrets, not too long; a cut leaves no part of one, either."""
    if not secrets:
        return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"
    room = _LONGEST + len(secrets[0])
    shown = redacted(line[:room], secrets)
    if len(line) > room:
        return shown[: min(_LONGEST, len(shown) - len(secrets[0]))] + "…"
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "…"


def _as_seen(text: str, room: int) -> str:
    """The beginning of a line as a terminal shows it: a carriage return starts it again.

    One at the end stays, for what comes next.
    """
    line = text.rstrip("\r")
    return line.rpartition("\r")[2][:room] + "\r" * (len(line) < len(text))
