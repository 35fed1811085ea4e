"""Runs of a schedule that overlap: EventBridge Scheduler starts each, and looks at no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lokki.errors import BuildError
from lokki.graph import FlowGraph


def overlap_notes(graph: FlowGraph[Any]) -> Iterator[str]:
    """What there is to say of the overlaps of a flow's scheduled runs on AWS.

    Raises BuildError for what is asked for and cannot be had there.
    """
    flow = graph.flow
    assert flow is not None
    if flow.overlap in ("skip", "queue"):
        raise BuildError(
            f"flow '{flow.name}': overlap='{flow.overlap}' cannot be had on AWS, where EventBridge "
            "Scheduler starts a run at each time of the schedule, also while an earlier one has "
            "not ended: write overlap='allow', which is the same in each place, or leave it out"
        )
    if flow.schedule is not None and flow.overlap is None:
        yield (
            f"flow '{flow.name}' has a schedule: on AWS a run is started at each time, also while "
            "an earlier one has not ended, where the service starts none; overlap='allow' makes "
            "them the same"
        )
