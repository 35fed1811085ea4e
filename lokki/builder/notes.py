"""Notes on what a flow's schedule and settings mean on AWS, and what they leave to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from time import time
from typing import Any

from lokki.builder.encryption import kms_key
from lokki.builder.granted import granted_policies
from lokki.config import Config
from lokki.errors import BuildError
from lokki.graph import FlowGraph
from lokki.schedule import parse
from lokki.stages import MapStage


def schedule_notes(graph: FlowGraph[Any]) -> Iterator[str]:
    """Notes on a flow's scheduled runs on AWS, where each starts, regardless of others.

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
    if flow.schedule is None:
        return
    if flow.overlap is None:
        yield (
            f"flow '{flow.name}' has a schedule: AWS starts a run at each time, even while an "
            "earlier one has not ended, when the service starts none; overlap='allow' makes them "
            "the same"
        )
    if parse(flow.schedule, flow.timezone).next_after(time()) is None:
        yield (
            f"flow '{flow.name}': all times of schedule '{flow.schedule}' are past, so that it "
            "starts no run any more: write a later one, or leave it out"
        )


def rate_notes(graph: FlowGraph[Any]) -> Iterator[str]:
    """Notes on rates, which nothing on AWS holds."""
    for stage in graph.stages:
        for call in stage.calls:
            if call.step.limit is not None:
                yield (
                    f"step '{call.name}': limit='{call.step.limit}' is not held on AWS, where runs "
                    "share no journal: give its map a concurrency_limit, or have it raise "
                    "RetryLater"
                )
        if isinstance(stage, MapStage) and stage.rate_limit is not None:
            yield (
                f"map '{stage.name}': rate_limit='{stage.rate_limit}' is not held on AWS, where "
                "nothing counts the items of all functions: give it a concurrency_limit, which is "
                "this rate times the seconds of an item, or have the step raise RetryLater"
            )


def settings_notes(config: Config) -> Iterator[str]:
    """What settings allow beyond a flow's own needs, and what they need from somebody else."""
    for arn in granted_policies(config):
        yield f"steps may also do what {arn} allows"
    if config.aws.notify is not None:
        waits = "whoever has the address confirms it, in the mail of SNS"
        allows = "the policy of the topic must let events.amazonaws.com publish"
        yield f"aws.notify: {waits if '@' in config.aws.notify else allows}"
    if kms_key(config) is not None:
        yield "the policy of aws.kms_key must let CloudWatch Logs use it, as docs/aws.md says"
