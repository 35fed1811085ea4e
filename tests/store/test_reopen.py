"""Taking back what is recorded of a run."""

from __future__ import annotations

import pytest

from lokki.store.items import Items
from lokki.store.reopen import Reopening

OLD = {index: [("ValueError", f"no {index}", "")] for index in (1, 2)} | {
    4: [("ValueError", "no 4", ""), ("KeyError", "k", "")]
}
"""Errors of three tolerated items, the last of another kind than its first attempt's."""


@pytest.fixture
def run(record):
    """A run of three maps that has succeeded, and another one like it."""
    for run_id in ("r1", "r2"):
        record.run(run_id)
        for position in range(3):
            statuses = {i: "tolerated" if i in OLD else "succeeded" for i in range(6)}
            record.stage(run_id, statuses, 6, position=position, errors=OLD, finished=True)
        record.journal.finish(run_id, "succeeded", 9.0, None).result()
    return "r1"


def reopen(record, run_id, position, *, whole=False, group=None):
    reopening = Reopening(position, whole, group, "new", "the new shape", "p")
    return record.journal.take(run_id, 100.0, reopening).result()


def seen(record, run_id):
    """Each stage's statuses as letters, and its counts: succeeded, failed, tolerated."""
    journal = record.journal
    return [
        (
            "".join(item.status[0] for item in Items(journal.read).page(stage)),
            (stage.succeeded, stage.failed, stage.tolerated),
            stage.finished is not None,
        )
        for stage in journal.history.stages(run_id)
    ]


DONE = ("sttsts", (3, 0, 3), True)


def test_a_whole_stage_and_what_comes_after_is_taken_back(record, run):
    before = reopen(record, run, 1, whole=True)
    assert before.status == "failed"  # so that the engine runs it
    assert seen(record, run) == [DONE]
    assert list(record.journal.failures(record.journal.history.stages("r2")[1].id, "tolerated"))
    row = record.journal.run(run)
    assert (row.status, row.finished, row.error) == ("running", None, None)
    assert (row.fingerprint, row.structure, row.owner) == (
        "new",
        "the new shape",
        record.journal.owner,
    )


def test_the_first_stage_leaves_nothing(record, run):
    reopen(record, run, 0, whole=True)
    assert seen(record, run) == []


def test_a_stage_that_has_not_begun_takes_nothing_back(record, run):
    reopen(record, run, 3, whole=True)
    assert seen(record, run) == [DONE, DONE, DONE]


def test_tolerated_failures_are_taken_back(record, run):
    reopen(record, run, 1)
    assert seen(record, run) == [DONE, ("sffsfs", (3, 3, 0), False)]


@pytest.mark.parametrize("whole", [False, True])
def test_the_last_stage_there_can_be_leaves_those_before(record, whole):
    for run_id in ("r1", "r2"):
        record.run(run_id)
        for position in (0, 255):
            statuses = {0: "succeeded", 1: "tolerated"}
            record.stage(run_id, statuses, 2, position=position, finished=True)
        record.journal.finish(run_id, "succeeded", 9.0, None).result()
    for run_id in ("r1", "r2"):  # of an odd and an even number
        reopen(record, run_id, 255, whole=whole)
        last = [] if whole else [("sf", (1, 1, 0), False)]
        assert seen(record, run_id) == [("st", (1, 0, 1), True), *last]


def test_one_group_of_them_is_taken_back(record, run):
    journal = record.journal
    large, small = journal.history.groups(journal.history.stages(run)[0])
    assert (large.items, small.items) == ([1, 2], [4])
    reopen(record, run, 0, group=large.id)
    assert seen(record, run) == [("sffsts", (3, 2, 1), False)]
    reopened = journal.history.groups(journal.history.stages(run)[0])
    assert [(group.items, group.tolerated) for group in reopened] == [([1, 2], False), ([4], True)]


def test_another_run_is_left_as_it_was(record, run):
    row = record.journal.run("r2")
    reopen(record, run, 1)
    record.journal.finish(run, "failed", 101.0, None).result()
    reopen(record, run, 0, whole=True)
    assert seen(record, "r2") == [DONE, DONE, DONE]
    assert record.journal.run("r2") == row


def test_a_run_that_is_being_run_is_not_reopened(record, run):
    record.run("r3", at=100.0)
    record.stage("r3", {0: "tolerated"}, 1)
    with pytest.raises(Exception, match="is being run by process"):
        reopen(record, "r3", 0, whole=True)
    assert [statuses for statuses, _, _ in seen(record, "r3")] == ["t"]
