"""The items of a stage: pages, one item, its attempts and its output."""

from __future__ import annotations

from collections import Counter

import pytest

from lokki.model.item import Attempt, Item, ItemError
from lokki.model.status import ItemStatus
from lokki.model.times import utc
from lokki.store.items import Items

STATUSES = {0: "succeeded", 2: "failed", 3: "succeeded", 5: "tolerated", 6: "retrying", 9: "failed"}
ERRORS = {
    2: [("ValueError", "no 2", "trace")],
    5: [("OSError", "first", ""), ("ValueError", "no 5", "trace")],
    6: [("OSError", "again", "")],
    9: [("OSError", "no", "")],
}


@pytest.fixture
def items(opened):
    return Items(opened.read)


@pytest.fixture
def stage(record):
    """Between two others, whose items are no part of it."""
    record.run("r0")
    record.stage("r0", {0: "succeeded", 1: "failed"}, 2)
    record.run("r1")
    found = record.stage("r1", STATUSES, 10, errors=ERRORS)
    record.stage("r1", {0: "failed"}, 1, position=1)
    return found


def item(index, status, error=None):
    """An item that was worked on from the first second of 1970 to the next."""
    return Item(
        index=index,
        status=ItemStatus(status),
        attempts=1,
        started=utc(1),
        finished=utc(2),
        duration=1.0,
        error=error,
    )


def attempt(number, kind, message, traceback):
    """A failed attempt of the step "b", in the second second of 1970."""
    texts = {"type": kind, "message": message, "traceback": traceback}
    return Attempt(attempt=number, step="b", at=utc(2), **texts)


def indexes(items, stage, **wanted):
    return [item.index for item in items.page(stage, **wanted)]


def test_items_with_an_outcome_are_listed_in_order(items, stage):
    assert indexes(items, stage) == list(STATUSES)
    assert [item.status for item in items.page(stage)] == list(STATUSES.values())
    assert items.page(stage)[0] == item(0, "succeeded")
    assert items.page(stage)[3].error == ItemError(type="ValueError", message="no 5")


@pytest.mark.parametrize(
    ("statuses", "found"),
    [
        (["failed"], [2, 9]),
        (["succeeded"], [0, 3]),
        (["tolerated", "retrying"], [5, 6]),
        (["failed", "succeeded"], [0, 2, 3, 9]),
        (["cancelled"], []),
    ],
)
def test_items_by_status(items, stage, statuses, found):
    assert indexes(items, stage, statuses=statuses) == found
    assert indexes(items, stage, statuses=statuses, after=2) == [n for n in found if n > 2]


def test_items_by_the_group_of_their_last_failure(items, stage, opened):
    groups = {group.type: group for group in opened.history.groups(stage)}
    for group in opened.history.groups(stage):
        assert indexes(items, stage, group=group.id) == group.items
    failed = indexes(items, stage, group=groups["OSError"].id, statuses=["failed"])
    assert failed == [9]
    assert indexes(items, stage, group="nosuch") == []


@pytest.mark.parametrize("limit", range(1, 8))
@pytest.mark.parametrize("statuses", [(), ("failed",), ("succeeded", "tolerated")])
def test_pages_are_the_whole(items, stage, limit, statuses):
    found, after = [], -1
    while page := items.page(stage, statuses=statuses, after=after, limit=limit):
        assert len(page) <= limit
        found += [item.index for item in page]
        after = found[-1]
    assert found == [n for n, status in STATUSES.items() if status in (statuses or {status})]


def test_one_item(items, stage):
    assert items.find(stage, 2) == item(2, "failed", ItemError(type="ValueError", message="no 2"))
    assert items.find(stage, 1) is None
    assert items.find(stage, 10) is None


def test_its_attempts_are_in_order(items, stage):
    assert items.attempts(stage, 5) == [
        attempt(1, "OSError", "first", ""),
        attempt(2, "ValueError", "no 5", "trace"),
    ]
    assert items.attempts(stage, 0) == []


def test_all_its_attempts_are_counted(items, stage):
    """Also those that the record of its last step, since the last resume, does not count."""
    assert items.find(stage, 5).attempts == 2
    assert [each.attempts for each in items.page(stage)] == [1, 1, 1, 2, 1, 1]


def test_an_item_that_waits_when_its_run_ends_is_cancelled(items, stage, opened):
    opened.finish("r1", "failed", 9.0, None).result()
    assert items.find(stage, 6).status == "cancelled"
    assert items.find(stage, 6).error == ItemError(type="OSError", message="again")
    assert indexes(items, stage, statuses=["retrying"]) == []
    assert indexes(items, stage, statuses=["retrying", "failed"]) == [2, 9]
    assert indexes(items, stage, statuses=["cancelled"]) == [6]
    assert [each.status for each in items.page(stage) if each.index == 6] == ["cancelled"]
    assert sum(opened.history.strip(stage, 3), Counter())["cancelled"] == 1


def test_its_output(items, stage):
    assert items.output(stage, 3) == (b"3", None)
    assert items.output(stage, 2) is None
    assert items.output(stage, 1) is None


def test_an_item_that_a_clock_was_set_back_under_took_no_negative_time(record, opened):
    record.run("back")
    stage = record.stage("back", {0: "succeeded"}, 1)
    opened.commits.call(
        "", lambda c: c.execute("UPDATE items SET started = 3600.5, finished = 0.25").rowcount
    ).result()
    (found,) = Items(opened.read).page(stage)
    assert found.duration == 0
    assert found.finished < found.started
