"""Sends lines to the sinks of the attached runs and to a stream that shows them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, TextIO, TypeAlias

from lokki.call import Running, running

if TYPE_CHECKING:
    from lokki.logging import Line
    from lokki.model.attachment import Shown

Sink: TypeAlias = "Callable[[Line | Shown], object]"
"""Takes lines, and what ``lokki.show`` shows."""

# By run id; several if engines with different journals run the same id at once: their lines cannot
# be distinguished, so each sink gets them all.
attached: dict[str, tuple[tuple[Sink, TextIO | None], ...]] = {}

busy: set[int] = set()
"""Threads in which lokki itself writes to a stream that may be captured."""


def captured_call() -> Running | None:
    """The call that runs here, if its run is attached."""
    here = running.get()
    return here if here is not None and here[0].run_id in attached else None


def end_lines() -> None:
    """Take an unfinished line that the call has left in this thread as a line."""
    here = running.get()
    if here is not None and here[3] is not None:
        here[3].end()


def record(run_id: str, said: Line | Shown) -> None:
    """Pass a line, or something shown, to the sinks of ``run_id``, if it is attached."""
    thread = get_ident()
    inner = thread in busy
    busy.add(thread)
    try:
        for sink, _ in attached.get(run_id, ()):
            sink(said)
    finally:
        if not inner:
            busy.discard(thread)


def show(run_id: str, text: str) -> None:
    """Show what a call of ``run_id`` wrote in another process."""
    to = attached.get(run_id)
    stream = (to[-1][1] if to else None) or sys.stderr
    if stream is None:
        return
    thread = get_ident()
    inner = thread in busy
    busy.add(thread)
    try:
        stream.write(text)
    except (OSError, ValueError) as error:
        write_otherwise(stream, text, error)
    finally:
        if not inner:
            busy.discard(thread)


def write_otherwise(stream: TextIO, text: str, error: OSError | ValueError) -> None:
    """Write to a stream that the step does not know: its errors are not the step's.

    What the stream cannot encode is escaped, except for bytes that were not text (PEP 383).
    """
    if isinstance(error, UnicodeEncodeError):
        with suppress(OSError, ValueError):
            _write_escaped(stream, text, error.encoding)


def _write_escaped(stream: TextIO, text: str, encoding: str) -> None:
    bytes_below = getattr(stream, "buffer", None)
    if bytes_below is not None:
        with suppress(UnicodeEncodeError):
            data = text.encode(encoding, "surrogateescape")
            stream.flush()
            bytes_below.write(data)
            return
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
