"""Describes the flows of a file for the API and `lokki flows`."""

from __future__ import annotations

import inspect
from typing import Any

from lokki import output
from lokki.decorators import Flow
from lokki.errors import LokkiError
from lokki.loading import LoadError, load_flows
from lokki.stages import MapStage


def looked_into(file: str) -> tuple[dict[str, Flow[..., Any]], dict[str, Any]]:
    """The flows of a file or module, and their description, or its ``error`` and ``traceback``.

    Secrets are masked where `lokki.output` knows them.
    """
    try:
        flows = load_flows(file)
    except LokkiError as error:
        traceback = error.traceback if isinstance(error, LoadError) else ""
        return {}, {"error": output.masked(str(error)), "traceback": output.masked(traceback)}
    return flows, {"flows": [described(flow) for flow in flows.values()]}


def described(flow: Flow[..., Any]) -> dict[str, Any]:
    """A flow: its parameters as JSON Schema, its stages, its schedule as written."""
    try:
        graph = flow.outline()
        stages: list[dict[str, Any]] | None = [
            {
                "name": stage.name,
                "kind": "map" if isinstance(stage, MapStage) else "task",
                "steps": [call.step.name for call in stage.calls],
            }
            for stage in graph.stages
        ]
    except Exception:  # its structure depends on its parameters
        stages = None
    return {
        "name": flow.name,
        "doc": inspect.getdoc(flow.fn),
        "parameters": flow.parameters.json_schema(),
        "secrets": [each.name for each in flow.parameters if each.is_secret],
        "stages": stages,
        "schedule": flow.schedule
        and {
            "expression": flow.schedule,
            "timezone": flow.timezone,
            "overlap": flow.overlap or "skip",
        },
    }
