"""Flows that can be run, and their schedules."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from lokki.model.base import Example, model
from lokki.model.structure import StageStructure
from lokki.model.times import Time

Overlap = Literal["skip", "queue", "allow"]


@model
class Schedule:
    """When runs are started, as EventBridge Scheduler would."""

    expression: Annotated[str, Example("cron(0 9 * * ? *)")]
    timezone: Annotated[str, Example("UTC")]
    """whose clock a cron(…) follows"""
    overlap: Overlap
    """what is done while the run of an earlier time has not ended"""
    paused: bool
    next: list[Time]
    """the next times"""
    missed: int
    """times that no server was there for"""
    missed_last: Time | None
    last: str | None
    """the run that was started last"""
    error: str | None
    """why no run is started"""


@model
class FlowSchedule(Schedule):
    """The schedule of a flow."""

    flow: Annotated[str, Example("crunching")]


@model
class ScheduleList:
    """The schedules of all flows that have one."""

    schedules: list[FlowSchedule]


@model
class Ticks:
    """A time of a schedule, or several in a row that went the same way."""

    first: Time
    last: Time
    count: int
    outcome: Literal["started", "skipped", "missed", "paused"]
    run: str | None
    """the run that was started, or that had not ended"""
    reason: str | None
    """why they were missed, if it was not that no server was there"""


@model
class ScheduleDetail(FlowSchedule):
    """The schedule of a flow, and what became of its times."""

    ticks: list[Ticks]
    """what became of the latest times, the newest first"""


@model
class Flow:
    """A flow that can be run; ``parameters`` is the JSON Schema of ``params``."""

    name: Annotated[str, Example("crunching")]
    file: str
    doc: str | None
    parameters: dict[str, Any]
    secrets: list[str]
    """parameters that the server takes from its environment"""
    stages: list[StageStructure] | None
    schedule: Schedule | None


@model
class FileProblem:
    """A file whose flows cannot be offered."""

    file: str
    error: str
    traceback: str


@model
class FlowList:
    """The flows that are offered, and the files that have none."""

    flows: list[Flow]
    problems: list[FileProblem]
