"""The runs of an AWS account, without blocking, for the service and for commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from math import inf
from time import monotonic, time
from typing import Any, Self

from lokki.aws import executions
from lokki.aws.execution_view import Observation, cells, execution_view
from lokki.aws.executions import Executions
from lokki.aws.loglines import Lines
from lokki.aws.once import Kept, Once
from lokki.aws.resuming import Plan, plan, resume
from lokki.backends.outputs import Output
from lokki.config import Config
from lokki.errors import NotPausable, StageNotFound
from lokki.model.attachment import Attachment
from lokki.model.base import fields_of
from lokki.model.failure import Failure
from lokki.model.item import Attempt, Item, ItemDetail, Strip
from lokki.model.log import LogLine
from lokki.model.run import Run, RunList, Stage, Tuned
from lokki.model.run_filter import RunFilter
from lokki.model.status import ItemStatus
from lokki.model.times import seconds
from lokki.resumption import ResumeOptions
from lokki.runtime import shown
from lokki.store.groups import group
from lokki.store.items import item_error
from lokki.store.lines import Wanted

_FLOWS_SECONDS = 10.0
"""How long the list of deployed flows counts as current, for repeated requests."""
_LIST_SECONDS = 5.0
"""Seconds between lists of an unfinished map's results."""


@dataclass(frozen=True, slots=True)
class _Done:
    """The items of a map with a result, as of a time when the map counted ``count`` of them."""

    count: int
    at: float
    items: set[int]


@dataclass(frozen=True, slots=True)
class _Known:
    """What is kept between requests."""

    once: Once = field(default_factory=Once)
    flows: Kept[str, str] = field(default_factory=Kept)
    lines: Kept[tuple[str, str], Lines] = field(default_factory=Kept)
    done: Kept[tuple[str, str, int], _Done] = field(default_factory=Kept)
    shown: Kept[tuple[str, str], dict[str, Attachment]] = field(default_factory=Kept)


