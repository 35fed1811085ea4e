"""A PostgreSQL server of the tests' own, on a free port; each journal is a schema of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import closing
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psycopg
from psycopg import sql

from lokki.postgres_url import PostgresUrl

LOCKED = "locked"
"""A user, once made, that needs a password."""
_SECONDS = 30
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "16MB",
    "max_wal_senders": "0",
    "wal_level": "minimal",
}


class PostgresServer:
    """A server: killed, started again, asked directly.

    Its data are in a new folder in ``place`` (default: that of temporary files).
    """

    def __init__(self, *, fsync: bool = False, place: Path | None = None) -> None:
        self._programs = programs()
        self._as: dict[str, Any] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="lokki-postgres-", dir=place))
        if os.geteuid() == 0:  # which PostgreSQL refuses
            user = pwd.getpwnam("nobody")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._data = self.folder / "data"
        self._run("initdb", "-D", self._data, "-U", "lokki", "-A", "trust", "-E", "UTF8", "-N")
        access = self._data / "pg_hba.conf"
        locked = f"host all {LOCKED} 127.0.0.1/32 scram-sha-256\n"
        access.write_text(locked + access.read_text())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._settings = _SETTINGS | {"fsync": "on" if fsync else "off", "port": str(self.port)}
        self._schemas = count(1)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *options],
                stdout=log,
                stderr=log,
                **self._as,
            )
        deadline = monotonic() + _SECONDS
        while True:
            try:
                psycopg.connect(self.url()).close()
            except psycopg.OperationalError:
                assert self.process.poll() is None, self.log()
                assert monotonic() < deadline, self.log()
                sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Stop it as a power cut does: it recovers when it starts again."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(_SECONDS)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def url(self, schema: str = "", *, user: str = "lokki") -> str:
        path = f"?options=-csearch_path%3D{schema}" if schema else ""
        return f"postgresql://{user}@127.0.0.1:{self.port}/postgres{path}"

    def journal(self) -> PostgresUrl:
        """A place for a new journal."""
        schema = f"journal_{next(self._schemas)}"
        self.ask(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        return PostgresUrl(self.url(schema))

    def ask(self, query: Any, journal: PostgresUrl | None = None) -> list[Any]:
        """What the server answers to a query, in a transaction of its own."""
        with closing(psycopg.connect(journal.url if journal else self.url())) as connection:
            connection.autocommit = True
            found = connection.execute(query)
            return found.fetchall() if found.description else []

    def _run(self, program: str, *arguments: Any) -> None:
        subprocess.run(
            [self._programs / program, *arguments], check=True, capture_output=True, **self._as
        )


def programs() -> Path:
    """The folder of the server's programs, which Debian keeps out of the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    on_path = shutil.which("initdb")
    if not found and not on_path:
        raise LookupError("these tests need PostgreSQL 15 or later: apt-get install postgresql")
    return found[-1].parent if found else Path(on_path or "").resolve().parent


def _version(program: Path) -> int:
    return int(program.parts[-3])
