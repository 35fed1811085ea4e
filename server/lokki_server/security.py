"""Access control: checks every request before anything else sees it.

A page of another site must not be able to start code on this machine, by a form, a script or a name
that it has pointed here (DNS rebinding). Off loopback, a token is needed as well.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Collection
from functools import lru_cache
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from math import ceil
from time import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lokki_server.problems import Problem, answer

COOKIE = "lokki_session"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN_FOLDERS = ("/static/", "/ui/")
_OPEN = frozenset({"/", "/login", "/session", "/healthz"})
_MOST_WRONG = RateLimitItemPerMinute(10)
_MOST_BYTES = 256 * 1024
"""The most bytes of a body that is read here; AWS accepts no larger input, either."""
_MOST_BYTES_OF_PARAMS = 10 * 1024 * 1024
"""The most bytes of a body that starts a run, which the flow's own process reads."""
_STARTS = re.compile(r"/flows/[^/]+/runs")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; frame-src 'self'; form-action 'self'; "
    "base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer, unless it has a header of that name."""
_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]


def is_open(path: str) -> bool:
    """Whether a path may be requested without the token."""
    return path in _OPEN or path.startswith(_OPEN_FOLDERS)


def name_in(host: str) -> str:
    """The name or IP address in a Host header, in lower case; empty if there is none."""
    found = _HOST.fullmatch(host.lower())
    return found[1].strip("[]") if found else ""


@lru_cache(maxsize=32)  # each request names the server
def is_loopback(name: str) -> bool:
    """Whether this machine is meant, by a name that nobody can point elsewhere."""
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Token:
    """The token that clients need; None on loopback: no token.

    An address that has sent too many wrong tokens has to wait, even with the right one; a client
    that is logged in does not.
    """

    def __init__(self, value: str | None) -> None:
        self._value = value
        self._wrong = FixedWindowRateLimiter(MemoryStorage())

    @property
    def needed(self) -> bool:
        return self._value is not None

    def matches(self, given: str, address: str) -> bool:
        """Compare in constant time. Raises Problem for an address that must wait."""
        if not self._wrong.test(_MOST_WRONG, address):
            wait = ceil(self._wrong.get_window_stats(_MOST_WRONG, address).reset_time - time())
            raise Problem(429, "Too many wrong tokens", "wait a minute", retry_after=max(1, wait))
        found = self._value is not None and hmac.compare_digest(
            given.encode(), self._value.encode()
        )
        if given and not found:
            self._wrong.hit(_MOST_WRONG, address)
        return found

    @property
    def session(self) -> str:
        """The cookie of a client that is logged in; it does not reveal the token."""
        assert self._value is not None
        return hmac.new(self._value.encode(), b"session", sha256).hexdigest()

    def allows(self, headers: Headers, address: str) -> bool:
        """Whether a request has the token, or the cookie of a login. Raises Problem."""
        if self._value is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.matches(given.strip(), address)
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(
            cookie.value.encode(), self.session.encode()
        )


class Guard:
    """Lets allowed requests through, and adds security headers to every answer.

    ``names`` are those of a server with a token, besides IP addresses and localhost.
    """

    def __init__(self, app: ASGIApp, token: Token, names: Collection[str]) -> None:
        self._app = app
        self._token = token
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                more = (each for each in _RAW_HEADERS if each[0] not in own)
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        try:
            problem = self._refusal(scope)
        except Problem as refused:
            problem = refused
        if problem is not None:
            await answer(problem)(scope, receive, with_headers)
            return
        limited = _Limited(receive, _most_bytes(scope), filled=not _STARTS.fullmatch(scope["path"]))
        await self._app(scope, limited, with_headers)

    def _refusal(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        method, path = scope["method"], scope["path"]
        host = headers.get("host", "")
        if not self._is_ours(name_in(host)):
            advice = "; if it is, add that name to server.allowed_hosts" * self._token.needed
            return Problem(421, "Wrong host", f"this server is not '{host}'{advice}")
        if not (is_open(path) or self._token.allows(headers, address_of(scope))):
            problem = Problem(401, "A token is needed", "send it as 'Authorization: Bearer TOKEN'")
            problem.headers = {"WWW-Authenticate": "Bearer"}
            return problem
        if method in _SAFE:
            return None
        if not _is_same_origin(headers, host):
            return Problem(403, "Pages of other sites may not request this")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return Problem(415, "JSON is needed", "send 'Content-Type: application/json'")
        length = headers.get("content-length", "0")
        most = _most_bytes(scope)
        if length.isdecimal() and int(length) > most:
            return Problem(413, "The request is too large", _too_large(most))
        return None

    def _is_ours(self, name: str) -> bool:
        """Whether a name is this server's, so that no other site can have pointed it here."""
        if not self._token.needed:
            return is_loopback(name)
        return name == "localhost" or name in self._names or _is_address(name)


def _most_bytes(scope: Scope) -> int:
    return _MOST_BYTES_OF_PARAMS if _STARTS.fullmatch(scope["path"]) else _MOST_BYTES


def _too_large(most: int) -> str:
    return (
        f"at most {most:,} bytes: put large data where the steps can read it, and pass its path or "
        "URL as a parameter"
    )


def address_of(scope: Scope) -> str:
    """Where a request comes from."""
    client = scope.get("client")
    return client[0] if client else ""


def _is_same_origin(headers: Headers, host: str) -> bool:
    """Whether a request comes from the server's own pages, or from no page."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = headers.get("origin")
    return origin is None or origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower())


class _Limited:
    """A ``receive`` that refuses a body that grows too large.

    ``filled``: an empty one stands for ``{}``.
    """

    def __init__(self, receive: Receive, most: int, *, filled: bool) -> None:
        self._receive = receive
        self._most = most
        self._filled = filled
        self._length = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._length += len(message.get("body", b""))
        if self._length > self._most:
            raise HTTPException(413, _too_large(self._most))
        is_empty = message["type"] == "http.request" and not message.get("more_body")
        if self._filled and is_empty and not self._length:
            return {**message, "body": b"{}"}
        return message
