"""Deploys flows to the AWS of a rehearsal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import boto3
import deployed_flows

from lokki.aws.account import opened
from lokki.aws.deploy import Deployed, Target, deploy, destroy, doomed
from lokki.config import Config, load
from lokki.rehearse.moto_patches.server import REGION


class Cloud:
    """Deploys a flow of a name of its own, and looks at what came of it."""

    def __init__(self, endpoint: str, build_dir: str, told: list[str]) -> None:
        unique = uuid4().hex[:8]
        self.bucket = f"flows-{unique}"
        self.name = f"stack-{unique}"
        self.told = told
        self.agrees = True
        self.flow = "greeting"
        self._endpoint = endpoint
        self._build_dir = build_dir

    def by(self, endpoint: str) -> Cloud:
        """The same, reached another way."""
        made = Cloud(endpoint, self._build_dir, self.told)
        made.name, made.bucket, made.flow = self.name, self.bucket, self.flow
        return made

    def config(self, **settings: Any) -> Config:
        values = {
            "aws.endpoint": self._endpoint,
            "aws.region": REGION,
            "aws.artifact_bucket": self.bucket,
            "lambda.package_type": "zip",
            **settings,
        }
        return replace(load(values), build_dir=self._build_dir)

    def deploy_in_thread(self) -> None:
        """Another deploy, as of another process."""
        other = threading.Thread(target=self.deploy)
        other.start()
        other.join()

    def deploy(
        self, flow: Any = deployed_flows.greeting, *, force: bool = False, **settings: Any
    ) -> Deployed | None:
        config, self.flow = self.config(**settings), flow.name

        async def work() -> Deployed | None:
            async with opened(config) as account:
                return await deploy(
                    account,
                    await account.identity(),
                    flow.outline(),
                    config,
                    name=self.name,
                    force=force,
                    agree=lambda changes: self.agree(changes),
                    tell=self.told.append,
                )

        return anyio.run(work)

    def destroy(self, *, data: bool = True) -> Any:
        config = self.config()
        target = Target(self.name, self.flow, self.bucket)

        async def work() -> Any:
            async with opened(config) as account:
                who = await account.identity()
                what = await doomed(account, who, target)
                await destroy(account, who, what, target, data=data, tell=self.told.append)
                return what

        return anyio.run(work)

    def agree(self, changes: Any) -> bool:
        self.told += [f"{each.action} {each.resource}" for each in changes.changes]
        return self.agrees

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self._endpoint, region_name=REGION)

    def status(self) -> str | None:
        pages = self.client("cloudformation").get_paginator("describe_stacks").paginate()
        stacks = (each for page in pages for each in page["Stacks"])
        return next(
            (each["StackStatus"] for each in stacks if each["StackName"] == self.name), None
        )


NAMES = count()


@contextmanager
def off(switch: Path) -> Iterator[None]:
    """Within, nothing fails."""
    switch.unlink()
    yield
    switch.touch()


def begin(place: Any, flow: str = "crunching", **params: Any) -> Any:
    """Start a run; its id."""
    return place.start(flow, f"run-{next(NAMES)}", params).id


def ended(place: Any, run_id: str) -> Any:
    """The run, once it has ended."""
    while (run := place.run(run_id)).status == "running":
        time.sleep(0.1)  # each look asks half a dozen services
    return run
