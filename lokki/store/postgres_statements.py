"""The journal's statements in PostgreSQL's words."""

from __future__ import annotations

import re
from functools import cache

_WORDS = {
    "%": "%%",
    "instr(": "strpos(",
    "IS ?": "IS NOT DISTINCT FROM %s",
    "SELECT value FROM json_each(?)": "SELECT json_array_elements_text(%s::json)",
    "?": "%s",
}
_WORD = re.compile("|".join(map(re.escape, _WORDS)))
_HINT = re.compile(r" INDEXED BY \w+")


@cache
def for_postgres(statement: str) -> bytes:
    """A statement in PostgreSQL's words, with psycopg's placeholders."""
    return _WORD.sub(lambda found: _WORDS[found[0]], _HINT.sub("", statement)).encode()


@cache
def insertion(table: str, columns: str) -> str:
    marks = ", ".join("?" * (columns.count(",") + 1))
    return f"INSERT INTO {table} ({columns}) VALUES ({marks})"


@cache
def replacement(columns: str) -> str:
    others = columns.split(", ")[1:]
    changes = ", ".join(f"{name} = excluded.{name}" for name in others)
    return f" ON CONFLICT (id) DO UPDATE SET {changes}"
