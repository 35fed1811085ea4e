"""Texts that name arguments in the words of their reader, and the name that was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias


class Arguments:
    """Arguments with their values; one with the value ``...`` is only named.

    As text, they are written as in Python: ``from_stage='clean', force=True``.
    """

    def __init__(self, /, **given: Any) -> None:
        self.given = given

    def __str__(self) -> str:
        return ", ".join(
            name if value is ... else f"{name}={value!r}" for name, value in self.given.items()
        )


class Placeholder(str):
    """Stands for the value of an argument: ``INT``, without quotes."""

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
        """The text, with its arguments in these words."""
        return "".join(words(part) if isinstance(part, Arguments) else part for part in self._parts)


def said(text: str, words: Words) -> str:
    """A text, with any arguments that it names in these words."""
    return text.said(words) if isinstance(text, Wording) else text


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like a wrong one; None if no name is."""
    import difflib  # slow to import, and only errors need it

    return next(iter(difflib.get_close_matches(name, list(known), 1)), None)
