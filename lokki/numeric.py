"""Numbers as callers write them: Python's own, or those of a library such as NumPy."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any


def whole(value: object) -> int | None:
    """A whole number as an int; None for anything else, also for a bool."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None


def number(value: object) -> int | float | None:
    """A real number as an int or float; None for anything else, also for a bool."""
    if (found := whole(value)) is not None:
        return found
    if isinstance(value, Real) and not isinstance(value, bool):
        return value if isinstance(value, int | float) else float(value)
    return None


def json_whole(value: Any) -> int:
    """A whole number of another library as an int, for the ``default`` of ``json.dumps``.

    Raises TypeError for anything else.
    """
    found = whole(value)
    if found is None:
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    return found
