"""An AWS for all tests in here, and a way to it that refuses what a test wants refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any
from uuid import uuid4

import anyio
import boto3
import deployed_flows
import pytest
from aiohttp import ClientSession, web
from yarl import URL

from lokki.aws.account import opened
from lokki.aws.deploy import Deployed, Target, deploy, destroy, doomed
from lokki.config import Config, load
from lokki.rehearse.rig.server import REGION
from lokki.testing import Stage, rehearsal

__all__ = ["rehearsal"]

_OWN = ("Host", "Expect", "Transfer-Encoding", "Content-Length", "Connection", "Date", "Server")
"""Headers of one connection, not of what is asked."""


@dataclass
class Way:
    """Passes requests on to an AWS, except for what it ``refuses``: action to status and code."""

    endpoint: str
    refuses: dict[str, tuple[int, str]] = field(default_factory=dict)
    every: int = 1
    """Of the requests to refuse, each how many-th is."""
    asked: int = 0


@pytest.fixture
def way(rehearsal: Stage) -> Iterator[Way]:
    way = Way("")

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        for action, (status, code) in way.refuses.items():
            if action.encode() in body[:2000]:
                way.asked += 1
                if way.asked % way.every == 0:
                    return _refusal(status, code)
        kept = {name: text for name, text in request.headers.items() if name not in _OWN}
        url = URL(rehearsal.endpoint + request.raw_path, encoded=True)
        async with (
            ClientSession(auto_decompress=False) as session,
            session.request(request.method, url, data=BytesIO(body), headers=kept) as told,
        ):
            headers = {name: text for name, text in told.headers.items() if name not in _OWN}
            return web.Response(status=told.status, headers=headers, body=await told.read())

    async def serve(started: threading.Event, stopped: asyncio.Event) -> None:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        way.endpoint = "http://{}:{}".format(*runner.addresses[0][:2])
        started.set()
        await stopped.wait()
        await runner.cleanup()

    started, stopped, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(started, stopped),))
    thread.start()
    started.wait()
    yield way
    loop.call_soon_threadsafe(stopped.set)
    thread.join()
    loop.close()


def _refusal(status: int, code: str) -> web.Response:
    text = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message>"
        "</Error><RequestId>1</RequestId></ErrorResponse>"
    )
    return web.Response(status=status, text=text, content_type="text/xml")


class Cloud:
    """Deploys a flow of a name of its own, and looks at what came of it."""

    def __init__(self, endpoint: str, build_dir: str, told: list[str]) -> None:
        unique = uuid4().hex[:8]
        self.bucket = f"flows-{unique}"
        self.name = f"stack-{unique}"
        self.told = told
        self.agrees = True
        self._endpoint = endpoint
        self._build_dir = build_dir

    def by(self, endpoint: str) -> Cloud:
        """The same, reached another way."""
        made = Cloud(endpoint, self._build_dir, self.told)
        made.name, made.bucket = self.name, self.bucket
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

    def deploy(self, **settings: Any) -> Deployed | None:
        config = self.config(**settings)

        async def work() -> Deployed | None:
            async with opened(config) as account:
                return await deploy(
                    account,
                    await account.identity(),
                    deployed_flows.greeting.outline(),
                    config,
                    name=self.name,
                    agree=lambda changes: self.agree(changes),
                    tell=self.told.append,
                )

        return anyio.run(work)

    def destroy(self, *, data: bool = True) -> Any:
        config = self.config()
        target = Target(self.name, "greeting", self.bucket)

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
        stacks = self.client("cloudformation").describe_stacks()["Stacks"]
        return next(
            (each["StackStatus"] for each in stacks if each["StackName"] == self.name), None
        )


@pytest.fixture(scope="session")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("deployed"))


@pytest.fixture
def cloud(rehearsal: Stage, build_dir: str) -> Iterator[Cloud]:
    made = Cloud(rehearsal.endpoint, build_dir, [])
    yield made
    made.destroy()


@pytest.fixture
def stack_status() -> Any:
    """Have a stack be in a state that moto never gets it into."""
    from moto.backends import get_backend

    @contextmanager
    def having(name: str, status: str) -> Iterator[None]:
        backends = get_backend("cloudformation")
        (stack,) = (
            each
            for account in backends.values()
            for each in account[REGION].stacks.values()
            if each.name == name
        )
        before, stack.status = stack.status, status
        try:
            yield
        finally:
            if stack.status == status:
                stack.status = before

    return having


@pytest.fixture
def refused(cloud: Cloud, way: Way) -> Cloud:
    """The same, by way of ``way``."""
    return cloud.by(way.endpoint)
