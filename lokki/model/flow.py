"""Flows that can be run, and their schedules."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from lokki.model.base import Example, model
from lokki.model.structure import StageStructure
from lokki.model.times import Time

Overlap = Literal["skip", "queue", "allow"]


@model
class Schedule:
    """When runs start, as with EventBridge Scheduler."""

    expression: Annotated[str, Example("cron(0 9 * * ? *)")]
    timezone: Annotated[str, Example("UTC")]
    """the time zone of a cron(…)"""
    overlap: Overlap
    """what happens while the run of an earlier time has not ended"""
    paused: bool
    next: list[Time]
    """the next times"""
    missed: int
    """how many times passed without a server"""
    missed_last: Time | None
    last: str | None
    """the run started last"""
    error: str | None
    """why no runs start"""


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
    """A time of a schedule, or several in a row with the same outcome."""

    first: Time
    last: Time
    count: int
    outcome: Literal["started", "skipped", "missed", "paused"]
    run: str | None
    """the run that started, or that had not ended"""
    reason: str | None
    """why they were missed, if not for lack of a server"""


@model
class ScheduleDetail(FlowSchedule):
    """The schedule of a flow, and the outcomes of its times."""

    ticks: list[Ticks]
    """the outcomes of the latest times, the newest first"""


@model
class Flow:
    """A flow that can be run; ``parameters`` is the JSON Schema of ``params``."""

    name: Annotated[str, Example("crunching")]
    file: str
    doc: str | None
    parameters: dict[str, Any]
    secrets: list[str]
    """parameters that the server reads from its environment"""
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
    """The offered flows, and the files without any."""

    flows: list[Flow]
    problems: list[FileProblem]
