"""How the latest runs of a flow went."""

from __future__ import annotations

from typing import Annotated

from lokki.model.base import Example, model
from lokki.model.status import RunStatus
from lokki.model.times import Time


@model
class TrendRun:
    """A run that has ended, in a few numbers."""

    id: Annotated[str, Example("20260203-103000-000abcde")]
    status: RunStatus
    started: Time
    duration: float
    """seconds in which it was worked on"""
    items: int
    """of its maps"""
    failed: int
    """of these, those that failed, tolerated or not"""


@model
class Trend:
    """The latest runs of a flow that have ended, the oldest first."""

    runs: list[TrendRun]