class AwsBackend:
    """An `AsyncBackend` whose runs are executions: those of an account, or of one flow.

    An answer of AWS counts as current for some seconds, for all callers. Methods raise AwsError
    when AWS refuses a request.
    """

    def __init__(self, executions: Executions, current: float = 0.0) -> None:
        self.name = executions.name
        self.executions = executions
        self._current = current
        self._of: str | None = None
        self._known = _Known()

    def of(self, flow: str) -> Self:
        """The runs of one flow. What is kept is shared."""
        one = copy(self)
        one._of = flow
        return one

    # ---- runs ------------------------------------------------------------------------------------

    async def find(self, name: str, flow: str | None = None) -> Run:
        known = self._of or self._known.flows.get(name)
        run = await self.executions.find(name, flow or known)
        self._known.flows[run.id] = run.flow
        return run

    async def run(self, run_id: str) -> Run:
        return execution_view(await self.observation(run_id), time())

    async def observation(self, run_id: str) -> Observation:
        """What is known of a run. Raises RunNotFound."""
        flow = await self._flow(run_id)
        ask = partial(self.executions.observe, flow, run_id)
        return await self._known.once.ask(("run", flow, run_id), ask, self._current)

    async def _flow(self, run_id: str) -> str:
        return self._of or self._known.flows.get(run_id) or (await self.find(run_id)).flow

    async def runs(self, wanted: RunFilter) -> RunList:
        wanted = replace(wanted, flow=wanted.flow or self._of)
        ask = partial(self.executions.page, wanted)
        found = await self._known.once.ask(("page", wanted), ask, self._current)
        for run in found.runs:
            self._known.flows[run.id] = run.flow
        return found

    async def flows(self) -> list[str]:
        kept = _FLOWS_SECONDS if self._current else 0.0
        return await self._known.once.ask(("flows",), self.executions.flows, kept)

    # ---- items -----------------------------------------------------------------------------------

    async def strip(self, run_id: str, position: int, width: int) -> Strip:
        outcomes = await self._outcomes(run_id, position)
        return Strip(
            total=outcomes.stage.total, cells=[dict(+each) for each in outcomes.cells(width)]
        )

    async def items(
        self,
        run_id: str,
        position: int,
        *,
        statuses: Sequence[str] = (),
        error: str | None = None,
        after: int = -1,
        limit: int,
    ) -> list[Item]:
        outcomes = await self._outcomes(run_id, position)
        return list(islice(outcomes.items(statuses, error, after), limit))

    async def item(self, run_id: str, position: int, index: int) -> ItemDetail | None:
        outcomes = await self._outcomes(run_id, position)
        found = next(outcomes.items((), None, index - 1), None)
        if found is None or found.index != index:
            return None
        output = await self._output(run_id, position, index)
        return ItemDetail(
            **fields_of(found),
            step=outcomes.stage.name,
            failures=outcomes.attempts(index),
            output=None if output is None else await output.shown(),
            input=await self._input(run_id, outcomes.stage, index),
        )

    async def inputs(self, run_id: str, position: int, indices: Iterable[int]) -> dict[int, str]:
        stage = (await self._outcomes(run_id, position)).stage
        found = await self._before(run_id, stage) if stage.kind == "map" else None
        return {} if found is None else await found.item_texts(indices)

    async def _input(self, run_id: str, stage: Stage, index: int) -> dict[str, Any] | None:
        found = await self._before(run_id, stage)
        if found is None:
            return None
        return await (found.shown_item(index) if stage.kind == "map" else found.shown())

    async def _before(self, run_id: str, stage: Stage) -> Output | None:
        """The result of the stage before: what this one, or each of its items, got; not a map's."""
        if not stage.position:
            return None
        before = (await self._outcomes(run_id, stage.position - 1)).stage
        if before.kind == "map":
            return None
        return await self._output(run_id, before.position, 0)

    async def _output(self, run_id: str, position: int, index: int) -> Output | None:
        flow = await self._flow(run_id)
        packed = await self.executions.packed_output(flow, run_id, position, index)
        if not packed:
            return None
        stage = (await self._outcomes(run_id, position)).stage
        return Output.of(packed, self._previewed(flow, run_id, stage, index))

    def _previewed(
        self, flow: str, run_id: str, stage: Stage, index: int
    ) -> Callable[[], Awaitable[bytes | None]]:
        item = index if stage.kind == "map" else None
        payloads = self.executions.payloads(flow)
        return partial(shown.preview, payloads, run_id, stage.name, item)

    async def _outcomes(self, run_id: str, position: int) -> _Outcomes:
        """The items of a stage. Raises StageNotFound for one that has not begun."""
        observation = await self.observation(run_id)
        run = execution_view(observation, time())
        stage = next((each for each in run.stages if each.position == position), None)
        if stage is None:
            raise StageNotFound(f"stage {position} of run {run_id} has not begun")
        failures = observation.failures.get(stage.name, ())
        is_done = stage.succeeded == stage.total
        done = range(stage.total) if is_done else await self._done_items(run, stage)
        return _Outcomes(stage, done, {each.index or 0: each for each in failures})

    async def _done_items(self, run: Run, stage: Stage) -> set[int]:
        """The items of a map that have a result; listed again only now and then."""
        key = run.flow, run.id, stage.position
        known = self._known.done.get(key, _Done(-1, -inf, set()))
        if known.count == stage.succeeded:
            return known.items
        if not run.finished and monotonic() < known.at + _LIST_SECONDS:
            return known.items
        ask = partial(self.executions.done_items, *key)
        items = await self._known.once.ask(("done", *key), ask, 0.0)
        self._known.done[key] = _Done(stage.succeeded, monotonic(), items)
        return items

    # ---- lines -----------------------------------------------------------------------------------

    async def lines(
        self, run_id: str, wanted: Wanted, *, after: int = 0, limit: int | None = None
    ) -> list[LogLine]:
        read = await self._read(run_id)
        return list(islice((line for line in read[after:] if wanted.has(line)), limit))

    async def last_lines(
        self, run_id: str, wanted: Wanted, *, before: int | None = None, limit: int
    ) -> list[LogLine]:
        read = await self._read(run_id)
        older = read if before is None else read[: max(0, before - 1)]
        return list(islice((line for line in reversed(older) if wanted.has(line)), limit))[::-1]

    async def last_line(self, run_id: str) -> int:
        return len(await self._read(run_id))

    async def _read(self, run_id: str) -> Sequence[LogLine]:
        """The lines of a run, including new ones; their ids count them."""
        flow = await self._flow(run_id)
        key = flow, run_id
        if key not in self._known.lines:
            began = seconds((await self.run(run_id)).created)
            name = self.executions.deployed_name(flow)
            self._known.lines[key] = Lines(self.executions.account, name, run_id, began)
        lines = self._known.lines[key]
        await self._known.once.ask(("lines", *key), lines.more, self._current)
        return lines.read

    # ---- what steps have shown -------------------------------------------------------------------

    async def attachments(
        self,
        run_id: str,
        *,
        step: str | None = None,
        item: int | None = None,
        after: str | None = None,
        limit: int,
    ) -> list[Attachment]:
        flow = await self._flow(run_id)
        key = flow, run_id
        known = self._known.shown.setdefault(key, {})
        ask = partial(shown.listed, self.executions.payloads(flow), run_id, known)
        found = await self._known.once.ask(("shown", *key), ask, self._current)
        names = [each.name for each in found]
        later = found[names.index(after) + 1 :] if after in names else found
        wanted = (
            each
            for each in later
            if (step is None or each.step == step) and (item is None or each.item == item)
        )
        return list(islice(wanted, limit))

    async def attachment(self, run_id: str, name: str) -> tuple[Attachment, bytes]:
        flow = await self._flow(run_id)
        return await shown.content(self.executions.payloads(flow), run_id, name)

    # ---- results ---------------------------------------------------------------------------------

    async def outputs(self, run_id: str) -> list[Output]:
        flow = await self._flow(run_id)
        packed = await self.executions.packed_result(flow, run_id)
        last = (await self.run(run_id)).stages[-1]
        return [
            Output.of(each, self._previewed(flow, run_id, last, index))
            for index, each in enumerate(packed)
        ]

    async def pickled_result(self, run_id: str) -> bytes:
        """The result of a succeeded run as a pickle."""
        return await self.executions.pickled_result(await self._flow(run_id), run_id)

    async def result(self, run_id: str) -> Any:
        """The result of a succeeded run."""
        return await self.executions.result(await self._flow(run_id), run_id)

    # ---- what is done ----------------------------------------------------------------------------

    async def start(
        self,
        flow: str,
        run_id: str,
        params: Mapping[str, Any],
        tags: Sequence[str] = (),
        *,
        no_cache: bool = False,
    ) -> Run:
        """Start a run of a flow; with ``no_cache``, it uses no cached results."""
        await self.executions.start(flow, run_id, params, tags, no_cache=no_cache)
        return await self._changed(flow, run_id)

    async def start_once(
        self,
        flow: str,
        key: str,
        params: Mapping[str, Any],
        tags: Sequence[str] = (),
        *,
        no_cache: bool = False,
    ) -> Run:
        """The run for an idempotency key, started unless there is one. Raises KeyReused."""
        start = self.executions.start_once
        return await self._changed(flow, await start(flow, key, params, tags, no_cache=no_cache))

    async def forget(self, before: float, flow: str | None, *, dry_run: bool) -> int:
        """Remove the cached results that were made before a time, of a flow or of all deployed.

        Returns how many; ``dry_run``: how many would be removed.
        """
        removed = 0
        for each in [flow] if flow else await self.executions.flows():
            payloads = self.executions.payloads(each)
            removed += await payloads.forget_cached(before, dry_run=dry_run)
        return removed

    async def plan_resume(self, run_id: str, again: ResumeOptions) -> Plan:
        """What a resume would do."""
        return await plan(self.executions, await self._flow(run_id), run_id, again)

    async def carry_out(self, planned: Plan, new_id: str) -> Run:
        """Resume as planned; the run that continues, if necessary a new one with this id."""
        flow = planned.run.flow
        return await self._changed(flow, await resume(self.executions, planned, new_id))

    async def request_cancel(self, run: Run) -> None:
        """Request the cancellation of a run."""
        await self.executions.stop(run)
        self._known.once.forget(run.flow)

    async def tune(self, run_id: str, concurrency: int) -> Tuned:
        """Like `Backend.tune`."""
        return await self.executions.tune(await self._flow(run_id), run_id, concurrency)

    async def _changed(self, flow: str, run_id: str) -> Run:
        """A run after a change; drops what is kept of its flow's runs."""
        self._known.once.forget(flow)
        return await self.find(run_id, flow)


