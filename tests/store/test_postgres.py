"""The journal on a PostgreSQL server: what can happen to a server, a network or a host."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from contextlib import aclosing, closing

import psycopg
import pytest
from journals import ask
from postgres_server import LOCKED, PostgresServer

from lokki import JournalError, RunOwned
from lokki.errors import JournalUnreachable
from lokki.postgres_url import PostgresUrl
from lokki.store import postgres as module
from lokki.store import postgres_connection
from lokki.store.controls import Controls
from lokki.store.events import add_event
from lokki.store.history import read_history
from lokki.store.jobs import Jobs, NewRun
from lokki.store.journal import Journal
from lokki.store.leases import LEASE_SECONDS
from lokki.store.offers import Offer
from lokki.store.postgres_news import QUEUED, WANTED, changes, work
from lokki.store.records import Opening
from lokki.store.rows import StageRow, stage_id


@pytest.fixture
def place(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> PostgresUrl:
    found = postgres.journal()
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", found.url)
    return found


def create(book: Journal, run_id: str = "r1", now: float | None = None) -> None:
    book.create(
        run_id,
        flow="f",
        source=None,
        fingerprint="p",
        structure="[]",
        params=b"",
        params_json="{}",
        now=time.time() if now is None else now,
    ).result(60)


def never(error: JournalError) -> None:
    raise AssertionError(error)


def note(book: Journal, kind: str):
    """Record an event, in a transaction that may have others."""
    return book.commits.call("r1", lambda connection: add_event(connection, "r1", 1.0, kind))


def noted(book: Journal) -> list[str]:
    return [kind for _, kind, _, _ in book.history.events("r1") if kind.startswith("event")]


# ---- the server goes away ------------------------------------------------------------------------


def test_a_server_that_crashes_and_comes_back_loses_nothing_and_repeats_nothing(postgres, place):
    with closing(Journal(place)) as book:
        create(book)
        book.own("r1", never)
        before = [note(book, f"event {number}") for number in range(100)]
        before[0].result(30)
        postgres.stop()
        meanwhile = [note(book, f"event {number}") for number in range(100, 200)]
        postgres.start()
        for each in (*before, *meanwhile):
            each.result(30)
        assert noted(book) == [f"event {number}" for number in range(200)]
        assert book.run("r1").owner == book.owner


def test_connections_that_end_at_any_moment_commit_everything_once(postgres, place):
    with closing(Journal(place)) as book:
        create(book)
        book.own("r1", never)
        ended, stop = [], threading.Event()

        def end_connections() -> None:
            with psycopg.connect(postgres.url(), autocommit=True) as other:
                while not stop.wait(0.003):
                    ended.extend(
                        other.execute(
                            "SELECT pg_terminate_backend(pid) FROM pg_locks"
                            " WHERE relation = to_regclass(%s) AND mode = 'ExclusiveLock'",
                            (f"{place.url.rpartition('%3D')[2]}.lokki",),
                        ).fetchall()
                    )

        thread = threading.Thread(target=end_connections)
        thread.start()
        try:
            deadline, number = time.monotonic() + 40, 0
            while (number < 60 or len(ended) < 10) and time.monotonic() < deadline:
                note(book, f"event {number}").result(30)
                number += 1
        finally:
            stop.set()
            thread.join()
        assert len(ended) >= 10
        assert noted(book) == [f"event {each}" for each in range(number)]


def test_a_server_that_stays_away_gives_the_runs_up(postgres, place, monkeypatch):
    monkeypatch.setattr(module, "_RECONNECT_SECONDS", 0.3)
    lost: list[JournalError] = []
    with closing(Journal(place)) as book:
        create(book)
        book.own("r1", lost.append)
        postgres.stop()
        try:
            with pytest.raises(JournalError, match="check that the server runs"):
                note(book, "event").result(30)
        finally:
            postgres.start()
        assert len(lost) == 1
    with closing(Journal(place)) as book:
        assert noted(book) == []


# ---- hosts ---------------------------------------------------------------------------------------


def test_a_host_that_is_stopped_in_a_transaction_does_not_stop_the_others(place, monkeypatch):
    monkeypatch.setattr(module, "_LOCK_SECONDS", 0.1)
    monkeypatch.setattr(postgres_connection, "_STUCK_SECONDS", 0.2)
    with closing(Journal(place)) as book, closing(psycopg.connect(place.url)) as stopped:
        create(book)
        stopped.execute("LOCK TABLE lokki IN EXCLUSIVE MODE")
        stopped.execute("UPDATE runs SET status = 'late'")
        note(book, "event").result(30)
        with pytest.raises(psycopg.OperationalError):
            stopped.commit()
        assert book.run("r1").status == "running"


def test_a_transaction_that_works_for_long_is_waited_for(place, monkeypatch):
    monkeypatch.setattr(module, "_LOCK_SECONDS", 0.1)
    monkeypatch.setattr(postgres_connection, "_STUCK_SECONDS", 0.2)
    with closing(Journal(place)) as book, closing(psycopg.connect(place.url)) as busy:
        create(book)
        busy.execute("LOCK TABLE lokki IN EXCLUSIVE MODE")
        waiting = note(book, "event")
        busy.execute("SELECT pg_sleep(1.5)")
        assert not waiting.done()
        busy.commit()
        waiting.result(30)


@pytest.mark.parametrize("hours", [-3, 3])
def test_leases_are_by_the_clock_of_the_server(place, hours):
    code = (
        f"import sys, time; real = time.time; time.time = lambda: real() + {hours} * 3600\n"
        "from lokki.store.journal import Journal\n"
        "book = Journal(sys.argv[1])\n"
        "book.create('r1', flow='f', source=None, fingerprint='p', structure='[]', params=b'',"
        " params_json='{}', now=time.time()).result()\n"
        "print(book.run('r1').leased_until - time.time(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, place.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert float(other.stdout.readline()) == pytest.approx(LEASE_SECONDS, abs=5)
        now = time.time()
        with closing(Journal(place)) as book:
            ask(place, "UPDATE runs SET owner = 'elsewhere:1:a'")
            assert book.run("r1").leased_until == pytest.approx(now + LEASE_SECONDS, abs=10)
            with pytest.raises(RunOwned, match=r"in [123]?[0-9] s"):
                book.take("r1", now).result(30)
            book.take("r1", now + LEASE_SECONDS + 1).result(30)
        other.stdin.close()


@pytest.mark.asyncio
async def test_a_run_that_any_host_queues_is_told_at_once(postgres, place):
    with closing(Journal(place)) as book:
        async with aclosing(work(place)) as news:
            await anext(news)
            create(book)
            new = NewRun("r2", "f", "f.py:f", "p", "[]", b"", "{}", 1.0, "me")
            Jobs(book).put(new, Offer({"f.py"}, "python", "/")).result(30)
            async with asyncio.timeout(10):
                assert await anext(news) == QUEUED
            waiting = asyncio.ensure_future(anext(news))
            book.take("r2", time.time(), queued=book.run("r2")).result(30)
            await asyncio.sleep(0.1)
            assert not waiting.done(), "only what is queued is told"
            postgres.stop()
            postgres.start()
            async with asyncio.timeout(30):
                await waiting


@pytest.mark.asyncio
@pytest.mark.parametrize("what", ["cancel", "pause", "unpause", "tune"])
async def test_what_any_host_wants_of_a_run_is_told_at_once(place, what):
    with closing(Journal(place)) as book, closing(Journal(place)) as other:
        create(book)
        writer = book.own("r1", lambda error: None)
        stage = StageRow(stage_id(book.run("r1").number, 0), "r1", 0, "s", "map", 5.0, None, 9)
        writer.add(Opening(stage))
        book.flush("r1").result(30)
        controls, now = Controls(other), time.time()
        if what == "unpause":
            controls.pause("r1", now).result(30)
        async with aclosing(work(place)) as news:
            await anext(news)
            asked = {
                "cancel": lambda: other.request_cancel("r1", now),
                "pause": lambda: controls.pause("r1", now),
                "unpause": lambda: controls.unpause("r1", now),
                "tune": lambda: controls.tune("r1", 3, now),
            }[what]()
            asked.result(30)
            async with asyncio.timeout(10):
                assert await anext(news) == WANTED
            waiting = asyncio.ensure_future(anext(news))
            book.finish("r1", "succeeded", 9.0, None).result(30)
            asked = Jobs(book).put(
                NewRun("r2", "f", "f.py:f", "p", "[]", b"", "{}", 1.0, "me"),
                Offer({"f.py"}, "python", "/"),
            )
            asked.result(30)
            async with asyncio.timeout(10):
                assert await waiting == QUEUED, "the end of a run tells nothing"


@pytest.mark.asyncio
async def test_each_transaction_that_has_written_is_told_to_those_who_watch(place):
    with closing(Journal(place)) as book:
        book.commits.call("", lambda connection: None).result(30)  # takes numbers for later ones
        async with aclosing(changes(place)) as told:
            await anext(told)
            book.commits.call("", lambda connection: None).result(30)
            waiting = asyncio.ensure_future(anext(told))
            await asyncio.sleep(0.1)
            assert not waiting.done(), "nothing was written"
            create(book)
            async with asyncio.timeout(10):
                await waiting


# ---- what is wrong is said -----------------------------------------------------------------------


def refused(url: str, kind: type[JournalError] = JournalError) -> str:
    with pytest.raises(JournalError) as error:
        Journal(url)
    assert type(error.value) is kind
    return str(error.value)


def test_a_server_that_cannot_be_used_is_reported_with_what_to_do(postgres):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"postgresql://lokki:se%2Fcret@127.0.0.1:{closed.getsockname()[1]}/postgres"
        said = refused(nobody, JournalUnreachable)
    assert "check that the server runs" in said
    assert "cret" not in said
    said = refused("postgresql:///runs?host=/database/password", JournalUnreachable)
    assert "check that the server runs" in said, "whatever its address is called"
    postgres.ask(f"CREATE ROLE {LOCKED} LOGIN PASSWORD 'right'")
    postgres.ask("CREATE DATABASE ascii ENCODING SQL_ASCII TEMPLATE template0 LC_COLLATE 'C'")
    address = f"127.0.0.1:{postgres.port}"
    for password in ("wr%6Fng", "wrong"):
        said = refused(f"postgresql://{LOCKED}:{password}@{address}/postgres?connect_timeout=9")
        assert "password authentication failed" in said
        assert "PGPASSWORD" in said
        assert "wrong" not in said and "wr%6Fng" not in said  # noqa: PT018
        assert f"postgresql://{LOCKED}@{address}/postgres?connect_timeout=9" in said
    assert "createdb" in refused(f"postgresql://lokki@{address}/none")
    postgres.ask("CREATE ROLE crowd LOGIN CONNECTION LIMIT 0")
    crowd = refused(f"postgresql://crowd@{address}/postgres", JournalUnreachable)
    assert "max_connections" in crowd
    assert "sslmode" in refused(f"postgresql://lokki@{address}/postgres?sslmode=require")
    assert "schema of its search_path" in refused(postgres.url("nowhere"))
    other = postgres.journal()
    postgres.ask("CREATE TABLE runs (name TEXT)", other)
    assert "another program's tables" in refused(other.url)
    assert "encoding SQL_ASCII" in refused(f"postgresql://lokki@{address}/ascii")
    assert "create tables" in refused(f"postgresql://{LOCKED}:right@{address}/postgres"), (
        "since version 15, only owners may use the schema public"
    )


# ---- the schema ----------------------------------------------------------------------------------


def test_the_tables_are_those_of_sqlite(place, journal):
    Journal(place).close()
    Journal(journal).close()
    tables = [
        name for (name,) in ask(journal, "SELECT name FROM sqlite_master WHERE type = 'table'")
    ]
    for table in set(tables) - {"sqlite_sequence"}:
        file = [row[1] for row in ask(journal, f"PRAGMA table_info({table})")]
        server = ask(
            place,
            "SELECT attname FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped"
            f" AND attrelid = '{table}'::regclass ORDER BY attnum",
        )
        assert [name for (name,) in server if name != "rowid"] == file, table


def test_a_new_journal_is_made_once_by_those_who_open_it(place):
    opened: list[Journal] = []
    threads = [threading.Thread(target=lambda: opened.append(Journal(place))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    for book in opened:
        book.close()
    assert ask(place, "SELECT count(*) FROM lokki") == [(1,)]


def test_reading_makes_no_tables_and_finds_those_made_later(place):
    with read_history(place) as history:
        assert history.runs() == []
        assert ask(place, "SELECT to_regclass('runs')") == [(None,)]
        with closing(Journal(place)) as book:
            create(book)
        assert [run.id for run in history.runs()] == ["r1"]
