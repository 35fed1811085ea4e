"""The journal: every run, stage, item, failure, event and log line, in one SQLite file.

One thread writes, in group commits: whatever has arrived since the last commit goes into one
transaction, and with ``synchronous=FULL`` a committed outcome survives a power loss. Any thread
may read. Several processes may share a journal: each run is owned by one of them under a lease.

Every batch of a run is written only while this process still owns the run, so a process that was
suspended for longer than its lease cannot write over its successor.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar, cast

from lokki.errors import JournalError, JournalVersionError, RunNotFound, RunOwned

T = TypeVar("T")

LEASE_SECONDS = 30.0
_HEARTBEAT = LEASE_SECONDS / 3
_BUSY_SECONDS = 60.0
_MOST_PENDING = 50_000
_PAGE = 5_000
_CHUNKS = (4096, 256, 16, 1)

# Released migrations are never edited; a change of the schema is a new entry.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE runs (
        id TEXT PRIMARY KEY,
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
        id INTEGER PRIMARY KEY,
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
)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as the journal has it; times are seconds since the epoch."""

    id: str
    flow: str
    source: str | None
    fingerprint: str
    shape: str
    status: str
    params: bytes
    params_json: str
    created: float
    started: float | None
    finished: float | None
    error: str | None
    owner: str | None
    leased_until: float | None


@dataclass(frozen=True, slots=True)
class StageRow:
    """A stage as the journal has it."""

    id: int
    run: str
    position: int
    name: str
    kind: str
    started: float
    finished: float | None
    total: int
    succeeded: int
    failed: int
    tolerated: int
    retrying: int


@dataclass(slots=True)
class Batch:
    """What one run has written since the last commit.

    ``succeeded`` is flat, four values a row (id, started, finished, output), for the many items
    that succeed at once with a small result; ``items`` holds whole rows.
    """

    succeeded: list[Any] = field(default_factory=list)
    items: list[tuple[Any, ...]] = field(default_factory=list)
    failures: list[tuple[Any, ...]] = field(default_factory=list)
    logs: list[tuple[Any, ...]] = field(default_factory=list)
    counts: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.succeeded) // 4 + len(self.items) + len(self.failures) + len(self.logs)

    def write(self, connection: sqlite3.Connection, run_id: str) -> None:
        _insert_succeeded(connection, self.succeeded)
        connection.executemany(
            "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self.items
        )
        connection.executemany("INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?, ?)", self.failures)
        connection.executemany(
            "INSERT INTO logs (run, at, step, item, attempt, level, source, message)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            ((run_id, *line) for line in self.logs),
        )
        connection.executemany(
            "UPDATE stages SET succeeded = ?, failed = ?, tolerated = ?, retrying = ? WHERE id = ?",
            ((*counts, stage) for stage, counts in self.counts.items()),
        )


_SUCCEEDED = {
    size: "INSERT OR REPLACE INTO items VALUES "  # noqa: S608
    + ", ".join(["(?, 'succeeded', 0, 1, ?, ?, ?, NULL)"] * size)
    for size in _CHUNKS
}


def _insert_succeeded(connection: sqlite3.Connection, values: list[Any]) -> None:
    """Many rows a statement: every statement costs a turn of the interpreter's lock."""
    done = 0
    for size in _CHUNKS:
        while len(values) - done >= size * 4:
            connection.execute(_SUCCEEDED[size], values[done : done + size * 4])
            done += size * 4


class RunWriter:
    """The write side of one run that this process owns. Its methods may be called in any thread."""

    def __init__(
        self, journal: Journal, run_id: str, on_lost: Callable[[JournalError], None]
    ) -> None:
        self.run_id = run_id
        self.on_lost = on_lost
        self.leased_until = time.time() + LEASE_SECONDS
        self._journal = journal

    def add(
        self,
        stage: int,
        counts: tuple[int, int, int, int],
        succeeded: list[Any],
        items: list[tuple[Any, ...]],
        failures: list[tuple[Any, ...]],
    ) -> None:
        """Queue outcomes of ``stage``, of which ``counts`` (succeeded, failed, tolerated,
        retrying) are the state after them. They are on disk after the next `Journal.flush`.
        """
        with self._journal.pending(self) as batch:
            batch.succeeded += succeeded
            batch.items += items
            batch.failures += failures
            batch.counts[stage] = counts

    def log(self, line: tuple[Any, ...]) -> None:
        """Queue a line: at, step, item, attempt, level, source, message."""
        with self._journal.pending(self) as batch:
            batch.logs.append(line)