def not_pausable(run_id: str) -> NotPausable:
    """Why a run on AWS is not paused.

    A map run with ``MaxConcurrency`` 0 has no limit:
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_UpdateMapRun.html
    """
    return NotPausable(
        f"run {run_id} is on AWS, where no execution is paused: tune its map to a low concurrency "
        "(of a state machine), or cancel the run and resume it later, which keeps its results"
    )


@dataclass(frozen=True, slots=True)
class _Outcomes:
    """The items of a stage: those with a result, and why others have none."""

    stage: Stage
    done: range | set[int]
    failures: Mapping[int, Failure]

    @property
    def _failed(self) -> ItemStatus:
        return ItemStatus.FAILED if self.stage.failed else ItemStatus.TOLERATED

    def cells(self, width: int) -> list[Counter[str]]:
        """The items in ``width`` cells of neighbours."""
        return cells(self.done, dict.fromkeys(self.failures, self._failed), self.stage.total, width)

    def items(self, statuses: Sequence[str], error: str | None, after: int) -> Iterator[Item]:
        """Items with an outcome after an index: with some statuses, or in a failure group."""
        for index in range(after + 1, self.stage.total):
            failure = self.failures.get(index)
            if failure is None and index not in self.done:
                continue
            status = self._failed if failure else ItemStatus.SUCCEEDED
            if (statuses and status not in statuses) or (error and _group(failure) != error):
                continue
            yield Item(
                index=index,
                status=status,
                attempts=failure.attempt if failure else 1,
                started=None,
                finished=None,
                duration=None,
                error=item_error(failure.type, failure.reason) if failure else None,
            )

    def attempts(self, index: int) -> list[Attempt]:
        """The last failed attempt of an item, if it has failed."""
        failure = self.failures.get(index)
        if failure is None:
            return []
        return [
            Attempt(
                attempt=failure.attempt,
                step=failure.step,
                at=self.stage.finished or self.stage.started,
                type=failure.type,
                message=failure.reason,
                traceback=failure.traceback,
            )
        ]


def _group(failure: Failure | None) -> str | None:
    if failure is None:
        return None
    return group(failure.type, failure.reason, failure.traceback)


@asynccontextmanager
async def opened(config: Config, current: float = 0.0) -> AsyncIterator[AwsBackend]:
    """The configured account, as long as this context is open. Raises AwsError or ConfigError."""
    async with executions.opened(config) as found:
        yield AwsBackend(found, current)
