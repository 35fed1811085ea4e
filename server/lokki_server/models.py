"""What the API takes and gives, as OpenAPI tells it."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from lokki.errors import Picklable
from lokki.places.shapes import DEEPEST, is_deep

RunStatus = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
ItemStatus = Literal["succeeded", "failed", "tolerated", "retrying", "cancelled", "paused"]
Time = str
"""RFC 3339 in UTC, with milliseconds."""

_RUN = "20260203-103000-000abcde"


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RunRequest(_Asked):
    """Parameters of a new run: those without a default must be there."""

    params: dict[str, Any] = Field(default_factory=dict, examples=[{"count": 100}])

    @model_validator(mode="before")
    @classmethod
    def _are_in_params(cls, asked: Any) -> Any:
        others = [name for name in asked if name != "params"] if isinstance(asked, dict) else []
        if others:
            write = f'{{"params": {{{json.dumps(others[0])}: …}}}}'
            raise ValueError(f"parameters of the flow belong in 'params': write {write}")
        return asked

    @field_validator("params")
    @classmethod
    def _can_be_shown(cls, params: dict[str, Any]) -> dict[str, Any]:
        """Half a character (a lone surrogate), which JSON can escape, is no text."""
        try:
            text = json.dumps(params, ensure_ascii=False)
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("must be Unicode: half a surrogate pair is no character") from None
        except RecursionError:
            text = None
        if text is None or is_deep(params, text):
            raise ValueError(f"must be nested at most {DEEPEST} levels deep")
        return params


class WrongRequest(Picklable, Exception):
    """A body is not what was asked for; ``errors`` name the places and tell why."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(f"{each['name']}: {each['message']}" for each in errors))
        self.errors = errors


def params_in(body: bytes) -> dict[str, Any]:
    """The parameters that a body asks to run a flow with. Raises WrongRequest."""
    try:
        return RunRequest.model_validate(json.loads(body)).params
    except ValidationError as error:
        raise WrongRequest(
            [
                {"name": ".".join(map(str, ("body", *each["loc"]))), "message": each["msg"]}
                for each in error.errors(include_context=False, include_input=False)
            ]
        ) from None
    except RecursionError:
        raise WrongRequest([{"name": "body", "message": "it is nested too deeply"}]) from None
    except ValueError as error:
        raise WrongRequest([{"name": "body", "message": f"it is no JSON: {error}"}]) from None


class CancelRequest(_Asked):
    """Nothing: `{}`."""


class ResumeRequest(_Asked):
    """What is to be done again, besides what has no result; at most one of the three."""

    failed: bool = Field(False, description="the failures that were tolerated, too")
    error: str | None = Field(None, description="of those, the ones of this group", min_length=1)
    from_: str | None = Field(
        None, alias="from", description="everything from this stage on", min_length=1
    )


class AwsFlows(BaseModel):
    """The flows that are deployed in an account; ``problem``: why it cannot be asked."""

    flows: list[str] = Field(examples=[["crunching"]])
    account: str | None = Field(examples=["AWS account 123456789012, us-east-1"])
    problem: str | None


class Plan(BaseModel):
    """What a resume would do; ``anything``: whether it would do anything."""

    told: list[str] = Field(examples=[["map(crunch) runs again from item 7 on"]])
    anything: bool


class Place(BaseModel):
    file: str
    line: int
    function: str


class Failures(BaseModel):
    """Failures that are alike; ``items`` are the first of them."""

    id: str = Field(examples=["8a73ee"])
    count: int
    failed: int
    retrying: int
    step: str
    type: str = Field(examples=["ValueError"])
    message: str
    varies: bool = Field(description="others have other numbers in their message")
    place: Place | None
    items: list[int]
    tolerated: bool
    traceback: str


class InnerStep(BaseModel):
    """One of several steps in a map, which each item goes through."""

    step: str = Field(examples=["crunch"])
    succeeded: int = Field(description="items that are past it")
    failed_attempts: int
    mean_seconds: float | None = Field(
        description="of a call that succeeded, as measured for some of them or all"
    )


class Stage(BaseModel):
    position: int
    name: str = Field(examples=["crunch"])
    kind: Literal["task", "map"]
    started: Time
    finished: Time | None
    duration: float = Field(description="seconds in which it was worked on, so far")
    total: int
    succeeded: int
    failed: int
    tolerated: int
    retrying: int
    inner: list[InnerStep] = []
    failures: list[Failures] = []


class Owner(BaseModel):
    """The process that has the run; if it is not alive, the run was lost."""

    host: str
    process: int
    alive: bool


class RunError(BaseModel):
    """What ended a run; ``step`` and what follows are there if a step did."""

    type: str
    message: str
    step: str | None = None
    index: int | None = None
    attempt: int | None = None
    traceback: str | None = None


class Resume(BaseModel):
    at: Time
    by: str | None
    again: list[str]


class Needs(BaseModel):
    """What a server must be to take a waiting run; null: it does not matter."""

    source: str | None = Field(description="the file or module that it offers")
    prefix: str | None = Field(description="`sys.prefix` of its Python")
    folder: str | None = Field(description="where it was started")


