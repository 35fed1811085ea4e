"""The runners of a service: starts them, assigns runs to them, replaces those that die."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from time import monotonic, time
from typing import Any

from lokki.config import Config
from lokki.model.status import RunStatus
from lokki.notify.notice import Notice
from lokki.notify.notifier import Notifier
from lokki.store.jobs import Job, Jobs
from lokki_server.catalog import Catalog
from lokki_server.channel import Child

_LOOK_SECONDS = 0.25
_APART_SECONDS = 0.01
"""After a look that has assigned runs, the next one serves all that ask for it within this time.

Among hosts, it is as many times as long as it has assigned runs: their transactions wait for each
other, and one takes hardly longer for many runs than for one. While more wait than a host chooses
among, runners have as many as they can take, and gain nothing by a longer wait.
"""
_MOST_APART_SECONDS = 0.07
_RECOVER_SECONDS = 1.0
_CHOICE = 4
"""Hosts choose among this many times as many of the first waiting runs as they have room for."""
_SOON_SECONDS = 1.0
"""A runner begins a run within this time, unless a step or an import delays it."""
_SHORTEST_LIFE = 2.0
_LONGEST_WAIT = 30.0
_MANY_FAILURES = 3
_log = logging.getLogger("lokki_server")


@dataclass(frozen=True, slots=True)
class _Given:
    """When a run was assigned to a runner, its flow's source, and what the runner reported."""

    at: float
    source: str
    heard: bool = False
    begun: bool = False


@dataclass(frozen=True, slots=True)
class _Held:
    """A source that could not be imported: since when, and when last tried."""

    since: float
    tried: float


