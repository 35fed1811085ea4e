"""What a run in an engine reports of a pause, and what its time is."""

from __future__ import annotations

import time

import anyio
import pytest

from lokki import Engine, flow, step
from lokki.engine.events import RunPaused, RunPausing, RunUnpaused, StageFinished
from lokki.store.controls import Controls


@pytest.mark.asyncio
async def test_a_pause_is_reported_and_is_no_time_of_its_stage(tmp_path):
    gate, began = anyio.Event(), anyio.Event()

    @step
    def numbers():
        return [1, 2, 3]

    @step
    async def held(number):
        began.set()
        await gate.wait()
        return number

    @flow
    def holding():
        return numbers().map(held, concurrency_limit=1)

    async with Engine(journal=tmp_path / "lokki.db") as engine:
        controls = Controls(engine.journal)
        submitted_at = time.monotonic()
        handle = engine.submit(holding)
        with anyio.fail_after(30):
            await began.wait()
            assert controls.pause(handle.run_id, time.time()).result()
            events = handle.events()
            seen = [event async for event in _until(events, RunPausing)]
            gate.set()
            seen += [event async for event in _until(events, RunPaused)]
            await anyio.sleep(1)
            controls.unpause(handle.run_id, time.time()).result()
            seen += [event async for event in _until(events, RunUnpaused)]
            rest = [event async for event in events]
            assert await handle.result() == [1, 2, 3]
        (finished,) = [each for each in rest if isinstance(each, StageFinished)]
        assert finished.seconds <= time.monotonic() - submitted_at - 1
        kinds = [type(each) for each in (*seen, *rest)]
        assert [kinds.count(each) for each in (RunPausing, RunPaused, RunUnpaused)] == [1, 1, 1]


async def _until(events, kind):
    """The events up to the first of a kind."""
    async for event in events:
        yield event
        if isinstance(event, kind):
            return
