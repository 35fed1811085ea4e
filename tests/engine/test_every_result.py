"""Results of every kind, mixed in one map: all are there at the end, and each item is read back."""

import random
from dataclasses import dataclass

import pytest

from lokki import Engine, RetryConfig, current, flow, step
from lokki.store.codec import unpack
from lokki.store.items import Items, outputs

pytestmark = pytest.mark.asyncio
ITEMS = 600


@dataclass
class Point:
    x: int
    y: list[int]


KINDS = (
    lambda n: n,
    lambda n: None,
    lambda n: n / 7,
    lambda n: f"text {n}",
    lambda n: b"bytes",
    lambda n: 2**80 + n,
    lambda n: ["a list", n],
    lambda n: Point(n, [n, n]),
    lambda n: "long " * 300,
    lambda n: bytes(70_000),
)
"""Results by number; most are small, so that items in a row share a row of the journal."""
WEIGHTS = (40, 20, 20, 20, 5, 2, 10, 5, 2, 1)


def what(n: int):
    """What becomes of an item: a result, or a failure that is retried or tolerated."""
    chance = random.Random(n)
    fate = chance.choices(("succeeds", "retried", "tolerated"), (50, 1, 1))[0]
    return fate, chance.choices(KINDS, WEIGHTS)[0](n)


def outcome(n: int):
    fate, value = what(n)
    if fate == "tolerated" or (fate == "retried" and current().attempt == 1):
        raise OSError("no")
    return value


async def outcome_async(n: int):
    return outcome(n)


RETRY = RetryConfig(retries=1, delay=0)
STEPS = {
    "thread": step(retry=RETRY)(outcome),
    "process": step(retry=RETRY, executor="process")(outcome),
    "async": step(retry=RETRY)(outcome_async),
}


@step
def numbers():
    return list(range(ITEMS))


@step
def listed(values):
    return values


def mapped(each):
    @flow
    def every_result():
        return numbers().map(each, tolerated_failures=ITEMS).agg(listed)

    return every_result


@pytest.mark.parametrize("lane", STEPS)
async def test_every_result_is_there_and_every_item_is_read_back(tmp_path, lane):
    expected = {n: what(n) for n in range(ITEMS)}
    succeeded = {n: value for n, (fate, value) in expected.items() if fate != "tolerated"}
    async with Engine(journal=tmp_path / "lokki.db") as engine:
        handle = engine.submit(mapped(STEPS[lane]))
        assert await handle.result() == list(succeeded.values())
        journal = engine.journal
        stage = journal.history.stages(handle.run_id)[1]
        assert journal.extents(stage.id)
        found = {item.index: item for item in Items(journal.read).page(stage, limit=ITEMS)}
        assert list(found) == list(range(ITEMS))
        for n, (fate, _) in expected.items():
            status = "tolerated" if fate == "tolerated" else "succeeded"
            assert (found[n].status, found[n].attempts) == (status, 1 + (fate != "succeeds"))
        small = {n: data for n, data, ref in outputs(journal.read, stage.id) if ref is None}
        assert {n: unpack(data) for n, data in small.items()} == {
            n: value for n, value in succeeded.items() if value != bytes(70_000)
        }
        again = await engine.resume(handle.run_id, mapped(STEPS[lane]))
        assert await again.result() == list(succeeded.values())
