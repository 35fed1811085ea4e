"""`lokki serve`: the API in uvicorn, until a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_network
from math import inf
from secrets import token_urlsafe
from typing import Any

import uvicorn

from lokki.config import Config, journal_path
from lokki.errors import LokkiError
from lokki_server.app import create_app, listed
from lokki_server.awaiting import await_journal
from lokki_server.connections import Connection
from lokki_server.greeting import greet
from lokki_server.security import is_loopback

TOKEN = "LOKKI_SERVER_TOKEN"  # noqa: S105
_MOST_WAITING = 2_048
_ACCEPTED_AT_ONCE = 16
"""The connections may exceed `most_connections` by this many for a moment."""
_SILENT_SECONDS = 10.0
_log = logging.getLogger("lokki_server")


def serve(config: Config, sources: Sequence[str]) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP. Raises LokkiError when it cannot begin."""
    settings = config.server
    await_journal(journal_path(config), config.local.reconnect, _announce)
    listening = _listening(settings.host, settings.port)
    proxies = _proxies(listed(settings.trusted_proxies))
    token = os.environ.pop(TOKEN, None) or None  # no process of user code may have it
    if token is None and not is_loopback(settings.host):
        token = token_urlsafe(32)
        _announce(f"the token, which {TOKEN} sets: {token}")
    ended: list[Exception] = []

    def stop(error: Exception) -> None:
        ended.append(error)
        server.should_exit = True

    app = create_app(config, sources, token, stop, greet)
    host, port = listening.getsockname()[:2]
    _announce(f"lokki serves http://{f'[{host}]' if ':' in host else host}:{port}")
    server = _Server(
        uvicorn.Config(
            app,
            log_level="error",
            access_log=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=75,
            server_header=False,
            backlog=_ACCEPTED_AT_ONCE,
            http=Connection,
            ws="none",
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies,
        )
    )
    server.run(sockets=[listening])
    if ended:
        raise ended[0]


class _Server(uvicorn.Server):
    """A server that a signal ends normally: the process then exits with 0.

    So does the end of its terminal, unless SIGHUP was ignored from the start, as under `nohup`.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(_OsErrorsBriefly())
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(_MOST_WAITING)  # uvicorn has one number for both

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if each is not signal.SIGHUP or signal.getsignal(each) is not signal.SIG_IGN:
                loop.add_signal_handler(each, self.handle_exit, each, None)
        yield


def _proxies(addresses: list[str]) -> list[str]:
    for each in addresses:
        try:
            ip_network(each)
        except ValueError:
            raise LokkiError(
                f"server.trusted_proxies: '{each}' is not an IP address or a network: write one "
                "such as 10.0.0.1 or 10.0.0.0/8"
            ) from None
    return addresses


class _OsErrorsBriefly:
    """Logs failures in the event loop; for system errors, only a line now and then.

    The system may refuse a connection many times per second.
    """

    def __init__(self) -> None:
        self._logged: dict[str, float] = {}

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError):
            loop.default_exception_handler(context)
            return
        text = f"{context['message']}: {error}"
        if loop.time() - self._logged.get(text, -inf) > _SILENT_SECONDS:
            self._logged = {text: loop.time()}
            _log.error("%s", text)


def _listening(host: str, port: int) -> socket.socket:
    try:
        # Names the protocol: asyncio switches off Nagle's algorithm only for explicit TCP.
        *kind, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        listening = socket.socket(*kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_MOST_WAITING)
        return listening
    except OSError as error:
        raise LokkiError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another port"
        ) from error


def _announce(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
