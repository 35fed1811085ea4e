"""Errors with long texts: cut wherever many of them are, whole in their item, once."""

from __future__ import annotations

import json
import random
from contextlib import closing

import pytest

from lokki import Engine, RetryConfig, RunFailed, flow, step
from lokki.backends import recorded
from lokki.model.base import fields_of
from lokki.model.run_filter import RunFilter
from lokki.store.connection import Reader
from lokki.store.history import read_history
from lokki.store.items import Items
from lokki.store.journal import Journal

LONG = "".join(random.Random(7).choices("abcdefghijklmnopqrstuvwxyz ", k=1_000_000))


@step
def numbers(count):
    return list(range(count))


@step(retry=RetryConfig(retries=1, delay=0.001))
def fails(number):
    raise ValueError(f"item {number}: {LONG}")


@step
def reasons(values):
    import lokki

    return [failure.reason for failure in lokki.current().failures]


@flow
def failing(count: int = 1):
    return numbers(count).map(fails)


@flow
def tolerant(count: int = 3):
    return numbers(count).map(fails, tolerated_failures=1.0).agg(reasons)


async def failed(flow, journal, **params):
    """The id of a run that has failed, and its error."""
    async with Engine(journal=journal) as engine:
        handle = engine.submit(flow, params)
        with pytest.raises(RunFailed) as raised:
            await handle.result()
    return handle.run_id, raised.value


@pytest.mark.asyncio
async def test_a_run_and_its_list_are_short_however_long_its_error_is(tmp_path):
    run_id, error = await failed(failing, tmp_path / "lokki.db")
    assert error.reason == f"item 0: {LONG}"  # the caller gets what was raised
    with read_history(tmp_path / "lokki.db") as history:
        run = history.find(run_id)
        shape = recorded.run(history, run)
        listed = recorded.page(history, RunFilter())
        lines = list(history.lines(run_id))
    assert len(json.dumps(shape, default=fields_of)) < 80_000
    assert len(json.dumps(listed, default=fields_of)) < 40_000
    (group,) = shape.stages[1].failures
    for told in (shape.error, group):
        assert told.message.startswith("item 0: ")
        assert len(told.message) <= 4096
        assert told.message.endswith(
            "… (cut: it has 1,000,008 characters; the item has its last failure in full)"
        )
        assert len(told.traceback) <= 16 * 1024
    assert group.place.function == "fails"
    assert sum(len(line.message) for line in lines) < 20_000


@pytest.mark.asyncio
async def test_the_item_has_all_of_its_last_failure_once(tmp_path):
    run_id, error = await failed(failing, tmp_path / "lokki.db")
    with closing(Reader(tmp_path / "lokki.db", create=False)) as read:
        with read_history(tmp_path / "lokki.db") as history:
            stage = history.stages(run_id)[1]
        items = Items(read)
        (item,) = items.page(stage)
        first, last = items.attempts(stage, 0)
    assert len(item.error.message) <= 4096
    assert (last.message, last.traceback) == (error.reason, error.traceback)
    assert last.traceback.count(LONG) == 1
    assert len(first.message) <= 4096  # the same once more would be twice
    with closing(Journal(tmp_path / "empty.db")):
        pass
    empty = (tmp_path / "empty.db").stat().st_size
    size = sum(each.stat().st_size for each in tmp_path.glob("lokki.db*"))
    assert size - empty < 1_370_000


@pytest.mark.asyncio
async def test_an_aggregation_gets_whole_reasons(tmp_path):
    async with Engine(journal=tmp_path / "lokki.db") as engine:
        assert await engine.run(tolerant, {"count": 2}) == [
            f"item {number}: {LONG}" for number in range(2)
        ]


@pytest.mark.asyncio
async def test_a_short_error_is_kept_as_it_is(tmp_path):
    @step
    def short(value):
        raise KeyError("x" * 4000)

    @flow
    def shortly():
        return short(1)

    run_id, error = await failed(shortly, tmp_path / "lokki.db")
    with read_history(tmp_path / "lokki.db") as history:
        told = recorded.run(history, history.find(run_id)).error
    assert (told.message, told.traceback) == (error.reason, error.traceback)


@pytest.mark.asyncio
async def test_of_a_long_traceback_the_user_sees_both_ends(tmp_path):
    @step
    def deep(value):
        raise RuntimeError("outer") from ValueError(LONG)

    @flow
    def deeply():
        return deep(1)

    run_id, error = await failed(deeply, tmp_path / "lokki.db")
    assert LONG in error.traceback
    with read_history(tmp_path / "lokki.db") as history:
        told = recorded.run(history, history.find(run_id)).error
    assert told.message == "outer"
    assert len(told.traceback) <= 16 * 1024
    assert told.traceback.startswith("ValueError: ")
    assert told.traceback.endswith("RuntimeError: outer\n")
    assert "… (cut: it has 1,0" in told.traceback
