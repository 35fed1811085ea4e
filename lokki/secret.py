"""`Secret`: a parameter whose value is never stored, logged or shown."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, Self, TypeVar

T_co = TypeVar("T_co", covariant=True)

_sendable: ContextVar[bool] = ContextVar("lokki_secrets_sendable", default=False)

HIDDEN = "***"
_SHORTEST = 4
"""Shorter texts occur in too many others to be redacted."""


class Secret(Generic[T_co]):
    """A value that is shown as ``***``; ``value`` is the value itself.

    A flow's parameter (``token: Secret[str]``) that is not given is read from the environment
    variable ``LOKKI_SECRET_<NAME>`` or asked for at the terminal. A secret is in no journal, log
    line, error or command line; a resumed run reads it again. It cannot be pickled, so no result
    can contain it. Texts of fewer than four characters are not redacted: they occur in too many
    others.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T_co) -> None:
        self._value = value

    @property
    def value(self) -> T_co:
        return self._value

    def __repr__(self) -> str:
        return f"Secret('{HIDDEN}')"

    def __str__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and bool(self._value == other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if not _sendable.get():
            raise TypeError("a Secret cannot be stored: return its name, or what was made with it")
        return Secret, (self._value,)


@contextmanager
def sendable() -> Iterator[None]:
    """Inside this context, secrets can be pickled, to be sent to a worker process, not stored."""
    token = _sendable.set(True)
    try:
        yield
    finally:
        _sendable.reset(token)


def variable(name: str) -> str:
    """The environment variable of a secret parameter."""
    return f"LOKKI_SECRET_{name.upper()}"


def in_environment() -> tuple[str, ...]:
    """What to redact of all secrets in the environment."""
    prefix = variable("")
    return redactable(
        Secret(value) for name, value in os.environ.items() if name.startswith(prefix)
    )


def redactable(values: Any) -> tuple[str, ...]:
    """What to redact of the secrets among ``values``, the longest first.

    It is their text and each line of it, also as ``repr``, JSON and URLs write it.
    """
    found = [text for value in values if isinstance(value, Secret) for text in _texts(value.value)]
    plain = {part for text in found for part in (text, *text.splitlines())}
    long = [part for part in plain if len(part) >= _SHORTEST]
    return tuple(sorted({form for each in long for form in _forms(each)}, key=len, reverse=True))


def _texts(value: Any) -> Iterator[str]:
    """The text of a value and of everything in it."""
    yield str(value)
    if isinstance(value, bytes | bytearray):
        yield value.decode("utf-8", "backslashreplace")
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _texts(each)


def _forms(text: str) -> Iterator[str]:
    from urllib.parse import quote, quote_plus  # slow to import

    yield text
    yield repr(text)[1:-1]
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    raw = text.encode("utf-8", "surrogatepass")
    yield repr(raw)[2:-1]
    yield quote(raw)
    yield quote_plus(raw)


def redacted(text: str, secrets: tuple[str, ...]) -> str:
    """A text without anything ``redactable``."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def begun(text: str, secrets: tuple[str, ...]) -> int:
    """How many characters at the end of a text may be the beginning of a secret."""
    longest = 0
    for secret in secrets:
        for length in range(min(len(secret) - 1, len(text)), longest, -1):
            if text.endswith(secret[:length]):
                longest = length
                break
    return longest
