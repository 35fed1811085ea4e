"""Turns typed documents into JSON: each document of this package consists of frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar


class Document:
    """A part of a document: its fields in PascalCase, without those that are None.

    ``RENAMED`` has fields that AWS spells differently, ``TAG`` has additional members.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {}
    TAG: ClassVar[Mapping[str, Any]] = {}

    def to_json(self) -> dict[str, Any]:
        """The document as a JSON value."""
        assert is_dataclass(self)
        written = {
            self.RENAMED.get(each.name, pascal(each.name)): to_json(getattr(self, each.name))
            for each in fields(self)
            if getattr(self, each.name) is not None
        }
        return {**self.TAG, **written}


def to_json(value: Any) -> Any:
    """A value of a document as a JSON value; names in mappings are the user's and stay."""
    match value:
        case Document():
            return value.to_json()
        case Mapping():
            return {name: to_json(each) for name, each in value.items()}
        case list() | tuple():
            return [to_json(each) for each in value]
    return value


def pascal(name: str) -> str:
    """``max_concurrency`` and ``clean-2`` as ``MaxConcurrency`` and ``Clean2``."""
    return "".join(part[:1].upper() + part[1:] for part in name.replace("-", "_").split("_"))
