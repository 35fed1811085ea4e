"""Reads values of the model from JSON."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")


def read(kind: type[T], data: Any) -> T:
    """A value of a type of the model from its JSON, without unknown fields.

    Raises ValueError for JSON of another type.
    """
    reader: Any = _reader  # its key, a type, is unhashable to mypy
    value: T = reader(kind).validate_python(data)
    return value


@lru_cache
def _reader(kind: Any) -> Any:
    from pydantic import TypeAdapter  # slow to import, and only answers of servers need it

    return TypeAdapter(kind)
