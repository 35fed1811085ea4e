"""Starts runs without what FastAPI does for any request, which takes longer than the rest of one.

FastAPI describes the route, and gets the requests that need a check: those with an idempotency key,
a query, or a path that names no flow.
"""

from __future__ import annotations

import re
from types import SimpleNamespace

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from lokki.errors import LokkiError
from lokki_server.problems import Problem, answer_to
from lokki_server.routes.common import FLOW_NAME
from lokki_server.routes.flows import START, started

_PATH = re.compile(START.replace("{name}", f"({FLOW_NAME})"))
_ROUTE = SimpleNamespace(path=START)
_CHECKED = b"idempotency-key"


class Starts:
    """Middleware that answers plain requests to start a run."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = _flow_in(scope)
        if name is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = _ROUTE
        service = scope["app"].state.service
        try:
            response = await started(service, name, await Request(scope, receive).body())
        except (Problem, LokkiError, HTTPException) as error:
            response = answer_to(error)
        await response(scope, receive, send)


def _flow_in(scope: Scope) -> str | None:
    """The flow that a request starts; None if FastAPI has to look at it."""
    if scope["type"] != "http" or scope["method"] != "POST" or scope["query_string"]:
        return None
    found = _PATH.fullmatch(scope["path"])
    if found is None or any(header == _CHECKED for header, _ in scope["headers"]):
        return None
    return found[1]
