"""Kinds of annotations: the members of unions, and the kind that a default implies."""

from __future__ import annotations

import dataclasses
import types
from enum import Enum
from typing import Annotated, Any, Final, Union, get_args, get_origin

_WRITTEN: Final = frozenset({
    "bool", "int", "float", "str", "bytes", "list", "tuple", "dict", "set", "frozenset",
    "date", "datetime", "time", "timedelta", "Decimal", "UUID",
})  # fmt: skip
"""Types of the standard library whose values a text or JSON can represent."""


def kind_of(default: Any) -> Any:
    """What a parameter without annotation accepts: values of its default's type, if it has one.

    Anything, if only Python can represent such values.
    """
    from pathlib import Path  # slow to import

    kind = type(default)
    if isinstance(default, Path):
        return Path  # each system has its own class
    of_python = kind.__module__ in ("builtins", "datetime", "decimal", "uuid")
    if isinstance(default, Enum) or (of_python and kind.__name__ in _WRITTEN):
        return kind
    return kind if dataclasses.is_dataclass(kind) else Any


def is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def choices_of(kind: Any) -> list[Any]:
    """The members of a union without None; for another type, the type itself."""
    if get_origin(kind) is Annotated:
        return choices_of(kind.__origin__)
    if not is_union(kind):
        return [kind]
    return [choice for m in get_args(kind) if m is not types.NoneType for choice in choices_of(m)]
