"""The runs of this machine and those on AWS in one backend, if neither is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lokki.backends.local import LocalBackend
from lokki.errors import AwsError, RunNotFound
from lokki.model.attachment import Attachment
from lokki.model.item import Item, ItemDetail
from lokki.model.log import LogLine
from lokki.model.run import Run, RunList, Tuned
from lokki.model.run_filter import RunFilter
from lokki.model.times import seconds

if TYPE_CHECKING:
    from lokki.backends.blocking import BlockingAwsBackend


class CombinedBackend:
    """A `Backend` over both; ``open_aws`` opens AWS when it is first needed.

    If that fails, ``tell`` receives the error, and lists go without AWS. Lists have both copies of
    a pulled run, never on two pages; its id means the local one.
    """

    def __init__(
        self,
        local: LocalBackend,
        open_aws: Callable[[], BlockingAwsBackend],
        tell: Callable[[AwsError], object],
    ) -> None:
        self._local = local
        self._open_aws = open_aws
        self._tell = tell
        self._backends: dict[str, LocalBackend | BlockingAwsBackend] = {}

    @cached_property
    def _aws(self) -> BlockingAwsBackend | None:
        try:
            return self._open_aws()
        except AwsError as error:
            self._tell(error)
            return None

    @property
    def poll_interval(self) -> float:
        return max((backend.poll_interval for backend in self._backends.values()), default=0.0)

    @property
    def settling_time(self) -> float:
        return max((backend.settling_time for backend in self._backends.values()), default=0.0)

    @property
    def name(self) -> str:
        return f"{self._local.name} and {self._aws.name}" if self._aws else self._local.name

    def find(self, name: str, flow: str | None = None) -> Run:
        if name == "last":
            return self._newest(flow)
        try:
            return self._remembered(self._local, self._local.find(name, flow))
        except RunNotFound as error:
            if self._aws is None:
                raise
            try:
                return self._remembered(self._aws, self._aws.find(name, flow))
            except RunNotFound as other:
                raise RunNotFound(f"{error}; {other}") from None

    def _newest(self, flow: str | None) -> Run:
        found = self.runs(RunFilter(flow=flow, limit=1)).runs
        if not found:
            raise RunNotFound(f"no runs{f' of {flow}' if flow else ''} yet in {self.name}")
        return found[0]

    def _remembered(self, backend: LocalBackend | BlockingAwsBackend, run: Run) -> Run:
        self._backends.setdefault(run.id, backend)
        return run

    def _of(self, run_id: str) -> LocalBackend | BlockingAwsBackend:
        if run_id not in self._backends:
            self.find(run_id)
        return self._backends[run_id]

    def run(self, run_id: str) -> Run:
        return self._of(run_id).run(run_id)

    def runs(self, wanted: RunFilter) -> RunList:
        newer = None if wanted.before is None else self.find(wanted.before, wanted.flow)
        of_others = replace(wanted, before=None)
        if newer is not None:
            of_others = replace(of_others, older_than=seconds(newer.created))
        found: list[Run] = []
        more = False
        for backend in (self._local, self._aws):
            if backend is None:
                continue
            own = newer is not None and self._of(newer.id) is backend
            try:
                page = backend.runs(replace(wanted, older_than=None) if own else of_others)
            except AwsError as error:
                self._tell(error)
                continue
            more = more or page.next is not None
            found += [self._remembered(backend, run) for run in page.runs]
        limit = wanted.limit
        newest = sorted(found, key=lambda run: (run.created, run.id), reverse=True)
        shown, left = newest[:limit], newest[limit:]
        if left and left[0].id == shown[-1].id:
            shown.append(left.pop(0))
        older = more or bool(left)
        return RunList(runs=shown, next=shown[-1].id if older and shown else None)

    def flows(self) -> list[str]:
        there: list[str] = []
        try:
            there = self._aws.flows() if self._aws else []
        except AwsError as error:
            self._tell(error)
        return sorted({*self._local.flows(), *there})

    def strip(self, run_id: str, position: int, width: int) -> Sequence[Mapping[str, int]]:
        return self._of(run_id).strip(run_id, position, width)

    def items(self, run_id: str, position: int, statuses: Sequence[str] = ()) -> Iterator[Item]:
        return self._of(run_id).items(run_id, position, statuses)

    def item(self, run_id: str, position: int, index: int) -> ItemDetail | None:
        return self._of(run_id).item(run_id, position, index)

    def lines(self, run_id: str, **wanted: Any) -> Iterator[LogLine]:
        return self._of(run_id).lines(run_id, **wanted)

    def last_line(self, run_id: str) -> int:
        return self._of(run_id).last_line(run_id)

    def attachments(self, run_id: str, **wanted: Any) -> list[Attachment]:
        return self._of(run_id).attachments(run_id, **wanted)

    def attachment(self, run_id: str, name: str) -> tuple[Attachment, bytes]:
        return self._of(run_id).attachment(run_id, name)

    def pickled_result(self, run_id: str) -> bytes:
        return self._of(run_id).pickled_result(run_id)

    def cancel(self, run_id: str) -> Iterator[None]:
        return self._of(run_id).cancel(run_id)

    def pause(self, run_id: str) -> Iterator[None]:
        return self._of(run_id).pause(run_id)

    def unpause(self, run_id: str) -> Run:
        return self._of(run_id).unpause(run_id)

    def tune(self, run_id: str, concurrency: int) -> Tuned:
        return self._of(run_id).tune(run_id, concurrency)
