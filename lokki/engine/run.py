"""One run: opens its stages one after the other, passes them to the lanes, records the end."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import monotonic, time
from typing import Any, TextIO, TypeVar

import anyio
import anyio.to_thread

from lokki import output
from lokki.caching import caching_of
from lokki.call import BoundCall, bind, capture, secrets_of
from lokki.context import fresh_contexts
from lokki.engine.control import Control
from lokki.engine.events import (
    Event,
    RunCancelling,
    RunFinished,
    RunStarted,
    StageFailed,
    StageFinished,
    StageProgressed,
    StageStarted,
)
from lokki.engine.items import StageWork
from lokki.engine.kept import KeptResults
from lokki.engine.lanes import Lanes
from lokki.engine.pace import Limit, Places
from lokki.engine.parameters import kept_params
from lokki.engine.perform import Carried
from lokki.engine.placement import ELSEWHERE, lanes_needed, lanes_of
from lokki.engine.program import Program
from lokki.engine.recorder import Recorder
from lokki.engine.resuming import Plan
from lokki.engine.stage_records import StageRecords
from lokki.engine.state import RunState
from lokki.engine.surroundings import surroundings
from lokki.engine.threads import in_thread
from lokki.errors import (
    JournalError,
    LokkiError,
    PayloadError,
    RunCancelled,
    RunError,
    RunFailed,
    RunLeft,
    RunOwned,
    described,
)
from lokki.graph import FlowGraph
from lokki.map_source import listed_items
from lokki.model.base import fields_of
from lokki.model.failure import Error, Failure
from lokki.model.status import RunStatus
from lokki.model.structure import StageKind, dumped
from lokki.notify.notice import Notice
from lokki.notify.notifier import Notifier
from lokki.secret import redacted
from lokki.showing.previews import preview
from lokki.stages import MapStage, Stage
from lokki.store.codec import dumps
from lokki.store.controls import Controls
from lokki.store.jobs import Jobs
from lokki.store.journal import Journal
from lokki.store.keys import writers_folder
from lokki.store.parameters import drop
from lokki.store.protocol import PayloadStore
from lokki.store.records import Opening
from lokki.store.removal import discard
from lokki.store.reopen import Reopening
from lokki.store.rows import StageRow, stage_id
from lokki.store.texts import LONGEST, cut, short_error
from lokki.store.writer import RunWriter
from lokki.telemetry import traced_run

T = TypeVar("T")


class Run:
    """A run in an engine, from its first record to its last. On the engine's loop.

    Its calls begin in copies of the context in which it was made.
    """

    def __init__(
        self,
        graph: FlowGraph[Any],
        run_id: str,
        *,
        journal: Journal,
        payloads: PayloadStore,
        lanes: Lanes,
        limits: Mapping[str, Limit | Places],
        waits: bool,
        previews: bool,
        planned: Plan[Any] | None,
        started_by: str | None,
        no_cache: bool,
        tags: Sequence[str],
        echo: TextIO | None,
        notifier: Notifier,
    ) -> None:
        self.graph = graph
        self.id = run_id
        self._planned = planned
        self._started_by = started_by
        self._no_cache = no_cache
        self._tags = tags
        self.journal = journal
        self.payloads = payloads
        self.lanes = lanes
        self.echo = echo
        self._notifier = notifier
        self._traced = traced_run(graph.name, run_id)
        self._fresh = fresh_contexts()
        self.events: list[Event] = []
        self.news = asyncio.Event()
        self.done = asyncio.Event()
        self.result: Any = None
        self.error: Exception | None = None
        self.work: StageWork | None = None
        self._limits = limits
        self._waits = waits
        self._previews = previews
        self.state = RunState(graph.stages)
        self._cluster = "dask" in lanes.elsewhere
        elsewhere = lanes_needed(graph, cluster=self._cluster).intersection(ELSEWHERE)
        self._program = Program.of(graph) if elsewhere else None
        for lane in elsewhere:
            assert self._program is not None
            lanes.elsewhere[lane].prepare(run_id, self._program)
        self._since = time(), monotonic()
        self._number = 0
        self._begun: dict[int, StageRow] = {}
        self._last: StageFinished | None = None
        self._lost: JournalError | None = None
        self._control = Control(
            run_id,
            Controls(journal),
            lanes,
            self._publish,
            leaves=planned is not None and planned.queued is not None,
        )
        self._writer: RunWriter | None = None
        self._records = StageRecords(journal, payloads)

    # ---- from outside ------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop claiming, stop what can be stopped; the run ends when its threads have ended."""
        if not (self.state.cancelled or self.state.ended):
            self._publish(RunCancelling())
            self.journal.request_cancel(self.id, time(), self.journal.owner)  # for others to see
        if self.work is not None:
            self.lanes.cancel(self.work)
        else:
            self.state.cancel()
        self._control.wake()

    def _publish(self, event: Event) -> None:
        self.events.append(event)
        self.news.set()
        self.news = asyncio.Event()

    def _now(self) -> float:
        """The time of day, but at least the time at the start plus what has passed since.

        So durations are right even when the clock is set back.
        """
        wall, began = self._since
        return max(time(), wall + monotonic() - began)

    # ---- the run -------------------------------------------------------------------------------

    async def drive(self) -> None:
        """Run to the end. Never raises: the outcome is in ``result`` or ``error``."""
        status = RunStatus.FAILED
        try:
            await self._begin()
            self._publish(RunStarted(self.id, self.graph.name, self._planned is not None))
            await asyncio.sleep(0)  # whoever reads the events reports it before a step prints
            if self._writer is None:  # it had already succeeded
                self.result = await self._records.value(self._begun[len(self.graph.stages) - 1])
                status = RunStatus.SUCCEEDED
            else:
                status = await self._outcome()
        except RunOwned as error:
            self.error = error
            await self._discard()
        except Exception as error:
            self.error = error
        except BaseException as error:
            self.error = LokkiError(f"run {self.id} was interrupted by {described(error)}")
            self.error.__cause__ = error
            if not isinstance(error, GeneratorExit):  # which reading a result may raise
                raise
        finally:
            if self._traced is not None:
                self._traced.end(status, self._why())
            self._publish(RunFinished(status, None if self.error is None else str(self.error)))
            self.done.set()

    def _why(self) -> str | None:
        """What ended the run, without secrets; nothing has, if it was paused."""
        if self.error is None or isinstance(self.error, RunLeft):
            return None
        return redacted(str(self.error), secrets_of(self.graph))

    async def _outcome(self) -> RunStatus:
        """Run the stages and record the end, unless the run is no longer this process's."""
        assert self._writer is not None
        recorder = Recorder(self.journal.read, self._writer, self.warn)
        output.attach(self.id, recorder.take, self.echo)
        try:
            self.result = await self._stages()
            status = RunStatus.SUCCEEDED
        except JournalError:
            raise
        except RunLeft as error:
            self.error = error
            status = RunStatus.PAUSED
        except Exception as error:
            self.error = error
            status = RunStatus.CANCELLED if isinstance(error, RunCancelled) else RunStatus.FAILED
            if not isinstance(error, RunError):  # otherwise its step has logged it
                stage = self.graph.stages[min(self.state.position, len(self.graph.stages) - 1)]
                self._note(stage.name, f"the run failed: {described(error)}")
        finally:
            output.detach(self.id, recorder.take)
            self.journal.commits.release(self._writer)
        if status is RunStatus.PAUSED:
            await _committed(Jobs(self.journal).hand_back(self.id, self._now()))
            return status
        recorded = None if self.error is None else self._recorded_error(self.error)
        ended = self._now()
        why = None if recorded is None else json.dumps(recorded, default=fields_of)
        await _committed(self.journal.finish(self.id, status.value, ended, why))
        self._notifier.tell(Notice(self.id, self.graph.name, status, ended, recorded))
        if self._last is not None:
            self._publish(self._last)
        return status

    async def _begin(self) -> None:
        """Record the run, or take it over and read its stages so far."""
        planned = self._planned
        if planned is not None:
            detail = {"by": self._started_by, "again": planned.summary, **self._surroundings()}
            superseded = await self._superseded(planned.reopening)
            row = await _committed(
                self.journal.take(
                    self.id,
                    self._now(),
                    planned.reopening,
                    seen=planned.seen,
                    detail=detail,
                    queued=planned.queued,
                    no_cache=self._no_cache,
                )
            )
            self._number = row.number
            self._no_cache |= bool(row.no_cache)
            if row.started is not None:
                begun = await anyio.to_thread.run_sync(self.journal.history.stages, self.id)
                self._begun = {stage.position: stage for stage in begun}
            with suppress(PayloadError):  # otherwise they are removed with the run
                for folder in superseded:
                    await self.payloads.delete_prefix(folder)
            if row.status == RunStatus.SUCCEEDED:
                return
        else:
            self._number = await self._create()
        self._writer = self.journal.own(
            self.id,
            self._on_lost,
            on_cancel=lambda: self.lanes.call_on_loop(self.cancel),
            on_control=lambda wanted: self.lanes.call_on_loop(
                lambda: self._control.change(wanted, self.work)
            ),
        )

    async def _create(self) -> int:
        """Record the run; return its number."""
        graph = self.graph
        kept = await kept_params(graph, self.id, self.payloads)
        try:
            return await _committed(
                self.journal.create(
                    self.id,
                    flow=graph.name,
                    source=source_of(graph),
                    fingerprint=graph.fingerprint,
                    structure=dumped(graph.structure),
                    params=kept.packed,
                    params_json=kept.shown,
                    params_ref=kept.ref,
                    now=self._now(),
                    started_by=self._started_by,
                    no_cache=self._no_cache,
                    tags=self._tags,
                    detail=self._surroundings(),
                )
            )
        except JournalError:
            if self.journal.commits.error is None:  # otherwise it may have been recorded anyway
                with suppress(PayloadError):
                    await drop(self.payloads, kept.ref)
            raise

    def _surroundings(self) -> dict[str, str]:
        return surroundings(self.graph, file_of(self.graph))

    def _recorded_error(self, error: Exception) -> Error:
        """An error as the run's record has it."""
        secrets = secrets_of(self.graph)
        if isinstance(error, RunFailed):
            described = Error.of(error.failure)
        else:
            described = Error(type=type(error).__name__, message=str(error))
        described = replace(
            described,
            type=redacted(described.type, secrets),
            message=redacted(described.message, secrets),
            traceback=described.traceback and redacted(described.traceback, secrets),
        )
        return short_error(described)

    def _note(self, step: str, message: str) -> None:
        """Log an error of the run that belongs to no item."""
        assert self._writer is not None
        text = cut(redacted(message, secrets_of(self.graph)), LONGEST)
        self._writer.note((self._now(), step, None, 1, "ERROR", "lokki", text))

    def warn(self, text: str) -> None:
        """Record and show a warning that belongs to no item; from any thread."""
        stages = self.graph.stages
        step = stages[min(self.state.position, len(stages) - 1)].name
        output.record(self.id, (self._now(), step, None, 1, "WARNING", "lokki", text))
        output.show(self.id, f"WARNING: {text}\n")

    async def _superseded(self, reopening: Reopening | None) -> set[str]:
        """The folders of earlier writers that contain only what is being discarded."""
        if reopening is None:
            return set()

        def read() -> set[str]:
            taken_back = reopening.taken_back(self.journal.run(self.id).number)
            folders = map(writers_folder, self.journal.payloads(*taken_back))
            return {folder for folder in folders if folder is not None}

        return await anyio.to_thread.run_sync(read)

    async def _stages(self) -> Any:
        finished = [row for row in self._begun.values() if row.finished is not None]
        self._check_cancelled()
        self.state = RunState(self.graph.stages, len(finished), self._limits, waits=self._waits)
        before = finished[-1] if finished else None
        value = await self._records.value(before) if before else None
        while not self.state.ended:
            await self._control.rest(self.state, self._now)
            before, kept = await self._stage(value, before)
            del value  # or the inputs would be there beside the results
            value = await self._records.value(before, kept, self.state.counts.succeeded)
        self._check_cancelled()
        return value

    async def _stage(self, value: Any, before: StageRow | None) -> tuple[StageRow, KeptResults]:
        """Run the state's current stage over ``value``, the result of the stage ``before``.

        Returns its record, and the results that are in memory.
        """
        state, stage, writer = self.state, self.state.stage, self._writer
        assert writer is not None
        position, is_map = state.position, isinstance(stage, MapStage)
        inputs = await self._inputs(value, stage, position) if is_map else [value]
        began = self._control.worked()
        row = self._opened(position, stage, len(inputs), writer)
        carried = dict[int, Carried]()
        if position in self._begun:
            if len(stage.calls) > 1:
                carried = await self._records.carried(row)
            await self._records.reopen(state, row, len(inputs), carried)
        else:
            state.open(len(inputs))
        failures = await self._records.tolerated(before)
        self._publish(StageStarted(position, stage.name, is_map, replace(state.counts)))
        done = asyncio.Event()
        traced = None
        if self._traced is not None:
            kind = "map" if is_map else "task"
            traced = self._traced.stage(stage.name, kind, position, len(inputs))
        work = self.work = StageWork(
            state,
            row.id,
            self._bound(stage, position, failures),
            inputs,
            carried,
            writer,
            stage.batch_size if isinstance(stage, MapStage) else None,
            self._map_after(position),
            self._fresh if traced is None else traced.contexts(self._fresh),
            on_done=lambda: self.lanes.call_on_loop(done.set),
            program=self._program,
            traced=traced,
        )
        try:
            await self._run_items(work, done)
        finally:
            if traced is not None:
                traced.end(None if state.complete else "it was not completed")
        self.work = None
        counts = replace(state.counts)
        if state.cancelled:
            self._publish(StageProgressed(position, counts))
        if state.complete:
            closed = self.journal.close_stage(self.id, position, self._now())
            last = position == len(state.stages) - 1 and work.kept.covers(counts.succeeded)
            if not last:  # otherwise it is on disk when the run's end is
                await _committed(closed)
            self._check_lost()
            self._check_cancelled()
            state.advance()
            finished = StageFinished(position, counts, self._control.worked() - began)
            if last:
                self._last = finished
            else:
                self._publish(finished)
            return row, work.kept
        await _committed(self.journal.flush(self.id))
        self._check_lost()
        if work.error is not None:
            raise work.error
        self._check_cancelled()
        assert work.failure is not None
        self._publish(StageFailed(position, counts, self._control.worked() - began, work.failure))
        raise RunFailed(self.id, work.failure)

    async def _run_items(self, work: StageWork, done: asyncio.Event) -> None:
        """Have the lanes run a stage until it is complete or the run has ended, between pauses."""
        state = work.state
        while not (state.complete or state.ended):
            await self._control.rest(state, self._now)
            if not state.ended:
                done.clear()
                self.lanes.add(work)
                self._control.tune(work)
                await done.wait()

    async def _inputs(self, value: Any, stage: Stage, position: int) -> list[Any]:
        """The items of a map's source, a list unless the flow had no map here before."""
        if type(value) is list:
            return value
        (source,) = self._bound(self.graph.stages[position - 1], position - 1, ())
        try:
            return await in_thread(_relisted, source, value, stage.name)
        except Exception as error:
            failure = capture(source, 0, 1, error)
            self._note(source.name, f"failed: {failure.type}: {failure.reason}")
            raise RunFailed(self.id, failure) from None

    def _opened(self, position: int, stage: Stage, count: int, writer: RunWriter) -> StageRow:
        """The stage's record: the existing one, or a new one."""
        if position in self._begun:
            return self._begun[position]
        kind: StageKind = "map" if isinstance(stage, MapStage) else "task"
        number = stage_id(self._number, position)
        row = StageRow(number, self.id, position, stage.name, kind, self._now(), None, count)
        writer.add(Opening(row))
        return row

    def _map_after(self, position: int) -> str | None:
        after = self.graph.stages[position + 1 : position + 2]
        return after[0].name if after and isinstance(after[0], MapStage) else None

    def _bound(
        self, stage: Stage, position: int, failures: tuple[Failure, ...]
    ) -> tuple[BoundCall, ...]:
        graph, last = self.graph, stage.calls[-1]
        listed = self._map_after(position) is not None
        return tuple(
            bind(
                call,
                run_id=self.id,
                flow=graph.name,
                params=graph.params,
                takes_input=position > 0,
                in_map=isinstance(stage, MapStage),
                failures=failures,
                lane=lane,
                previewed=partial(preview, stage.name) if self._previews and call is last else None,
                caching=caching_of(
                    call,
                    graph.params,
                    takes_input=position > 0,
                    listed=listed and call is last,
                    looks=not self._no_cache,
                    failures=failures,
                ),
            )
            for call, lane in zip(stage.calls, lanes_of(stage, cluster=self._cluster), strict=True)
        )

    # ---- the end ---------------------------------------------------------------------------------

    async def _discard(self) -> None:
        """Leave nothing in a run that another process has now, or that was removed."""
        if self._writer is not None:
            steps = [call.name for stage in self.graph.stages for call in stage.calls]
            with suppress(JournalError, PayloadError):
                await discard(self.journal, self.payloads, self._writer, self.graph.name, steps)

    def _on_lost(self, error: JournalError) -> None:
        self._lost = error
        self.lanes.call_on_loop(self.cancel)

    def _check_lost(self) -> None:
        if self._lost is not None:
            raise self._lost

    def _check_cancelled(self) -> None:
        if self.state.cancelled:
            raise RunCancelled(f"run {self.id} was cancelled", self.id)


async def _committed(future: Future[T]) -> T:
    """Wait until the journal has written something to disk."""
    return await asyncio.wrap_future(future)


def _relisted(source: BoundCall, value: Any, mapped: str) -> list[Any]:
    """The items of a result that was not recorded as a list, in the same order at each resume."""
    if isinstance(value, set | frozenset):  # its order differs by process
        value = sorted(value, key=dumps)
    return listed_items(source, value, mapped)


def source_of(graph: FlowGraph[Any]) -> str | None:
    """``FILE:flow``, with which another process resumes the run; None if no file has the flow."""
    file = file_of(graph)
    return f"{os.path.abspath(file)}:{graph.name}" if file else None


def file_of(graph: FlowGraph[Any]) -> str | None:
    """The file of a flow, if one has it."""
    module = sys.modules.get(graph.flow.__module__) if graph.flow else None
    return getattr(module, "__file__", None)
