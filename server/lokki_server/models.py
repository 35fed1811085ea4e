"""What the API accepts, and what it returns beside the types of `lokki.model`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    field_validator,
    model_validator,
)

from lokki.builder.concurrency import MOST_CHILDREN
from lokki.model import (  # noqa: F401 - have all TYPES
    attachment,
    comparison,
    failure,
    flow,
    item,
    log,
    run,
    structure,
    trend,
)
from lokki.model.base import TYPES
from lokki.tags import MOST_TAGS, TAG
from lokki_server.requested import check_fields, check_params

for _each in TYPES:  # else, pydantic reads their sources again for each response of each route
    _each.__pydantic_core_schema__ = TypeAdapter(_each).core_schema  # type: ignore[attr-defined]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RunRequest(_Asked):
    """Parameters of a new run; those without a default are required."""

    params: dict[str, Any] = Field(default_factory=dict, examples=[{"count": 100}])
    no_cache: bool = Field(
        False, description="make every call of steps with a cache, and replace their cached results"
    )
    tags: list[Annotated[str, StringConstraints(pattern=f"^{TAG}$")]] = Field(
        default_factory=list,
        description="words to find the run by, besides those of its flow",
        max_length=MOST_TAGS,
        examples=[["nightly"]],
    )

    @model_validator(mode="before")
    @classmethod
    def _are_in_params(cls, asked: Any) -> Any:
        if isinstance(asked, dict):
            check_fields(asked)
        return asked

    @field_validator("params")
    @classmethod
    def _can_be_shown(cls, params: dict[str, Any]) -> dict[str, Any]:
        check_params(params)
        return params


class CancelRequest(_Asked):
    """Nothing: `{}`."""


class PauseRequest(_Asked):
    """Nothing: `{}`."""


class TuneRequest(_Asked):
    """How many items of a map run at a time from now on."""

    concurrency: int = Field(ge=1, le=MOST_CHILDREN)


class ResumeRequest(_Asked):
    """What to run again, besides what has no result; at most one of the three."""

    failed: bool = Field(False, description="also the tolerated failures")
    error: str | None = Field(None, description="of these, only those of this group", min_length=1)
    from_: str | None = Field(
        None, alias="from", description="this stage and all later ones", min_length=1
    )
    deployed: bool = Field(
        False, description="on AWS: in a new run, with the code that is deployed now"
    )
    no_cache: bool = Field(False, description="from now on, make every call of steps with a cache")


class ScheduleRequest(_Asked):
    paused: bool


class AwsFlows(BaseModel):
    """The flows deployed in an account; ``problem``: why it cannot be reached."""

    flows: list[str] = Field(examples=[["crunching"]])
    account: str | None = Field(examples=["AWS account 123456789012, us-east-1"])
    problem: str | None


class ParameterError(BaseModel):
    name: str | None
    message: str


class ProblemDetails(BaseModel):
    """An error (RFC 9457); ``errors`` names the wrong parameters."""

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
    runners: int = Field(description="the number of runners that take runs")
    parts: dict[str, Part] = Field(description="the background parts of the server, by name")