class _Pending:
    """Adding to a run's batch, under the journal's lock; wakes the writer at the end."""

    def __init__(self, journal: Journal, writer: RunWriter) -> None:
        self._journal = journal
        self._writer = writer

    def __enter__(self) -> Batch:
        self._journal._changed.acquire()
        batch = self._journal._batches.get(self._writer)
        if batch is None:
            batch = self._journal._batches[self._writer] = Batch()
        return batch

    def __exit__(self, *_: object) -> None:
        self._journal._changed.notify()
        self._journal._changed.release()


class Journal:
    """A journal file, opened for reading and writing.

    ``path`` is created with its folders when missing. Raises JournalError when it cannot be
    opened or is damaged, JournalVersionError when a newer lokki wrote it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}"
        self.error: JournalError | None = None
        self._changed = threading.Condition()
        self._batches: dict[RunWriter, Batch] = {}
        self._calls: list[tuple[Callable[[sqlite3.Connection], Any], Future[Any]]] = []
        self._owned: dict[str, RunWriter] = {}
        self._closing = False
        self._reading = threading.Lock()
        with self._errors_told():
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._reader = self._connect()
                self._migrate(self._reader)
            except OSError as error:
                raise JournalError(
                    f"cannot open the journal {self.path}: {error.strerror}; choose another place "
                    "with LOKKI_LOCAL_JOURNAL"
                ) from error
        self._thread = threading.Thread(target=self._write, name="lokki-journal", daemon=True)
        self._thread.start()

    # ---- opening and closing -----------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        def version() -> int:
            found: int = connection.execute("PRAGMA user_version").fetchone()[0]
            if found > len(MIGRATIONS):
                raise JournalVersionError(
                    f"the journal {self.path} has schema version {found}, this lokki knows "
                    f"{len(MIGRATIONS)}: upgrade lokki, or choose another journal with "
                    "LOKKI_LOCAL_JOURNAL"
                )
            return found

        if version() == len(MIGRATIONS):
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            for number, script in enumerate(MIGRATIONS[version() :], version() + 1):
                for statement in script.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Commit what is queued, give up the leases, and close."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        with self._reading:
            self._reader.close()

    def _errors_told(self) -> _ErrorsTold:
        return _ErrorsTold(self.path)

    # ---- writing -------------------------------------------------------------------------------

    def pending(self, writer: RunWriter) -> _Pending:
        """The batch of ``writer`` that the next commit takes, as a context manager."""
        return _Pending(self, writer)

    @property
    def congested(self) -> bool:
        """Whether so much waits to be written that those who write should wait, too."""
        return sum(map(len, self._batches.values())) > _MOST_PENDING

    def wait_for_room(self) -> None:
        """Block while the journal is congested."""
        if self.congested:
            with self._changed:
                self._changed.wait_for(lambda: not self.congested or self.error is not None)

    def call(self, function: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Run ``function`` in the writer's next transaction, after all that is queued.

        The future has its result once it is on disk. An error of ``function`` undoes what it
        did, and nothing else.
        """
        future: Future[T] = Future()
        with self._changed:
            if self.error is not None:
                future.set_exception(self.error)
                return future
            if self._closing:
                future.set_exception(JournalError(f"the journal {self.path} is closed"))
                return future
            self._calls.append((function, future))
            self._changed.notify()
        return future

    def flush(self) -> Future[None]:
        """A future that is done when everything queued so far is on disk."""
        return self.call(lambda connection: None)

    def _write(self) -> None:
        try:
            with self._errors_told():
                connection = self._connect()
                while self._commit_next(connection):
                    pass
                connection.close()
        except JournalError as error:
            self._fail(error)

    def _commit_next(self, connection: sqlite3.Connection) -> bool:
        with self._changed:
            if not (self._batches or self._calls or self._closing):
                self._changed.wait(_HEARTBEAT if self._owned else None)
            batches, self._batches = self._batches, {}
            calls, self._calls = self._calls, []
            owned = list(self._owned.values())
            last = self._closing
            self._changed.notify_all()
        done: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            lost = [writer for writer in owned if not self._keep(connection, writer)]
            for writer, batch in batches.items():
                if writer not in lost:
                    batch.write(connection, writer.run_id)
            for function, future in calls:
                done.append((future, *self._attempt(connection, function)))
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            with self._changed:
                self._calls = calls + self._calls  # `_fail` tells them
            raise
        for writer in lost:
            self.release(writer)
            writer.on_lost(
                RunOwned(f"run {writer.run_id} was taken over by another process; this one stops")
            )
        for future, result, error in done:
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        return not last

    def _attempt(
        self, connection: sqlite3.Connection, function: Callable[[sqlite3.Connection], T]
    ) -> tuple[T | None, BaseException | None]:
        connection.execute("SAVEPOINT call")
        try:
            result = function(connection)
        except (JournalError, sqlite3.IntegrityError) as error:
            connection.execute("ROLLBACK TO call")
            return None, error
        finally:
            connection.execute("RELEASE call")
        return result, None

    def _keep(self, connection: sqlite3.Connection, writer: RunWriter) -> bool:
        """Whether we still own the run; renews the lease when it is due."""
        now = time.time()
        row = connection.execute("SELECT owner FROM runs WHERE id = ?", (writer.run_id,)).fetchone()
        if row is None or row[0] != self.owner:
            return False
        if writer.leased_until - now < LEASE_SECONDS - _HEARTBEAT:
            writer.leased_until = now + LEASE_SECONDS
            connection.execute(
                "UPDATE runs SET leased_until = ? WHERE id = ?",
                (writer.leased_until, writer.run_id),
            )
        return True

    def _fail(self, error: JournalError) -> None:
        with self._changed:
            self.error = error
            calls, self._calls = self._calls, []
            self._batches.clear()
            writers = list(self._owned.values())
        for _, future in calls:
            future.set_exception(error)
        for writer in writers:
            writer.on_lost(error)

    # ---- runs ----------------------------------------------------------------------------------

    def own(self, run_id: str, on_lost: Callable[[JournalError], None]) -> RunWriter:
        """The write side of a run that `create` or `take` has leased to this process.

        ``on_lost`` is called, in the writer's thread, when the run was taken over or the journal
        can no longer be written; nothing is recorded after it.
        """
        writer = RunWriter(self, run_id, on_lost)
        with self._changed:
            self._owned[run_id] = writer
            self._changed.notify()
        return writer

    def release(self, writer: RunWriter) -> None:
        """Stop renewing the lease of a run that has ended or was lost."""
        with self._changed:
            self._owned.pop(writer.run_id, None)

    def create(
        self,
        run_id: str,
        *,
        flow: str,
        source: str | None,
        fingerprint: str,
        shape: str,
        params: bytes,
        params_json: str,
        now: float,
    ) -> Future[None]:
        """Record a new run, which this process owns and begins at once."""

        def insert(connection: sqlite3.Connection) -> None:
            try:
                connection.execute(
                    "INSERT INTO runs VALUES (?, ?, ?, ?, ?, 'running', ?, ?, ?, ?, NULL, NULL,"
                    " ?, ?)",
                    (run_id, flow, source, fingerprint, shape, params, params_json, now, now)
                    + (self.owner, now + LEASE_SECONDS),
                )
            except sqlite3.IntegrityError:
                raise JournalError(f"there is a run {run_id} already; choose another id") from None
            _event(connection, run_id, now, "run_started")

        return self.call(insert)

    def take(self, run_id: str, now: float) -> Future[RunRow]:
        """Lease an unfinished run to this process and set it running again.

        Raises RunOwned when another living process has it, JournalError when it has succeeded.
        """

        def lease(connection: sqlite3.Connection) -> RunRow:
            row = _run(connection, run_id)
            if row.status == "succeeded":
                raise JournalError(f"run {run_id} has succeeded; there is nothing to resume")
            if row.owner and _alive(row.owner, row.leased_until or 0, now):
                host, pid, _ = row.owner.rsplit(":", 2)
                raise RunOwned(
                    f"run {run_id} is being run by process {pid} on {host}; "
                    "wait for its end or stop it, then resume"
                )
            connection.execute(
                "UPDATE runs SET status = 'running', finished = NULL, error = NULL, owner = ?,"
                " leased_until = ? WHERE id = ?",
                (self.owner, now + LEASE_SECONDS, run_id),
            )
            _event(connection, run_id, now, "run_resumed")
            return row

        return self.call(lease)

    def finish(self, run_id: str, status: str, now: float, error: str | None) -> Future[None]:
        """Record the end of a run of ours and give up its lease; ``error`` is a JSON object."""

        def update(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE runs SET status = ?, finished = ?, error = ?, owner = NULL,"
                " leased_until = NULL WHERE id = ? AND owner = ?",
                (status, now, error, run_id, self.owner),
            )
            _event(connection, run_id, now, f"run_{status}", detail=error)

        return self.call(update)

    def open_stage(
        self, run_id: str, position: int, name: str, kind: str, total: int, now: float
    ) -> Future[StageRow]:
        """Record the start of a stage; one that was begun before is given back as it is."""

        def insert(connection: sqlite3.Connection) -> StageRow:
            found = _stage(connection, run_id, position)
            if found is not None:
                return found
            connection.execute(
                "INSERT INTO stages (run, position, name, kind, started, total)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (run_id, position, name, kind, now, total),
            )
            _event(connection, run_id, now, "stage_started", position)
            opened = _stage(connection, run_id, position)
            assert opened is not None
            return opened

        return self.call(insert)

    def close_stage(self, run_id: str, position: int, now: float) -> Future[None]:
        """Record that every item of a stage has its outcome, after all that is queued."""

        def update(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE stages SET finished = ? WHERE run = ? AND position = ?",
                (now, run_id, position),
            )
            _event(connection, run_id, now, "stage_finished", position)

        return self.call(update)

    # ---- reading -------------------------------------------------------------------------------

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._reading, self._errors_told():
            return self._reader.execute(sql, values).fetchall()

    def run(self, run_id: str) -> RunRow:
        """The run with this id. Raises RunNotFound."""
        with self._reading, self._errors_told():
            return _run(self._reader, run_id)

    def find(self, name: str) -> RunRow:
        """The run whose id is ``name``, begins with it, or, for ``last``, the newest.

        Raises RunNotFound when there is none, or more than one.
        """
        if name == "last":
            rows = self._read("SELECT * FROM runs ORDER BY created DESC, id DESC LIMIT 1")
        else:
            rows = self._read(
                "SELECT * FROM runs WHERE substr(id, 1, ?) = ? ORDER BY id LIMIT 4",
                (len(name), name),
            )
            rows = [row for row in rows if row[0] == name] or rows
        if not rows:
            raise RunNotFound(f"no run '{name}' in the journal {self.path}")
        if len(rows) > 1:
            ids = ", ".join(row[0] for row in rows[:3]) + (", …" if len(rows) > 3 else "")
            raise RunNotFound(f"'{name}' is the beginning of several runs ({ids}); give more of it")
        return RunRow(*rows[0])

    def stages(self, run_id: str) -> list[StageRow]:
        """The stages of a run that have begun, in order."""
        return [
            StageRow(*row)
            for row in self._read("SELECT * FROM stages WHERE run = ? ORDER BY position", (run_id,))
        ]

    def _pages(self, columns: str, condition: str, stage: int) -> Iterator[tuple[Any, ...]]:
        """Rows of a stage's items in order, the index first, some thousands in memory at a time."""
        first, last = item_range(stage)
        while True:
            rows = self._read(
                f"SELECT id, {columns} FROM items WHERE id BETWEEN ? AND ? AND {condition}"  # noqa: S608
                " ORDER BY id LIMIT ?",
                (first, last, _PAGE),
            )
            for item, *rest in rows:
                yield (item & _INDEX, *rest)
            if len(rows) < _PAGE:
                return
            first = rows[-1][0] + 1

    def recorded(self, stage: int) -> Iterator[tuple[int, str, int, int]]:
        """The items of a stage that have a record: index, status, inner position, attempts."""
        return cast(
            Iterator[tuple[int, str, int, int]],
            self._pages("status, position, attempts", "true", stage),
        )

    def outputs(self, stage: int) -> Iterator[tuple[int, bytes | None, str | None]]:
        """Results of a stage's succeeded items in order: index, packed output or payload key."""
        return self._packed(stage, "status = 'succeeded'")

    def carried(self, stage: int) -> Iterator[tuple[int, bytes | None, str | None]]:
        """Inputs of a stage's retrying items whose attempts are of a later inner step."""
        return self._packed(
            stage, "status = 'retrying' AND position > 0 AND coalesce(output, ref) IS NOT NULL"
        )

    def _packed(self, stage: int, condition: str) -> Iterator[tuple[int, bytes | None, str | None]]:
        return cast(
            Iterator[tuple[int, bytes | None, str | None]],
            self._pages("output, ref", condition, stage),
        )

    def failures(self, stage: int, status: str) -> Iterator[tuple[Any, ...]]:
        """The last failure of each item of ``stage`` that is ``status`` now, in order.

        Each is index, step, attempt, type, reason, traceback.
        """
        for item, *rest in self._read(
            "SELECT item, step, attempt, type, reason, traceback FROM failures WHERE rowid IN"
            " (SELECT max(failures.rowid) FROM failures JOIN items ON items.id = item"
            "  WHERE item BETWEEN ? AND ? AND items.status = ? GROUP BY item) ORDER BY item",
            (*item_range(stage), status),
        ):
            yield (item & _INDEX, *rest)

    def logs(self, run_id: str) -> Iterable[tuple[Any, ...]]:
        """A run's lines: at, step, item, attempt, level, source, message."""
        return self._read(
            "SELECT at, step, item, attempt, level, source, message FROM logs WHERE run = ?"
            " ORDER BY id",
            (run_id,),
        )

    def events(self, run_id: str) -> Iterable[tuple[Any, ...]]:
        """A run's events: at, kind, stage position, detail."""
        return self._read(
            "SELECT at, kind, stage, detail FROM events WHERE run = ? ORDER BY id", (run_id,)
        )


