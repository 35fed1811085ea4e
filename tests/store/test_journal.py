"""The journal: schema, group commits, leases, and what is read back."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from journals import ask

from lokki import JournalError, RunNotFound, RunOwned
from lokki.errors import JournalGone
from lokki.model.structure import dumped, of_text
from lokki.store import commits
from lokki.store.journal import Journal
from lokki.store.leases import LEASE_SECONDS
from lokki.store.outcomes import Outcomes
from lokki.store.records import Opening
from lokki.store.rows import StageRow, stage_id
from lokki.store.schema import MIGRATIONS
from lokki.store.sqlite import translate_sqlite_errors
from lokki.store.writer import RunWriter

if TYPE_CHECKING:
    from pathlib import Path

    from lokki.postgres_url import Place


def create(book: Journal, run_id: str = "r1", flow: str = "f", now: float = 1.0) -> None:
    book.create(
        run_id,
        flow=flow,
        source=None,
        fingerprint="p",
        structure=dumped(of_text("a → map(b)")),
        params=b"",
        params_json="{}",
        now=now,
    ).result()


def open_stage(book: Journal, writer: RunWriter, total: int, run_id: str = "r1") -> StageRow:
    key = stage_id(book.run(run_id).number, 0)
    row = StageRow(key, run_id, 0, "b", "map", 5.0, None, total)
    writer.add(Opening(row))
    return row


def never(error: JournalError) -> None:
    raise AssertionError(error)


def simple(stage: int, indices: range, counts: tuple[int, int, int, int]) -> Outcomes:
    """Items that succeeded, each with a row of its own."""
    rows = [
        (stage << 32 | index, "succeeded", 0, 1, 1.0, 2.0, b"%d" % index, None) for index in indices
    ]
    return Outcomes(stage, counts, items=rows)


def test_a_run_is_read_back_as_it_was_written(opened):
    create(opened)
    writer = opened.own("r1", never)
    stage = open_stage(opened, writer, 3)
    outcomes = simple(stage.id, range(1), (1, 0, 1, 1))
    base = stage.id << 32
    outcomes.items.append((base | 1, "tolerated", 0, 2, 1.0, 2.0, None, None))
    outcomes.items.append((base | 2, "retrying", 1, 1, 1.0, 2.0, b"in", None))
    outcomes.failures.append((base | 1, "b", 1, 2.0, "OSError", "first", "trace", None))
    outcomes.failures.append((base | 1, "b", 2, 2.0, "OSError", "last", "trace", None))
    writer.add(outcomes)
    writer.log((3.0, "b", 1, 2, "INFO", "stdout", "hello"))
    opened.close_stage("r1", 0, 7.0).result()
    opened.commits.release(writer)
    opened.finish("r1", "failed", 9.0, '{"type": "OSError"}').result()

    run = opened.run("r1")
    assert (run.status, run.started, run.finished, run.owner) == ("failed", 1.0, 9.0, None)
    (row,) = opened.history.stages("r1")
    assert (row.total, row.succeeded, row.tolerated, row.retrying) == (3, 1, 1, 1)
    assert row.finished == 7.0
    assert list(opened.recorded(stage.id)) == [
        (0, "succeeded", 0, 1),
        (1, "tolerated", 0, 2),
        (2, "retrying", 1, 1),
    ]
    assert list(opened.outputs(stage.id)) == [(0, b"0", None)]
    assert list(opened.carried(stage.id)) == [(2, b"in", None)]
    assert list(opened.failures(stage.id, "tolerated")) == [(1, "b", 2, "OSError", "last", "trace")]
    assert [line[1:] for line in opened.history.lines("r1")] == [
        (3.0, "b", 1, 2, "INFO", "stdout", "hello")
    ]
    assert [kind for _, kind, _, _ in opened.history.events("r1")] == [
        "run_started",
        "stage_started",
        "stage_finished",
        "run_failed",
    ]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 63, 1024, 12_345])
def test_every_row_of_a_batch_arrives_whatever_its_size(opened, count):
    create(opened)
    writer = opened.own("r1", never)
    stage = open_stage(opened, writer, count)
    for start in range(0, count, 700):
        part = range(start, min(start + 700, count))
        writer.add(simple(stage.id, part, (part.stop, 0, 0, 0)))
    opened.flush("r1").result()
    assert [index for index, _, _ in opened.outputs(stage.id)] == list(range(count))
    assert opened.history.stages("r1")[0].succeeded == count


def test_a_later_record_of_an_item_replaces_the_earlier(opened):
    create(opened)
    writer = opened.own("r1", never)
    stage = open_stage(opened, writer, 1)
    retrying = Outcomes(stage.id, (0, 0, 0, 1))
    retrying.items.append((stage.id << 32, "retrying", 0, 1, 1.0, 2.0, None, None))
    writer.add(retrying)
    succeeded = Outcomes(stage.id, (1, 0, 0, 0))
    succeeded.items.append((stage.id << 32, "succeeded", 0, 2, 1.0, 2.0, b"0", None))
    writer.add(succeeded)
    opened.flush("r1").result()
    assert list(opened.recorded(stage.id)) == [(0, "succeeded", 0, 2)]


def test_threads_write_at_the_same_time(opened):
    create(opened)
    writer = opened.own("r1", never)
    stage = open_stage(opened, writer, 8000)

    def write(lane: int) -> None:
        for start in range(lane * 1000, lane * 1000 + 1000, 10):
            writer.add(simple(stage.id, range(start, start + 10), (0, 0, 0, 0)))
            opened.commits.wait_for_room()

    threads = [threading.Thread(target=write, args=(lane,)) for lane in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    opened.flush("r1").result()
    assert len(list(opened.outputs(stage.id))) == 8000


def test_closing_commits_what_is_queued(journal):
    with closing(Journal(journal)) as book:
        create(book)
        writer = book.own("r1", never)
        stage = open_stage(book, writer, 9000)
        writer.add(simple(stage.id, range(9000), (9000, 0, 0, 0)))
    with closing(Journal(journal)) as book:
        assert len(list(book.outputs(stage.id))) == 9000
    with pytest.raises(JournalError, match="closed"):
        book.flush("r1").result()


# ---- finding -----------------------------------------------------------------------------------


def test_runs_are_found_by_id_prefix_and_last(opened):
    create(opened, "2026-a1", now=1.0)
    create(opened, "2026-a2", now=3.0)
    create(opened, "2026-b", now=2.0)
    create(opened, "2026-b_%", now=2.0)
    assert opened.history.find("2026-a1").id == "2026-a1"
    assert opened.history.find("2026-b").id == "2026-b"
    assert opened.history.find("2026-b_").id == "2026-b_%"
    assert opened.history.find("last").id == "2026-a2"
    with pytest.raises(RunNotFound, match=r"several ids \(2026-a1, 2026-a2\)"):
        opened.history.find("2026-a")
    for name in ("nothing", "2026%", "____"):
        with pytest.raises(RunNotFound, match="no run"):
            opened.history.find(name)
    with pytest.raises(RunNotFound):
        opened.run("nothing")


def test_a_run_id_is_taken_once(opened):
    create(opened)
    with pytest.raises(JournalError, match="there is already a run r1"):
        create(opened)


# ---- leases ------------------------------------------------------------------------------------


def test_a_living_owner_keeps_its_run(opened, journal):
    create(opened, now=time.time())
    with closing(Journal(journal)) as other:
        with pytest.raises(RunOwned, match=f"run by process {os.getpid()} on "):
            other.take("r1", time.time()).result()
        assert other.run("r1").owner == opened.owner


def test_a_run_whose_lease_is_over_is_taken(opened, journal):
    create(opened, now=1.0)
    with closing(Journal(journal)) as other:
        other.take("r1", 1.0 + LEASE_SECONDS + 1).result()
        assert other.run("r1").owner == other.owner
        assert [kind for _, kind, _, _ in other.history.events("r1")] == [
            "run_started",
            "run_resumed",
        ]


def test_a_run_whose_owner_is_dead_is_taken_at_once(opened, journal):
    code = (
        "import sys, time; from lokki.store.journal import Journal; book = Journal(sys.argv[1]);"
        "book.create('r1', flow='f', source=None, fingerprint='p', structure='[]', params=b'',"
        " params_json='{}', now=time.time()).result(); import os; os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(journal)], check=True)
    assert opened.run("r1").status == "running"
    opened.take("r1", time.time()).result()
    assert opened.run("r1").owner == opened.owner


def test_an_owner_elsewhere_is_believed_until_its_lease_is_over(opened, journal):
    create(opened, now=100.0)
    ask(journal, "UPDATE runs SET owner = 'elsewhere:1:abcd'")
    with pytest.raises(RunOwned, match="process 1 on elsewhere"):
        opened.take("r1", 101.0).result()
    opened.take("r1", 100.0 + LEASE_SECONDS).result()


@pytest.mark.parametrize("owner", ["elsewhere:1:abcd", f"{socket.gethostname()}:1:abcd"])
def test_the_lease_of_an_owner_whose_clock_is_ahead_ends_like_any_other(opened, owner):
    create(opened, now=100.0 + 7_200)
    ask(opened.path, f"UPDATE runs SET owner = '{owner}'")
    with pytest.raises(RunOwned, match="is being run by process 1 on"):
        opened.take("r1", 100.0).result()
    assert opened.run("r1").leased_until == 100.0 + LEASE_SECONDS
    with pytest.raises(RunOwned):
        opened.take("r1", 100.0 + LEASE_SECONDS - 1).result()
    opened.take("r1", 100.0 + LEASE_SECONDS).result()


@pytest.mark.parametrize("asked", ["take", "cancel", "remove"])
def test_an_owner_that_is_at_work_keeps_its_run_however_its_clock_goes(opened, journal, asked):
    create(opened, now=time.time() + 7_200)
    writer = opened.own("r1", never)
    now = time.time() - 3_600
    with closing(Journal(journal)) as other:
        writer.leased_until = time.time() + 7_200  # as if the clock had been set back since
        if asked == "take":
            with pytest.raises(RunOwned):
                other.take("r1", now).result()
        elif asked == "cancel":
            assert other.request_cancel("r1", now).result()
        else:
            assert not other.begin_removal("r1", now).result()
        deadline = time.monotonic() + 50
        while (other.run("r1").leased_until or 0) < time.time():
            assert time.monotonic() < deadline, "the lease is not made again"
            time.sleep(0.005)
        assert other.run("r1").owner == opened.owner
        assert (other.run("r1").leased_until or 0) <= time.time() + LEASE_SECONDS


def test_a_run_that_has_succeeded_is_left_as_it_is(opened):
    create(opened)
    opened.finish("r1", "succeeded", 2.0, None).result()
    assert opened.take("r1", 3.0).result().status == "succeeded"
    assert opened.run("r1").owner is None


def test_a_run_of_another_fingerprint_than_was_seen_is_not_taken(opened):
    create(opened)
    opened.finish("r1", "failed", 2.0, None).result()
    before = opened.run("r1")
    with pytest.raises(RunOwned, match="another structure"):
        opened.take("r1", 3.0, seen="q").result()
    assert opened.run("r1") == before
    assert opened.take("r1", 3.0, seen="p").result() == before


class Lost:
    """What an ``on_lost`` was told."""

    def __init__(self) -> None:
        self.errors: list[JournalError] = []
        self.told = threading.Event()

    def __call__(self, error: JournalError) -> None:
        self.errors.append(error)
        self.told.set()


@pytest.mark.parametrize("end", ["close_stage", "finish", "flush"])
@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("when", ["before it is told", "after it is told"])
def test_who_lost_a_run_writes_nothing_more_and_is_reported(opened, journal, end, released, when):
    create(opened, now=1.0)
    lost = Lost()
    writer = opened.own("r1", lost)
    stage = open_stage(opened, writer, 2)
    opened.flush("r1").result()
    with closing(Journal(journal)) as other:
        other.take("r1", time.time() + LEASE_SECONDS + 1).result()
        successor = other.own("r1", never)
        successor.add(simple(stage.id, range(1), (1, 0, 0, 0)))
        other.flush("r1").result()
        if when == "after it is told":
            with pytest.raises(RunOwned, match="taken over by another process"):
                opened.flush("r1").result()
            assert lost.told.wait(10)
        late = Outcomes(stage.id, (0, 1, 0, 0))
        late.items.append((stage.id << 32, "cancelled", 0, 1, 1.0, 2.0, None, None))
        late.failures.append((stage.id << 32, "b", 1, 2.0, "OSError", "late", "trace", None))
        writer.add(late)
        writer.log((3.0, "b", 1, 2, "INFO", "stdout", "late"))
        if released:
            opened.commits.release(writer)
            writer.add(late)
        call = {
            "close_stage": lambda: opened.close_stage("r1", 0, 7.0),
            "finish": lambda: opened.finish("r1", "cancelled", 9.0, None),
            "flush": lambda: opened.flush("r1"),
        }[end]
        for _ in range(2):
            with pytest.raises(RunOwned, match="taken over by another process"):
                call().result()
        assert all(isinstance(error, RunOwned) for error in lost.errors)
        if not released:
            assert lost.told.wait(10)
            assert len(lost.errors) == 1
        other.flush("r1").result()
        assert list(other.recorded(stage.id)) == [(0, "succeeded", 0, 1)]
        assert (
            other.history.stages("r1")[0].succeeded,
            other.history.stages("r1")[0].finished,
        ) == (1, None)
        assert list(other.history.lines("r1")) == []
        assert list(other.failures(stage.id, "succeeded")) == []
        assert [kind for _, kind, _, _ in other.history.events("r1")] == [
            "run_started",
            "stage_started",
            "run_resumed",
        ]
        assert (other.run("r1").status, other.run("r1").owner) == ("running", other.owner)


def test_a_run_that_was_lost_can_be_taken_back(opened, journal):
    create(opened, now=1.0)
    lost = Lost()
    writer = opened.own("r1", lost)
    with closing(Journal(journal)) as other:
        other.take("r1", time.time() + LEASE_SECONDS + 1).result()
        with pytest.raises(RunOwned):
            opened.flush("r1").result()
        other.finish("r1", "failed", 2.0, None).result()
    opened.take("r1", time.time()).result()
    again = opened.own("r1", never)
    opened.commits.release(writer)
    writer.log((3.0, "b", 1, 2, "INFO", "stdout", "of the first"))
    again.log((3.0, "b", 1, 2, "INFO", "stdout", "of the second"))
    opened.finish("r1", "succeeded", 4.0, None).result()
    assert [line.message for line in opened.history.lines("r1")] == ["of the second"]


def test_lines_queued_before_a_writer_is_released_are_written(opened):
    create(opened)
    writer = opened.own("r1", never)
    for number in range(5000):
        writer.log((3.0, "b", number, 1, "INFO", "stdout", f"line {number}"))
    opened.commits.release(writer)
    opened.finish("r1", "succeeded", 4.0, None).result()
    assert [line.message for line in opened.history.lines("r1")] == [
        f"line {n}" for n in range(5000)
    ]
    assert opened.run("r1").status == "succeeded"


def test_a_lease_is_renewed_while_the_run_goes_on(opened, monkeypatch):
    monkeypatch.setattr(commits, "_HEARTBEAT", 0.01)
    create(opened, now=1.0)
    opened.own("r1", never).leased_until = 0
    renewed = 1.0 + LEASE_SECONDS
    deadline = time.monotonic() + 50
    while (opened.run("r1").leased_until or 0) <= renewed:
        assert time.monotonic() < deadline
        time.sleep(0.005)


# ---- cancelling --------------------------------------------------------------------------------


def test_a_run_of_another_process_is_asked_to_cancel(opened, journal):
    create(opened, now=time.time())
    asked = threading.Event()
    opened.own("r1", never, asked.set)
    with closing(Journal(journal)) as other:
        assert other.request_cancel("r1", time.time()).result() is True
    assert asked.wait(10)
    assert opened.run("r1").status == "running"
    opened.finish("r1", "cancelled", 9.0, None).result()
    assert opened.run("r1").status == "cancelled"


def test_a_run_of_the_same_journal_is_asked_to_cancel(opened):
    create(opened, now=time.time())
    asked = threading.Event()
    opened.own("r1", never, asked.set)
    assert opened.request_cancel("r1", time.time()).result() is True
    assert asked.wait(10)


def test_a_request_that_comes_before_the_run_is_written_is_reported(opened, journal):
    create(opened, "r1", now=time.time())
    create(opened, "r2", now=time.time())
    of_other, asked = threading.Event(), threading.Event()
    opened.own("r2", never, of_other.set)
    with closing(Journal(journal)) as other:
        other.request_cancel("r1", time.time()).result()
        other.request_cancel("r2", time.time()).result()
    assert of_other.wait(10)  # it has looked, and found nobody to tell of r1
    opened.own("r1", never, asked.set)
    assert asked.wait(10)


def test_only_the_run_that_is_to_be_cancelled_is_asked(opened, journal):
    create(opened, "r1", now=time.time())
    create(opened, "r2", now=time.time())
    asked = threading.Event()
    opened.own("r1", never, lambda: never(JournalError("r1 was asked")))
    opened.own("r2", never, asked.set)
    with closing(Journal(journal)) as other:
        other.request_cancel("r2", time.time()).result()
    assert asked.wait(10)
    opened.flush("r1").result()


def test_a_run_that_another_owner_has_meanwhile_is_not_cancelled(opened, journal):
    create(opened, now=1.0)
    with closing(Journal(journal)) as other:
        other.take("r1", time.time()).result()
        assert opened.request_cancel("r1", time.time(), opened.owner).result() is False
        assert opened.run("r1").cancel_requested is None
        assert opened.request_cancel("r1", time.time(), other.owner).result() is True


def test_a_request_that_is_made_again_keeps_its_time(opened):
    create(opened, now=time.time())
    for at in (20.0, 30.0):
        assert opened.request_cancel("r1", at).result() is True
    assert opened.run("r1").cancel_requested == 20.0


def test_a_run_whose_owner_is_gone_is_cancelled_at_once(opened):
    create(opened, now=1.0)
    lost = Lost()
    opened.own("r1", lost)
    now = 1.0 + LEASE_SECONDS
    assert opened.request_cancel("r1", now).result() is False
    run = opened.run("r1")
    assert (run.status, run.finished, run.owner) == ("cancelled", now, None)
    assert [kind for _, kind, _, _ in opened.history.events("r1")][-1] == "run_cancelled"
    with pytest.raises(RunOwned):
        opened.finish("r1", "succeeded", now + 1, None).result()
    assert lost.told.wait(10)


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_a_run_that_has_ended_is_not_cancelled(opened, status):
    create(opened)
    opened.finish("r1", status, 2.0, None).result()
    before = opened.run("r1")
    assert opened.request_cancel("r1", 3.0).result() is False
    assert opened.run("r1") == before
    assert len(opened.history.events("r1")) == 2


def test_a_run_that_is_not_there_is_not_cancelled(opened):
    with pytest.raises(RunNotFound, match="no run 'r1'"):
        opened.request_cancel("r1", 3.0).result()


def test_a_request_is_forgotten_when_the_run_goes_on_later(opened):
    create(opened, now=time.time())
    writer = opened.own("r1", never)
    opened.request_cancel("r1", time.time()).result()
    opened.commits.release(writer)
    opened.finish("r1", "cancelled", 2.0, None).result()
    opened.take("r1", time.time()).result()
    assert opened.run("r1").cancel_requested is None


@pytest.mark.sqlite
def test_a_run_that_does_nothing_writes_nothing(opened, monkeypatch):
    monkeypatch.setattr(commits, "_POLL_INTERVAL", 0.001)
    create(opened, now=time.time())
    opened.own("r1", never)
    statements: list[str] = []
    opened.commits.call(
        "r1", lambda connection: connection.set_trace_callback(statements.append)
    ).result()
    deadline = time.monotonic() + 50
    while statements.count("PRAGMA data_version") < 50:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    written = statements[statements.index("COMMIT") + 1 :]
    assert not [sql for sql in written if not sql.startswith(("PRAGMA data_version", "SELECT"))]
    assert len([sql for sql in written if sql.startswith("SELECT")]) <= 1


@pytest.mark.sqlite
def test_looking_for_requests_reads_none_of_the_other_runs(opened):
    plan = opened.commits.call(
        "r1",
        lambda connection: connection.execute(
            f"EXPLAIN QUERY PLAN {commits.WANTED}", ("o",)
        ).fetchall(),
    ).result()
    assert "INDEX runs_to_control (owner=?)" in plan[0][3]


# ---- removing ----------------------------------------------------------------------------------


def rows(journal: Place) -> dict[str, int]:
    tables = ("runs", "stages", "items", "failures", "events", "logs", "spent")
    return {table: ask(journal, f"SELECT count(*) FROM {table}")[0][0] for table in tables}


def fill(record, run_id: str) -> None:
    record.run(run_id, at=time.time())
    for position in range(2):
        record.stage(run_id, {0: "succeeded", 1: "tolerated", 2: "failed"}, 4, position=position)
    record.lines(run_id, (3.0, "b", 1, 2, "INFO", "stdout", "hello"))


def test_all_of_a_run_is_removed_and_nothing_of_another(opened, journal, record):
    for run_id in ("r1", "r2", "r3"):
        fill(record, run_id)
        opened.finish(run_id, "failed", 2.0, None).result()
    before = rows(journal)
    assert before == {
        "runs": 3, "stages": 6, "items": 18, "failures": 12, "events": 12, "logs": 3,
        "spent": 6,
    }  # fmt: skip
    kept = [opened.run(run_id) for run_id in ("r1", "r3")]
    assert opened.begin_removal("r2", time.time()).result() is True
    opened.remove("r2").result()
    assert rows(journal) == {table: count // 3 * 2 for table, count in before.items()}
    assert [opened.run(run_id) for run_id in ("r1", "r3")] == kept
    for run_id in ("r1", "r3"):
        stages = opened.history.stages(run_id)
        assert [opened.history.troubled(stage).total() for stage in stages] == [2, 2]
        assert [len(opened.history.groups(stage)) for stage in stages] == [1, 1]
        assert len(list(opened.history.lines(run_id))) == 1
    assert opened.begin_removal("r2", time.time()).result() is False
    with pytest.raises(RunOwned):
        opened.remove("r2").result()


def test_a_run_that_goes_on_is_not_removed(opened, journal, record):
    fill(record, "r1")
    before = rows(journal)
    with closing(Journal(journal)) as other:
        assert other.begin_removal("r1", time.time()).result() is False
        with pytest.raises(RunOwned):
            other.remove("r1").result()
        assert rows(journal) == before
        assert other.begin_removal("r1", time.time() + LEASE_SECONDS + 1).result() is True
        other.remove("r1").result()
    assert set(rows(journal).values()) == {0}


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_a_run_that_is_being_removed_is_not_resumed(opened, journal, status):
    create(opened)
    opened.finish("r1", status, 2.0, None).result()
    with closing(Journal(journal)) as other:
        assert other.begin_removal("r1", time.time()).result() is True
        assert opened.begin_removal("r1", time.time()).result() is False
        with pytest.raises(RunNotFound, match="r1 is being removed: its payloads are gone"):
            opened.take("r1", time.time()).result()
    assert opened.run("r1").removing
    for again in (opened.take, opened.request_cancel):  # although the other is gone
        with pytest.raises(RunNotFound, match="r1 is being removed"):
            again("r1", time.time()).result()
    assert opened.begin_removal("r1", time.time()).result() is True
    opened.remove("r1").result()
    assert set(rows(journal).values()) == {0}


def test_a_run_that_has_changed_since_it_was_seen_is_not_leased(opened):
    create(opened)
    opened.finish("r1", "failed", 2.0, None).result()
    seen = opened.history.find("r1")
    opened.take("r1", 3.0).result()
    opened.finish("r1", "succeeded", 4.0, None).result()
    assert opened.begin_removal("r1", 5.0, seen).result() is False
    opened.take("r1", 6.0).result()
    lost = opened.history.find("r1")
    assert opened.begin_removal("r1", 7.0 + LEASE_SECONDS, lost).result() is True


def test_who_lost_its_run_to_a_removal_is_reported(opened, journal):
    create(opened, now=1.0)
    lost = Lost()
    writer = opened.own("r1", lost)
    with closing(Journal(journal)) as other:
        assert other.begin_removal("r1", time.time()).result() is True
        other.remove("r1").result()
    writer.log((3.0, "b", 1, 2, "INFO", "stdout", "late"))
    with pytest.raises(RunOwned):
        opened.flush("r1").result()
    assert lost.told.wait(10)
    assert set(rows(journal).values()) == {0}


@pytest.mark.sqlite
def test_shrinking_gives_the_space_of_removed_runs_back(opened, journal, record):
    stage = record.stage(
        record.run(at=time.time()),
        {1: "failed"},
        2,
        errors={1: [("First", "e", ""), ("Last", "e", "")]},
    )
    opened.finish("r1", "failed", 2.0, None).result()
    create(opened, "large")
    writer = opened.own("large", never)
    large = open_stage(opened, writer, 20_000, "large")
    writer.add(simple(large.id, range(20_000), (20_000, 0, 0, 0)))
    opened.commits.release(writer)
    opened.finish("large", "succeeded", 2.0, None).result()
    opened.shrink()
    before = journal.stat().st_size
    opened.begin_removal("large", time.time()).result()
    free = opened.remove("large").result()
    assert journal.stat().st_size == before
    opened.shrink()
    assert before - journal.stat().st_size == pytest.approx(free, rel=0.1)
    assert free > 400_000
    assert [group.type for group in opened.history.groups(stage)] == ["Last"]
    create(opened, "later")
    opened.shrink()


@pytest.mark.sqlite
def test_a_journal_is_shrunk_while_another_process_writes(opened, journal):
    with closing(Journal(journal)) as other:
        create(other, now=time.time())
        writer = other.own("r1", never)
        stage = open_stage(other, writer, 5000)
        for start in range(0, 5000, 50):
            writer.add(simple(stage.id, range(start, start + 50), (start + 50, 0, 0, 0)))
            if start % 1000 == 0:
                opened.shrink()
        other.flush("r1").result()
        assert len(list(opened.outputs(stage.id))) == 5000


# ---- errors ------------------------------------------------------------------------------------


def test_a_row_that_cannot_be_written_ends_its_run_alone(opened, journal):
    create(opened, "r1")
    create(opened, "r2")
    lost = Lost()
    bad, good = opened.own("r1", lost), opened.own("r2", never)
    stage, other = open_stage(opened, bad, 2, "r1"), open_stage(opened, good, 1, "r2")
    bad.add(simple(stage.id, range(1), (1, 0, 0, 0)))
    opened.flush("r1").result()
    broken = simple(stage.id, range(1, 2), (2, 0, 0, 0))
    broken.items.append((stage.id << 32 | 1, "succeeded", 0, 1, 1.0, 2.0, "and one too few"))
    bad.add(broken)
    good.add(simple(other.id, range(1), (1, 0, 0, 0)))
    for _ in range(2):
        with pytest.raises(JournalError, match=r"run r1 ends, .*cannot be written.*Err"):
            opened.close_stage("r1", 0, 7.0).result()
    assert len(lost.errors) == 1
    assert "cannot be written" in str(lost.errors[0])
    opened.commits.release(bad)
    with pytest.raises(JournalError, match="run r1 ends"):
        opened.finish("r1", "cancelled", 9.0, None).result()
    opened.finish("r2", "succeeded", 9.0, None).result()
    assert list(opened.recorded(stage.id)) == [(0, "succeeded", 0, 1)]
    assert list(opened.recorded(other.id)) == [(0, "succeeded", 0, 1)]
    with closing(Journal(journal)) as later:
        later.take("r1", time.time()).result()


def test_text_that_is_no_utf8_is_written_as_its_escapes(opened):
    create(opened)
    writer = opened.own("r1", never)
    stage = open_stage(opened, writer, 1)
    outcomes = Outcomes(stage.id, (0, 1, 0, 0))
    outcomes.items.append((stage.id << 32, "failed", 0, 1, 1.0, 2.0, None, None))
    outcomes.failures.append((stage.id << 32, "b", 1, 2.0, "E\udcff", "é \udcff", "→\udcff", None))
    writer.add(outcomes)
    writer.log((3.0, "b", 0, 1, "INFO", "stdout", "naïve \udcff"))
    opened.finish("r1", "failed", 2.0, '{"message": "\udcff"}').result()
    assert list(opened.failures(stage.id, "failed")) == [
        (0, "b", 1, "E\\udcff", "é \\udcff", "→\\udcff")
    ]
    assert [line.message for line in opened.history.lines("r1")] == ["naïve \\udcff"]
    assert opened.run("r1").error == '{"message": "\\udcff"}'
    assert list(opened.history.events("r1"))[-1][-1] == '{"message": "\\udcff"}'
    with pytest.raises(RunNotFound):
        opened.history.find("\udcff")


def test_whatever_is_in_a_text_or_number_is_read_back(opened):
    create(opened)
    writer = opened.own("r1", never)
    stage = open_stage(opened, writer, 100)
    odd = "nul \0, one \1, both \1\0\1\2, \\x00, %s, ?, \U0010ffff"
    for start, count in ((0, 3), (3, 60)):  # few and many rows are written in different ways
        outcomes = Outcomes(stage.id, (0, count, 0, 0))
        for index in range(start, start + count):
            key = stage.id << 32 | index
            outcomes.items.append((key, "failed", 0, 2**62, 1.5, 1e300, b"\0\\x00", None))
            outcomes.failures.append((key, "b", 1, 5e-324, odd, odd, odd, b"\1\0"))
        writer.add(outcomes)
    writer.log((3.0, "b", 1, 2, "INFO", "stdout", odd))
    opened.flush("r1").result()
    rows = opened.read("SELECT attempts, started, finished, output FROM items ORDER BY id")
    assert [repr(row) for row in rows] == [repr((2**62, 1.5, 1e300, b"\0\\x00"))] * 63
    texts = opened.read("SELECT type, reason, traceback, at, whole FROM failures")
    assert texts == [(odd, odd, odd, 5e-324, b"\1\0")] * 63
    assert [line.message for line in opened.history.lines("r1")] == [odd]
    assert opened.read("SELECT count(*) FROM failures WHERE reason = ?", (odd,)) == [(63,)]


def test_a_call_that_is_cancelled_before_its_turn_is_not_made(opened):
    create(opened)
    entered, go_on = threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> str:
        entered.set()
        assert go_on.wait(10)
        return "made"

    first = opened.commits.call("r1", slow)
    assert entered.wait(10)
    second = opened.finish("r1", "failed", 2.0, None)
    assert second.cancel()
    assert not first.cancel()
    go_on.set()
    assert first.result() == "made"
    opened.flush("r1").result()
    assert opened.run("r1").status == "running"


@pytest.mark.sqlite
def test_a_journal_that_cannot_grow_gives_its_runs_up_at_once(opened, journal):
    create(opened, now=time.time())
    lost = Lost()
    writer = opened.own("r1", lost)
    stage = open_stage(opened, writer, 1)
    opened.flush("r1").result()

    def leave_no_room(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # it is as large as it may be

    opened.commits.call("r1", leave_no_room).result()
    large = Outcomes(stage.id)
    large.items.append((stage.id << 32, "succeeded", 0, 1, 1.0, 2.0, bytes(9_000_000), None))
    writer.add(large)
    with pytest.raises(JournalError, match=r"full; free some space .* resume the run"):
        opened.flush("r1").result()
    assert lost.told.wait(10)
    writer.add(large)
    opened.commits.wait_for_room()
    with pytest.raises(JournalError, match="full"):
        opened.flush("r1").result()
    with closing(Journal(journal)) as later:
        later.take("r1", time.time()).result()
        assert later.run("r1").owner == later.owner


def test_a_closed_journal_gives_its_runs_up_at_once(opened, journal):
    with closing(Journal(journal)) as before:
        create(before, now=time.time())
        with pytest.raises(RunOwned):
            opened.take("r1", time.time()).result()
    opened.take("r1", time.time()).result()


def test_who_logs_much_waits_for_the_journal(opened):
    create(opened)
    writer = opened.own("r1", never)
    entered, go_on, logged = threading.Event(), threading.Event(), threading.Event()

    def slow(connection: sqlite3.Connection) -> None:
        entered.set()
        assert go_on.wait(30)

    def log() -> None:
        for number in range(40_000):
            writer.log((3.0, "b", number, 1, "INFO", "stdout", "line"))
        logged.set()

    held = opened.commits.call("r2", slow)
    assert entered.wait(10)
    assert not opened.commits.congested
    thread = threading.Thread(target=log)
    thread.start()
    deadline = time.monotonic() + 30
    while len(writer.lines) != 16_001:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert not logged.is_set()
    go_on.set()
    held.result()
    thread.join()
    opened.flush("r1").result()
    assert [line.item for line in opened.history.lines("r1")] == list(range(40_000))


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("sql", "advice"),
    [
        ("CREATE TABLE full (locked)", "can be written, or set LOKKI_LOCAL_JOURNAL"),
        ("SELECT disk_full FROM runs", "no such column: disk_full$"),
    ],
)
def test_the_advice_is_of_the_kind_of_error_not_its_words(opened, journal, sql, advice):
    with (
        pytest.raises(JournalError, match=advice),
        translate_sqlite_errors(journal),
        closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection,
    ):
        connection.execute(sql)


@pytest.mark.sqlite
def test_a_journal_that_is_deleted_while_open_hangs_nobody_and_records_nothing(opened, journal):
    create(opened, now=time.time())
    lost = threading.Event()
    writer = opened.own("r1", lambda error: lost.set())
    stage = open_stage(opened, writer, 1)
    opened.flush("r1").result()
    for path in journal.parent.iterdir():
        path.unlink()
    writer.add(simple(stage.id, range(1), (1, 0, 0, 0)))
    with pytest.raises(JournalGone, match="put it back"):
        opened.finish("r1", "succeeded", 2.0, None).result(30)
    assert lost.wait(30)
    with pytest.raises(JournalGone):
        opened.flush("r1").result(30)
    with closing(Journal(journal)) as new, pytest.raises(RunNotFound):
        new.run("r1")


# ---- schema ------------------------------------------------------------------------------------


def schema_of(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 2").fetchall()


def test_opening_twice_changes_nothing(journal):
    Journal(journal).close()
    before = schema_of(journal)
    Journal(journal).close()
    assert schema_of(journal) == before
    with closing(sqlite3.connect(journal)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_processes_that_open_a_new_journal_at_once_all_succeed(journal):
    code = "import sys; from lokki.store.journal import Journal; Journal(sys.argv[1]).close()"
    opening = [
        subprocess.Popen([sys.executable, "-c", code, str(journal)], stderr=subprocess.PIPE)
        for _ in range(6)
    ]
    for process in opening:
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors.decode()


def test_a_failed_migration_leaves_the_version_and_the_tables(journal, monkeypatch):
    Journal(journal).close()
    before = schema_of(journal)
    broken = (*MIGRATIONS, "CREATE TABLE extra (id INTEGER);\n CREATE NONSENSE")
    monkeypatch.setattr("lokki.store.schema.MIGRATIONS", broken)
    with pytest.raises(JournalError, match="syntax error"):
        Journal(journal)
    assert schema_of(journal) == before


def test_the_next_migration_is_applied_once(journal, monkeypatch):
    Journal(journal).close()
    grown = (*MIGRATIONS, "CREATE TABLE extra (id INTEGER)")
    monkeypatch.setattr("lokki.store.schema.MIGRATIONS", grown)
    Journal(journal).close()
    Journal(journal).close()
    assert "extra" in {name for _, name, _ in schema_of(journal)}


def test_what_is_made_is_its_owners_alone(tmp_path):
    with closing(Journal(tmp_path / "made" / "lokki.db")) as book:
        create(book)
        modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "made").iterdir()}
    assert modes == dict.fromkeys(
        ("lokki.db", "lokki.db-wal", "lokki.db-shm", "lokki.db-owners"), 0o600
    )
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700
