"""The words of the command line: types, and values as typed."""

from __future__ import annotations

from collections import abc
from enum import Enum
from typing import Any, Final, Literal, get_args, get_origin

from lokki.params.values import to_json

_LABELS: Final = {
    "Any": "any value", "object": "any value", "Path": "path", "date": "date YYYY-MM-DD",
    "datetime": "datetime YYYY-MM-DDTHH:MM:SS", "timedelta": "duration such as PT1H30M",
}  # fmt: skip


def typed(value: Any) -> str:
    """A value as typed at the terminal."""
    import json

    if isinstance(value, Enum):
        return value.value if isinstance(value.value, str) else value.name
    plain = to_json(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def named_values(kind: Any) -> dict[str, Any]:
    """The values of an enum or a Literal by their typed form; none for another type."""
    cls = get_origin(kind) or kind
    values = get_args(kind) if cls is Literal else cls if isinstance(cls, type(Enum)) else ()
    return {typed(value): value for value in values}


def metavar_of(kind: Any) -> str:
    label = label_of(kind)
    if named_values(kind):
        return label
    return (label.split()[-1] if label in _LABELS.values() else label).upper()


def label_of(kind: Any) -> str:
    if options := named_values(kind):
        return "|".join(options)
    cls = get_origin(kind) or kind
    if isinstance(cls, type) and not issubclass(cls, (str, bytes)):
        if issubclass(cls, (abc.Sequence, abc.Set)) or cls in (abc.Iterable, abc.Collection):
            return "JSON list"
        records = ("__dataclass_fields__", "__pydantic_fields__")
        if issubclass(cls, abc.Mapping) or any(hasattr(cls, mark) for mark in records):
            return "JSON object"
    name = getattr(cls, "__name__", str(cls))
    return _LABELS.get(name, name)
