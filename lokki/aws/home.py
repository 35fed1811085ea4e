"""Copies a run on AWS here, to resume it, and copies the new results back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from lokki.aws.execution_view import Outlined, params_of
from lokki.aws.executions import Executions
from lokki.engine.parameters import packed_params
from lokki.engine.run import source_of
from lokki.engine.storing import INLINE_BYTES
from lokki.errors import (
    AwsError,
    FingerprintError,
    JournalError,
    PayloadError,
    RunNotFound,
    RunOwned,
)
from lokki.graph import FlowGraph
from lokki.model.base import fields_of
from lokki.model.failure import Failure
from lokki.model.run import Run, Stage
from lokki.model.status import ItemStatus
from lokki.model.structure import dumped
from lokki.model.times import seconds
from lokki.postgres_url import Place
from lokki.runtime import shown
from lokki.runtime.payloads import Payloads
from lokki.store.codec import contained
from lokki.store.concurrency import for_each
from lokki.store.journal import Journal
from lokki.store.keys import output_key
from lokki.store.outcomes import Outcomes
from lokki.store.parameters import drop, keep, written_params
from lokki.store.protocol import PayloadStore
from lokki.store.records import Opening
from lokki.store.references import Reference, stored
from lokki.store.removal import discard, remove
from lokki.store.rows import StageRow, item_range, stage_id
from lokki.store.runs import RunRecord
from lokki.store.texts import Texts
from lokki.store.writer import RunWriter
from lokki.wording import Arguments, Wording

_AT_A_TIME = 500
"""Most results in memory at a time."""
_PUTS_AT_A_TIME = 32


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a run has here now: results, failed items, items left on AWS, values that are shown."""

    results: int
    failed: int
    left: int
    shown: int


async def pull(
    executions: Executions,
    run: Run,
    graph: FlowGraph[Any],
    journal: Place,
    large: PayloadStore,
    *,
    only_failed: bool,
    replace: bool,
    started_by: str,
) -> Pulled:
    """Record a run on AWS here, with its results and failures, so that it can be resumed here.

    What its steps have shown is recorded, too.

    ``large`` keeps results that are too large for the journal. With ``only_failed``, items that
    AWS has not reached are left to it; with ``replace``, it replaces a run that is here. Raises
    AwsError for a running run, JournalError for one that is already here, and FingerprintError if
    the code here has another structure.
    """
    if run.status == "running":
        raise AwsError(f"run {run.id} is running: cancel it, or wait for its end")
    if graph.structure != run.structure:
        raise FingerprintError(
            f"run {run.id} cannot be pulled: the flow has another structure here\n"
            f"  it was started as: {run.chain}\n"
            f"  the code is now:   {graph.shape}"
        )
    observation = await executions.observe(run.flow, run.id)
    with closing(Journal(journal)) as book:
        await _make_room(book, large, run.id, replace=replace)
        written = written_params(packed_params(graph), params_of(observation.execution))
        kept = await keep(large, run.flow, run.id, written)
        number = book.create(
            run.id,
            flow=run.flow,
            source=source_of(graph),
            fingerprint=graph.fingerprint,
            structure=dumped(graph.structure),
            params=kept.packed,
            params_json=kept.shown,
            params_ref=kept.ref,
            now=seconds(run.created),
            started_by=started_by,
            tags=run.tags,
            no_cache=run.no_cache,
        ).result()
        writer = book.own(run.id, lambda error: None)
        payloads, sums, values = executions.payloads(run.flow), [0, 0, 0], 0
        try:
            for shape in run.stages:
                stage = observation.machine.stages[shape.position]
                failures = observation.failures.get(stage.name, ())
                row = _row(number, run.id, shape)
                writer.add(Opening(row))
                here = _Stage(run.flow, payloads, large, writer, stage, row, failures, only_failed)
                async for outcomes in here.outcomes(shape):
                    writer.add(outcomes)
                sums = [old + new for old, new in zip(sums, here.counts, strict=True)]
                if shape.finished:
                    book.close_stage(run.id, row.position, seconds(shape.finished)).result()
            async for each in shown.copies(payloads, run.id):
                writer.add(each)
                values += each.number is not None
            error = json.dumps(run.error, default=fields_of) if run.error else None
            at = seconds(run.finished or run.created)
            book.finish(run.id, run.status, at, error).result()
        except BaseException:  # half a run is useless
            with suppress(RunOwned):
                book.remove(run.id).result()
            with suppress(JournalError, PayloadError):
                steps = [stage.calls[-1] for stage in observation.machine.stages]
                await discard(book, large, writer, run.flow, steps)
                await drop(large, kept.ref)
            raise
        finally:
            book.commits.release(writer)
    results, failed, left = sums
    return Pulled(results, failed, left, values)


async def _make_room(book: Journal, large: PayloadStore, run_id: str, *, replace: bool) -> None:
    """Remove the local run with this id, if it is to be replaced."""
    try:
        here = book.history.find(run_id)
    except RunNotFound:
        return
    if here.id != run_id:  # the id is only its beginning
        return
    if not replace:
        replaces = Arguments(replace=True)
        raise JournalError(Wording(f"run {run_id} is already here: resume it, or give ", replaces))
    if await remove(book, large, here) is None:
        raise JournalError(f"run {run_id} is here, and another process has it")


