"""The journal: every run, stage, item, failure, event and log line, in one SQLite file.

One thread writes, in group commits (`commits.py`); with ``synchronous=FULL`` a committed outcome
survives a power loss. Any thread may read. Several processes may share a journal: each run is
owned by one of them under a lease.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from secrets import token_hex
from typing import Any, cast

from lokki.errors import JournalError, RunNotFound, RunOwned
from lokki.store.commits import LEASE_SECONDS, Committer, RunWriter, working
from lokki.store.schema import (
    INDEX_MASK,
    ErrorsTold,
    RunRow,
    StageRow,
    add_event,
    item_range,
    migrate,
    storable,
)

_BUSY_SECONDS = 60.0
_PAGE = 5_000


class Journal:
    """A journal file, opened for reading and writing.

    ``path`` is created with its folders when missing. Raises JournalError when it cannot be
    opened or is damaged, JournalVersionError when a newer lokki wrote it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}"
        self._errors_told = ErrorsTold(self.path)
        self._reading = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(
                f"cannot make the folder of the journal {self.path}: {error.strerror}; choose "
                "another place with LOKKI_LOCAL_JOURNAL"
            ) from error
        with self._errors_told:
            self._reader = self._connect()
            try:
                migrate(self._reader, self.path)
            except BaseException:
                self._reader.close()
                raise
        self.commits = Committer(self._connect, self.owner, self._errors_told)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            _use_wal(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Commit what is queued, and close."""
        self.commits.close()
        with self._reading:
            self._reader.close()

    # ---- runs ----------------------------------------------------------------------------------

    def own(self, run_id: str, on_lost: Callable[[JournalError], None]) -> RunWriter:
        """The write side of a run that `create` or `take` has leased to this process.

        ``on_lost`` is called once, in another thread, when the run was taken over, a record of it
        cannot be written, or the journal can no longer be; nothing is recorded after it.
        """
        return self.commits.own(run_id, on_lost)

    def flush(self, run_id: str) -> Future[None]:
        """A future that is done when everything queued for a run of ours is on disk.

        Raises RunOwned when the run is not ours any more, the error that ended it if one did.
        """
        return self.commits.call(run_id, lambda connection: None, owned=True)

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
    ) -> Future[int]:
        """Record a new run, which this process owns and begins at once; give its number."""

        def insert(connection: sqlite3.Connection) -> int:
            try:
                added = connection.execute(
                    "INSERT INTO runs VALUES (NULL, ?, ?, ?, ?, ?, 'running', ?, ?, ?, ?,"
                    " NULL, NULL, ?, ?)",
                    storable(
                        (run_id, flow, source, fingerprint, shape, params, params_json, now, now)
                        + (self.owner, now + LEASE_SECONDS)
                    ),
                )
            except sqlite3.IntegrityError:
                raise JournalError(f"there is a run {run_id} already; choose another id") from None
            add_event(connection, run_id, now, "run_started")
            return added.lastrowid or 0

        return self.commits.call(run_id, insert)

    def take(self, run_id: str, now: float) -> Future[RunRow]:
        """Lease a run to this process and set it running again; one that has succeeded is left.

        Gives the run as it was. Raises RunOwned when another living process has it.
        """

        def lease(connection: sqlite3.Connection) -> RunRow:
            row = _run(connection, run_id)
            if row.status == "succeeded":
                return row
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
            add_event(connection, run_id, now, "run_resumed")
            return row

        return self.commits.call(run_id, lease)

    def finish(self, run_id: str, status: str, now: float, error: str | None) -> Future[None]:
        """Record the end of a run of ours and give up its lease; ``error`` is a JSON object.

        Raises as `flush`, and records nothing then.
        """

        def update(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE runs SET status = ?, finished = ?, error = ?, owner = NULL,"
                " leased_until = NULL WHERE id = ?",
                storable((status, now, error, run_id)),
            )
            add_event(connection, run_id, now, f"run_{status}", detail=error)

        return self.commits.call(run_id, update, owned=True)

    def close_stage(self, run_id: str, position: int, now: float) -> Future[None]:
        """Record that every item of a stage has its outcome, after all that is queued.

        Raises as `flush`, and records nothing then.
        """

        def update(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE stages SET finished = ? WHERE run = ? AND position = ?",
                (now, run_id, position),
            )
            add_event(connection, run_id, now, "stage_finished", position)

        return self.commits.call(run_id, update, owned=True)

    # ---- reading -------------------------------------------------------------------------------

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._reading, self._errors_told:
            return self._reader.execute(sql, storable(tuple(values))).fetchall()

    def run(self, run_id: str) -> RunRow:
        """The run with this id. Raises RunNotFound."""
        with self._reading, self._errors_told:
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
            rows = [row for row in rows if row[1] == name] or rows
        if not rows:
            raise RunNotFound(f"no run '{name}' in the journal {self.path}")
        if len(rows) > 1:
            ids = ", ".join(row[1] for row in rows[:3]) + (", …" if len(rows) > 3 else "")
            raise RunNotFound(f"'{name}' is the beginning of several runs ({ids}); give more of it")
        return RunRow(*rows[0])

    def stages(self, run_id: str) -> list[StageRow]:
        """The stages of a run that have begun, in order."""
        return [
            StageRow(*row)
            for row in self._read("SELECT * FROM stages WHERE run = ? ORDER BY position", (run_id,))
        ]

    def _pages(self, columns: str, condition: str, stage: int) -> Iterator[tuple[Any, ...]]:
        """Rows of a stage's items in order, index first, some thousands in memory at a time."""
        first, last = item_range(stage)
        while True:
            rows = self._read(
                f"SELECT id & {INDEX_MASK}, {columns} FROM items"  # noqa: S608
                f" WHERE id BETWEEN ? AND ? AND {condition} ORDER BY id LIMIT {_PAGE}",
                (first, last),
            )
            yield from rows
            if len(rows) < _PAGE:
                return
            first = (stage << 32 | rows[-1][0]) + 1

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
            yield (item & INDEX_MASK, *rest)

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


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode; SQLite does not wait by itself while another process does the same."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _run(connection: sqlite3.Connection, run_id: str) -> RunRow:
    row = connection.execute("SELECT * FROM runs WHERE id = ?", storable((run_id,))).fetchone()
    if row is None:
        raise RunNotFound(f"no run '{run_id}' in the journal")
    return RunRow(*row)


def _alive(owner: str, leased_until: float, now: float) -> bool:
    """Whether the owner of a lease may still be at work: its lease runs, and it is not known dead.

    Only processes of this machine can be known dead at once, and journals of this process that are
    closed or could not be written; others are when their lease is over.
    """
    if leased_until <= now:
        return False
    host, pid, _ = owner.rsplit(":", 2)
    if host != socket.gethostname():
        return True
    if int(pid) == os.getpid():
        return owner in working
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
