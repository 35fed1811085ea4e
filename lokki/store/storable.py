"""Values as SQLite can store them."""

from __future__ import annotations

from typing import Any


def storable(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row whose texts SQLite can store: a lone surrogate is written as its escape.

    Such texts come from file names and output that is not UTF-8.
    """
    return tuple(
        value.encode("utf-8", "backslashreplace").decode()
        if isinstance(value, str) and not value.isascii()
        else value
        for value in row
    )
