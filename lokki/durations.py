"""Durations as flows and commands write them, ``"90s"`` or ``"2h"``, and as people read them."""

from __future__ import annotations

import re
from math import ceil

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


def duration(seconds: float) -> str:
    """How long something took; under a minute, a whole number stays whole."""
    if seconds < 60:
        if isinstance(seconds, int):
            return f"{seconds}s"
        return f"{seconds:.1f}s" if seconds >= 0.1 else f"{1000 * seconds:.0f}ms"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"


def at_least(seconds: float) -> str:
    """Whole seconds, rounded up."""
    return f"{ceil(round(seconds, 6)):,} s"


def mean(seconds: float) -> str:
    """How long each of many took; two digits for short times."""
    return duration(seconds) if seconds >= 0.1 else f"{1000 * seconds:.2g}ms"


def rate(per_second: float) -> str:
    """How many per second, or per minute if few; empty for none."""
    if not per_second:
        return ""
    if per_second < 0.1:
        return f"{60 * per_second:.1f}/min"
    return f"{per_second:.1f}/s" if per_second < 10 else f"{per_second:,.0f}/s"
