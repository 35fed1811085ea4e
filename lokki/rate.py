"""Rates and limits as flows and configurations write them: ``"50/s"``, ``"100/m"``, ``2``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RATE = re.compile(r"\s*(\d+)\s*/\s*([smh])\s*", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600}
MOST = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``count`` in any ``seconds``."""

    count: int
    seconds: int

    def __str__(self) -> str:
        unit = next(unit for unit, seconds in _SECONDS.items() if seconds == self.seconds)
        return f"{self.count}/{unit}"


def rate_of(text: object) -> Rate:
    """The rate that a text stands for. Raises ValueError, which says what a rate looks like."""
    found = _RATE.fullmatch(text) if isinstance(text, str) else None
    if found is None or not 1 <= int(found[1]) <= MOST:
        raise ValueError(
            f"must be a number per second, minute or hour, such as '50/s', '100/m' or '1000/h', "
            f"not {text!r}"
        )
    return Rate(int(found[1]), _SECONDS[found[2]])


def limit_of(value: object) -> Rate | int:
    """What a limit that runs share stands for: a rate, or how many calls run at a time.

    Raises ValueError, which says what a limit looks like.
    """
    text = str(value).strip() if type(value) in (int, str) else ""
    if text.isascii() and text.isdigit() and 1 <= int(text) <= MOST:
        return int(text)
    try:
        return rate_of(value)
    except ValueError:
        raise ValueError(
            "must be how many calls run at a time, such as 2, or a number per second, minute or "
            f"hour, such as '50/s', '100/m' or '1000/h', not {value!r}"
        ) from None
