"""Looks into a journal with SQL alone, as another program would."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import psycopg

from lokki.postgres_url import Place, PostgresUrl

EVERY_ITEM = (
    "(WITH RECURSIVE inside (id, others) AS (SELECT id, count - 1 FROM spans UNION ALL"
    " SELECT id + 1, others - 1 FROM inside WHERE others > 0)"
    " SELECT id, 'succeeded' AS status, 1 AS attempts FROM inside"
    " UNION ALL SELECT id, status, attempts FROM items) AS items"
)
"""Every item with a record, as a table: those in spans, and those with rows of their own."""


def ask(journal: Place, query: str) -> list[Any]:
    """What the database of a journal answers to a query, or nothing to a change."""
    if isinstance(journal, PostgresUrl):
        with psycopg.connect(journal.url) as connection:
            found = connection.execute(query.encode())
            return found.fetchall() if found.description else []
    with closing(sqlite3.connect(journal)) as file, file:
        return file.execute(query).fetchall()
