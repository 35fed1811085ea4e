"""The backend of runs on AWS, for commands, which are not async."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from lokki.aws.execution_view import cells
from lokki.aws.executions import Executions
from lokki.aws.executions import opened as opened_executions
from lokki.aws.loglines import Lines
from lokki.aws.resuming import Plan, plan, resume
from lokki.config import Config
from lokki.model.log import LogLine
from lokki.model.run import Run, RunList
from lokki.model.times import seconds
from lokki.resumption import ResumeOptions
from lokki.store.lines import Wanted

T = TypeVar("T")
_LIST_SECONDS = 5.0
"""Results of a map that goes on are listed at most so often."""
_SETTLE_SECONDS = 4.0
"""CloudWatch shows a line some seconds after it was written."""


class AwsBackend:
    """A `Backend` whose runs are executions. Raises AwsError for what AWS refuses."""

    poll_interval = 1.0

    def __init__(self, portal: BlockingPortal, executions: Executions) -> None:
        self.name = executions.name
        self.settling_time = 0.0 if executions.account.endpoint else _SETTLE_SECONDS
        self.executions = executions
        self._portal = portal
        self._flows: dict[str, str] = {}
        self._lines: dict[str, Lines] = {}
        self._done_items: dict[tuple[str, int], tuple[int, float, set[int]]] = {}

    def wait(self, ask: Callable[..., Awaitable[T]], *given: Any) -> T:
        """What an async question is answered, asked in the thread that has the connections."""
        return self._portal.call(ask, *given)

    # ---- looking ---------------------------------------------------------------------------------

    def find(self, name: str, flow: str | None = None) -> Run:
        run = self.wait(self.executions.find, name, flow)
        self._flows[run.id] = run.flow
        return run

    def run(self, run_id: str) -> Run:
        return self.wait(self.executions.view, self._flow(run_id), run_id)

    def runs(
        self,
        *,
        flow: str | None = None,
        statuses: Sequence[str] = (),
        since: float | None = None,
        before: str | None = None,
        older_than: float | None = None,
        limit: int,
    ) -> RunList:
        page = self.executions.page
        found = self.wait(page, flow, statuses, since, before, limit, older_than)
        self._flows |= {run.id: run.flow for run in found.runs}
        return found

    def flows(self) -> list[str]:
        return self.wait(self.executions.flows)

    def _flow(self, run_id: str) -> str:
        return self._flows.get(run_id) or self.find(run_id).flow

    def strip(self, run_id: str, position: int, width: int) -> Sequence[Mapping[str, int]]:
        run = self.run(run_id)
        stage = next(each for each in run.stages if each.position == position)
        if stage.succeeded == stage.total:
            return cells(range(stage.total), {}, stage.total, width)
        status = "failed" if stage.failed else "tolerated"
        failed = dict.fromkeys(
            self.wait(self.executions.failed_items, run.flow, run_id, position), status
        )
        done = self._done(run, position, stage.succeeded)
        return cells(done, failed, stage.total, width)

    def _done(self, run: Run, position: int, count: int) -> set[int]:
        """The items of a map that have their result: listed now and then, if there are more."""
        key = run.id, position
        known, at, done = self._done_items.get(key, (-1, -inf, set()))
        if count != known and (run.finished or monotonic() > at + _LIST_SECONDS):
            done = self.wait(self.executions.done_items, run.flow, run.id, position)
            self._done_items[key] = count, monotonic(), done
        return done

    def lines(
        self,
        run_id: str,
        *,
        step: str | None = None,
        item: int | None = None,
        attempt: int | None = None,
        level: str = "DEBUG",
        since: float | None = None,
        until: float | None = None,
        after: int = 0,
    ) -> Iterator[LogLine]:
        wanted = Wanted(step, item, attempt, level, since, until)
        read = self._read(run_id)
        return (line for line in read[after:] if wanted.has(line))

    def last_line(self, run_id: str) -> int:
        return len(self._read(run_id))

    def _read(self, run_id: str) -> Sequence[LogLine]:
        lines = self._lines.get(run_id)
        if lines is None:
            run = self.find(run_id, self._flows.get(run_id))
            lines = Lines(self.executions.account, run.flow, run_id, seconds(run.created))
            self._lines[run_id] = lines
        self.wait(lines.more)
        return lines.read

    # ---- doing -----------------------------------------------------------------------------------

    def start(self, flow: str, run_id: str, params: Mapping[str, Any]) -> Run:
        """Start a run of a flow."""
        self.wait(self.executions.start, flow, run_id, params)
        return self.find(run_id, flow)

    def plan(self, run_id: str, again: ResumeOptions) -> Plan:
        """What a resume would do."""
        return self.wait(plan, self.executions, self._flow(run_id), run_id, again)

    def resume(self, planned: Plan, new_id: str) -> Run:
        """Do what is planned; the run that goes on, which is a new one of this id if it must."""
        return self.find(self.wait(resume, self.executions, planned, new_id), planned.run.flow)

    def result(self, run_id: str) -> Any:
        """The result of a run that has succeeded."""
        return self.wait(self.executions.result, self._flow(run_id), run_id)

    def pickled_result(self, run_id: str) -> bytes:
        return self.wait(self.executions.pickled_result, self._flow(run_id), run_id)

    def request_cancel(self, run_id: str) -> None:
        """Ask for a run to be cancelled."""
        self.wait(self.executions.stop, self.find(run_id, self._flow(run_id)))

    def cancel(self, run_id: str) -> Iterator[None]:
        self.request_cancel(run_id)
        while self.find(run_id, self._flow(run_id)).status == "running":
            yield


@contextmanager
def opened(config: Config) -> Iterator[AwsBackend]:
    """The configured account, as long as the context is open. Raises AwsError or ConfigError."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(opened_executions(config)) as executions,
    ):
        yield AwsBackend(portal, executions)
