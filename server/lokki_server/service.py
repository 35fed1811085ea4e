"""The whole service: what the parts of the API share, opened and closed in order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from functools import partial
from time import time
from typing import Any

import anyio

from lokki.config import Config, journal_path
from lokki.engine.engine import new_run_id
from lokki.engine.payloads import payload_store
from lokki.errors import (
    DefinitionError,
    JournalError,
    JournalGone,
    KeyReused,
    PayloadError,
    RunNotFound,
)
from lokki.model.run import Tuned
from lokki.postgres_url import PostgresUrl
from lokki.resumption import ResumeOptions
from lokki.store.controls import Controls
from lokki.store.history import History
from lokki.store.jobs import Jobs, NewRun, QueueFull
from lokki.store.journal import Journal
from lokki.store.parameters import WrittenParams, drop, keep
from lokki.store.runs import RunRecord
from lokki.wording import Arguments, Wording
from lokki_server import STARTED_BY, catalog, schedules
from lokki_server.catalog import Catalog, FlowFile
from lokki_server.feed import Feed
from lokki_server.hub import Hub
from lokki_server.journal_runs import JournalRuns
from lokki_server.mirror import Mirror
from lokki_server.operated import OperatedBackend
from lokki_server.parts import Part
from lokki_server.problems import (
    Problem,
    nothing_to_resume,
    run_has_ended,
    wrong_params,
    wrong_request,
)
from lokki_server.schedules import Clock
from lokki_server.supervisor import Supervisor

_LOOK_SECONDS = 0.5


class Service:
    """The operations of the service on one journal."""

    def __init__(
        self,
        config: Config,
        journal: Journal,
        sources: Sequence[str],
        stop: Callable[[Exception], None],
    ) -> None:
        self.config = config
        self.journal = journal
        self.history: History = journal.history
        self.jobs = Jobs(journal)
        self.controls = Controls(journal)
        self.payloads = payload_store(journal.path, config)
        self.catalog = Catalog(sources)
        self.supervisor = Supervisor(self.jobs, self.catalog, config)
        self.hub = Hub(journal)
        self.feed = Feed(self.history)
        self.clock = Clock(self)
        self.runs: OperatedBackend = JournalRuns(self, journal.read, self.payloads, self.hub)
        self.mirror = Mirror(config)
        self._stop = stop
        self._flows = Part("flows", self.catalog.look, partial(asyncio.sleep, catalog.LOOK_SECONDS))
        self._parts = (
            Part("journal", self._look_at_journal, partial(asyncio.sleep, _LOOK_SECONDS)),
            self._flows,
            Part("runners", self.supervisor.look, self.supervisor.news),
            Part("clock", self.clock.look, partial(asyncio.sleep, schedules.LOOK_SECONDS)),
            Part("events", self.hub.look_for_changes, self.hub.wanted),
        )

    # ---- what can be done ------------------------------------------------------------------------

    async def start(self, name: str, body: bytes, key: str | None = None) -> RunRecord:
        """Queue a run of a flow, or return the one that was queued with the same idempotency key.

        The ``body`` of a request, a `models.RunRequest`, is parsed in the process of the flow: a
        large one would block everything here. Raises Problem for an unknown flow and for wrong
        parameters.
        """
        new, asked = await self.new_run(name, body, STARTED_BY)
        offer, most = self.catalog.offer, self.config.server.max_queued
        put = self.jobs.put(new, offer, key=key, body=asked, most=most)
        try:
            run = await asyncio.wrap_future(put)
        except (KeyReused, QueueFull):
            await self.settle(new)
            raise
        if run.id != new.id:
            await self.settle(new)
        self.supervisor.wake()
        return run

    async def new_run(self, name: str, body: bytes, by: str) -> tuple[NewRun, str]:
        """A run of a flow that can be queued, and a hash of the request.

        Its large parameters are stored. Raises Problem for an unknown flow and for wrong
        parameters.
        """
        file, checked = await self.checked(name, body)
        run_id = new_run_id()
        written = WrittenParams(checked["attached"], checked["shown"], checked["is_payload"])
        kept = await keep(self.payloads, name, run_id, written)
        new = NewRun(
            id=run_id,
            flow=name,
            source=f"{file.source}:{name}",
            fingerprint=checked["fingerprint"],
            structure=checked["structure"],
            params=kept.packed,
            params_json=kept.shown,
            created=time(),
            started_by=by,
            params_ref=kept.ref,
            no_cache=int(checked["no_cache"]),
            tags=json.dumps(checked["tags"]),
        )
        return new, checked["asked"]

    async def settle(self, new: NewRun) -> None:
        """Delete the large parameters of a run that was not queued after all."""
        if new.params_ref is None:
            return
        try:
            await self.run(new.id)
        except RunNotFound:
            with suppress(PayloadError):
                await drop(self.payloads, new.params_ref)

    async def checked(self, name: str, body: bytes) -> tuple[FlowFile, dict[str, Any]]:
        """The file of a flow, and its answer to the parameters in a request.

        Raises Problem for an unknown flow and for wrong parameters.
        """
        file, _ = self.catalog.find(name)
        checked = await file.ask(name, attached=body)
        if "wrong" in checked:
            raise wrong_request(checked["wrong"])
        if "errors" in checked:
            raise wrong_params(checked["errors"])
        return file, checked

    async def plan(self, run_id: str, again: ResumeOptions) -> tuple[RunRecord, dict[str, Any]]:
        """A run and the plan of its resume. Raises Problem if it cannot be resumed like this."""
        run = await self.run(run_id)
        if run.source is None:
            raise Problem(409, "The run has no file", f"run {run.id} was not started from a file")
        await asyncio.wrap_future(self.journal.refuse_worked_on(run.id, time()))
        source, _, flow = run.source.rpartition(":")
        async with self.catalog.file(source) as file:
            planned = await file.ask(flow, run=run.id, again=_words(again))
        if "refused" in planned:
            raise Problem(409, "The run cannot be resumed", planned["refused"])
        return run, planned

    async def resume(self, run_id: str, again: ResumeOptions) -> RunRecord:
        """Queue a run to be resumed. Raises Problem if it cannot be, or has nothing to do."""
        run, planned = await self.plan(run_id, again)
        if not planned["anything"]:
            raise nothing_to_resume()
        await asyncio.wrap_future(
            self.jobs.put_again(run.id, _words(again), time(), self.catalog.offer)
        )
        self.supervisor.wake()
        return await self.run(run.id)

    async def cancel(self, run_id: str) -> RunRecord:
        """Request the cancellation of a run."""
        run = await self.run(run_id)
        if run.finished is not None:
            raise run_has_ended(run)
        await asyncio.wrap_future(self.journal.request_cancel(run.id, time()))
        return await self.run(run.id)

    async def pause(self, run_id: str) -> RunRecord:
        """Request that a run begins no more calls. Raises NotPausable."""
        run = await self.run(run_id)
        await asyncio.wrap_future(self.controls.pause(run.id, time()))
        return await self.run(run.id)

    async def unpause(self, run_id: str) -> RunRecord:
        """Have a paused run continue. Raises NotPausable."""
        run = await self.run(run_id)
        await asyncio.wrap_future(self.controls.unpause(run.id, time()))
        self.supervisor.wake()
        return await self.run(run.id)

    async def tune(self, run_id: str, concurrency: int) -> Tuned:
        """Change how many items of the open map run at a time. Raises NotTunable."""
        run = await self.run(run_id)
        tuned = self.controls.tune(run.id, concurrency, time())
        stage, before = await asyncio.wrap_future(tuned)
        return Tuned(stage=stage, concurrency=concurrency, before=before)

    async def run(self, run_id: str) -> RunRecord:
        return await anyio.to_thread.run_sync(self.history.find, run_id)

    # ---- from its start to its end ---------------------------------------------------------------

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Run the background parts inside this context, which find flows and run runs."""
        async with anyio.create_task_group() as group:
            try:
                await self._flows.once()
                self.supervisor.begin()
                for part in self._parts:
                    group.start_soon(part.work)
                if isinstance(self.journal.path, PostgresUrl):
                    group.start_soon(self._hear, self.journal.path)
                    group.start_soon(self.hub.hear, self.journal.path)
                yield
            finally:
                group.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await self._close()

    async def _hear(self, place: PostgresUrl) -> None:
        """Look as soon as any host has queued a run or wants something of one that goes on here.

        Parts look now and then, too.
        """
        from lokki.store.postgres_news import QUEUED, work

        async with aclosing(work(place)) as news:
            async for told in news:
                if told in ("", QUEUED):
                    self.supervisor.wake()
                if told != QUEUED:
                    self.supervisor.look_for_requests()

    async def _close(self) -> None:
        """Close everything, even if closing one part fails."""
        async with AsyncExitStack() as closing:
            for close in (self.payloads.close, self.mirror.close, self.catalog.close):
                closing.push_async_callback(close)
            self.clock.close()
            await self.supervisor.close(self.config.server.grace)

    async def _look_at_journal(self) -> None:
        """Check that the journal can be read and written; end the service if it never will."""
        try:
            await anyio.to_thread.run_sync(self.journal.read, "SELECT 1")
            await asyncio.wrap_future(self.journal.commits.call("", lambda connection: None))
        except JournalError as error:
            if isinstance(error, JournalGone) or self.journal.commits.error is not None:
                self._stop(error)
            raise

    @property
    def problems(self) -> dict[str, str | None]:
        """Why each part of the service does not work, by name; None for one that does."""
        found = {part.name: part.problem for part in self._parts}
        return found | {"runners": found["runners"] or self.supervisor.problem}


def _words(again: ResumeOptions) -> dict[str, Any]:
    """What to run again, as the channel and the journal have it. Raises DefinitionError."""
    if again.deployed:
        deployed = Arguments(deployed=True)
        raise DefinitionError(
            Wording("a run of this server has the code of its file: resume it without ", deployed)
        )
    return {
        "failed": again.failed,
        "error": again.error,
        "from_stage": again.from_stage,
        "no_cache": again.no_cache,
    }


@asynccontextmanager
async def opened(
    config: Config, sources: Sequence[str], stop: Callable[[Exception], None]
) -> AsyncIterator[Service]:
    """A service over the configured journal; ``stop`` is called when that becomes unusable.

    Raises JournalError.
    """
    journal = await anyio.to_thread.run_sync(Journal, journal_path(config))
    try:
        service = Service(config, journal, sources, stop)
        async with service.working():
            yield service
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(journal.close)
