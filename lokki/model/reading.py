"""Reading values of the model from JSON."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")


def read(kind: type[T], data: Any) -> T:
    """A value of a type of the model from its JSON; fields that are not known are left out.

    Raises ValueError for what is no such value.
    """
    reader: Any = _reader  # whose key, a type, mypy takes for unhashable
    value: T = reader(kind).validate_python(data)
    return value


@lru_cache
def _reader(kind: Any) -> Any:
    from pydantic import TypeAdapter  # which takes a while, and only servers' answers need it

    return TypeAdapter(kind)
