"""Recorded runs as Python objects: of this machine's journal, a server or AWS."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from math import inf
from time import monotonic, sleep
from typing import Any

from lokki.backends.attached import attachments
from lokki.backends.opening import opened
from lokki.config import load
from lokki.errors import DefinitionError, RunCancelled, RunError, RunFailed
from lokki.model.item import Item
from lokki.model.run import AWS, LOCAL, Run, Stage
from lokki.model.run_filter import RunFilter
from lokki.model.status import ItemStatus, RunStatus
from lokki.notebook.card import head_of
from lokki.notebook.shown import ShownValue
from lokki.notebook.table import Table
from lokki.store.codec import loads

_POLL_SECONDS = 0.2
_FAILED = (ItemStatus.FAILED, ItemStatus.TOLERATED)
_OF_RUN = ("id", "flow", "status", "created", "duration", "params", "tags", "error")
_OF_STAGE = ("stage", "kind", "total", "succeeded", "failed", "tolerated", "duration")
_OF_ITEM = (
    "stage", "index", "status", "attempts", "started", "finished", "duration", "error", "message"
)  # fmt: skip


def runs(
    *,
    flow: str | None = None,
    status: str | None = None,
    since: datetime | None = None,
    limit: int = 20,
    on: str = LOCAL,
) -> Table:
    """The newest runs, at most ``limit``: of a flow, with a status, created since a time.

    ``on``: where they are: ``"local"`` (this machine's journal), ``"aws"``, or the URL of a server.

    Raises DefinitionError for an unknown status or place, and JournalError, ServerError or AwsError
    when runs cannot be read.
    """
    if status is not None and status not in [*RunStatus]:
        raise DefinitionError(f"runs: status must be one of {', '.join(RunStatus)}, not {status!r}")
    wanted = RunFilter(
        flow=flow,
        statuses=() if status is None else (status,),
        since=None if since is None else since.timestamp(),
        limit=limit,
    )
    with opened(_place(on)) as backend:
        found = backend.runs(wanted).runs
    return Table(_OF_RUN, [_run_row(run) for run in found])


def open_run(run: str = "last", *, flow: str | None = None, on: str = LOCAL) -> RecordedRun:
    """A run, by its id or the beginning of it; ``last`` is the newest, of ``flow`` if given.

    ``on``: where it is, as for `runs`. Raises RunNotFound, and what `runs` raises.
    """
    with opened(_place(on)) as backend:
        return RecordedRun(backend.find(run, flow).id, on)


def _place(on: str) -> str:
    if on in (LOCAL, AWS) or on.startswith(("http://", "https://")):
        return on
    raise DefinitionError(f"on must be 'local', 'aws' or the URL of a server, not {on!r}")


class RecordedRun:
    """A run that is recorded ``on`` this machine, a server or AWS; ``id`` is its id.

    Each of its properties is read anew. They raise JournalError, ServerError or AwsError when the
    run cannot be read.
    """

    def __init__(self, run_id: str, on: str) -> None:
        self.id = run_id
        self.on = on

    def _now(self) -> Run:
        with opened(self.on) as backend:
            return backend.run(self.id)

    @property
    def flow(self) -> str:
        """The name of its flow."""
        return self._now().flow

    @property
    def status(self) -> str:
        """``queued``, ``running``, ``paused``, ``succeeded``, ``failed`` or ``cancelled``."""
        return str(self._now().status)

    @property
    def params(self) -> dict[str, Any]:
        """Its parameters as recorded: secrets are ``***``, long values are cut to texts."""
        return self._now().params

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end, for at most ``timeout`` seconds (default: any time); the result.

        It is unpickled, which imports the classes of its values: read only journals, servers and
        buckets that you trust. Raises RunFailed, RunCancelled, TimeoutError, PayloadError for a
        result that can no longer be read, and RunError for a run that ended otherwise or whose
        process is gone.
        """
        _raise_failure(self._ended(timeout))
        with opened(self.on) as backend:
            return loads(backend.pickled_result(self.id))

    def _ended(self, timeout: float | None) -> Run:
        deadline = inf if timeout is None else monotonic() + timeout
        with opened(self.on) as backend:
            while not (run := backend.run(self.id)).status.is_final:
                if run.is_lost:
                    raise RunError(f"the process of run {self.id} is gone: resume it", self.id)
                if monotonic() >= deadline:
                    raise TimeoutError(f"run {self.id} is {run.status} after {timeout} s")
                sleep(max(_POLL_SECONDS, backend.poll_interval))
        return run

    @property
    def stages(self) -> Table:
        """The stages that have begun, with the counts of their items; durations in seconds."""
        return Table(_OF_STAGE, map(_stage_row, self._now().stages))

    @property
    def items(self) -> Table:
        """The items of all stages that have an outcome, in order; durations in seconds."""
        return self._items(())

    @property
    def failures(self) -> Table:
        """Those of the `items` that have failed, tolerated ones too."""
        return self._items(_FAILED)

    @property
    def shown(self) -> list[ShownValue]:
        """What its steps have shown with ``lokki.show``, in order: ``display(*run.shown)``."""
        with opened(self.on) as backend:
            found = [*attachments(backend, self.id)]
        return [ShownValue(each, partial(self._content, each.name)) for each in found]

    def _content(self, name: str) -> bytes:
        with opened(self.on) as backend:
            return backend.attachment(self.id, name)[1]

    def _items(self, statuses: tuple[str, ...]) -> Table:
        with opened(self.on) as backend:
            found = [
                _item_row(stage, item)
                for stage in backend.run(self.id).stages
                for item in backend.items(self.id, stage.position, statuses)
            ]
        return Table(_OF_ITEM, found)

    def __repr__(self) -> str:
        return f"<run {self.id}{'' if self.on == LOCAL else f' on {self.on}'}>"

    def _repr_html_(self) -> str:
        run = self._now()
        url = load().server.url if self.on == LOCAL else None if self.on == AWS else self.on
        head = head_of(run.flow, run.status, run.id, run.duration, url)
        return head + Table(_OF_STAGE, map(_stage_row, run.stages))._repr_html_()


def _raise_failure(run: Run) -> None:
    if run.status is RunStatus.CANCELLED:
        raise RunCancelled(f"run {run.id} was cancelled", run.id)
    if run.error is not None:
        if run.error.failure is not None:
            raise RunFailed(run.id, run.error.failure)
        raise RunError(f"run {run.id} failed: {run.error.message}", run.id)


def _run_row(run: Run) -> dict[str, Any]:
    error = None if run.error is None else f"{run.error.type}: {run.error.message}"
    values = (run.id, run.flow, str(run.status), _time(run.created), run.duration)
    return dict(zip(_OF_RUN, (*values, run.params, run.tags, error), strict=True))


def _stage_row(stage: Stage) -> dict[str, Any]:
    counts = (stage.total, stage.succeeded, stage.failed, stage.tolerated)
    return dict(zip(_OF_STAGE, (stage.name, stage.kind, *counts, stage.duration), strict=True))


def _item_row(stage: Stage, item: Item) -> dict[str, Any]:
    error = (None, None) if item.error is None else (item.error.type, item.error.message)
    times = (_time(item.started), _time(item.finished), item.duration)
    about = (stage.name, item.index, str(item.status), item.attempts)
    return dict(zip(_OF_ITEM, (*about, *times, *error), strict=True))


def _time(at: str | None) -> datetime | None:
    return None if at is None else datetime.fromisoformat(at)
