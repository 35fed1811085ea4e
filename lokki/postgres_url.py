"""The URL of a journal on PostgreSQL: never shown with its password."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeGuard
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

_SCHEMES = ("postgresql://", "postgres://")
_HIDDEN = frozenset({"password", "sslpassword"})


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """A URL as libpq takes it; its text, for people, has no password."""

    url: str = field(repr=False)

    def __str__(self) -> str:
        try:
            parts = urlsplit(self.url)
        except ValueError:
            return f"{_SCHEMES[0]}…"
        user, at, hosts = parts.netloc.rpartition("@")
        shown = [each for each in parse_qsl(parts.query) if each[0] not in _HIDDEN]
        place = f"{user.partition(':')[0]}{at}{hosts}"
        return urlunsplit((parts.scheme, place, parts.path, urlencode(shown, safe="/,"), ""))

    def hide_in(self, text: str) -> str:
        """A text, such as an error's, without the password."""
        for secret in self._secrets():
            text = text.replace(secret, "…")
        return text

    def _secrets(self) -> set[str]:
        """The passwords, as written and as meant."""
        try:
            parts = urlsplit(self.url)
        except ValueError:
            return {self.url}
        written = [parts.netloc.rpartition("@")[0].partition(":")[2]]
        written += [value for name, value in parse_qsl(parts.query) if name in _HIDDEN]
        return {each for text in written for each in (text, unquote(text)) if each}


Place: TypeAlias = Path | PostgresUrl
"""Where a journal is: in a file, or in a database of a PostgreSQL server."""


def place_of(place: str | os.PathLike[str] | PostgresUrl) -> Place:
    """The place of a journal that is given as a URL or a path."""
    if isinstance(place, PostgresUrl):
        return place
    return PostgresUrl(place) if is_postgres(place) else Path(place)


def is_postgres(place: object) -> TypeGuard[str]:
    """Whether the place of a journal is the URL of a PostgreSQL database."""
    return isinstance(place, str) and place.startswith(_SCHEMES)