class Run(BaseModel):
    """A run and the stages that have begun."""

    id: str = Field(examples=[_RUN])
    where: Literal["local", "aws"] = Field(description="here, or an execution on AWS")
    flow: str = Field(examples=["crunching"])
    status: RunStatus
    params: dict[str, Any]
    params_cut: bool = Field(
        description="long values are texts of their beginning: `/runs/RUN/params` has them whole"
    )
    created: Time
    started: Time | None
    finished: Time | None
    duration: float | None = Field(description="seconds in which it was worked on, so far")
    cancel_requested: Time | None
    removing: bool
    chain: str = Field(examples=["numbers → map(crunch) → total"])
    stages: list[Stage]
    error: RunError | None
    source: str | None
    started_by: str | None
    owner: Owner | None
    folder: str | None = Field(description="where it was started or last resumed")
    resumes: list[Resume] = []
    waits_for: Needs | None = Field(None, description="of one run that waits for a runner")


class Params(BaseModel):
    """All parameters of a run, secrets as `***`."""

    params: dict[str, Any]


class Runs(BaseModel):
    """A page of runs, the newest first; ``next`` is the ``before`` of the next page."""

    runs: list[Run]
    next: str | None


class Schedule(BaseModel):
    """When runs are started, as EventBridge Scheduler would."""

    expression: str = Field(examples=["cron(0 9 * * ? *)"])
    timezone: str = Field(examples=["UTC"], description="whose clock a cron(…) follows")
    overlap: Literal["skip", "queue", "allow"] = Field(
        description="what is done while the run of an earlier time has not ended"
    )
    paused: bool
    next: list[Time] = Field(description="the next times")
    missed: int = Field(description="times that no server was there for")
    missed_last: Time | None
    last: str | None = Field(description="the run that was started last")
    error: str | None = Field(description="why no run is started")


class FlowSchedule(Schedule):
    flow: str = Field(examples=["crunching"])


class Schedules(BaseModel):
    schedules: list[FlowSchedule]


class Ticks(BaseModel):
    """A time of a schedule, or several in a row that went the same way."""

    first: Time
    last: Time
    count: int
    outcome: Literal["started", "skipped", "missed", "paused"]
    run: str | None = Field(description="the run that was started, or that had not ended")
    reason: str | None = Field(
        description="why they were missed, if it was not that no server was there"
    )


class ScheduleDetail(FlowSchedule):
    ticks: list[Ticks] = Field(description="what became of the latest times, the newest first")


class ScheduleRequest(_Asked):
    paused: bool


class FlowStage(BaseModel):
    name: str
    kind: Literal["task", "map"]
    steps: list[str]


class Flow(BaseModel):
    """A flow that can be run; ``parameters`` is the JSON Schema of ``params``."""

    name: str = Field(examples=["crunching"])
    file: str
    doc: str | None
    parameters: dict[str, Any]
    secrets: list[str] = Field(description="parameters that the server takes from its environment")
    stages: list[FlowStage] | None
    schedule: Schedule | None


class FileProblem(BaseModel):
    """A file whose flows cannot be offered."""

    file: str
    error: str
    traceback: str


class Flows(BaseModel):
    flows: list[Flow]
    problems: list[FileProblem]


class ItemError(BaseModel):
    type: str
    message: str


class Item(BaseModel):
    """An item with an outcome; on AWS its times are not known."""

    index: int
    status: ItemStatus
    attempts: int
    started: Time | None
    finished: Time | None
    duration: float | None
    error: ItemError | None


class Items(BaseModel):
    items: list[Item]
    next: int | None = Field(description="the `after` of the next page")


class Attempt(BaseModel):
    """A failed attempt."""

    attempt: int
    step: str
    at: Time
    type: str
    message: str
    traceback: str


class ItemDetail(Item):
    step: str
    failures: list[Attempt]
    output: dict[str, Any] | None = Field(
        description="`{json: …}`, or `{type: …, bytes: …}` for what JSON has no words for"
    )


class Strip(BaseModel):
    """A map's items in cells of neighbours, each with how many are in which status."""

    total: int
    cells: list[dict[str, int]]


class Line(BaseModel):
    id: int
    ts: Time
    step: str
    item: int | None
    attempt: int
    level: str
    source: str
    message: str


class Lines(BaseModel):
    lines: list[Line]
    next: int = Field(description="the `after` of the next page")
    previous: int | None = Field(description="the `before` of the page before")


class Result(BaseModel):
    """A flow's result; one that is no JSON is told by its type, and can be downloaded."""

    result: Any
    type: str | None = None
    bytes: int | None = None
    download: str | None = None


class ParameterError(BaseModel):
    name: str | None
    message: str


class ProblemDetails(BaseModel):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    errors: list[ParameterError] | None = None


class Health(BaseModel):
    status: str


class Part(BaseModel):
    ready: bool
    problem: str | None = Field(description="why it does not work")


class NotReady(ProblemDetails):
    ready: bool
    parts: dict[str, Part]


class Ready(Health):
    ready: bool
    runners: int = Field(description="that take runs")
    parts: dict[str, Part] = Field(description="of the server: what works in the background")
