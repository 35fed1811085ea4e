"""What the journal tells of its runs."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from itertools import count, pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lokki import JournalError, RunNotFound
from lokki.model.run import StackFrame
from lokki.store.connection import Reader
from lokki.store.history import History, read_history
from lokki.store.outcomes import Outcomes
from lokki.store.runs import RunRecord
from lokki.store.spans import Span

TROUBLED = ("failed", "tolerated", "retrying", "cancelled")


def never(error):
    raise AssertionError(error)


def ids(runs):
    return [run.id for run in runs]


# ---- opening -------------------------------------------------------------------------------------


def test_a_journal_that_is_not_there_has_no_runs_and_is_not_made(journal):
    with read_history(journal) as history:
        assert history.runs() == []
        with pytest.raises(RunNotFound, match=f"^no runs yet in the journal {journal}$"):
            history.find("last")
        with pytest.raises(RunNotFound, match=r"^no runs of birds yet in the journal "):
            history.find("last", "birds")
    assert not journal.parent.exists()


def test_what_is_no_journal_is_reported(journal):
    journal.parent.mkdir()
    journal.write_text("no journal" * 1000)
    with pytest.raises(JournalError, match="damaged"), read_history(journal):
        pass


def test_a_run_is_read_while_it_is_written(record, journal):
    record.run()
    with read_history(journal) as history:
        assert history.stages("r1") == []
        record.stage("r1", {0: "succeeded"}, 2)
        assert [stage.succeeded for stage in history.stages("r1")] == [1]


# ---- runs ----------------------------------------------------------------------------------------


@pytest.fixture
def history(record):
    """Seven runs of two flows, two of them created at the same time."""
    for at, (run_id, flow, status) in enumerate(
        [
            ("a", "birds", "succeeded"),
            ("b", "bees", "failed"),
            ("c", "birds", "running"),
            ("d", "birds", "failed"),
            ("e", "bees", "cancelled"),
            ("f", "birds", "succeeded"),
        ]
    ):
        record.run(run_id, flow=flow, at=float(at), status=status)
    record.run("g", flow="bees", at=5.0)
    return record.journal.history


def test_runs_are_listed_newest_first(history):
    assert ids(history.runs()) == ["g", "f", "e", "d", "c", "b", "a"]
    assert ids(history.runs(limit=3)) == ["g", "f", "e"]
    assert history.runs(limit=0) == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"flow": "birds"}, "fdca"),
        ({"flow": "ants"}, ""),
        ({"statuses": ["failed"]}, "db"),
        ({"statuses": ["failed", "cancelled"]}, "edb"),
        ({"since": 4.0}, "gfe"),
        ({"since": 2.5, "flow": "birds", "statuses": ["succeeded", "failed"]}, "fd"),
        ({"flow": "birds", "limit": 2}, "fd"),
    ],
)
def test_runs_are_filtered(history, filters, expected):
    assert ids(history.runs(**filters)) == list(expected)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"tags": ["nightly"]}, "ca"),
        ({"tags": ["nightly", "team=data"]}, "a"),
        ({"tags": ["night"]}, ""),
        ({"params": ["limit=5"]}, "cba"),
        ({"params": ["limit=50"]}, ""),
        ({"params": ["limit=5", "town=Åre"]}, "a"),
        ({"params": ['town="Åre"']}, "a"),
        ({"params": ["dry=true"]}, "b"),
        ({"params": ["inner=x y"]}, "c"),
        ({"params": ['limit"=5']}, ""),
        ({"search": "ÅRE"}, "a"),
        ({"search": "åre"}, ""),
        ({"search": 'SAYS "NO"'}, "b"),
        ({"search": "100%"}, "b"),
        ({"search": "100_"}, ""),
        ({"search": "?"}, "c"),
        ({"search": "nightly", "params": ["limit=5"], "limit": 1}, "c"),
    ],
)
def test_runs_are_found_by_tag_parameter_and_text(record, filters, expected):
    error = json.dumps({"type": "ValueError", "message": 'it says "no" to 100%'})
    record.run("a", at=1, tags=["nightly", "team=data"], params={"limit": 5, "town": "Åre"})
    record.run("b", at=2, params={"dry": True, "limit": 5}, status="failed", error=error)
    record.run(
        "c", at=3, tags=["nightly"], params={"box": {"inner": "x y", "z": "?"}, "limit": "5"}
    )
    assert ids(record.journal.history.runs(**filters)) == list(expected)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pages_of_runs_are_the_list(history, size):
    pages, before = [], None
    while page := history.runs(before=before, limit=size):
        pages += page
        before = (page[-1].created, page[-1].id)
    assert pages == history.runs()


def test_stages_of_several_runs_are_in_order(history, record):
    record.stage("c", {}, 1)
    record.stage("c", {}, 2, position=1)
    record.stage("g", {}, 3)
    assert [stage.total for stage in history.stages("g", "c", "a")] == [1, 2, 3]
    assert [stage.total for stage in history.stages("c")] == [1, 2]
    assert history.stages() == history.stages("a") == []


def test_stages_of_more_runs_than_a_query_takes_values(history, record):
    for run_id in "gc":
        record.stage(run_id, {}, 1)
    if isinstance(history._read.path, Path):
        history._read.database._reading.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)
    names = ["g", *(f"b{number}" for number in range(2_000)), "c"]
    assert [stage.run for stage in history.stages(*names)] == ["c", "g"]


def test_runs_are_found_by_the_beginning_of_their_id(record):
    for run_id in ("2026-a1", "2026-a2", "2026-b", "2026-bé", "2026-b_%"):
        record.run(run_id)
    history = record.journal.history
    assert history.find("2026-b").id == "2026-b"
    assert history.find("2026-bé").id == "2026-bé"
    assert history.find("2026-b_").id == "2026-b_%"
    with pytest.raises(RunNotFound, match=r"several ids \(2026-a1, 2026-a2\)"):
        history.find("2026-a")
    with pytest.raises(RunNotFound, match=r"\(2026-a1, 2026-a2, 2026-b, …\)"):
        history.find("2026")
    for name in ("2026-A1", "2026-a11", "%", "____"):
        with pytest.raises(RunNotFound, match=f"no run '{name}'"):
            history.find(name)


def test_events_of_a_run_in_order(history):
    assert [(at, kind) for at, kind, _, _ in history.events("b")] == [
        (1.0, "run_started"),
        (2.0, "run_failed"),
    ]


# ---- when a run was worked on --------------------------------------------------------------------

DAY = 86_400.0


def worked(run, now=10 * DAY):
    return run.worked(run.started, run.end(now))


def resume(record, run_id, at, status="succeeded"):
    """Go on with a run for five seconds."""
    record.journal.take(run_id, at).result()
    record.journal.finish(run_id, status, at + 5, None).result()


def test_the_time_between_an_attempts_end_and_the_next_is_a_pause(record):
    record.run(at=DAY, status="failed")
    for days in (3, 5):
        resume(record, "r1", days * DAY, status="failed")
    run = record.journal.history.find("r1")
    assert worked(run) == 1 + 5 + 5
    assert run.worked(DAY, 2 * DAY) == 1
    assert run.worked(2 * DAY, 2.5 * DAY) == 0
    assert run.worked(3 * DAY + 1, 6 * DAY) == 4 + DAY


def test_every_run_of_a_list_has_its_own_pauses(record):
    for name in "abc":
        record.run(name, at=DAY, status="cancelled")
    resume(record, "c", 2 * DAY)
    resume(record, "a", 3 * DAY)
    found = {run.id: worked(run) for run in record.journal.history.runs()}
    assert found == {"a": 6, "b": 1, "c": 6}


def test_a_killed_run_was_worked_on_until_its_process_was_seen_last(record):
    record.run(at=DAY)
    resume(record, "r1", 3 * DAY)
    assert worked(record.journal.history.find("r1")) == 5


def test_a_killed_run_that_is_cancelled_later_was_not_worked_on_meanwhile(record):
    record.run(at=DAY)
    record.journal.request_cancel("r1", 3 * DAY).result()
    run = record.journal.history.find("r1")
    assert (run.finished, worked(run)) == (3 * DAY, 0)
    resume(record, "r1", 5 * DAY)
    assert worked(record.journal.history.find("r1")) == 5


def test_a_lost_run_ends_with_the_last_that_is_known_of_it(record):
    record.run(at=DAY)
    history = record.journal.history
    assert history.find("r1").end(DAY + 29) == DAY + 29, "it goes on"
    assert history.find("r1").end(2 * DAY) == DAY, "its heartbeat"
    record.journal.close_stage("r1", 0, DAY + 9).result()
    assert history.find("r1").end(2 * DAY) == DAY + 9, "its last event"
    stage = record.stage("r1", {}, 1)
    outcome(record, stage, DAY + 99)
    assert history.find("r1").end(2 * DAY) == DAY + 99, "its last outcome"
    record.journal.begin_removal("r1", 3 * DAY).result()  # to remove it
    for later in (0, DAY):
        assert history.find("r1").end(3 * DAY + later) == DAY + 99


def outcome(record, stage, at):
    """An item of a stage succeeds."""
    writer = record.journal.own(stage.run, never)
    writer.add(Outcomes(stage.id, (1, 0, 0, 0), [Span.of(0, at, [at], [(b"",)])]))
    record.journal.flush(stage.run).result()
    record.journal.commits.release(writer)


def test_a_lost_run_that_is_resumed_was_worked_on_until_its_last_outcome(record):
    stage = record.stage(record.run(at=DAY), {}, 1)
    outcome(record, stage, DAY + 99)
    resume(record, "r1", 3 * DAY)
    assert worked(record.journal.history.find("r1")) == 99 + 5


def test_a_run_that_is_removed_is_neither_lost_nor_does_it_go_on(record):
    record.run(at=DAY)
    run = record.journal.history.find("r1")
    assert (run.removing, run.goes_on(DAY), run.is_lost(2 * DAY)) == (False, True, True)
    record.journal.begin_removal("r1", 3 * DAY).result()
    run = record.journal.history.find("r1")
    assert (run.removing, run.goes_on(3 * DAY), run.is_lost(4 * DAY)) == (True, False, False)
    assert record.journal.history.runs() == [run]


moments = st.integers(0, 20).map(float)


@given(st.lists(st.tuples(moments, moments)), moments, moments)
def test_a_time_is_worked_on_but_for_its_pauses(pauses, since, until):
    run = RunRecord(*[None] * 15, pauses=tuple(pauses))
    if all(start <= end for start, end in pauses):
        seconds = range(int(since), int(until))
        paused = {second for start, end in pauses for second in range(int(start), int(end))}
        assert run.worked(since, until) == len([each for each in seconds if each not in paused])
    assert 0 <= run.worked(since, until) <= max(0, until - since)


# ---- a map's items -------------------------------------------------------------------------------


def cells_of(statuses, total, width):
    """What the strip is to show, counted one by one."""
    width = min(width, total)
    cells = [Counter() for _ in range(width)]
    bounds = [cell * total // width for cell in range(width + 1)] if width else [0]
    for cell, (start, stop) in zip(cells, pairwise(bounds), strict=True):
        cell.update(statuses.get(index, "pending") for index in range(start, stop))
    return cells


def strip(record, run_id, stage, width):
    return [+cell for cell in record.journal.history.strip(stage, width)]


numbers = count()
maps = st.integers(0, 400).flatmap(
    lambda total: st.tuples(
        st.just(total),
        st.dictionaries(
            st.integers(0, max(0, total - 1)), st.sampled_from(("succeeded", *TROUBLED))
        )
        if total
        else st.just({}),
    )
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(maps, st.integers(1, 60))
def test_the_cells_of_a_strip_hold_every_item(record, given_map, width):
    total, statuses = given_map
    run_id = record.run(f"p{next(numbers)}")
    stage = record.stage(run_id, statuses, total)
    cells = strip(record, run_id, stage, width)
    exact = cells_of(statuses, total, width)
    assert [cell.total() for cell in cells] == [cell.total() for cell in exact]
    for cell, expected in zip(cells, exact, strict=True):
        assert [cell[status] for status in TROUBLED] == [expected[status] for status in TROUBLED]
        if expected.total() <= 16:
            assert cell == expected
    counts = record.journal.history.troubled(stage)
    assert counts == +Counter(status for status in statuses.values() if status in TROUBLED)


def test_the_strip_of_a_map_without_items_is_empty(record):
    stage = record.stage(record.run(), {}, 0)
    assert record.journal.history.strip(stage, 80) == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 1_500), st.floats(0, 1), st.integers(1, 60))
def test_what_is_done_from_the_begin_on_is_shown_as_done(record, total, share, width):
    done = int(total * share)
    run_id = record.run(f"d{next(numbers)}")
    stage = record.stage(run_id, dict.fromkeys(range(done), "succeeded"), total)
    cells = strip(record, run_id, stage, width)
    for cell, exact in zip(
        cells, cells_of(dict.fromkeys(range(done), "succeeded"), total, width), strict=True
    ):
        if len(exact) == 1:
            assert cell == exact


def test_the_strip_of_a_large_map_that_is_partly_done(record):
    statuses = dict.fromkeys(range(40_500), "succeeded") | {7: "tolerated", 40_499: "failed"}
    stage = record.stage(record.run(), statuses, 100_000)
    cells = strip(record, "r1", stage, 100)
    assert cells[0] == {"tolerated": 1, "succeeded": 999}
    assert cells[1:40] == [{"succeeded": 1000}] * 39
    assert cells[41:] == [{"pending": 1000}] * 59
    assert cells[40].total() == 1000
    assert cells[40]["failed"] == 1
    assert 400 <= cells[40]["succeeded"] <= 600


@pytest.mark.parametrize("every", [2, 10, 100])
def test_failures_at_a_regular_distance_hide_no_successes(record, every):
    total = 16_000
    statuses = {
        index: "succeeded" if index % every else "tolerated" for index in range(total - 1600)
    }
    stage = record.stage(record.run(), statuses, total)
    assert strip(record, "r1", stage, 10) == cells_of(statuses, total, 10)


def test_a_finished_map_is_shown_exactly(record):
    statuses = {i: "succeeded" if i % 997 == 5 else "tolerated" for i in range(20_000)}
    stage = record.stage(record.run(), statuses, 20_000)
    assert strip(record, "r1", stage, 7) == cells_of(statuses, 20_000, 7)


def test_an_item_that_succeeds_after_all_is_troubled_no_more(record):
    stage = record.stage(record.run(), {0: "retrying", 1: "failed", 2: "cancelled"}, 3)
    history = record.journal.history
    assert history.troubled(stage) == {"retrying": 1, "failed": 1, "cancelled": 1}
    later = Outcomes(stage.id, (2, 1, 0, 0))
    later.spans.append(Span.of(0, 3.0, [4.0], [(b"0",)]))
    later.items.append((stage.id << 32 | 2, "succeeded", 0, 2, 3.0, 4.0, b"2", None))
    writer = record.journal.own("r1", never)
    writer.add(later)
    record.journal.flush("r1").result()
    assert history.troubled(stage) == {"failed": 1}
    assert [group.items for group in history.groups(stage)] == [[1]]


def test_only_the_stages_own_items_are_counted(record):
    for position in range(3):
        stage = record.stage(record.run(f"r{position}"), {0: "failed"}, 2)
    other = record.stage("r2", {1: "tolerated"}, 2, position=1)
    history = record.journal.history
    assert history.troubled(stage) == {"failed": 1}
    assert history.troubled(other) == {"tolerated": 1}
    assert strip(record, "r2", other, 2) == [{"pending": 1}, {"tolerated": 1}]
    assert [group.items for group in history.groups(other)] == [[1]]


# ---- failures ------------------------------------------------------------------------------------

TRACE = 'Traceback (most recent call last):\n  File "/home/u/birds.py", line {}, in flap\n'


def error(kind="ValueError", message="no 1", line=7):
    return (kind, message, TRACE.format(line))


def test_failures_are_grouped_the_largest_group_first(record):
    errors = {index: [error(message=f"no {index}", line=index)] for index in range(2, 20, 2)}
    errors |= {1: [error("KeyError")], 3: [error("KeyError", line=9)]}
    stage = record.stage(record.run(), dict.fromkeys(errors, "tolerated"), 20, errors=errors)
    large, small = record.journal.history.groups(stage)
    assert (large.count, large.items, large.step) == (9, [2, 4, 6, 8, 10], "b")
    assert (large.type, large.message, large.tolerated_count) == ("ValueError", "no 2", 9)
    assert large.traceback == TRACE.format(2)
    assert large.place == StackFrame(file="/home/u/birds.py", line=2, function="flap")
    assert (small.count, small.items, small.type) == (2, [1, 3], "KeyError")
    assert (large.varies, small.varies) == (True, False)
    assert large.id != small.id


def test_a_failure_that_ends_the_run_comes_before_tolerated_ones_like_it(record):
    statuses = {0: "tolerated", 1: "tolerated", 2: "failed"}
    errors = {index: [error(message=f"no {index}")] for index in statuses}
    stage = record.stage(record.run(), statuses, 4, errors=errors)
    (group,) = record.journal.history.groups(stage)
    assert (group.count, group.failed, group.tolerated_count) == (3, 1, 2)
    assert (group.items, group.message) == ([2, 0, 1], "no 2")


def test_the_last_failure_of_an_item_counts(record):
    errors = {0: [error("OSError"), error("OSError"), error("KeyError")]}
    stage = record.stage(record.run(), {0: "failed"}, 1, errors=errors)
    assert [(group.type, group.count) for group in record.journal.history.groups(stage)] == [
        ("KeyError", 1)
    ]


def test_failures_that_do_not_stand_are_in_no_group(record):
    errors = {index: [error()] for index in range(3)}
    statuses = {1: "cancelled", 2: "succeeded"}
    stage = record.stage(record.run(), statuses, 3, errors=errors)
    assert record.journal.history.groups(stage) == []


def test_items_that_are_retrying_are_grouped_by_their_last_failure(record):
    errors = {0: [error("KeyError"), error()], 1: [error("KeyError")], 2: [error("KeyError")]}
    statuses = {0: "retrying", 1: "tolerated", 2: "retrying"}
    stage = record.stage(record.run(), statuses, 3, errors=errors)
    mixed, alone = record.journal.history.groups(stage)
    assert (mixed.count, mixed.failed, mixed.tolerated_count) == (2, 0, 1)
    assert mixed.retrying == 1
    assert (alone.type, alone.items, alone.failed, alone.retrying) == ("ValueError", [0], 0, 1)


def test_the_most_of_a_groups_items_that_are_reported(record):
    kinds = [f"{letter}Error" for letter in "abcdefgh"]
    errors = {index: [error(kinds[min(index, 7)])] for index in range(100)}
    stage = record.stage(record.run(), dict.fromkeys(errors, "failed"), 100, errors=errors)
    groups = record.journal.history.groups(stage, shown=2)
    assert [group.items for group in groups[:2]] == [[7, 8], groups[1].items]
    assert [group.count for group in groups] == [93, *[1] * 7]


def test_every_group_is_reported_with_its_first_error(record):
    errors = {index: [error(f"{chr(97 + index)}Error")] for index in range(80)}
    stage = record.stage(record.run(), dict.fromkeys(errors, "failed"), 80, errors=errors)
    groups = record.journal.history.groups(stage)
    assert {tuple(group.items): group.type for group in groups} == {
        (index,): kind for index, [(kind, _, _)] in errors.items()
    }


# ---- logs ----------------------------------------------------------------------------------------

LINES = [
    (1.0, "a", None, 1, "INFO", "stdout", "begin"),
    (2.0, "b", 0, 1, "DEBUG", "lib", "detail"),
    (3.0, "b", 1, 1, "WARNING", "lib", "odd"),
    (4.0, "b", 1, 2, "ERROR", "stderr", "bad"),
    (5.0, "b", 0, 1, "NOTICE", "lib", "of their own"),
    (6.0, "c", None, 1, "CRITICAL", "lib", "worst"),
]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "begin detail odd bad of-their-own worst"),
        ({"level": "INFO"}, "begin odd bad of-their-own worst"),
        ({"level": "WARNING"}, "odd bad worst"),
        ({"level": "ERROR"}, "bad worst"),
        ({"level": "CRITICAL"}, "worst"),
        ({"step": "b"}, "detail odd bad of-their-own"),
        ({"step": "none"}, ""),
        ({"item": 0}, "detail of-their-own"),
        ({"item": 1, "attempt": 2}, "bad"),
        ({"attempt": 2}, "bad"),
        ({"since": 4.0}, "bad of-their-own worst"),
        ({"since": 2.5, "step": "b", "level": "WARNING"}, "odd bad"),
        ({"since": 2.0, "until": 3.0}, "detail odd"),
    ],
)
def test_lines_are_filtered(record, filters, expected):
    record.lines(record.run(), *LINES)
    record.lines(record.run("r2"), (9.0, "b", 0, 2, "ERROR", "lib", "of another run"))
    found = record.journal.history.lines("r1", **filters)
    assert [line.message.replace(" ", "-") for line in found] == expected.split()


def test_thousands_of_lines_are_read_in_pages_and_gone_on_from(record):
    lines = [(1.0, "b", number, 1, "INFO", "stdout", "x") for number in range(3000)]
    record.lines(record.run(), *lines)
    history = record.journal.history
    found = list(history.lines("r1"))
    assert [line.item for line in found] == list(range(3000))
    assert [line.item for line in history.lines("r1", after=found[1233].id)] == [*range(1234, 3000)]
    assert list(history.lines("r1", after=found[-1].id)) == []
    assert (history.last_line("r1"), history.last_line("none")) == (found[-1].id, 0)
    record.lines("r1", *lines[:2])
    assert [line.item for line in history.lines("r1", after=found[-1].id)] == [0, 1]


@pytest.mark.parametrize("count", [1, 1000, 1024, 2500, 5000])
def test_the_last_lines_are_read_from_the_end(record, count):
    lines = [(1.0, "b", number, 1, "INFO", "stdout", "x") for number in range(3000)]
    record.lines(record.run(), *lines)
    record.lines(record.run("r2"), *lines)
    record.lines("r1", *[(1.0, "b", number, 1, "INFO", "stdout", "x") for number in (3000, 3001)])
    history = record.journal.history
    every = list(history.lines("r1"))
    assert history.last_lines("r1", count) == every[-count:]
    middle = every[1500]
    assert history.last_lines("r1", count, before=middle.id) == every[:1500][-count:]
    assert history.last_lines("r1", 2, item=7) == [every[7]]
    assert history.last_lines("none", count) == []


# ---- how it is found -----------------------------------------------------------------------------


class Explained(Reader):
    """Reads, and notes how SQLite goes about it."""

    def __init__(self, path):
        super().__init__(path)
        self.plans = []

    def __call__(self, sql, values=()):
        plan = super().__call__(f"EXPLAIN QUERY PLAN {sql}", values)
        self.plans += [row[3] for row in plan]
        return super().__call__(sql, values)

    execute = __call__


@pytest.fixture
def explained(opened):
    with closing(Explained(opened.path)) as reader:
        yield reader


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("question", "more"), [("strip", (10,)), ("troubled", ()), ("groups", ()), ("inner", ("bc",))]
)
def test_a_maps_items_are_found_by_the_index_of_troubled_ones_or_by_their_key(
    record, explained, question, more
):
    stage = record.stage(record.run(), {0: "succeeded", 2: "failed"}, 100)
    history = History(explained)
    getattr(history, question)(stage, *more)
    tables = [plan for plan in explained.plans if "items" in plan or "failures" in plan]
    assert any("INDEX items_troubled (id>? AND id<?)" in plan for plan in tables)
    for plan in tables:
        assert any(
            way in plan
            for way in (
                "INDEX items_troubled (",
                "INTEGER PRIMARY KEY (rowid=?)",
                "INDEX failures_by_item (item=?)",
                "INDEX failures_by_item (item>? AND item<?)",
            )
        ), plan


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda history: history.runs(limit=20), "runs_by_time"),
        (lambda history: history.runs(statuses=["failed"], limit=20), "runs_by_time"),
        (lambda history: history.runs(since=1.0), "runs_by_time (created>?)"),
        (lambda history: history.runs(before=(9.0, "r"), limit=20), "runs_by_time"),
        (lambda history: history.runs(flow="f"), "runs_by_flow (flow=?)"),
        (lambda history: history.find("last"), "runs_by_time"),
        (lambda history: history.find("r1"), "(id>? AND id<?)"),
        (lambda history: history.stages("r1", "r2"), "(run=?)"),
        (lambda history: history.events("r1"), "events_by_run (run=?)"),
        (lambda history: list(history.lines("r1", item=3)), "logs_by_run (run=? AND id>?)"),
        (lambda history: history.last_line("r1"), "logs_by_run (run=?)"),
    ],
)
def test_lists_are_read_by_an_index_in_its_order(record, explained, ask, index):
    record.run()
    ask(History(explained))
    others = "USE TEMP", "LIST SUBQUERY"
    assert all(any(word in plan for word in ("INDEX", *others)) for plan in explained.plans)
    assert any(index in plan for plan in explained.plans), explained.plans
    if "flow" not in index:
        assert not any("TEMP B-TREE" in plan for plan in explained.plans)
