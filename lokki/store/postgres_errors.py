"""What PostgreSQL's errors mean, and what to do about them."""

from __future__ import annotations

import psycopg
from psycopg import errors

_ADVISE = (
    (errors.InsufficientPrivilege, "let its user create tables, or name another"),
    (errors.InvalidSchemaName, "create a schema of its search_path, or change that in the URL"),
    (
        errors.DuplicateTable,
        "another program's tables are there: name another database, or a schema of its own "
        "(?options=-csearch_path%3DNAME)",
    ),
    (errors.DiskFull, "free some space there, then resume the run; what was recorded is safe"),
    (errors.LockNotAvailable, "another process has locked it for a long time; try again"),
)
_UNREACHABLE = "check that the server runs, and its host and port in LOKKI_LOCAL_JOURNAL"
_FULL = "close connections of others, or raise the server's max_connections"
_LATER = (
    ("the database system is", "wait until the server takes connections"),  # starting up, …
    ("too many", _FULL),
    ("connection slots", _FULL),
)
_REFUSED = (
    ("password", "give the right one in the URL, in PGPASSWORD or in ~/.pgpass"),
    ("role", "check the user in LOKKI_LOCAL_JOURNAL"),
    ("pg_hba.conf", "let the server's pg_hba.conf admit this host and user"),
    ("database", "make the database (createdb), or name another in LOKKI_LOCAL_JOURNAL"),
    ("support SSL", "change sslmode in LOKKI_LOCAL_JOURNAL"),
    ("certificate", "check sslmode and sslrootcert in LOKKI_LOCAL_JOURNAL"),
    ("FATAL", "check LOKKI_LOCAL_JOURNAL"),
)
AGAIN = (errors.DeadlockDetected, errors.SerializationFailure, errors.QueryCanceled)
"""A transaction may succeed when it is made once more."""
_ENDING = (errors.AdminShutdown, errors.CrashShutdown, errors.IdleInTransactionSessionTimeout)
"""The server ends the connection, which may be seen later."""
OF_VALUES = (
    errors.IntegrityError,
    errors.ProgrammingError,
    errors.DataError,
    errors.NotSupportedError,
    errors.PipelineAborted,  # by an earlier statement, whose error it hides
    errors.InFailedSqlTransaction,
)


def is_lost(error: psycopg.Error) -> bool:
    """Whether a connection is of no more use: the server ends it, or libpq itself has failed."""
    if isinstance(error, OF_VALUES):
        return False
    is_libpqs = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
    return is_libpqs or isinstance(error, _ENDING)


def is_away(error: psycopg.Error) -> bool:
    """Whether the same may succeed later: no server answers, or it takes no connections yet."""
    return is_lost(error) and _advice_by_text(error) not in dict(_REFUSED).values()


def advice(error: psycopg.Error) -> str:
    for kind, advice in _ADVISE:
        if isinstance(error, kind):
            return f"; {advice}"
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return f"; {_advice_by_text(error)}"
    return ""


def _advice_by_text(error: psycopg.Error) -> str:
    """What to do when a connection fails: libpq says why in words only, after the address."""
    said = str(error).partition("\n")[0].partition(" failed: ")[2]
    known = _LATER + _REFUSED
    return next((advice for part, advice in known if part in said), _UNREACHABLE)
