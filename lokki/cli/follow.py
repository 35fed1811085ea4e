"""Running a flow on a server from the terminal: told as if it ran here."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from math import inf
from time import monotonic, time
from typing import TypeVar

import anyio

from lokki import logging
from lokki.cli.report import LineReport
from lokki.client import ENDED, failure
from lokki.engine.events import Event
from lokki.errors import RunCancelled, ServerError
from lokki.places.changes import changes
from lokki.places.server import ServerPlace
from lokki.places.shapes import RunShape
from lokki.store.lines import LogLine

T = TypeVar("T")

_LOOK_SECONDS = 0.2
_QUEUED_SECONDS = 1.0
"""After so long in the queue, it is told."""
_PATIENCE_SECONDS = 60.0
"""For so long a server may be gone: it is started anew, say."""


class FollowedRun:
    """A run of a server, as a `RunHandle` that looks at it again and again.

    Told is what is new since it was as ``before``, and since its ``line`` of this id.
    """

    def __init__(
        self,
        place: ServerPlace,
        run_id: str,
        before: RunShape | None,
        line: int,
        report: LineReport,
    ) -> None:
        self.run_id = run_id
        self._place = place
        self._seen = before
        self._report = report
        self._line = line
        self._cancelling: asyncio.Task[None] | None = None

    async def events(self) -> AsyncIterator[Event]:
        """What happens in it until it ends; what its steps print is told on the way."""
        begun, told = monotonic(), False
        while True:
            now = await self._patiently(partial(self._place.run, self.run_id))
            lines = deque(await self._patiently(self._new_lines))
            for at, event in changes(self._seen, now):
                self._tell(lines, at)
                yield event
            self._tell(lines, inf)
            if now["status"] != "queued":
                self._seen = now
            elif not told and monotonic() > begun + _QUEUED_SECONDS:
                told = True
                self._report.tell(logging.run_queued(self.run_id, now["flow"], time()))
            if now["status"] in ENDED:
                return
            await anyio.sleep(_LOOK_SECONDS)

    def _tell(self, lines: deque[LogLine], until: float) -> None:
        """Tell the first of the lines, those that came before a time."""
        while lines and lines[0].at < until:
            line = lines.popleft()
            self._line = line.id
            self._report.said(line[1:])

    def _new_lines(self) -> list[LogLine]:
        return list(self._place.lines(self.run_id, after=self._line))

    async def _patiently(self, ask: Callable[[], T]) -> T:
        """What a server answers, which may be gone for a while."""
        deadline = monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return await anyio.to_thread.run_sync(ask)
            except ServerError as error:
                if error.status not in (None, 503) or monotonic() > deadline:
                    raise
            await anyio.sleep(_LOOK_SECONDS)

    async def result(self) -> str | None:
        """The result as it is printed. Raises what `RunHandle.result` does, and ServerError."""
        run = self._seen
        assert run is not None
        if run["status"] == "cancelled":
            raise RunCancelled(f"run {self.run_id} was cancelled", self.run_id)
        if run["status"] == "failed":
            raise failure(self.run_id, run["error"] or {})
        text = await anyio.to_thread.run_sync(self._place.result, self.run_id)
        return text.removesuffix("\n") if text else None

    def cancel(self) -> None:
        """Ask the server for it; the run's end tells that it is done."""
        self._cancelling = asyncio.ensure_future(self._cancel())

    async def _cancel(self) -> None:
        with suppress(ServerError):  # it has ended
            await anyio.to_thread.run_sync(self._place.request_cancel, self.run_id)


@asynccontextmanager
async def on_server(
    place: ServerPlace, submit: Callable[[], RunShape], before: RunShape | None, report: LineReport
) -> AsyncIterator[FollowedRun]:
    """A run that ``submit`` has the server start, or resume from what it was ``before``."""
    told = 0 if before is None else await anyio.to_thread.run_sync(place.last_line, before["id"])
    run = await anyio.to_thread.run_sync(submit)
    yield FollowedRun(place, run["id"], before, told, report)
