"""Opens a journal where it is, for reading or writing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lokki.postgres_url import Place, PostgresUrl
from lokki.store.sql import Database


def open_database(place: Place, *, create: bool = True) -> Database:
    """A journal's database, brought up to date.

    With ``create`` False, a missing one is not created, and reads as an empty journal. Raises
    JournalError when it cannot be opened or is damaged, JournalVersionError when a newer lokki
    wrote it.
    """
    if isinstance(place, PostgresUrl):
        from lokki.store.postgres import PostgresServer

        return PostgresServer(place, create=create)
    from lokki.store.sqlite import SqliteFile

    return SqliteFile(place, create=create)


class Reader:
    """Reads a journal, from any thread; its context closes it. See `open_database`."""

    def __init__(self, place: Place, *, create: bool = True) -> None:
        self.database = open_database(place, create=create)
        self.path = place

    @property
    def ahead(self) -> float:
        """How far the clock of the leases is ahead of this process's, in seconds."""
        return self.database.ahead

    def __call__(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows of a query. Raises JournalGone, too, when the journal's file is gone."""
        return self.database.read(sql, values)

    execute = __call__

    def version(self) -> int:
        """A number that changes whenever another connection has written."""
        return self.database.version()

    def close(self) -> None:
        self.database.close()
