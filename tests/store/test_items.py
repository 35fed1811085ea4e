"""The items of a stage: pages, one item, its attempts and its output."""

from __future__ import annotations

import pytest

from lokki.store.items import Attempt, Item, Items

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


def indexes(items, stage, **wanted):
    return [item.index for item in items.page(stage, **wanted)]


def test_items_with_an_outcome_are_listed_in_order(items, stage):
    assert indexes(items, stage) == list(STATUSES)
    assert [item.status for item in items.page(stage)] == list(STATUSES.values())
    assert items.page(stage)[0] == Item(0, "succeeded", 0, 1, 1.0, 2.0, None)
    assert items.page(stage)[3].failure == ("ValueError", "no 5")


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
        assert tuple(indexes(items, stage, group=group.id)) == group.items
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
    assert items.find(stage, 2) == Item(2, "failed", 0, 1, 1.0, 2.0, ("ValueError", "no 2"))
    assert items.find(stage, 1) is None
    assert items.find(stage, 10) is None


def test_its_attempts_are_in_order(items, stage):
    assert items.attempts(stage, 5) == [
        Attempt("b", 1, 2.0, "OSError", "first", ""),
        Attempt("b", 2, 2.0, "ValueError", "no 5", "trace"),
    ]
    assert items.attempts(stage, 0) == []


def test_its_output(items, stage):
    assert items.output(stage, 3) == (b"3", None)
    assert items.output(stage, 2) is None
    assert items.output(stage, 1) is None
