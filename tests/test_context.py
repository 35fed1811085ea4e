"""Contexts of calls: copies of the present one, each on its own."""

from __future__ import annotations

import asyncio
import contextvars
import decimal

import pytest

from lokki.context import fresh_contexts, run_in

place = contextvars.ContextVar("place", default="nowhere")


def test_each_copy_is_as_the_context_was_and_keeps_what_is_set_to_itself():
    def make():
        place.set("here")
        fresh = fresh_contexts()
        place.set("elsewhere")
        first = fresh()
        first.run(place.set, "first")
        return first.run(place.get), fresh().run(place.get), place.get()

    assert contextvars.Context().run(make) == ("first", "here", "elsewhere")


def test_a_decimal_context_that_is_changed_in_place_is_changed_in_its_copy_alone():
    def precision(value=None):
        if value is not None:
            decimal.getcontext().prec = value
        return decimal.getcontext().prec

    def make():
        precision(50)
        fresh = fresh_contexts()
        precision(7)
        return [fresh().run(precision, 3), fresh().run(precision), precision()]

    assert contextvars.Context().run(make) == [3, 50, 7]


@pytest.mark.asyncio
async def test_work_is_awaited_in_its_context_and_in_the_task_of_who_awaits():
    async def work(task):
        place.set("at work")
        await asyncio.sleep(0)
        assert asyncio.current_task() is task
        async with asyncio.timeout(20):
            await asyncio.to_thread(lambda: place.get())
        await asyncio.create_task(asyncio.sleep(0))
        return place.get()

    context = contextvars.copy_context()
    assert await run_in(context, work(asyncio.current_task())) == "at work"
    assert context.run(place.get) == "at work"
    assert place.get() == "nowhere"


@pytest.mark.asyncio
async def test_a_timeout_within_the_work_ends_the_work():
    async def work():
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(3600)
        except TimeoutError:
            await asyncio.sleep(0)
            return "late"

    assert await run_in(contextvars.copy_context(), work()) == "late"


@pytest.mark.asyncio
async def test_a_cancelled_task_cancels_the_work_which_may_clean_up():
    seen = []

    async def work():
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            seen.append(place.get())

    context = contextvars.copy_context()
    context.run(place.set, "inside")
    task = asyncio.create_task(run_in_context(context, work()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["inside"]


async def run_in_context(context, work):
    return await run_in(context, work)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
@pytest.mark.asyncio
async def test_what_the_work_raises_comes_out(error):
    async def work():
        await asyncio.sleep(0)
        raise error("why")

    with pytest.raises(error, match="why"):
        await run_in(contextvars.copy_context(), work())


@pytest.mark.asyncio
async def test_work_that_is_left_unfinished_is_closed_in_its_context():
    seen = []

    async def work():
        try:
            await asyncio.sleep(3600)
        finally:
            seen.append(place.get())

    context = contextvars.copy_context()
    context.run(place.set, "inside")
    left = run_in_context(context, work())
    left.send(None)
    left.close()
    assert seen == ["inside"]
