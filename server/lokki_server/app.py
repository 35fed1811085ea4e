"""Builds the app: the HTTP API with its middleware and the dashboard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from socket import gethostname
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CollectorRegistry
from starlette.responses import Response
from starlette.types import ASGIApp

from lokki.config import Config
from lokki_server import problems
from lokki_server.document import EXECUTION, Api, operation_id
from lokki_server.editor import template_of
from lokki_server.metrics import Requests, request_seconds
from lokki_server.routes import (
    attachments,
    aws,
    common,
    flows,
    health,
    items,
    live,
    logs,
    results,
    run,
    runs,
    session,
)
from lokki_server.security import Guard, Token
from lokki_server.service import Service, opened
from lokki_server.starts import Starts

_STATIC = Path(__file__).parent / "static"


class _Assets(StaticFiles):
    """The dashboard's files: a browser keeps them, and asks each time whether they have changed."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def listed(texts: str | None) -> list[str]:
    """The comma-separated texts of a setting."""
    return [each.strip().lower() for each in (texts or "").split(",") if each.strip()]


def create_app(
    config: Config,
    sources: Sequence[str] = (),
    token: str | None = None,
    stop: Callable[[Exception], None] = lambda error: None,
    begun: Callable[[Service], None] = lambda service: None,
) -> ASGIApp:
    """The service over the configured journal.

    ``sources`` are the files, modules and folders of the flows. A client has to know ``token``
    (None: nothing, and only this machine may send requests). ``stop`` is called with the error that
    ends the service (an unusable journal, or a bug), ``begun`` when the service has looked for
    flows.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with opened(config, sources, stop) as service:
                app.state.service = service
                begun(service)
                yield
        except Exception as error:
            stop(error)
            raise

    app = Api(
        title="lokki",
        version=version("lokki-engine"),
        lifespan=lifespan,
        docs_url=None,
        responses=common.refusals(),
        dependencies=[Depends(common.known_query)],
        generate_unique_id_function=operation_id,
    )
    app.state.token = Token(token)
    app.state.editor = template_of(config.dashboard.editor)
    app.state.metrics = CollectorRegistry()
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    app.add_middleware(Starts)
    app.add_middleware(Requests, seconds=request_seconds(app.state.metrics))
    problems.register_handlers(app)
    for part in (flows, runs, live, aws, session, health):
        app.include_router(part.router)
    for router in _ROUTERS_OF_RUNS:
        app.include_router(router)
    app.mount("/static", _Assets(directory=_STATIC), name="static")

    @app.get("/", include_in_schema=False)
    @app.get("/ui/{rest:path}", include_in_schema=False)
    def dashboard() -> FileResponse:
        return FileResponse(_STATIC / "index.html")

    names = {
        gethostname().lower(),
        config.server.host.lower(),
        *listed(config.server.allowed_hosts),
    }
    # Around everything: answers to errors get the headers, too.
    return Guard(app, app.state.token, names)


def _routers_of_runs() -> tuple[APIRouter, APIRouter]:
    """The routes of one run: of the journal, and on AWS."""
    journal = APIRouter(prefix="/runs/{run_id}", dependencies=[Depends(common.of_journal)])
    deployed = APIRouter(
        prefix=EXECUTION,
        tags=["aws"],
        dependencies=[Depends(common.of_flow)],
        responses=common.problems(502),
    )
    for part in (run, results, items, attachments, logs, live):
        for router in (journal, deployed):
            part.of_run.add_to(router)
    return journal, deployed


_ROUTERS_OF_RUNS = _routers_of_runs()
