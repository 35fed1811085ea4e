"""A way to the rehearsal's AWS that refuses what a test wants refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO

import pytest
from aiohttp import ClientSession, web
from yarl import URL

from lokki.testing import Stage

_OWN = ("Host", "Expect", "Transfer-Encoding", "Content-Length", "Connection", "Date", "Server")
"""Headers of one connection, not of what is asked."""


@dataclass
class Way:
    """Passes requests on to an AWS; ``refuses``: part of an action or path, to status and code."""

    endpoint: str
    refuses: dict[str, tuple[int, str]] = field(default_factory=dict)
    every: int = 1
    """Of the requests to refuse, each how many-th is."""
    asked: int = 0
    seen: list[str] = field(default_factory=list)
    """Targets of all requests that came."""


@pytest.fixture
def way(rehearsal: Stage) -> Iterator[Way]:
    way = Way("")

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        target = request.headers.get("X-Amz-Target", "")
        way.seen.append(target)
        for action, (status, code) in way.refuses.items():
            if action in target or action in request.path or action.encode() in body[:2000]:
                way.asked += 1
                if way.asked % way.every == 0:
                    return _refusal(status, code, as_json=bool(target))
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


def _refusal(status: int, code: str, *, as_json: bool) -> web.Response:
    if as_json:
        return web.json_response({"__type": code, "message": "no"}, status=status)
    text = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message>"
        "</Error><RequestId>1</RequestId></ErrorResponse>"
    )
    return web.Response(status=status, text=text, content_type="text/xml")
