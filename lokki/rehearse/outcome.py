"""The outcome of a rehearsal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lokki.model.failure import Failure

Progress = Callable[[str], None]
"""Called with the current action."""


@dataclass(frozen=True, slots=True)
class StateRow:
    """A state of an execution: its kind, its duration in seconds, its failed attempts.

    ``items``, for a map, counts items by status.
    """

    name: str
    kind: str
    seconds: float | None
    retries: int
    items: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The outcome of a rehearsal.

    ``status`` is the execution's; if it has not succeeded, ``error`` and ``cause`` are what AWS
    reports, and ``failures`` what the steps report, or what ended the process of an item.
    """

    run_id: str
    status: str
    result: Any
    error: str | None
    cause: str | None
    failures: tuple[Failure, ...]
    states: tuple[StateRow, ...]
    lines: tuple[str, ...]
    seconds: float


def silent(_: str) -> None:
    """Reports to nobody."""


async def lines_of(logs: Any, flow: str) -> list[str]:
    """What functions and jobs wrote, by time."""
    found: list[tuple[int, str]] = []
    pages = logs.get_paginator("filter_log_events")
    try:
        async for page in pages.paginate(logGroupName=f"/lokki/{flow}"):
            found += [(each["timestamp"], each["message"]) for each in page["events"]]
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [message for _, message in sorted(found, key=lambda each: each[0])]
