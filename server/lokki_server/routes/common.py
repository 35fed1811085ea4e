"""What every route uses: the service, its parameters, and its problems as responses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

import anyio.lowlevel
import anyio.to_thread
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, StringConstraints

from lokki.backends.backend import AsyncBackend
from lokki.model.run import RunList
from lokki.model.run_filter import RunFilter
from lokki.model.status import ItemStatus, RunStatus
from lokki.store.lines import Wanted
from lokki.tags import MOST_TAGS
from lokki_server.document import problem
from lokki_server.operated import OperatedBackend
from lokki_server.problems import wrong_request
from lokki_server.service import Service

F = TypeVar("F", bound=Callable[..., Any])

_RUN_ID = "^[A-Za-z0-9_-]{1,80}$"
_PIECE = 64 * 1024
"""Characters of an answer that are sent at a time."""


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Serving = Annotated[Service, Depends(_service)]


async def of_journal(request: Request, service: Serving) -> None:
    """Make the routes of a run serve runs of the journal."""
    runs: OperatedBackend = service.runs
    request.state.runs = runs


async def of_flow(request: Request, service: Serving, name: FlowName) -> None:
    """Make the routes of a run serve runs of a deployed flow."""
    runs: OperatedBackend = await service.mirror.of(name)
    request.state.runs = runs


async def _runs(request: Request) -> OperatedBackend:
    runs: OperatedBackend = request.state.runs
    return runs


Runs = Annotated[OperatedBackend, Depends(_runs)]


class RunRoutes:
    """Routes of one run, which each backend has under its own path.

    One router included under two prefixes would not do: in the scope of a request, FastAPI leaves
    the prefix out of the route's path (`findings/fastapi-route-of-included-router.sh`).
    """

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._routes: list[tuple[str, Callable[..., Any], dict[str, Any]]] = []

    def get(self, path: str, **about: Any) -> Callable[[F], F]:
        return self._route(path, methods=["GET"], **about)

    def post(self, path: str, **about: Any) -> Callable[[F], F]:
        return self._route(path, methods=["POST"], **about)

    def _route(self, path: str, **about: Any) -> Callable[[F], F]:
        def decorate(endpoint: F) -> F:
            self._routes.append((path, endpoint, about))
            return endpoint

        return decorate

    def add_to(self, router: APIRouter) -> None:
        """Add the routes below the prefix of a router."""
        for path, endpoint, about in self._routes:
            router.add_api_route(path, endpoint, tags=[self._tag], **about)


RunId = Annotated[str, Path(pattern=_RUN_ID, description="a run's id, or its beginning")]
FLOW_NAME = "[A-Za-z][A-Za-z0-9-]{0,59}"
FlowName = Annotated[str, Path(pattern=f"^{FLOW_NAME}$")]
IdempotencyKey = Annotated[str | None, Header(max_length=255, min_length=1)]
TraceParent = Annotated[str | None, Header(description="W3C trace context; a wrong one is ignored")]
Position = Annotated[int, Path(ge=0, le=255)]
Index = Annotated[int, Path(ge=0, lt=2**32)]

Indices = Annotated[
    list[Annotated[int, Field(ge=0, lt=2**32)]],
    Query(min_length=1, max_length=100, description="indices of items"),
]


class LineFilter(BaseModel):
    """Which log lines are wanted."""

    step: str | None = Field(None, max_length=200)
    item: int | None = Field(None, ge=0, lt=2**32)
    attempt: int | None = Field(None, ge=1, lt=2**32)
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "DEBUG"
    since: datetime | None = None
    until: datetime | None = None
    search: str | None = Field(
        None, max_length=200, description="part of the message, in upper or lower case"
    )

    @property
    def wanted(self) -> Wanted:
        times = seconds(self.since), seconds(self.until)
        return Wanted(self.step, self.item, self.attempt, self.level, *times, self.search)


class LineQuery(LineFilter):
    """Which page of log lines to return."""

    after: int = Field(0, ge=0, lt=2**62, description="only lines after the one with this id")
    tail: bool = Field(False, description="the last lines instead of the first")
    before: int | None = Field(
        None, ge=0, lt=2**62, description="the last lines before the one with this id"
    )
    limit: int = Field(500, ge=1, le=5000)


class RunQuery(BaseModel):
    """Which runs to return."""

    status: list[RunStatus] = Field([], max_length=6)
    since: datetime | None = Field(None, description="only runs created since then")
    tag: list[str] = Field([], description="only runs with all these tags", max_length=MOST_TAGS)
    param: list[Annotated[str, StringConstraints(pattern="^[^=]+=")]] = Field(
        [],
        description="only runs with all these parameters, or fields of parameters: `NAME=VALUE`",
        max_length=20,
        examples=[["count=100"]],
    )
    search: str | None = Field(
        None,
        description="only runs with this text, in any case, in their id, tags, parameters or error",
        max_length=200,
    )
    before: str | None = Field(
        None, pattern=_RUN_ID, description="only runs older than the one with this id"
    )
    older_than: datetime | None = Field(None, description="only runs created before then")
    n: int = Field(20, ge=1, le=1000)

    async def of(self, runs: AsyncBackend, flow: str | None) -> RunList:
        """A page of runs of a backend."""
        wanted = RunFilter(
            flow=flow,
            statuses=tuple(self.status),
            since=seconds(self.since),
            tags=tuple(self.tag),
            params=tuple(self.param),
            search=self.search,
            before=self.before,
            older_than=seconds(self.older_than),
            limit=self.n,
        )
        return await runs.runs(wanted)


class ItemQuery(BaseModel):
    """Which items of a stage to return."""

    status: list[ItemStatus] = Field([], max_length=6)
    error: str | None = Field(None, description="only the failures of this group", max_length=80)
    after: int = Field(-1, ge=-1, lt=2**32, description="only items after this index")
    limit: int = Field(100, ge=1, le=1000)


RunsAsked = Annotated[RunQuery, Query()]
LinesAsked = Annotated[LineQuery, Query()]
LinesWanted = Annotated[LineFilter, Query()]
ItemsAsked = Annotated[ItemQuery, Query()]
Width = Annotated[int, Query(ge=1, le=2000, description="the most cells")]


async def known_query(request: Request) -> None:
    """Refuse unknown query parameters: a client that misspells one would page forever."""
    if not request.query_params:
        return
    app = request.app
    described = app.openapi_schema or await anyio.to_thread.run_sync(app.openapi)  # takes a while
    route = (
        described["paths"].get(request.scope["route"].path_format, {}).get(request.method.lower())
    )
    if route is None:  # a page of the dashboard
        return
    known = sorted(each["name"] for each in route.get("parameters", ()) if each["in"] == "query")
    unknown = [name for name in request.query_params if name not in known]
    if unknown:
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        problem = wrong_request(
            [{"name": f"query.{name}", "message": "unknown parameter"} for name in unknown]
        )
        problem.detail = f"unknown query parameter '{unknown[0]}'; {takes}"
        raise problem


def seconds(at: datetime | None) -> float | None:
    """A time in seconds since the epoch; one without a zone is in UTC, as in all answers."""
    if at is None:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def json_text(parts: Iterable[str]) -> Response:
    """Stream the texts of a JSON document in pieces, so that other requests get their turn."""

    async def pieces() -> AsyncIterator[bytes]:
        for part in parts:
            for start in range(0, len(part), _PIECE):
                yield part[start : start + _PIECE].encode()
                await anyio.lowlevel.checkpoint()

    return StreamingResponse(pieces(), media_type="application/json")


def refusals() -> dict[int | str, dict[str, Any]]:
    """The ``responses`` that any request may get, besides those of its route."""
    codes = (400, 401, 403, 413, 415, 421, 422, 429, 503, "default")
    return dict.fromkeys(codes, problem())


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may answer with these codes."""
    return dict.fromkeys(codes, problem())
