"""Checks of where runs are recorded: the journal, and the folder of large results."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from lokki.cli.doctor.check import Check
from lokki.config import Config, journal_path, payloads_path
from lokki.errors import LokkiError
from lokki.model.status import RunStatus
from lokki.postgres_url import PostgresUrl
from lokki.store.connection import Reader
from lokki.store.history import History

_LITTLE_BYTES = 1 << 30
"""Less free space than this is reported."""
_LOCKED_SECONDS = 2.0
"""A journal that another process locks for longer is reported: usually it takes milliseconds."""


def journal(config: Config) -> Iterator[Check]:
    """Whether the journal can be read and written, is whole and has room, and what runs it has."""
    try:
        place = journal_path(config)
        reader = Reader(place, create=False)
    except LokkiError as error:
        yield Check("journal", "error", str(error))
        return
    try:
        if isinstance(place, PostgresUrl):
            yield _in_database(reader)
        elif place.exists():
            yield _in_file(reader, place)
        else:
            yield _writable("journal", place.parent, f"{place}, which the first run makes")
            return
    except LokkiError as error:
        yield Check("journal", "error", str(error))
        return
    finally:
        reader.close()
    if not isinstance(place, PostgresUrl):
        yield from _room("journal", place.parent)


def _in_file(reader: Reader, place: Path) -> Check:
    [(damage,)] = reader("PRAGMA quick_check(1)")
    if damage != "ok":
        advice = f"keep a copy of {place}; `sqlite3` with .recover may save what is whole"
        return Check("journal", "error", f"{place} is damaged: {damage}", advice)
    return _of_use(reader)


def _in_database(reader: Reader) -> Check:
    """A journal on PostgreSQL, or whether and where the first run can make one."""
    if reader("SELECT 1"):  # without tables, no query has rows
        return _of_use(reader)
    place = reader.path
    with reader.database.errors(), closing(reader.database.connect()) as connection:
        schema, may_create, others = connection.execute(
            "SELECT current_schema(), has_schema_privilege(current_schema(), 'CREATE'),"
            " ARRAY(SELECT relnamespace::regnamespace::text FROM pg_class"
            " WHERE relname = 'lokki' AND relkind = 'r' ORDER BY 1)"
        ).fetchone()
    if schema is None:
        advice = "create that schema, or change search_path in LOKKI_LOCAL_JOURNAL"
        return Check("journal", "error", f"{place}: no schema of its search_path exists", advice)
    if not may_create:
        found = f"{place}: its user may not create tables in the schema '{schema}'"
        return Check("journal", "error", found, "let it, or name another user, or another schema")
    if others:
        found = f"{place}: no journal is in the schema '{schema}', but one is in '{others[0]}'"
        advice = "is that the one? search_path in LOKKI_LOCAL_JOURNAL names the schema"
        return Check("journal", "warning", found, advice)
    return Check("journal", "ok", f"{place}, where the first run makes it")


def _of_use(reader: Reader) -> Check:
    """What is in a journal, if it can be written."""
    with reader.database.errors(), closing(reader.database.connect()) as connection:
        connection.begin(_LOCKED_SECONDS)
        connection.rollback()
    return Check("journal", "ok", f"{reader.path}: {_runs(History(reader).counts())}")


def _runs(counts: dict[str, int]) -> str:
    if not counts:
        return "no runs"
    known = [each.value for each in RunStatus]
    return ", ".join(f"{counts[each]:,} {each}" for each in known if each in counts)


def payloads(config: Config) -> Iterator[Check]:
    """Whether large results can be written."""
    location = config.local.payloads
    if location is not None and "://" in location:
        yield Check("large results", "ok", f"{location}: not tried, since that would write there")
        return
    try:
        folder = payloads_path(journal_path(config), config)
    except LokkiError as error:
        yield Check("large results", "error", str(error))
        return
    yield _writable("large results", folder, str(folder))
    if location is not None:
        yield from _room("large results", folder)


def _writable(subject: str, folder: Path, found: str) -> Check:
    """Whether files can be made in a folder, which may not be there yet."""
    there = _nearest(folder)
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return Check(subject, "ok", found)
    advice = f"let {os.environ.get('USER', 'yourself')} write there, or name another place"
    return Check(subject, "error", f"{found}, but {there} is not writable", advice)


def _room(subject: str, folder: Path) -> Iterator[Check]:
    free = shutil.disk_usage(_nearest(folder)).free
    if free < _LITTLE_BYTES:
        yield Check(
            subject,
            "warning",
            f"only {free / (1 << 20):,.0f} MB are free in {folder}",
            "make room: `lokki gc` removes old runs",
        )


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above that exists."""
    return next((each for each in (folder, *folder.parents) if each.exists()), folder)