_INDEX = (1 << 32) - 1


def item_id(stage: int, index: int) -> int:
    """The key of a stage's item."""
    return stage << 32 | index


def item_range(stage: int) -> tuple[int, int]:
    """The first and last possible keys of a stage's items."""
    return stage << 32, stage << 32 | _INDEX


def _run(connection: sqlite3.Connection, run_id: str) -> RunRow:
    row = connection.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
    if row is None:
        raise RunNotFound(f"no run '{run_id}' in the journal")
    return RunRow(*row)


def _stage(connection: sqlite3.Connection, run_id: str, position: int) -> StageRow | None:
    row = connection.execute(
        "SELECT * FROM stages WHERE run = ? AND position = ?", (run_id, position)
    ).fetchone()
    return None if row is None else StageRow(*row)


def _event(
    connection: sqlite3.Connection,
    run_id: str,
    now: float,
    kind: str,
    stage: int | None = None,
    detail: str | None = None,
) -> None:
    connection.execute(
        "INSERT INTO events (run, at, kind, stage, detail) VALUES (?, ?, ?, ?, ?)",
        (run_id, now, kind, stage, detail),
    )


def _alive(owner: str, leased_until: float, now: float) -> bool:
    """Whether the owner of a lease may still be at work: its lease runs, and it is not known dead.

    Only processes of this machine can be known dead at once; others are when their lease is over.
    """
    if leased_until <= now:
        return False
    host, pid, _ = owner.rsplit(":", 2)
    if host != socket.gethostname():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class _ErrorsTold:
    """Turns SQLite's errors into JournalErrors that say what to do."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, sqlite3.Error):
            return
        text = str(error)
        if "full" in text or "disk I/O" in text:
            advice = "free some space on its disk, then resume the run; what was recorded is safe"
        elif "malformed" in text or "not a database" in text:
            advice = (
                "the file is damaged: move it away or restore a copy, or save what is left with "
                f"sqlite3 {self._path} .recover"
            )
        elif "locked" in text:
            advice = "another process holds it for a long time; try again"
        else:
            advice = "see that its folder exists and can be written, or set LOKKI_LOCAL_JOURNAL"
        raise JournalError(f"the journal {self._path}: {text}; {advice}") from error