class _Runner:
    """A process and its runs."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.runs: dict[str, _Given] = {}
        self.ready = False
        self.retiring = False

    @property
    def held_up(self) -> bool:
        """Whether it has left a run waiting for a while."""
        late = monotonic() - _SOON_SECONDS
        return any(not given.begun and given.at < late for given in self.runs.values())

    @property
    def heard_of(self) -> set[str]:
        """The runs that it has received, or was just assigned."""
        late = monotonic() - _SOON_SECONDS
        return {run for run, given in self.runs.items() if given.heard or given.at > late}


class Supervisor:
    """Keeps the configured number of runners alive, and assigns the offered runs to them.

    A file that cannot be imported may be half written: its runs are held until the catalog can
    import it, and assigned again after ``import_patience`` seconds at the latest, to fail if they
    must.

    A run whose runner has died is queued again, at most ``max_resumes`` times.
    """

    def __init__(self, jobs: Jobs, catalog: Catalog, config: Config) -> None:
        settings = config.server
        self._jobs = jobs
        self._notifier = Notifier(config)
        self._catalog = catalog
        self._count = settings.runners
        self._most_runs = settings.max_runs
        self._max_resumes = settings.max_resumes
        self._patience = settings.import_patience
        self._held: dict[str, _Held] = {}
        self._runners: set[_Runner] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._closing = asyncio.Event()
        self._failures = 0
        self._recovered = self._assigned = -inf
        self._apart = 0.0
        self._death = "none has started yet"

    @property
    def problem(self) -> str | None:
        """Why runs cannot run, or not on as many runners as configured; None if they can."""
        if not self.ready:
            return f"no runner is ready; {self._death}"
        return self._death if self._failures >= _MANY_FAILURES else None

    @property
    def ready(self) -> int:
        """How many runners can take runs."""
        return sum(each.ready and not each.retiring for each in self._runners)

    def wake(self) -> None:
        """Look at the queue now."""
        self._news.set()

    def look_for_requests(self) -> None:
        """Have the runners look now for what is wanted of their runs."""
        for runner in self._runners:
            if runner.runs:
                runner.child.channel.send(wanted=True)

    def begin(self) -> None:
        """Start the runners."""
        for _ in range(self._count):
            self._hire()

    async def look(self) -> None:
        """Assign queued runs to the runners, and queue lost runs again."""
        if monotonic() - self._recovered > _RECOVER_SECONDS:
            self._recovered = monotonic()
            now = time()
            recovered = await asyncio.wrap_future(self._jobs.recover(now, self._max_resumes))
            for run, error in recovered.failed:
                self._notifier.tell(Notice(run.id, run.flow, RunStatus.FAILED, now, error))
            for run in recovered.cancelled:
                self._notifier.tell(Notice(run.id, run.flow, RunStatus.CANCELLED, now))
        await self._assign()

    async def news(self) -> None:
        """Wait until the next look is due."""
        if not self._news.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), _LOOK_SECONDS)
        await asyncio.sleep(max(0.0, self._assigned + self._apart - monotonic()))
        self._news.clear()

    async def _assign(self) -> None:
        """Assign waiting runs, and those that a blocked runner has not yet received.

        The journal decides which runner begins a run that was assigned to two.
        """
        given = {run for each in self._runners for run in each.heard_of}
        room = sum(self._most_runs - len(each.runs) for each in self._free())
        if not room:
            return
        most = (room + len(given)) * (_CHOICE if self._jobs.of_hosts else 1)
        waiting = await asyncio.to_thread(
            self._jobs.waiting, most, self._catalog.offer, self._to_hold()
        )
        if self._jobs.of_hosts:  # all of them would begin with the first
            random.shuffle(waiting)
        free = self._free()
        given_now: defaultdict[_Runner, list[dict[str, Any]]] = defaultdict(list)
        for job in waiting:
            if free and job.run_id not in given:
                runner = min(free, key=lambda each: len(each.runs))
                given_now[runner].append(self._given(job, runner))
                if len(runner.runs) == self._most_runs:
                    free.remove(runner)
        if given_now:
            self._assigned = monotonic()
            gathers = self._jobs.of_hosts and len(waiting) < most
            count = sum(map(len, given_now.values())) if gathers else 1
            self._apart = min(_APART_SECONDS * count, _MOST_APART_SECONDS)
        for runner, runs in given_now.items():
            runner.child.channel.send(runs=runs)

    def _given(self, job: Job, runner: _Runner) -> dict[str, Any]:
        """What a runner gets of a run that is now assigned to it."""
        now, held = monotonic(), self._held.get(job.source)
        patient = now - (held.since if held else now) < self._patience
        runner.runs[job.run_id] = _Given(now, job.source)
        return {"run_id": job.run_id, "again": job.again, "patient": patient}

    def _to_hold(self) -> list[str]:
        """The sources whose runs are not assigned now."""
        now = monotonic()
        for source, held in tuple(self._held.items()):
            if now > held.tried + 2 * self._patience:  # nobody asks for it any more
                del self._held[source]
        return [
            source
            for source, held in self._held.items()
            if now < held.since + self._patience
            and self._catalog.importable_at(source.rpartition(":")[0]) < held.tried
        ]

    def _free(self) -> list[_Runner]:
        """The runners that can take another run and begin it at once."""
        return [
            each
            for each in self._runners
            if each.ready
            and not (each.retiring or each.held_up)
            and len(each.runs) < self._most_runs
        ]

    # ---- processes -------------------------------------------------------------------------------

    def _hire(self) -> None:
        task = asyncio.create_task(self._employ())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _employ(self) -> None:
        """Start one runner, listen to it until it ends, then start the next."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), min(_LONGEST_WAIT, 2**self._failures - 1))
        if self._closing.is_set():
            return
        began = monotonic()
        try:
            child = await Child.start("lokki_server.runner")
        except Exception as error:
            self._replace(f"a runner cannot be started: {error}", 0)
            return
        runner = _Runner(child)
        self._runners.add(runner)
        try:
            await self._listen(runner)
        except Exception:
            _log.exception("messages from runner %s cannot be read", child.pid)
        finally:
            child.kill()
            child.channel.close()
            self._runners.discard(runner)
        code = await child.ended()
        if not (self._closing.is_set() or runner.retiring):
            self._replace(f"runner {child.pid} died ({code})", monotonic() - began)
        self.wake()

    async def _listen(self, runner: _Runner) -> None:
        """Receive a runner's reports until it ends."""
        if self._closing.is_set():
            runner.child.channel.send(drain=0)
        async for message in runner.child.channel.messages():
            self._hear(runner, message)
        await runner.child.ended()

    def _replace(self, death: str, lasted: float) -> None:
        """Start another runner, with backoff if runners die early; the next look recovers runs."""
        self._failures = self._failures + 1 if lasted < _SHORTEST_LIFE else 0
        self._death, self._recovered = death, -inf
        _log.warning("%s; starting another", death)
        self._hire()

    def _hear(self, runner: _Runner, message: dict[str, Any]) -> None:
        match message:
            case {"ready": _}:
                runner.ready = True
                self._failures = 0
            case {"heard": run}:
                runner.runs[run] = replace(runner.runs[run], heard=True)
                return
            case {"begun": run}:
                given = runner.runs[run] = replace(runner.runs[run], heard=True, begun=True)
                if self._held.pop(given.source, None) is None:
                    return
            case {"ended": runs}:
                for run in runs:
                    self._held.pop(runner.runs.pop(run).source, None)
            case {"stale": run}:
                del runner.runs[run]
                self._retire(runner)
            case {"unloadable": run}:
                self._hold(runner.runs.pop(run))
                self._retire(runner)
        if runner.retiring and not runner.runs:  # or it would not notice the end
            runner.child.channel.send(drain=None)
        self.wake()

    def _hold(self, given: _Given) -> None:
        held = self._held.get(given.source)
        self._held[given.source] = _Held(held.since if held else given.at, given.at)

    def _retire(self, runner: _Runner) -> None:
        """Let a runner finish its runs, and start another for new ones."""
        if not runner.retiring:
            runner.retiring = True
            self._hire()

    async def close(self, grace: float) -> None:
        """Let the runners finish; requeue runs that last longer than ``grace`` seconds."""
        self._closing.set()
        for runner in self._runners:
            runner.child.channel.send(drain=grace)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace + 5)
        for runner in tuple(self._runners):
            runner.child.kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._notifier.close)
