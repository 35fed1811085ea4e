"""The terminal that lists and runs are drawn on."""

from __future__ import annotations

import os
import sys

from rich.console import Console

WIDE = 120
"""Columns of a strip in output that is not a terminal."""
MOST_LINES = 4
"""Lines of a terminal that a message may take."""
_CONTROLS = {code: repr(chr(code))[1:-1] for code in (*range(10), *range(11, 32), *range(127, 160))}


class _Console(Console):
    """A console whose caller decides what a closed pipe means."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def stdout_console(*, stderr: bool = False) -> Console:
    """Stdout, or stderr; lines have any length unless a width is given."""
    console = _Console(highlight=False, stderr=stderr)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return _Console(highlight=False, width=WIDE, soft_wrap=True, stderr=stderr)


def room(console: Console) -> int:
    """How long a line may be."""
    return sys.maxsize if console.soft_wrap else console.width


def short(text: str, most: int) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(plain(text).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def plain(text: str) -> str:
    """A text with its control characters spelled out, so that the terminal ignores them."""
    return text.translate(_CONTROLS)
