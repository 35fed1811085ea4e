"""The health of the service."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from lokki_server import models
from lokki_server.document import problem
from lokki_server.metrics import text
from lokki_server.problems import Problem
from lokki_server.routes.common import Serving

router = APIRouter(tags=["health"])


@router.get("/healthz", response_model=models.Health)
async def get_health() -> Any:
    """The server answers."""
    return {"status": "ok"}


@router.get("/metrics", response_class=PlainTextResponse)
def get_metrics(service: Serving, request: Request) -> Response:
    """Metrics in Prometheus' text format."""
    return Response(text(service, request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)


@router.get(
    "/readyz",
    response_model=models.Ready,
    responses={503: problem(models.NotReady)},
)
async def get_readiness(service: Serving) -> Any:
    """Whether every part of the server works, and runners are ready for runs."""
    found = service.problems
    parts = {name: {"ready": reason is None, "problem": reason} for name, reason in found.items()}
    wrong = [f"{name}: {reason}" for name, reason in found.items() if reason is not None]
    if wrong:
        raise Problem(503, "The server is not ready", "; ".join(wrong), ready=False, parts=parts)
    runners = service.supervisor.ready
    return {"status": "ready", "ready": True, "runners": runners, "parts": parts}
