"""What others want of a run in progress, and how its process does it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from lokki.engine.events import Event, RunPaused, RunPausing, RunUnpaused
from lokki.engine.items import StageWork
from lokki.engine.lanes import Lanes
from lokki.engine.state import RunState
from lokki.errors import RunLeft
from lokki.store.controls import Controls
from lokki.store.writer import Wanted


class Control:
    """What is wanted of one run; on the engine's loop.

    ``leaves``: a run of a queue, which leaves its process when it is paused. ``publish`` reports
    events.
    """

    def __init__(
        self,
        run_id: str,
        controls: Controls,
        lanes: Lanes,
        publish: Callable[[Event], None],
        *,
        leaves: bool,
    ) -> None:
        self._run_id = run_id
        self._controls = controls
        self._lanes = lanes
        self._publish = publish
        self._leaves = leaves
        self._wanted = Wanted()
        self._news = asyncio.Event()
        self._rested = 0.0

    def worked(self) -> float:
        """A clock, in seconds, that stands still while the run rests."""
        return monotonic() - self._rested

    def change(self, wanted: Wanted, work: StageWork | None) -> None:
        """Do what is wanted from now on; ``work`` is the run's open stage, if any."""
        before, self._wanted = self._wanted, wanted
        if wanted.paused != before.paused:
            self.wake()
            self._publish(RunUnpaused() if wanted.paused is None else RunPausing())
            if work is not None:
                switch = self._lanes.unpause if wanted.paused is None else self._lanes.pause
                switch(work)
        if work is not None and wanted.concurrency != before.concurrency:
            self.tune(work)

    def tune(self, work: StageWork) -> None:
        """Have as many items of a map run at a time as is wanted."""
        stage, concurrency = self._wanted.tuned_stage, self._wanted.concurrency
        if concurrency is not None and stage == work.state.position:
            self._lanes.tune(work, concurrency)

    def wake(self) -> None:
        """End `rest`, if the run has ended or need not rest any more."""
        self._news.set()

    async def rest(self, state: RunState, now: Callable[[], float]) -> None:
        """Wait while the run is paused. Nothing of it runs: the lanes have returned all of it.

        Raises RunLeft for a run of a queue: it continues in whatever process takes it then.
        """
        while self._wanted.paused is not None and not state.ended:
            if self._leaves:
                raise RunLeft(f"run {self._run_id} is paused", self._run_id)
            self._news.clear()
            since = monotonic()
            if await asyncio.wrap_future(self._controls.rest(self._run_id, now())):
                self._publish(RunPaused())
            await self._news.wait()
            self._rested += monotonic() - since
        state.unpause()
