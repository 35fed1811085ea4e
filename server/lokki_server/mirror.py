"""Runs on AWS, cached: the service asks AWS once for all who watch."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from time import monotonic, time
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from lokki.aws import check_installed
from lokki.config import Config
from lokki.model.failure import Failure
from lokki.model.item import Attempt, Item
from lokki.model.run import Run, Stage
from lokki.model.status import ItemStatus
from lokki.store.groups import group
from lokki.store.items import item_error
from lokki_server.problems import Problem

if TYPE_CHECKING:
    from lokki.aws.execution_view import Observation
    from lokki.aws.executions import Executions
    from lokki.aws.loglines import Lines

T = TypeVar("T")

LOOK_SECONDS = 2.0
"""How long an answer of AWS counts as current; a run that is watched is polled this often."""
_FLOWS_SECONDS = 10.0
"""How long the list of deployed flows counts as current."""
_MOST_KEPT = 200


@dataclass(slots=True)
class _Answer:
    """The answer to a question, or its future; the question is asked again after ``until``."""

    asked: asyncio.Future[Any]
    until: float


class Mirror:
    """The configured AWS account, opened when it is asked for the first time.

    Its methods raise Problem where AWS is not configured, and AwsError for what it refuses.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._opened = AsyncExitStack()
        self._opening = anyio.Lock()
        self._executions: Executions | None = None
        self._answers: OrderedDict[object, _Answer] = OrderedDict()
        self._lines: OrderedDict[object, Lines] = OrderedDict()

    @property
    def is_configured(self) -> bool:
        """Whether there is a bucket, so that flows may be deployed."""
        return self._config.aws.artifact_bucket is not None

    async def executions(self) -> Executions:
        """The executions of the account."""
        if not self.is_configured:
            raise Problem(404, "AWS is not configured", "set aws.artifact_bucket in lokki.toml")
        check_installed()
        from lokki.aws.executions import opened

        async with self._opening:
            if self._executions is None:
                there = opened(self._config)
                self._executions = await self._opened.enter_async_context(there)
        return self._executions

    async def close(self) -> None:
        await self._opened.aclose()

    # ---- one question for all who have it --------------------------------------------------------

    async def ask(
        self, key: object, ask: Callable[[], Awaitable[T]], seconds: float = LOOK_SECONDS
    ) -> T:
        """What ``ask`` gives: asked once for all who have this key, and not again for a while."""
        answer = self._answers.get(key)
        if answer is None or (answer.asked.done() and monotonic() > answer.until):
            asked = asyncio.ensure_future(ask())
            answer = self._answers[key] = _Answer(asked, monotonic() + seconds)
            while len(self._answers) > _MOST_KEPT:
                self._answers.popitem(last=False)
        found: T = await asyncio.shield(answer.asked)
        return found

    def forget(self, flow: str) -> None:
        """Drop what is cached about a flow, after a change to one of its runs."""
        for key in [key for key in self._answers if isinstance(key, tuple) and flow in key]:
            del self._answers[key]

    # ---- what is asked ---------------------------------------------------------------------------

    async def flows(self) -> list[str]:
        """The flows that are deployed."""
        executions = await self.executions()
        return await self.ask("flows", executions.flows, _FLOWS_SECONDS)

    async def observe(self, flow: str, run_id: str) -> Observation:
        """All that is known of a run."""
        executions = await self.executions()
        return await self.ask(("run", flow, run_id), partial(executions.observe, flow, run_id))

    async def run(self, flow: str, run_id: str) -> Run:
        """A run with its stages and failures."""
        from lokki.aws.execution_view import execution_view

        return execution_view(await self.observe(flow, run_id), time())

    async def params(self, flow: str, run_id: str) -> dict[str, Any]:
        """The parameters of a run, but for what is nested too deeply."""
        from lokki.aws.execution_view import shown_params_of

        return shown_params_of((await self.observe(flow, run_id)).execution)

    async def lines(self, flow: str, run_id: str) -> Lines:
        """The lines of a run, with those that have come."""
        from lokki.aws.loglines import Lines

        key = ("lines", flow, run_id)
        if key not in self._lines:
            looked, executions = await self.observe(flow, run_id), await self.executions()
            begun = looked.execution["startDate"].timestamp()
            self._lines[key] = Lines(executions.account, flow, run_id, begun)
            while len(self._lines) > _MOST_KEPT:
                self._lines.popitem(last=False)
        lines = self._lines[key]
        await self.ask(key, lines.more)
        return lines

    async def items(self, flow: str, run_id: str, position: int) -> MirroredItems:
        """The items of a stage. Raises Problem for one that has not begun."""
        looked, run = await self.observe(flow, run_id), await self.run(flow, run_id)
        stage = next((each for each in run.stages if each.position == position), None)
        if stage is None:
            raise Problem(404, "No such stage", f"run {run_id} has begun no stage {position}")
        failures = looked.failures.get(stage.name, ())
        status = ItemStatus.FAILED if stage.failed else ItemStatus.TOLERATED
        done: range | set[int] = range(stage.total)
        if stage.succeeded < stage.total:
            executions = await self.executions()
            ask = partial(executions.done_items, flow, run_id, position)
            done = await self.ask(("done", flow, run_id, position), ask)
        return MirroredItems(stage, done, {each.index or 0: each for each in failures}, status)

    async def output(self, flow: str, run_id: str, position: int, index: int) -> bytes | None:
        """The packed result of an item, or of a stage that is no map; None where there is none."""
        executions = await self.executions()
        await self.observe(flow, run_id)
        return await executions.packed_output(flow, run_id, position, index)


@dataclass(frozen=True, slots=True)
class MirroredItems:
    """The items of a stage on AWS: which have a result, and why others have none."""

    stage: Stage
    done: range | set[int]
    failures: Mapping[int, Failure]
    status: ItemStatus

    def cells(self, width: int) -> list[Counter[str]]:
        """The items in ``width`` cells of neighbours."""
        from lokki.aws.execution_view import cells

        failed = dict.fromkeys(self.failures, self.status)
        return cells(self.done, failed, self.stage.total, width)

    def some(self, statuses: Sequence[str], error: str | None, after: int) -> Iterator[Item]:
        """Those after an index that have an outcome: of some statuses, or of a group of errors."""
        for index in range(after + 1, self.stage.total):
            failure = self.failures.get(index)
            if failure is None and index not in self.done:
                continue
            status = self.status if failure else ItemStatus.SUCCEEDED
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
