"""The runs of an AWS account, for commands, which are not async."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from lokki.aws.resuming import Plan
from lokki.backends import aws
from lokki.backends.aws import AwsBackend
from lokki.config import Config
from lokki.model.attachment import Attachment
from lokki.model.item import Item, ItemDetail
from lokki.model.log import LogLine
from lokki.model.run import Run, RunList, Tuned
from lokki.model.run_filter import RunFilter
from lokki.resumption import ResumeOptions
from lokki.store.lines import Wanted

T = TypeVar("T")

_SETTLE_SECONDS = 4.0
"""CloudWatch shows a line some seconds after it was written."""


class BlockingAwsBackend:
    """A `Backend` over an `AwsBackend` in another thread."""

    poll_interval = 1.0

    def __init__(self, portal: BlockingPortal, backend: AwsBackend) -> None:
        self.name = backend.name
        self.executions = backend.executions
        self.settling_time = 0.0 if self.executions.account.endpoint else _SETTLE_SECONDS
        self._portal = portal
        self._backend = backend

    def wait(self, ask: Callable[..., Awaitable[T]], *given: Any) -> T:
        """The answer to an async request, made in the thread that has the connections."""
        return self._portal.call(ask, *given)

    def find(self, name: str, flow: str | None = None) -> Run:
        return self.wait(self._backend.find, name, flow)

    def run(self, run_id: str) -> Run:
        return self.wait(self._backend.run, run_id)

    def runs(self, wanted: RunFilter) -> RunList:
        return self.wait(self._backend.runs, wanted)

    def flows(self) -> list[str]:
        return self.wait(self._backend.flows)

    def strip(self, run_id: str, position: int, width: int) -> Sequence[Mapping[str, int]]:
        return self.wait(self._backend.strip, run_id, position, width).cells

    def items(self, run_id: str, position: int, statuses: Sequence[str] = ()) -> Iterator[Item]:
        ask = self._backend.items
        return iter(self.wait(lambda: ask(run_id, position, statuses=statuses, limit=sys.maxsize)))

    def item(self, run_id: str, position: int, index: int) -> ItemDetail | None:
        return self.wait(self._backend.item, run_id, position, index)

    def lines(self, run_id: str, *, after: int = 0, **wanted: Any) -> Iterator[LogLine]:
        ask = self._backend.lines
        return iter(self.wait(lambda: ask(run_id, Wanted(**wanted), after=after)))

    def last_line(self, run_id: str) -> int:
        return self.wait(self._backend.last_line, run_id)

    def attachments(self, run_id: str, **wanted: Any) -> list[Attachment]:
        return self.wait(lambda: self._backend.attachments(run_id, **wanted))

    def attachment(self, run_id: str, name: str) -> tuple[Attachment, bytes]:
        return self.wait(self._backend.attachment, run_id, name)

    def pickled_result(self, run_id: str) -> bytes:
        return self.wait(self._backend.pickled_result, run_id)

    def result(self, run_id: str) -> Any:
        """The result of a succeeded run."""
        return self.wait(self._backend.result, run_id)

    def start(
        self,
        flow: str,
        run_id: str,
        params: Mapping[str, Any],
        tags: Sequence[str] = (),
        *,
        no_cache: bool = False,
    ) -> Run:
        """Start a run of a flow; with ``no_cache``, it uses no cached results."""
        ask = self._backend.start
        return self.wait(lambda: ask(flow, run_id, params, tags, no_cache=no_cache))

    def forget(self, before: float, flow: str | None, *, dry_run: bool) -> int:
        """Remove the cached results that were made before a time; return how many."""
        ask = self._backend.forget
        return self.wait(lambda: ask(before, flow, dry_run=dry_run))

    def plan(self, run_id: str, again: ResumeOptions) -> Plan:
        """What a resume would do."""
        return self.wait(self._backend.plan_resume, run_id, again)

    def resume(self, planned: Plan, new_id: str) -> Run:
        """Resume as planned; the run that continues, if necessary a new one with this id."""
        return self.wait(self._backend.carry_out, planned, new_id)

    def request_cancel(self, run_id: str) -> None:
        """Request the cancellation of a run."""
        self.wait(self._backend.request_cancel, self.find(run_id))

    def pause(self, run_id: str) -> Iterator[None]:
        raise aws.not_pausable(run_id)

    def unpause(self, run_id: str) -> Run:
        raise aws.not_pausable(run_id)

    def tune(self, run_id: str, concurrency: int) -> Tuned:
        return self.wait(self._backend.tune, run_id, concurrency)

    def cancel(self, run_id: str) -> Iterator[None]:
        self.request_cancel(run_id)
        while self.find(run_id).status == "running":
            yield


@contextmanager
def opened(config: Config) -> Iterator[BlockingAwsBackend]:
    """The configured account, as long as this context is open. Raises AwsError or ConfigError."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(aws.opened(config)) as backend,
    ):
        yield BlockingAwsBackend(portal, backend)
