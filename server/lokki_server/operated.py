"""The runs of one backend, for the routes to show, cancel and resume."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from lokki.backends.backend import AsyncBackend
from lokki.model.run import Plan, Run, Tuned
from lokki.resumption import ResumeOptions


class OperatedBackend(AsyncBackend, Protocol):
    """An `AsyncBackend` whose runs this server operates. Methods raise Problem, too."""

    async def params_json(self, run_id: str) -> str:
        """The full parameters of a run, as JSON."""
        ...

    async def cancel(self, run_id: str) -> Run:
        """Request the cancellation of a run. Raises Problem for one that has ended."""
        ...

    async def pause(self, run_id: str) -> Run:
        """Request that a run begins no more calls. Raises NotPausable."""
        ...

    async def unpause(self, run_id: str) -> Run:
        """Have a paused run continue. Raises NotPausable."""
        ...

    async def tune(self, run_id: str, concurrency: int) -> Tuned:
        """Change how many items of the running map run at a time. Raises NotTunable."""
        ...

    async def plan(self, run_id: str, again: ResumeOptions) -> Plan:
        """What a resume would do."""
        ...

    async def resume(self, run_id: str, again: ResumeOptions) -> Run:
        """Resume a run; the run that continues. Raises Problem if there is nothing to do."""
        ...

    async def watched(self, run_id: str) -> Run:
        """A run as of its last change, read once for all viewers."""
        ...

    def changes(self) -> AsyncIterator[None]:
        """Yield at once, and whenever runs may have changed."""
        ...
