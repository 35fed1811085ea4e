"""Texts that name arguments in the words of their reader: Python, options or JSON fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias


class Arguments:
    """Arguments with their values; one whose value is ``...`` is named without it.

    As a text they are what Python is given: ``from_stage='clean', force=True``.
    """

    def __init__(self, /, **given: Any) -> None:
        self.given = given

    def __str__(self) -> str:
        return ", ".join(
            name if value is ... else f"{name}={value!r}" for name, value in self.given.items()
        )


class Placeholder(str):
    """What stands for the value of an argument: ``INT``, which nobody quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


Words: TypeAlias = Callable[[Arguments], str]
"""How arguments are named."""


class Wording(str):
    """A text that names arguments, as Python writes them or as `said`.

    Its parts may be such texts.
    """

    __slots__ = ("_parts",)

    _parts: tuple[str | Arguments, ...]

    def __new__(cls, *parts: str | Arguments) -> Wording:
        made = super().__new__(cls, "".join(map(str, parts)))
        made._parts = tuple(piece for part in parts for piece in getattr(part, "_parts", (part,)))
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Wording, self._parts

    def said(self, words: Words) -> str:
        """The text in these words."""
        return "".join(words(part) if isinstance(part, Arguments) else part for part in self._parts)


def said(text: str, words: Words) -> str:
    """A text, with the arguments that it names, if any, in these words."""
    return text.said(words) if isinstance(text, Wording) else text
