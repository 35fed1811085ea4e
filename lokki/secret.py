"""`Secret`: a parameter whose value is never stored, logged or shown."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, Self, TypeVar
from urllib.parse import quote, quote_plus

T_co = TypeVar("T_co", covariant=True)

_sendable: ContextVar[bool] = ContextVar("lokki_secrets_sendable", default=False)

HIDDEN = "***"
_SHORTEST = 4
"""Shorter texts are in too many other ones to be redacted."""


class Secret(Generic[T_co]):
    """A value that shows itself as ``***``; ``value`` is what it is.

    As a flow's parameter (``token: Secret[str]``) it is read from the environment variable
    ``LOKKI_SECRET_<NAME>``, or asked for at the terminal, when it is not given. It is in no
    journal, log line, error or command line; a resumed run reads it anew. It cannot be pickled,
    so that no result can hold it. Texts of less than four characters are not redacted: they are in
    too many other ones.
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
            raise TypeError("a Secret is not stored: give its name or what was made with it")
        return Secret, (self._value,)


@contextmanager
def sendable() -> Iterator[None]:
    """Within, secrets can be pickled: to send them to a worker process, not to store them."""
    token = _sendable.set(True)
    try:
        yield
    finally:
        _sendable.reset(token)


def variable(name: str) -> str:
    """The environment variable that a secret parameter is read from."""
    return f"LOKKI_SECRET_{name.upper()}"


def in_environment() -> tuple[str, ...]:
    """What is to be redacted of all secrets in the environment."""
    prefix = variable("")
    return redactable(
        Secret(value) for name, value in os.environ.items() if name.startswith(prefix)
    )


def redactable(values: Any) -> tuple[str, ...]:
    """What is to be redacted of the secrets among ``values``, the longest first.

    It is their text and each line of it, also as ``repr``, JSON and URLs write them.
    """
    found = [text for value in values if isinstance(value, Secret) for text in _texts(value.value)]
    plain = {part for text in found for part in (text, *text.splitlines())}
    long = [part for part in plain if len(part) >= _SHORTEST]
    return tuple(sorted({form for each in long for form in _forms(each)}, key=len, reverse=True))


def _texts(value: Any) -> Iterator[str]:
    """The text of a value, and those of what is in it."""
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
    yield text
    yield repr(text)[1:-1]
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    raw = text.encode("utf-8", "surrogatepass")
    yield repr(raw)[2:-1]
    yield quote(raw)
    yield quote_plus(raw)


def redacted(text: str, secrets: tuple[str, ...]) -> str:
    """A text without any of what is ``redactable``."""
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