def _row(number: int, run_id: str, shape: Stage) -> StageRow:
    position, started = shape.position, seconds(shape.started)
    key = stage_id(number, position)
    name, kind, total = shape.name, shape.kind, shape.total
    return StageRow(key, run_id, position, name, kind, started, None, total)


class _Stage:
    """A stage that is copied; ``counts`` are its results, its failures, and what is left."""

    def __init__(
        self,
        flow: str,
        payloads: Payloads,
        large: PayloadStore,
        writer: RunWriter,
        stage: Outlined,
        row: StageRow,
        failures: Sequence[Failure],
        only_failed: bool,
    ) -> None:
        self.counts = (0, 0, 0)
        self._flow = flow
        self._payloads = payloads
        self._large = large
        self._writer = writer.name
        self._stage = stage
        self._row = row
        self._failures = {each.index or 0: each for each in failures}
        self._only_failed = only_failed

    async def outcomes(self, shape: Stage) -> AsyncIterator[Outcomes]:
        """The rows of its items, some at a time."""
        keys = await self._keys()
        at = seconds(shape.finished or shape.started)
        status = ItemStatus.TOLERATED if shape.finished else ItemStatus.FAILED
        left = self._left(keys) if self._only_failed and not shape.finished else []
        rows = [
            *(self._item(index, status, at) for index in self._failures),
            *(self._item(index, ItemStatus.PAUSED, at) for index in left),
        ]
        failed = 0 if shape.finished else len(self._failures)
        tolerated = len(self._failures) - failed
        failures = [self._failure(index, each, at) for index, each in self._failures.items()]
        yield Outcomes(self._row.id, (0, failed, tolerated, 0), items=rows, failures=failures)
        done = sorted(keys)
        for first in range(0, len(done), _AT_A_TIME):
            some = done[first : first + _AT_A_TIME]
            results = await self._payloads.read([keys[index] for index in some])
            items = [
                await self._result(index, data, at)
                for index, data in zip(some, results, strict=True)
            ]
            counts = (first + len(some), failed, tolerated, 0)
            yield Outcomes(self._row.id, counts, items=items)
        self.counts = (len(done), len(self._failures), len(left))

    async def _keys(self) -> dict[int, str]:
        """The keys of its items' results."""
        call, run_id = self._stage.calls[-1], self._row.run
        if self._stage.label is not None:
            return await self._payloads.indexes(run_id, call, "output.pkl.gz")
        key = self._payloads.output_key(run_id, call)
        return {0: key} if await self._payloads.store.exists(key) else {}

    def _left(self, keys: dict[int, str]) -> list[int]:
        known = keys.keys() | self._failures.keys()
        return [index for index in range(self._row.total) if index not in known]

    def _item(self, index: int, status: ItemStatus, at: float) -> tuple[Any, ...]:
        return (self._key(index), status.value, 0, 1, self._row.started, at, None, None)

    def _key(self, index: int) -> int:
        """The key of an item in the journal."""
        return item_range(self._row.id)[0] + index

    def _failure(self, index: int, failure: Failure, at: float) -> tuple[Any, ...]:
        texts = Texts.of(failure.reason, failure.traceback)
        return (self._key(index), failure.step, failure.attempt, at, failure.type, *texts)

    async def _result(self, index: int, data: bytes, at: float) -> tuple[Any, ...]:
        """The row of a result, with the result in it or kept with the large ones."""
        ref = None
        if len(data) > INLINE_BYTES:
            in_map = self._stage.label is not None
            call, run_id = self._stage.calls[-1], self._row.run
            item = index if in_map else None
            key = output_key(self._flow, run_id, call, item, self._writer)
            ref = str(Reference.of(key, data))
            await self._large.put(key, data)
        kept = (None, ref) if ref else (data, None)
        last = len(self._stage.calls) - 1
        return (self._key(index), "succeeded", last, 1, self._row.started, at, *kept)


@dataclass(frozen=True, slots=True)
class _Result:
    """A local result, packed or by reference, and its key on AWS."""

    stage: StageRow
    index: int
    key: str
    packed: bytes | None
    ref: str | None


async def push(
    executions: Executions,
    run: RunRecord,
    stages: Sequence[Outlined],
    book: Journal,
    large: PayloadStore,
) -> int:
    """Copy the results of a local run to the run on AWS, where it has none; their number."""
    payloads, pushed = executions.payloads(run.flow), 0

    async def give(result: _Result) -> None:
        nonlocal pushed
        key, ref = result.key, result.ref
        if result.packed is not None:
            if not await payloads.store.create(key, contained(result.packed)):
                return
        elif ref is None or await payloads.store.exists(key):
            return
        else:
            data = await stored(large, result.stage, result.index, ref, bytes)
            await payloads.store.put(key, data)
        pushed += 1

    for row in book.history.stages(run.id):
        stage = stages[row.position]
        there: dict[int, str] = {}
        if stage.label is not None:
            there = await payloads.indexes(run.id, stage.calls[-1], "output.pkl.gz")
        await for_each(_results(book, payloads, row, stage, there), give, _PUTS_AT_A_TIME)
    return pushed


def _results(
    book: Journal, payloads: Payloads, row: StageRow, stage: Outlined, there: dict[int, str]
) -> Iterator[_Result]:
    """The results of a stage that are missing there."""
    for index, data, ref in book.outputs(row.id):
        if index not in there:
            item = index if stage.label is not None else None
            key = payloads.output_key(row.run, stage.calls[-1], item)
            yield _Result(row, index, key, data, ref)
