"""The progress view: a line for each stage, redrawn at the bottom of a terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from typing import TextIO
from unicodedata import east_asian_width

from lokki.engine.view import Cell, StageView

_NARROWEST_BAR = 6

_NAME, _BAR = 1, 2
"""Columns of a row between its mark and those of `StageView.cells`."""
_RIGHT = (3, 5, 6)
"""Columns that are aligned to the right."""
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "": ""}
_MARKS = {  # in UTF-8 and in ASCII
    "waiting": ("·", ".", "dim"),
    "kept": ("✓", "+", "dim"),  # from before the run was resumed
    "running": ("▸", ">", "bold"),
    "paused": ("‖", "=", "yellow"),  # or about to be
    "done": ("✓", "+", "green"),
    "failed": ("✗", "x", "red"),
    "cancelled": ("◌", "c", "yellow"),  # or about to be
}


class Screen:
    """The lines at the bottom of a terminal, and what is written above them.

    The cursor stays visible, at the beginning of the line below: whatever ends the process, the
    terminal is usable.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colours = not os.environ.get("NO_COLOR")
        self._ascii = not (stream.encoding or "").lower().startswith("utf")
        self._drawn: list[int] = []

    def draw(
        self, above: str, stages: Sequence[StageView], now: float, *, last: bool = False
    ) -> None:
        """Draw the stages below ``above``, which has complete lines."""
        size = _size(self._stream)
        shown = stages if last else _fitting(stages, size.lines - 2)
        rows = [_row(stage, now, last, self._ascii) for stage in shown]
        lines = _lines(rows, size.columns - 1, ("=", "-", "~") if self._ascii else ("━", "─", "…"))
        up = sum(max(1, ceil(length / size.columns)) for length in self._drawn)
        self._drawn = [sum(_columns(text) for text, _ in line) for line in lines]
        drawn = "".join(self._painted(line) + "\n" for line in lines)
        reset = "\x1b[0m" if "\x1b" in above else ""
        with suppress(OSError, ValueError):
            self._stream.write((f"\x1b[{up}A\r\x1b[J" if up else "") + above + reset + drawn)
            self._stream.flush()

    def _painted(self, line: list[Cell]) -> str:
        if not self._colours:
            return "".join(text for text, _ in line).rstrip()
        return "".join(
            f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if style and text.strip() else text
            for text, style in line
        )


def _size(stream: TextIO) -> os.terminal_size:
    """The size of the terminal; some report no columns."""
    with suppress(OSError, ValueError):
        size = os.get_terminal_size(stream.fileno())
        if size.columns > 1 and size.lines:
            return size
    return os.terminal_size((80, 24))


def _fitting(stages: Sequence[StageView], height: int) -> Sequence[StageView]:
    """As many stages as fit, from the last ended ones on."""
    ended = sum(stage.status in ("kept", "done", "failed") for stage in stages)
    first = max(0, min(ended - 1, len(stages) - height))
    return stages[first : first + max(1, height)]


def _row(stage: StageView, now: float, last: bool, in_ascii: bool) -> list[Cell | float]:
    """The cells of a stage's line, with a share of items in place of its bar."""
    mark, ascii_mark, colour = _MARKS[stage.status]
    idle = stage.status in ("waiting", "kept")
    name = (stage.name, "dim" if idle else "bold")
    counts = stage.counts
    share = counts.done / counts.total if counts.total else float(stage.status == "done")
    bar: Cell | float = share if stage.is_map and not idle else ("", "")
    return [(ascii_mark if in_ascii else mark, colour), name, bar, *stage.cells(now, last=last)]


def _lines(
    rows: list[list[Cell | float]], width: int, signs: tuple[str, str, str]
) -> list[list[Cell]]:
    """The rows as lines of at most ``width`` columns; bars take the rest."""
    widths = _widths(rows, width)
    return [_fitted(_line(row, widths, signs), width) for row in rows]


def _widths(rows: list[list[Cell | float]], width: int) -> list[int]:
    """The width of each column; 0 for one that is not drawn."""
    widths = [
        max((_columns(cell[0]) for cell in column if isinstance(cell, tuple)), default=0)
        for column in zip(*rows, strict=True)
    ]
    widths[_NAME] = min(widths[_NAME], max(8, width // 3))
    bar = width + 1 - sum(each + 2 for each in widths if each)
    widths[_BAR] = bar if bar >= _NARROWEST_BAR else 0
    return widths


def _line(row: list[Cell | float], widths: list[int], signs: tuple[str, str, str]) -> list[Cell]:
    """A row's cells, padded to the widths of their columns, with gaps between."""
    full, rest, cut = signs
    line: list[Cell] = []
    for column, (cell, wide) in enumerate(zip(row, widths, strict=True)):
        if not wide:
            continue
        if line:
            line.append((" " if column == _NAME else "  ", ""))
        if isinstance(cell, tuple):
            text = _cropped(cell[0], wide, cut)
            pad = " " * (wide - _columns(text))
            line.append((pad + text if column in _RIGHT else text + pad, cell[1]))
        else:
            filled = int(cell * wide)
            line += [(full * filled, "green"), (rest * (wide - filled), "dim")]
    return line


def _fitted(line: list[Cell], width: int) -> list[Cell]:
    """A line without what does not fit."""
    fitted = []
    for text, style in line:
        shown = _cropped(text, width, "")
        fitted.append((shown, style))
        width -= _columns(shown)
    return fitted


def _cropped(text: str, width: int, cut: str) -> str:
    if _columns(text) <= width:
        return text
    while text and _columns(text + cut) > width:
        text = text[:-1]
    return text + cut if text else ""


def _columns(text: str) -> int:
    """How many columns of a terminal a text needs."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(sign) in "WF" else 1 for sign in text)
