"""The configured AWS account, opened on first use."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import anyio

from lokki.aws import check_installed
from lokki.config import Config
from lokki_server.problems import Problem

if TYPE_CHECKING:
    from lokki_server.deployed_runs import DeployedRuns


class Mirror:
    """The configured AWS account, opened on first use.

    Its methods raise Problem if AWS is not configured, and AwsError if it refuses a request.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._opened = AsyncExitStack()
        self._opening = anyio.Lock()
        self._runs: DeployedRuns | None = None

    @property
    def is_configured(self) -> bool:
        """Whether there is a bucket, so that flows may be deployed."""
        return self._config.aws.artifact_bucket is not None

    async def runs(self) -> DeployedRuns:
        """The runs of the account."""
        if not self.is_configured:
            raise Problem(404, "AWS is not configured", "set aws.artifact_bucket in lokki.toml")
        check_installed()
        from lokki_server.deployed_runs import opened

        async with self._opening:
            if self._runs is None:
                self._runs = await self._opened.enter_async_context(opened(self._config))
        return self._runs

    async def of(self, flow: str) -> DeployedRuns:
        """The runs of a flow."""
        return (await self.runs()).of(flow)

    async def close(self) -> None:
        await self._opened.aclose()
