"""The journal's tables, and their migrations."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from time import time

from lokki.errors import JournalError, JournalVersionError
from lokki.logging import rank
from lokki.model.structure import dumped, of_text
from lokki.store.groups import group
from lokki.store.leases import LEASE_SECONDS, is_alive
from lokki.store.lines import pack
from lokki.store.owners import host_and_process

# Released migrations never change; a change of the schema is a new entry.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE runs (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        flow TEXT NOT NULL,
        source TEXT,            -- file or module that the flow came from
        fingerprint TEXT NOT NULL,
        shape TEXT NOT NULL,
        status TEXT NOT NULL,
        params BLOB NOT NULL,   -- packed: what a resume runs with
        params_json TEXT NOT NULL,
        created REAL NOT NULL,  -- all times: seconds since the epoch, UTC
        started REAL,
        finished REAL,
        error TEXT,
        owner TEXT,
        leased_until REAL
    ) STRICT;
    CREATE INDEX runs_by_flow ON runs (flow, id);

    CREATE TABLE stages (
        id INTEGER PRIMARY KEY, -- number of the run << 8 | position
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        name TEXT NOT NULL,
        kind TEXT NOT NULL,     -- task | map
        started REAL NOT NULL,
        finished REAL,
        total INTEGER NOT NULL,
        succeeded INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        tolerated INTEGER NOT NULL DEFAULT 0,
        retrying INTEGER NOT NULL DEFAULT 0,
        UNIQUE (run, position)
    ) STRICT;

    CREATE TABLE items (
        id INTEGER PRIMARY KEY, -- stage << 32 | index: one tree, appended to, no second index
        status TEXT NOT NULL,
        position INTEGER NOT NULL, -- inner step the attempts are of
        attempts INTEGER NOT NULL,
        started REAL NOT NULL,
        finished REAL NOT NULL,
        output BLOB,            -- packed; of a retrying item, the input of the inner step
        ref TEXT                -- key in the payload store, in place of output
    ) STRICT;

    CREATE TABLE failures (
        item INTEGER NOT NULL,
        step TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        at REAL NOT NULL,
        type TEXT NOT NULL,
        reason TEXT NOT NULL,
        traceback TEXT NOT NULL
    ) STRICT;
    CREATE INDEX failures_by_item ON failures (item);

    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        stage INTEGER,          -- position
        detail TEXT
    ) STRICT;
    CREATE INDEX events_by_run ON events (run, id);

    CREATE TABLE logs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        at REAL NOT NULL,
        step TEXT NOT NULL,
        item INTEGER,           -- index in the map
        attempt INTEGER NOT NULL,
        level TEXT NOT NULL,
        source TEXT NOT NULL,   -- stdout | stderr | logger's name
        message TEXT NOT NULL
    ) STRICT;
    CREATE INDEX logs_by_run ON logs (run, id);
    """,
    """
    ALTER TABLE runs ADD COLUMN started_by TEXT;
    ALTER TABLE runs ADD COLUMN cancel_requested REAL;
    CREATE INDEX runs_by_time ON runs (created, id);
    CREATE INDEX runs_to_cancel ON runs (owner) WHERE cancel_requested IS NOT NULL;
    ALTER TABLE failures ADD COLUMN grp TEXT NOT NULL DEFAULT '';
    UPDATE failures SET grp = lokki_group(type, reason, traceback);
    CREATE INDEX items_troubled ON items (id, status) WHERE status <> 'succeeded';
    """,
    """
    ALTER TABLE logs RENAME TO old_logs;
    DROP INDEX logs_by_run;
    CREATE TABLE logs (
        id INTEGER PRIMARY KEY,
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        count INTEGER NOT NULL, -- of its lines
        first REAL NOT NULL,    -- time
        last REAL NOT NULL,
        gravest INTEGER NOT NULL, -- level: the place in their list
        least_item INTEGER,
        most_item INTEGER,
        lines TEXT NOT NULL     -- JSON
    ) STRICT;
    CREATE INDEX logs_by_run ON logs (run, id);
    INSERT INTO logs (run, count, first, last, gravest, least_item, most_item, lines)
        SELECT run, 1, at, at, lokki_rank(level), item, item,
            lokki_lines(at, step, item, attempt, level, source, message)
        FROM old_logs ORDER BY id;
    DROP TABLE old_logs;
    """,
    "ALTER TABLE stages ADD COLUMN updated REAL",
    """
    CREATE TABLE jobs ( -- the runs that a service runs
        run TEXT PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
        queued REAL,            -- since when; NULL once a runner has it
        again TEXT,             -- JSON: what a resume is asked to do again
        resumes INTEGER NOT NULL DEFAULT 0 -- after the death of a runner
    ) STRICT;
    CREATE INDEX jobs_queued ON jobs (queued) WHERE queued IS NOT NULL;
    CREATE TABLE requests (
        key TEXT PRIMARY KEY,
        body TEXT NOT NULL,     -- what was asked for, hashed
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE
    ) STRICT;
    CREATE INDEX requests_by_run ON requests (run);
    CREATE TABLE schedules (
        flow TEXT PRIMARY KEY,
        expression TEXT NOT NULL,
        since REAL NOT NULL,    -- followed since then
        last REAL NOT NULL,     -- the ticks up to then are dealt with
        paused INTEGER NOT NULL DEFAULT 0,
        missed INTEGER NOT NULL DEFAULT 0,
        missed_last REAL,
        run TEXT                -- the last that was started
    ) STRICT;
    """,
    "ALTER TABLE failures ADD COLUMN whole BLOB",  # packed texts, of an item's last long failure
    """
    -- which services take a job: see offers.py
    ALTER TABLE jobs ADD COLUMN place TEXT;
    ALTER TABLE jobs ADD COLUMN prefix TEXT;
    ALTER TABLE jobs ADD COLUMN folder TEXT;
    """,
    """
    CREATE TABLE ticks ( -- times of schedules that were dealt with; alike ones in a row are one
        id INTEGER PRIMARY KEY,
        flow TEXT NOT NULL,
        first REAL NOT NULL,
        last REAL NOT NULL,
        count INTEGER NOT NULL,
        outcome TEXT NOT NULL,  -- started | skipped | missed | paused
        run TEXT,               -- that was started, or that was in the way
        reason TEXT
    ) STRICT;
    CREATE INDEX ticks_by_flow ON ticks (flow, id);
    ALTER TABLE jobs ADD COLUMN tick REAL /* of a schedule, that it is for */;
    ALTER TABLE jobs ADD COLUMN in_turn INTEGER NOT NULL DEFAULT 0 /* waits for them */;
    UPDATE jobs SET tick = (SELECT created FROM runs WHERE id = run)
        WHERE run IN (SELECT id FROM runs WHERE started_by LIKE 'schedule %');
    CREATE INDEX runs_to_end ON runs (flow) WHERE status IN ('queued', 'running');
    """,
    "ALTER TABLE runs ADD COLUMN params_ref TEXT",  # payload of large ones, shown cut in the row
    """
    ALTER TABLE requests RENAME TO old_requests;
    DROP INDEX requests_by_run;
    CREATE TABLE requests ( -- idempotency keys
        flow TEXT NOT NULL,
        key TEXT NOT NULL,      -- one of the flow
        body TEXT NOT NULL,     -- what was asked for, hashed
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        PRIMARY KEY (flow, key)
    ) STRICT;
    CREATE INDEX requests_by_run ON requests (run);
    INSERT INTO requests SELECT flow, key, body, run FROM old_requests JOIN runs ON id = run;
    DROP TABLE old_requests;
    """,
    """
    CREATE TABLE spent ( -- by those calls of a map's inner steps that were timed
        stage INTEGER NOT NULL REFERENCES stages (id) ON DELETE CASCADE,
        position INTEGER NOT NULL, -- of the inner step
        calls INTEGER NOT NULL,
        seconds REAL NOT NULL,
        PRIMARY KEY (stage, position)
    ) STRICT
    """,
    """
    ALTER TABLE runs RENAME COLUMN shape TO structure;
    UPDATE runs SET structure = lokki_structure(structure)
    """,  # JSON in place of the text for people
    """
    CREATE TABLE spans ( -- items in a row that succeeded at the first attempt: see spans.py
        id INTEGER PRIMARY KEY, -- stage << 32 | index of the first
        count INTEGER NOT NULL,
        started REAL NOT NULL,  -- when the first did
        times BLOB NOT NULL,    -- when each finished
        results BLOB NOT NULL
    ) STRICT
    """,
    """
    -- what others want of a run that goes on: see controls.py
    ALTER TABLE runs ADD COLUMN pause_requested REAL;
    ALTER TABLE runs ADD COLUMN tuned_stage INTEGER;
    ALTER TABLE runs ADD COLUMN concurrency INTEGER;
    DROP INDEX runs_to_cancel;
    CREATE INDEX runs_to_control ON runs (owner) WHERE cancel_requested IS NOT NULL
        OR pause_requested IS NOT NULL OR concurrency IS NOT NULL;
    DROP INDEX runs_to_end;
    CREATE INDEX runs_to_end ON runs (flow) WHERE status IN ('queued', 'running', 'paused')
    """,
    """
    CREATE TABLE rates ( -- limits that runs share: see limits.py
        name TEXT PRIMARY KEY,
        next REAL NOT NULL      -- the first time that nobody has reserved
    ) STRICT
    """,
    """
    CREATE TABLE places ( -- of calls that a limit lets run, and behind them that wait: limits.py
        id INTEGER PRIMARY KEY, -- in their order
        name TEXT NOT NULL,
        owner TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE cached (  -- results that other calls may reuse: see cached.py
        id TEXT PRIMARY KEY,    -- the key of the call
        step TEXT NOT NULL,
        made REAL NOT NULL,
        expires REAL NOT NULL,
        output BLOB,            -- as in items
        ref TEXT
    ) STRICT;
    ALTER TABLE runs ADD COLUMN no_cache INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE stages ADD COLUMN reused INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE spent ADD COLUMN reused INTEGER NOT NULL DEFAULT 0
    """,
    "ALTER TABLE runs ADD COLUMN tags TEXT NOT NULL DEFAULT '[]'",  # JSON
    """
    CREATE TABLE attachments (  -- what steps show
        id INTEGER PRIMARY KEY,
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        step TEXT NOT NULL,
        item INTEGER,           -- index in the map
        attempt INTEGER NOT NULL,
        at REAL NOT NULL,
        title TEXT,
        type TEXT NOT NULL,     -- media type
        size INTEGER NOT NULL,  -- bytes of the content
        content BLOB NOT NULL,  -- compressed by zlib
        UNIQUE (run, name)
    ) STRICT
    """,
)


def refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    """Raise JournalError for the database of another program, before anything is changed in it."""
    [(version, tables, ours)] = connection.execute(
        "SELECT user_version, (SELECT count(*) FROM sqlite_master),"
        " (SELECT count(*) FROM pragma_table_info('runs')"
        " WHERE name IN ('number', 'fingerprint', 'params_json')) FROM pragma_user_version"
    )
    if (version or tables) and not (version and ours == 3):
        raise JournalError(
            f"{path} is the database of another program, not a journal: choose another file with "
            "LOKKI_LOCAL_JOURNAL or local.journal"
        )


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to date, in one transaction; safe when several processes do it at once.

    Raises JournalVersionError when a newer lokki has changed it.
    """
    if _version(connection, path) == len(MIGRATIONS):
        return
    connection.create_function("lokki_group", 3, group, deterministic=True)
    connection.create_function("lokki_rank", 1, rank, deterministic=True)
    connection.create_function("lokki_lines", 7, lambda *line: pack([line])[-1], deterministic=True)
    connection.create_function("lokki_structure", 1, _as_json, deterministic=True)
    if _version(connection, path):
        _bound_leases(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = _version(connection, path)
        if 0 < done < len(MIGRATIONS):
            _refuse_worked_on(connection, path)
        for number, script in enumerate(MIGRATIONS[done:], done + 1):
            for statement in script.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have ended it
            connection.execute("ROLLBACK")
        raise


def _as_json(text: str) -> str:
    """The structure of a run that was recorded as a text."""
    return dumped(of_text(text))


def _bound_leases(connection: sqlite3.Connection) -> None:
    """Like `lokki.store.leases.bound_lease`, for all runs; lasts if the migration is refused."""
    end = time() + LEASE_SECONDS
    connection.execute("UPDATE runs SET leased_until = ? WHERE leased_until > ?", (end, end))


def _refuse_worked_on(connection: sqlite3.Connection, path: Path) -> None:
    """Raise JournalError if a process of an older lokki is working: it knows no newer tables."""
    now = time()
    for run_id, owner, leased_until in connection.execute(
        "SELECT id, owner, leased_until FROM runs WHERE owner IS NOT NULL"
    ):
        if is_alive(owner, leased_until, now):
            host, process = host_and_process(owner)
            raise JournalError(
                f"the journal {path} belongs to an older lokki, whose process {process} on {host} "
                f"is working on run {run_id}: wait for its end, or cancel it with that lokki"
            )


def _version(connection: sqlite3.Connection, path: Path) -> int:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > len(MIGRATIONS):
        raise JournalVersionError(
            f"the journal {path} has schema version {found}, this lokki knows {len(MIGRATIONS)}: "
            "upgrade lokki, or choose another journal with LOKKI_LOCAL_JOURNAL"
        )
    return found
