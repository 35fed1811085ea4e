"""The journal's statements in PostgreSQL's words."""

from __future__ import annotations

import re
from functools import cache

_ELEMENTS = "ARRAY(SELECT json_array_elements_text(%s::json))"
_WORDS = {
    "%": "%%",
    "instr(": "strpos(",
    "IS ?": "IS NOT DISTINCT FROM %s",
    "NOT IN (SELECT value FROM json_each(?))": f"<> ALL ({_ELEMENTS})",
    "IN (SELECT value FROM json_each(?))": f"= ANY ({_ELEMENTS})",
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
    """Adds rows; there is an array for each column."""
    return f"INSERT INTO {table} ({columns}) SELECT * FROM unnest({_marks(columns)})"


@cache
def replacement(columns: str) -> str:
    others = columns.split(", ")[1:]
    changes = ", ".join(f"{name} = excluded.{name}" for name in others)
    return f" ON CONFLICT (id) DO UPDATE SET {changes}"


@cache
def change(table: str, keys: str, columns: str, also: str, when: str) -> str:
    """Changes the rows with given keys; there is an array for each key, then for each column."""
    changes = [*(f"{name} = new.{name}" for name in columns.split(", ") if name), also]
    alike = [*(f"{table}.{name} = new.{name}" for name in keys.split(", ")), when]
    names = f"{keys}, {columns}" if columns else keys
    return (
        f"UPDATE {table} SET {', '.join(filter(None, changes))}"
        f" FROM unnest({_marks(names)}) AS new ({names}) WHERE {' AND '.join(alike)}"
    )


def _marks(names: str) -> str:
    return ", ".join("?" * (names.count(",") + 1))
