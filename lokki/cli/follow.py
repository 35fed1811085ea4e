"""Runs a flow elsewhere from the terminal, and reports it as if it ran here."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from math import inf
from time import monotonic, time
from typing import Any, TypeVar

import anyio

from lokki import logging
from lokki.backends.backend import Remote
from lokki.backends.changes import changes
from lokki.cli.render.report import LineReport
from lokki.client import PATIENCE_SECONDS, Patience, failure, is_away
from lokki.engine.events import Event
from lokki.errors import AwsError, LokkiError, RunCancelled, ServerError
from lokki.model.log import LogLine
from lokki.model.run import Run
from lokki.model.status import FINAL

T = TypeVar("T")

_QUEUED_SECONDS = 1.0
"""After this long, a wait in the queue is reported."""
_OUT_OF_REACH = ("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError")


class FollowedRun:
    """A run elsewhere, as a `RunHandle` that reads it again and again.

    It reports what has changed since ``before``, and the log lines after the one with id ``line``.
    ``fetch`` returns the result of a run that has succeeded.
    """

    def __init__(
        self,
        backend: Remote,
        run_id: str,
        before: Run | None,
        line: int,
        report: LineReport,
        fetch: Callable[[str], Any],
    ) -> None:
        self.run_id = run_id
        self._backend = backend
        self._fetch = fetch
        self._has_lines = True
        self._seen = before
        self._report = report
        self._line = line
        self._cancelling: asyncio.Task[None] | None = None
        self._patience = Patience(PATIENCE_SECONDS, self._tell_away)

    async def events(self) -> AsyncIterator[Event]:
        """The events of the run until it ends; the output of its steps is reported on the way."""
        begun, is_reported = monotonic(), False
        while True:
            now = await self._patiently(partial(self._backend.run, self.run_id))
            lines = deque(await self._patiently(self._new_lines))
            for at, event in changes(self._seen, now):
                self._tell(lines, at)
                yield event
            self._tell(lines, inf)
            if now.status != "queued":
                self._seen = now
            elif not is_reported and monotonic() > begun + _QUEUED_SECONDS:
                is_reported = True
                self._report.tell(logging.run_queued(self.run_id, now.flow, time()))
            if now.status in FINAL:
                await anyio.sleep(self._backend.settling_time)
                self._tell(deque(await self._patiently(self._new_lines)), inf)
                return
            await anyio.sleep(self._backend.poll_interval)

    def _tell(self, lines: deque[LogLine], until: float) -> None:
        """Report the first lines, up to a time."""
        while lines and lines[0].at < until:
            line = lines.popleft()
            self._line = line.id
            self._report.said(line[1:])

    def _new_lines(self) -> list[LogLine]:
        """The new lines; none from the moment that AWS refuses them."""
        if not self._has_lines:
            return []
        try:
            return list(self._backend.lines(self.run_id, after=self._line))
        except AwsError as error:
            self._has_lines = False
            self._report.tell(logging.lines_missing(str(error), time()))
            return []

    async def _patiently(self, ask: Callable[[], T]) -> T:
        """The answer of a backend, which may be away for a while."""
        while True:
            try:
                answer = await anyio.to_thread.run_sync(ask)
            except (ServerError, AwsError) as error:
                if not _passes(error):
                    raise
                await anyio.sleep(self._patience.after(error))
            else:
                self._patience.answered()
                return answer

    def _tell_away(self, message: str) -> None:
        self._report.tell(logging.place_away(message, time()))

    async def result(self) -> Any:
        """The result to print. Raises what `RunHandle.result` raises, and LokkiError."""
        run = self._seen
        assert run is not None
        if run.status == "cancelled":
            raise RunCancelled(f"run {self.run_id} was cancelled", self.run_id)
        if run.status == "failed":
            assert run.error is not None
            raise failure(self.run_id, run.error)
        return await anyio.to_thread.run_sync(self._fetch, self.run_id)

    def cancel(self) -> None:
        """Ask for it; the run's end shows that it was done."""
        self._cancelling = asyncio.ensure_future(self._cancel())

    async def _cancel(self) -> None:
        with suppress(LokkiError):  # it has ended
            await anyio.to_thread.run_sync(self._backend.request_cancel, self.run_id)


def _passes(error: ServerError | AwsError) -> bool:
    """Whether a request that was refused may succeed a little later."""
    if isinstance(error, ServerError):
        return is_away(error)
    return error.code in _OUT_OF_REACH


@asynccontextmanager
async def followed(
    backend: Remote,
    submit: Callable[[], Run],
    before: Run | None,
    report: LineReport,
    fetch: Callable[[str], Any],
) -> AsyncIterator[FollowedRun]:
    """A run that ``submit`` has the backend start, or resume from its state ``before``."""
    line = 0 if before is None else await anyio.to_thread.run_sync(backend.last_line, before.id)
    run = await anyio.to_thread.run_sync(submit)
    yield FollowedRun(backend, run.id, before, line, report, fetch)
