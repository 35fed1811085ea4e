"""The methods of every backend: a journal, a server or an AWS account."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from lokki.backends.outputs import Output
from lokki.model.attachment import Attachment
from lokki.model.item import Item, ItemDetail, Strip
from lokki.model.log import LogLine
from lokki.model.run import Run, RunList, Tuned
from lokki.model.run_filter import RunFilter
from lokki.store.lines import Wanted


class Backend(Protocol):
    """Runs of one journal, server or AWS account, for commands.

    Its methods raise RunNotFound, JournalError, ServerError and AwsError.
    """

    @property
    def poll_interval(self) -> float:
        """The least time between two reads of a run, in seconds."""
        ...

    @property
    def settling_time(self) -> float:
        """Seconds after a run's end in which more of its lines may arrive."""
        ...

    @property
    def name(self) -> str:
        """Its name in messages."""
        ...

    def find(self, name: str, flow: str | None = None) -> Run:
        """The run whose id is ``name`` or begins with it; for ``last``, the newest of ``flow``.

        Raises RunNotFound for none, or more than one.
        """
        ...

    def run(self, run_id: str) -> Run:
        """A run with its failures and resumes."""
        ...

    def runs(self, wanted: RunFilter) -> RunList:
        """A page of runs."""
        ...

    def flows(self) -> list[str]:
        """The flows that have runs."""
        ...

    def strip(self, run_id: str, position: int, width: int) -> Sequence[Mapping[str, int]]:
        """The items of a stage in ``width`` cells, like `History.strip`."""
        ...

    def items(self, run_id: str, position: int, statuses: Sequence[str] = ()) -> Iterator[Item]:
        """The items of a stage with an outcome, in order; with ``statuses``, only those."""
        ...

    def item(self, run_id: str, position: int, index: int) -> ItemDetail | None:
        """An item with its failed attempts, its input and its output; None without an outcome."""
        ...

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
        search: str | None = None,
        after: int = 0,
    ) -> Iterator[LogLine]:
        """What a run's steps printed and logged, like `History.lines`."""
        ...

    def last_line(self, run_id: str) -> int:
        """The id of the last line of a run; 0 if there is none."""
        ...

    def attachments(
        self,
        run_id: str,
        *,
        step: str | None = None,
        item: int | None = None,
        after: str | None = None,
        limit: int,
    ) -> list[Attachment]:
        """What a run's steps have shown after the value named ``after``, in order."""
        ...

    def attachment(self, run_id: str, name: str) -> tuple[Attachment, bytes]:
        """Something shown, with its content. Raises AttachmentNotFound."""
        ...

    def pickled_result(self, run_id: str) -> bytes:
        """The result of a succeeded run as a pickle, not loaded: loading it runs code.

        Raises LokkiError if it no longer exists.
        """
        ...

    def cancel(self, run_id: str) -> Iterator[None]:
        """Have a run cancelled by the process that runs it; yields while the caller has to wait."""
        ...

    def pause(self, run_id: str) -> Iterator[None]:
        """Have a run begin no more calls; yields while the caller has to wait for running ones.

        Raises NotPausable for a run that has ended, is lost, or is on AWS.
        """
        ...

    def unpause(self, run_id: str) -> Run:
        """Have a paused run continue; the run, running or queued.

        Raises NotPausable for a run that is not paused, or whose process is gone.
        """
        ...

    def tune(self, run_id: str, concurrency: int) -> Tuned:
        """Change how many items of a run's map run at a time, from 1 to 10,000.

        Calls that have begun go on. Raises NotTunable if no map is running.
        """
        ...


class Remote(Backend, Protocol):
    """A backend that runs flows itself; its runs are followed from here."""

    def request_cancel(self, run_id: str) -> None:
        """Request the cancellation of a run."""
        ...


class AsyncBackend(Protocol):
    """Runs of one journal or AWS account, for the service, without blocking.

    Its methods raise RunNotFound, StageNotFound,
    AttachmentNotFound, JournalError and AwsError.
    """

    async def find(self, name: str, flow: str | None = None) -> Run:
        """Like `Backend.find`."""
        ...

    async def run(self, run_id: str) -> Run:
        """A run with its failures and resumes."""
        ...

    async def runs(self, wanted: RunFilter) -> RunList:
        """A page of runs, like `Backend.runs`."""
        ...

    async def strip(self, run_id: str, position: int, width: int) -> Strip:
        """The items of a stage in at most ``width`` cells."""
        ...

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
        """Items of a stage with an outcome, in order after an index.

        ``statuses`` and ``error``, the id of a failure group, filter them.
        """
        ...

    async def item(self, run_id: str, position: int, index: int) -> ItemDetail | None:
        """Like `Backend.item`."""
        ...

    async def inputs(self, run_id: str, position: int, indices: Iterable[int]) -> dict[int, str]:
        """The beginnings of what items of a map got, by index, as far as they can be shown."""
        ...

    async def lines(
        self, run_id: str, wanted: Wanted, *, after: int = 0, limit: int | None = None
    ) -> list[LogLine]:
        """The first lines after the one with this id."""
        ...

    async def last_lines(
        self, run_id: str, wanted: Wanted, *, before: int | None = None, limit: int
    ) -> list[LogLine]:
        """The last lines, or the last before the one with this id."""
        ...

    async def last_line(self, run_id: str) -> int:
        """The id of the last line of a run; 0 if there is none."""
        ...

    async def attachments(
        self,
        run_id: str,
        *,
        step: str | None = None,
        item: int | None = None,
        after: str | None = None,
        limit: int,
    ) -> list[Attachment]:
        """Like `Backend.attachments`."""
        ...

    async def attachment(self, run_id: str, name: str) -> tuple[Attachment, bytes]:
        """Like `Backend.attachment`."""
        ...

    async def outputs(self, run_id: str) -> list[Output]:
        """The result of a succeeded run; if a map ends the flow, its items' results."""
        ...
