"""The journal's tables on PostgreSQL, and their migrations.

They begin with the schema that SQLite's first migrations lead to. Later migrations are shared: they
are written in SQL that both know, and only the names of types differ.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lokki.errors import JournalError, JournalVersionError
from lokki.store.schema import MIGRATIONS

if TYPE_CHECKING:
    from psycopg import Connection

    from lokki.postgres_url import PostgresUrl

_BASE_VERSION = 13
_BASE = """
    CREATE TABLE runs (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        flow TEXT NOT NULL,
        source TEXT,
        fingerprint TEXT NOT NULL,
        structure TEXT NOT NULL,
        status TEXT NOT NULL,
        params BLOB NOT NULL,
        params_json TEXT NOT NULL,
        created REAL NOT NULL,
        started REAL,
        finished REAL,
        error TEXT,
        owner TEXT,
        leased_until REAL,
        started_by TEXT,
        cancel_requested REAL,
        params_ref TEXT
    );
    CREATE INDEX runs_by_flow ON runs (flow, id);
    CREATE INDEX runs_by_time ON runs (created, id);
    CREATE INDEX runs_to_cancel ON runs (owner) WHERE cancel_requested IS NOT NULL;
    CREATE INDEX runs_to_end ON runs (flow) WHERE status IN ('queued', 'running');

    CREATE TABLE stages (
        id INTEGER PRIMARY KEY,
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,
        started REAL NOT NULL,
        finished REAL,
        total INTEGER NOT NULL,
        succeeded INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        tolerated INTEGER NOT NULL DEFAULT 0,
        retrying INTEGER NOT NULL DEFAULT 0,
        updated REAL,
        UNIQUE (run, position)
    );

    CREATE TABLE items (
        id INTEGER PRIMARY KEY,
        status TEXT NOT NULL,
        position INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        started REAL NOT NULL,
        finished REAL NOT NULL,
        output BLOB,
        ref TEXT
    );
    CREATE INDEX items_troubled ON items (id, status) WHERE status <> 'succeeded';

    CREATE TABLE failures (
        item INTEGER NOT NULL,
        step TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        at REAL NOT NULL,
        type TEXT NOT NULL,
        reason TEXT NOT NULL,
        traceback TEXT NOT NULL,
        grp TEXT NOT NULL DEFAULT '',
        whole BLOB,
        rowid INTEGER PRIMARY KEY
    );
    CREATE INDEX failures_by_item ON failures (item, rowid);

    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        stage INTEGER,
        detail TEXT
    );
    CREATE INDEX events_by_run ON events (run, id);

    CREATE TABLE logs (
        id INTEGER PRIMARY KEY,
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        count INTEGER NOT NULL,
        first REAL NOT NULL,
        last REAL NOT NULL,
        gravest INTEGER NOT NULL,
        least_item INTEGER,
        most_item INTEGER,
        lines TEXT NOT NULL
    );
    CREATE INDEX logs_by_run ON logs (run, id);

    CREATE TABLE jobs (
        run TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
        queued REAL,
        again TEXT,
        resumes INTEGER NOT NULL DEFAULT 0,
        place TEXT,
        prefix TEXT,
        folder TEXT,
        tick REAL,
        in_turn INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX jobs_queued ON jobs (queued) WHERE queued IS NOT NULL;

    CREATE TABLE requests (
        flow TEXT NOT NULL,
        key TEXT NOT NULL,
        body TEXT NOT NULL,
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        PRIMARY KEY (flow, key)
    );
    CREATE INDEX requests_by_run ON requests (run);

    CREATE TABLE schedules (
        flow TEXT PRIMARY KEY,
        expression TEXT NOT NULL,
        since REAL NOT NULL,
        last REAL NOT NULL,
        paused INTEGER NOT NULL DEFAULT 0,
        missed INTEGER NOT NULL DEFAULT 0,
        missed_last REAL,
        run TEXT
    );

    CREATE TABLE ticks (
        id INTEGER PRIMARY KEY,
        flow TEXT NOT NULL,
        first REAL NOT NULL,
        last REAL NOT NULL,
        count INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        run TEXT,
        reason TEXT
    );
    CREATE INDEX ticks_by_flow ON ticks (flow, id);

    CREATE TABLE spent (
        stage INTEGER NOT NULL REFERENCES stages (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        calls INTEGER NOT NULL,
        seconds REAL NOT NULL,
        PRIMARY KEY (stage, position)
    );

    CREATE TABLE spans (
        id INTEGER PRIMARY KEY,
        count INTEGER NOT NULL,
        started REAL NOT NULL,
        times BLOB NOT NULL,
        results BLOB NOT NULL
    );

    CREATE TABLE lokki (    -- who locks it may write
        version INTEGER NOT NULL
    );
    INSERT INTO lokki VALUES (0);
    CREATE SEQUENCE lokki_commits;
    CREATE TABLE lokki_committed ( -- the last transaction of each connection
        connection TEXT PRIMARY KEY,
        number INTEGER NOT NULL,
        at TIMESTAMPTZ NOT NULL
    );

    CREATE FUNCTION lokki_tell() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('lokki_' || 'lokki'::regclass::oid, 'queued');
            RETURN NULL;
        END
    $$;
    CREATE TRIGGER queued AFTER INSERT OR UPDATE OF queued ON jobs
        FOR EACH ROW WHEN (NEW.queued IS NOT NULL) EXECUTE FUNCTION lokki_tell()
"""
_NEWS = """
    CREATE FUNCTION lokki_tell_wanted() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('lokki_' || 'lokki'::regclass::oid, 'wanted');
            RETURN NULL;
        END
    $$;
    CREATE TRIGGER wanted
        AFTER UPDATE OF cancel_requested, pause_requested, tuned_stage, concurrency ON runs
        FOR EACH ROW WHEN (NEW.owner IS NOT NULL
            AND (NEW.cancel_requested, NEW.pause_requested, NEW.tuned_stage, NEW.concurrency)
            IS DISTINCT FROM
            (OLD.cancel_requested, OLD.pause_requested, OLD.tuned_stage, OLD.concurrency))
        EXECUTE FUNCTION lokki_tell_wanted();

    CREATE FUNCTION lokki_tell_changed() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('lokki_' || 'lokki'::regclass::oid || '_changed', '');
            RETURN NULL;
        END
    $$;
    CREATE TRIGGER changed AFTER INSERT OR UPDATE ON lokki_committed
        FOR EACH ROW EXECUTE FUNCTION lokki_tell_changed()
"""
"""What a server tells, besides that runs are queued: see `lokki.store.postgres_news`."""
_NEWS_VERSION = 16
_TYPES = {
    "INTEGER PRIMARY KEY": "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    "INTEGER": "BIGINT",
    "REAL": "DOUBLE PRECISION",
    "BLOB": "BYTEA",
    "TEXT": 'TEXT COLLATE "C"',
    "STRICT": "",
}
_TYPE = re.compile(rf"\b({'|'.join(_TYPES)})\b")
_SCRIPTS = {_BASE_VERSION: _BASE} | {
    number: script for number, script in enumerate(MIGRATIONS, 1) if number > _BASE_VERSION
}
_SCRIPTS[_NEWS_VERSION] += f";{_NEWS}"


def migrate(connection: Connection[Any], place: PostgresUrl, *, create: bool) -> bool:
    """Bring the schema up to date; one process does it, others wait. False if there is none.

    Raises JournalVersionError when a newer lokki has changed it.
    """
    found = _version(connection)
    if found == 0 and not create:
        return False
    if found < len(MIGRATIONS):
        with connection.transaction():
            connection.execute(
                "SELECT pg_advisory_xact_lock(hashtext('lokki journal ' || current_schema()))"
            )
            found = _version(connection)
            if found > 0:
                _refuse_worked_on(connection, place)
            for number in range(found + 1, len(MIGRATIONS) + 1):
                if number in _SCRIPTS:
                    connection.execute(_for_postgres(_SCRIPTS[number]), prepare=False)
            connection.execute("UPDATE lokki SET version = %s", (len(MIGRATIONS),))
    if found > len(MIGRATIONS):
        raise JournalVersionError(
            f"the journal {place} has schema version {found}, this lokki knows {len(MIGRATIONS)}: "
            "upgrade lokki, or choose another journal with LOKKI_LOCAL_JOURNAL"
        )
    return True


def _for_postgres(script: str) -> bytes:
    return _TYPE.sub(lambda found: _TYPES[found[0]], script).encode()


def _version(connection: Connection[Any]) -> int:
    """The version of the schema; 0 if there is none."""
    (exists,) = connection.execute(  # a scan: to_regclass may not see what others have committed
        "SELECT EXISTS (SELECT FROM pg_class"
        " WHERE relname = 'lokki' AND relkind = 'r' AND pg_table_is_visible(oid))"
    ).fetchone() or (False,)
    if not exists:
        return 0
    (version,) = connection.execute("SELECT version FROM lokki").fetchone() or (0,)
    return int(version)


def _refuse_worked_on(connection: Connection[Any], place: PostgresUrl) -> None:
    """Raise JournalError if a process of an older lokki is working: it knows no newer tables."""
    row = connection.execute(
        "SELECT id, owner FROM runs WHERE owner IS NOT NULL"
        " AND leased_until > extract(epoch FROM clock_timestamp()) LIMIT 1"
    ).fetchone()
    if row is not None:
        raise JournalError(
            f"the journal {place} belongs to an older lokki, whose process {row[1]} is working on "
            f"run {row[0]}: wait for its end, or cancel it with that lokki"
        )
