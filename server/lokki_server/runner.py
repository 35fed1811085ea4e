"""A child process that runs flows: ``python -m lokki_server.runner FD``.

The service sends it the runs to take. It takes them under leases of the journal, like any lokki
process, and reports their ends. When the service is gone, it finishes its runs and ends. Runs whose
code has changed since its import are left to a new runner.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import cache, partial
from time import time
from types import ModuleType
from typing import Any, TextIO, TypeAlias

from lokki import output
from lokki.call import secrets_of
from lokki.config import load
from lokki.decorators import Flow
from lokki.engine.code import Code
from lokki.engine.engine import Engine, RunHandle, resumed_graph
from lokki.engine.resuming import plan
from lokki.engine.sources import sources_now
from lokki.errors import LokkiError, RunOwned
from lokki.loading import LoadError, alias_source, file_named, flow_in, load_module, source_and_name
from lokki.model.base import fields_of
from lokki.model.failure import Error
from lokki.model.status import RunStatus
from lokki.notify.notice import Notice
from lokki.resumption import ResumeOptions
from lokki.secret import in_environment
from lokki.store.commits import Committer
from lokki.store.jobs import Jobs
from lokki.store.runs import RunRecord
from lokki.store.texts import short_error
from lokki.telemetry import set_up
from lokki_server import STARTED_BY
from lokki_server.channel import Channel, inherited

_LOOK_SECONDS = 0.25
_BRIEF_SECONDS = 0.05
"""Of a run that ends within this time, only the end is reported."""


_Rows: TypeAlias = Callable[[], dict[str, RunRecord]]
"""Reads the runs that came in the same message."""


class Runner:
    """Takes runs from the service and runs them."""

    def __init__(self, engine: Engine, channel: Channel) -> None:
        self._engine = engine
        self._channel = channel
        self._jobs = Jobs(engine.journal)
        self._modules: dict[str, ModuleType] = {}
        self._flows: dict[str, Flow[..., Any]] = {}
        self._code = Code()
        self._spoilt = False  # a failed import leaves parts of a program behind
        self._ended: list[str] = []
        self._handles: dict[str, RunHandle[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Take runs until the service sends no more, or is gone."""
        self._channel.send(ready=os.getpid())
        async for message in self._channel.messages():
            if "drain" in message:
                await self._drain(message["drain"])
                return
            if "wanted" in message:
                self._engine.journal.commits.look_again()
                continue
            runs = message["runs"]
            rows = cache(partial(self._engine.journal.runs, [run["run_id"] for run in runs]))
            for run in runs:
                task = asyncio.create_task(self._run(**run, rows=rows))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        await self._drain(None)

    async def _drain(self, grace: float | None) -> None:
        """Wait for active runs; after ``grace`` seconds, return the rest to the queue."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for run_id in self._handles:
            with suppress(LokkiError):
                await asyncio.wrap_future(self._jobs.hand_back(run_id, time()))
        if self._tasks:
            os._exit(0)  # threads of user code cannot be stopped

    async def _run(self, run_id: str, again: dict[str, Any], patient: bool, rows: _Rows) -> None:
        """Run a run; with ``patient``, one whose flow cannot be imported stays in the queue."""
        try:
            handle = await self._begun(run_id, again, patient, rows)
        except LoadError as error:
            self._spoilt = True
            if not patient:
                await self._refuse(run_id, error)
            self._channel.send(unloadable=run_id)
            return
        except _Stale:
            self._channel.send(stale=run_id)
            return
        except RunOwned:
            self._report_end(run_id)
            return
        except Exception as error:
            await self._refuse(run_id, error)
            self._report_end(run_id)
            return
        self._handles[run_id] = handle
        begun = partial(self._channel.send, begun=run_id)
        report = asyncio.get_running_loop().call_later(_BRIEF_SECONDS, begun)
        try:
            with suppress(LokkiError):  # the journal has its error
                await handle.result()
        finally:
            report.cancel()
            del self._handles[run_id]
            self._report_end(run_id)

    def _report_end(self, run_id: str) -> None:
        """Report the end of a run, with those that end at the same time."""
        if not self._ended:
            asyncio.get_running_loop().call_soon(self._send_ended)
        self._ended.append(run_id)

    def _send_ended(self) -> None:
        ended, self._ended = self._ended, []
        self._channel.send(ended=ended)

    async def _begun(
        self, run_id: str, again: dict[str, Any], patient: bool, rows: _Rows
    ) -> RunHandle[Any]:
        journal = self._engine.journal
        row = await self._engine.complete(rows().get(run_id) or journal.run(run_id))
        flow = self._flow(run_id, row.source or "", patient)
        graph = resumed_graph(row, flow, {})
        output.mask(secrets_of(graph))
        wanted = ResumeOptions(**again)
        if row.started is None and graph.fingerprint != row.fingerprint:  # its code has changed
            wanted = ResumeOptions(from_stage=graph.stages[0].name, force=True)
        planned = plan(journal.history, row, graph, wanted)
        return self._engine.resume_as(replace(planned, queued=row), started_by=STARTED_BY)

    async def _refuse(self, run_id: str, error: Exception) -> None:
        traceback = error.traceback if isinstance(error, LoadError) else ""
        refusal = Error(
            type=type(error).__name__,
            message=output.masked(str(error)),
            traceback=output.masked(traceback) or None,
        )
        with suppress(LokkiError):
            refusal, now = short_error(refusal), time()
            why = json.dumps(refusal, default=fields_of)
            if await asyncio.wrap_future(self._jobs.refuse(run_id, why, now)):
                flow = self._engine.journal.run(run_id).flow
                self._engine.notifier.tell(Notice(run_id, flow, RunStatus.FAILED, now, refusal))

    def _flow(self, run_id: str, target: str, patient: bool) -> Flow[..., Any]:
        """A flow; its file is imported once, so that all its flows share its classes."""
        source, name = source_and_name(target)
        if self._spoilt or self._code.changed():
            raise _Stale
        if source not in self._modules:
            self._channel.send(heard=run_id)  # an import may take long
            try:
                with self._code.imports(str(file_named(source))):
                    self._modules[source] = load_module(source)
                    sources_now()  # for workers, which start later
            except LoadError:
                if self._modules:  # another file may be in its way
                    raise _Stale from None
                raise
            if patient and self._code.changed():  # it may be half new
                raise LoadError(f"the code of {source} changed while it was imported")
        if target not in self._flows:
            self._flows[target] = flow_in(self._modules[source], source, name)
            alias_source(target, self._flows[target])
        return self._flows[target]


class _Stale(Exception):
    """Imported code has changed: a new process must take the run."""


async def _end_with(commits: Committer) -> None:
    """End the process when nothing more can be recorded: another one resumes its runs."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if commits.error is not None:
            print(f"a runner ends: {commits.error}", file=sys.stderr, flush=True)
            os._exit(1)  # threads of user code cannot be stopped


async def main(descriptor: str, unseen: TextIO) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = inherited(descriptor)
    set_up()
    async with Engine(config=load(), echo=unseen) as engine:
        ending = asyncio.create_task(_end_with(engine.journal.commits))
        with closing(await Channel.over(connection)) as channel:
            await Runner(engine, channel).serve()
        ending.cancel()


if __name__ == "__main__":
    output.mask(in_environment())
    with open(os.devnull, "w") as unseen:  # the output of steps is in the journal
        try:
            asyncio.run(main(sys.argv[1], unseen))
        except LokkiError as error:
            sys.exit(f"a runner cannot start: {error}")
