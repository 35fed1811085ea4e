"""Durations as flows and commands write them: ``"90s"``, ``"30m"``, ``"2h"``, ``"7d"``."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(\d+)([smhdw])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
_MOST = 100 * 365 * 24 * 3600
"""A hundred years: longer ones are mistakes, and too long for a clock."""


def seconds_of(text: object) -> int:
    """The seconds of a duration. Raises ValueError, which says what a duration looks like."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    seconds = int(found[1]) * _SECONDS[found[2]] if found else _MOST + 1
    if seconds > _MOST:
        raise ValueError(
            f"must be a duration such as '90s', '30m', '2h', '7d' or '4w', not {text!r}"
        )
    return seconds
