"""The runs of one backend, as the routes have them: to be looked at, cancelled and resumed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from lokki.backends.backend import AsyncBackend
from lokki.model.run import Plan, Run
from lokki.resumption import ResumeOptions


class OperatedBackend(AsyncBackend, Protocol):
    """An `AsyncBackend` whose runs this server operates. Methods raise Problem, too."""

    async def params_json(self, run_id: str) -> str:
        """The parameters of a run, whole, as JSON."""
        ...

    async def cancel(self, run_id: str) -> Run:
        """Ask for a run to be cancelled. Raises Problem for one that has ended."""
        ...

    async def plan(self, run_id: str, again: ResumeOptions) -> Plan:
        """What a resume would do."""
        ...

    async def resume(self, run_id: str, again: ResumeOptions) -> Run:
        """Resume a run; the run that goes on. Raises Problem when there is nothing to do."""
        ...

    async def watched(self, run_id: str) -> Run:
        """A run as of its last change; read once for all who watch it."""
        ...

    def changes(self) -> AsyncIterator[None]:
        """Yield at once, and whenever runs may have changed."""
        ...
