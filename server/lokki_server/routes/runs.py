"""The runs of the journal, as a list."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from lokki.model.run import RunList
from lokki_server.routes.common import FlowName, RunsAsked, Serving, problems

router = APIRouter(tags=["runs"])


@router.get("/runs", response_model=RunList, responses=problems(404))
async def list_runs(service: Serving, asked: RunsAsked, flow: FlowName | None = None) -> Any:
    """Runs, the newest first."""
    return await asked.of(service.runs, flow)
