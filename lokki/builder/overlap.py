"""Overlapping runs of a schedule: EventBridge Scheduler starts each, regardless of others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lokki.errors import BuildError
from lokki.graph import FlowGraph


def overlap_notes(graph: FlowGraph[Any]) -> Iterator[str]:
    """Notes on overlaps of a flow's scheduled runs on AWS.

    Raises BuildError for an ``overlap`` that AWS cannot do.
    """
    flow = graph.flow
    assert flow is not None
    if flow.overlap in ("skip", "queue"):
        raise BuildError(
            f"flow '{flow.name}': overlap='{flow.overlap}' is not possible on AWS: EventBridge "
            "Scheduler starts a run at each time of the schedule, even while an earlier one has "
            "not ended; write overlap='allow', which is the same everywhere, or leave it out"
        )
    if flow.schedule is not None and flow.overlap is None:
        yield (
            f"flow '{flow.name}' has a schedule: AWS starts a run at each time, even while an "
            "earlier one has not ended, when the service starts none; overlap='allow' makes them "
            "the same"
        )
