"""Whatever is raised, wherever: the item fails, and the run ends. None of it hangs."""

from __future__ import annotations

import asyncio
from itertools import product

import anyio
import anyio.to_thread
import pytest

from lokki import Engine, LokkiError, RunFailed, flow, step

pytestmark = pytest.mark.asyncio


class Own(BaseException):
    pass


ERRORS = {
    "ValueError": ValueError,
    "GeneratorExit": GeneratorExit,
    "StopIteration": StopIteration,
    "StopAsyncIteration": StopAsyncIteration,
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": SystemExit,
    "CancelledError": asyncio.CancelledError,
    "MemoryError": MemoryError,
    "RecursionError": RecursionError,
    "Own": Own,
    "BaseExceptionGroup": lambda: BaseExceptionGroup("two", [GeneratorExit(), SystemExit()]),
}


class Odd:
    """A result whose every use raises."""

    def __init__(self, error: str) -> None:
        vars(self)["error"] = error

    def boom(self):
        raise ERRORS[self.error]()

    def __reduce__(self):
        self.boom()


class OddClass(Odd):
    @property
    def __class__(self):
        self.boom()


class OddItems(Odd):
    def __iter__(self):
        self.boom()


class OddNext(Odd):
    def __iter__(self):
        return self

    def __next__(self):
        self.boom()


class Unspeakable(Exception):
    """An error whose text, and even class, cannot be asked for."""

    def __str__(self):
        raise ERRORS[self.args[0]]()

    @property
    def __class__(self):
        raise ERRORS[self.args[0]]()


def in_body(error):
    raise ERRORS[error]()


def in_text(error):
    raise Unspeakable(error)


PLACES = {
    "in the body": in_body,
    "in the error's text": in_text,
    "in pickling": Odd,
    "in the result's class": OddClass,
    "in the result's items": OddItems,
    "in the result's next": OddNext,
}


def is_none(place, error) -> bool:
    """Whether it is no error: it only says that an iterator has ended."""
    return place == "in the result's next" and error == "StopIteration"


async def at_once(place, error):
    return PLACES[place](error)


async def suspended(place, error):
    await anyio.sleep(0)
    return PLACES[place](error)


async def by_a_future(place, error):
    if place != "in the body" or error == "StopIteration":  # which no future takes
        return await suspended(place, error)
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_exception, ERRORS[error]())
    return await future


async def in_a_group(place, error):
    if error in ("KeyboardInterrupt", "SystemExit"):  # of a task, they end the loop
        return await suspended(place, error)

    async def member():
        if place == "in the body":
            raise ERRORS[error]()

    async with anyio.create_task_group() as group:
        group.start_soon(member)
        await anyio.sleep(0)
    return PLACES[place](error)


ASYNC = {each.__name__: each for each in (at_once, suspended, by_a_future, in_a_group)}
LANES = ("thread", "hop", "process", "process hop", *ASYNC, "in time")


@step
def one():
    return [0]


@step
def same(value):
    return value


@step
async def passed(value):
    return value


def raising(lane, place, error, **options):
    """A step that raises so."""

    def sync(value):
        return PLACES[place](error)

    async def on_loop(value):
        return await ASYNC.get(lane, suspended)(place, error)

    if lane in ("thread", "hop"):
        return step(sync, **options)
    if lane.startswith("process"):
        return step(sync, executor="process", **options)
    return step(on_loop, timeout_seconds=60 if lane == "in time" else None, **options)


def flows(lane, place, error):
    """Flows with such a step: first, and later and tried again; mapped over."""
    neighbour = passed if "hop" in lane else same
    retry = {"retries": 1, "delay": 0, "exceptions": BaseException}

    @flow
    def first():
        return one().map(raising(lane, place, error)).next(neighbour).map(same)

    @flow
    def later():
        return one().map(neighbour).next(raising(lane, place, error, retry=retry))

    @flow
    def source():
        return one().next(raising(lane, place, error)).map(same)

    return [source] if place.endswith("items") else [first, later]


@pytest.mark.parametrize("lane", LANES)
async def test_whatever_is_raised_wherever_fails_the_item(lane):
    async with Engine(concurrency=2) as engine:
        for error, place in product(ERRORS, PLACES):
            if is_none(place, error):
                continue
            for each in flows(lane, place, error):
                with anyio.fail_after(60), pytest.raises(RunFailed):
                    await engine.run(each)


async def test_a_result_that_raises_when_it_is_read_ends_its_run_alone():
    class Unreadable:
        def __init__(self, error):
            self.error = error

        def __reduce__(self):
            return in_body, (self.error,)

    @step
    def giving(error):
        return Unreadable(error)

    @flow
    def reading(error: str):
        return giving(error).next(same)

    @flow
    def fine():
        return one().map(same)

    async with Engine() as engine:
        for error in ERRORS:
            with anyio.fail_after(60), pytest.raises(LokkiError):
                await engine.run(reading, {"error": error})
            assert await engine.run(fine) == [0]


@pytest.mark.parametrize("ends", ["fails", "returns", "waits"])
async def test_a_step_that_cancels_its_task_spoils_no_other_item(ends):
    @step
    async def cancelling(number):
        if number == 1:
            asyncio.current_task().cancel()
            if ends == "fails":
                raise ValueError
            if ends == "waits":
                await anyio.sleep(0)
            return number
        await anyio.sleep(0)
        return number

    @step
    def few():
        return range(40)

    @flow
    def odd():
        return few().map(cancelling, tolerated_failures=1)

    with anyio.fail_after(60):
        found = await odd.run()
    assert [each for each in found if each != 1] == [0, *range(2, 40)]


async def test_a_step_that_leaves_a_cancel_scope_open_ends_its_run_alone():
    @step
    async def untidy(number):
        anyio.CancelScope().__enter__()
        return number

    @flow
    def leaving():
        return one().map(untidy)

    @flow
    def fine():
        return one().map(passed)

    async with Engine(concurrency=1) as engine:
        with anyio.fail_after(60), pytest.raises(LokkiError, match="cancel scope"):
            await engine.run(leaving)
        assert await engine.run(fine) == [0]
