"""Numbers as callers give them: Python's own, or another library's, such as NumPy's scalars."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any


def whole(value: object) -> int | None:
    """The int that a whole number is; None for anything else, a bool among it."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None


def number(value: object) -> int | float | None:
    """The int or float that a real number is; None for anything else, a bool among it."""
    if (found := whole(value)) is not None:
        return found
    if isinstance(value, Real) and not isinstance(value, bool):
        return value if isinstance(value, int | float) else float(value)
    return None


def json_whole(value: Any) -> int:
    """What JSON has of a whole number of another library; for the ``default`` of ``json.dumps``.

    Raises TypeError for anything else.
    """
    found = whole(value)
    if found is None:
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    return found
