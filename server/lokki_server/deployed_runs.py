"""The runs of deployed flows; AWS is asked once for all viewers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from lokki.aws import executions
from lokki.aws.execution_view import shown_params_of
from lokki.backends.aws import AwsBackend, not_pausable
from lokki.config import Config
from lokki.engine.engine import new_run_id
from lokki.model.run import Plan, Run
from lokki.resumption import ResumeOptions
from lokki_server.problems import nothing_to_resume, run_has_ended

_LOOK_SECONDS = 2.0
"""How long an answer of AWS counts as current; a watched run is polled this often."""


class DeployedRuns(AwsBackend):
    """An `OperatedBackend` over an AWS account."""

    async def params_json(self, run_id: str) -> str:
        """Without values that are nested too deeply."""
        return json.dumps(shown_params_of((await self.observation(run_id)).execution))

    async def cancel(self, run_id: str) -> Run:
        found = await self.run(run_id)
        if found.finished is not None:
            raise run_has_ended(found)
        await self.request_cancel(found)
        return await self.run(run_id)

    async def pause(self, run_id: str) -> Run:
        raise not_pausable(run_id)

    async def unpause(self, run_id: str) -> Run:
        raise not_pausable(run_id)

    async def plan(self, run_id: str, again: ResumeOptions) -> Plan:
        planned = await self.plan_resume(run_id, again)
        summary = list(planned.summary)
        return Plan(summary=summary, anything=planned.redrives or planned.new, told=summary)

    async def resume(self, run_id: str, again: ResumeOptions) -> Run:
        planned = await self.plan_resume(run_id, again)
        if not (planned.redrives or planned.new):
            raise nothing_to_resume()
        return await self.run((await self.carry_out(planned, new_run_id())).id)

    async def watched(self, run_id: str) -> Run:
        return await self.run(run_id)

    async def changes(self) -> AsyncIterator[None]:
        while True:
            yield
            await anyio.sleep(_LOOK_SECONDS)


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[DeployedRuns]:
    """The runs of the configured account. Raises AwsError or ConfigError."""
    async with executions.opened(config) as found:
        yield DeployedRuns(found, _LOOK_SECONDS)
