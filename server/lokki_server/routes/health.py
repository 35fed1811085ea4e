"""Whether the service is well."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from lokki_server import models
from lokki_server.metrics import text
from lokki_server.problems import Problem
from lokki_server.routes.common import Serving, problems

router = APIRouter(tags=["health"])


@router.get("/healthz", response_model=models.Health)
async def healthz() -> Any:
    """The server answers."""
    return {"status": "ok"}


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(service: Serving, request: Request) -> Response:
    """For Prometheus."""
    return Response(text(service, request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)


@router.get("/readyz", response_model=models.Ready, responses=problems())
async def readyz(service: Serving) -> Any:
    """There are runners that take runs."""
    if not service.supervisor.ready:
        raise Problem(503, "No runner is ready")
    return {"status": "ready", "runners": service.supervisor.ready}
