"""What the API accepts, and what it returns beside the types of `lokki.model`."""

from __future__ import annotations

import json
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from lokki.errors import Picklable
from lokki.store.shown import DEEPEST, is_deep


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RunRequest(_Asked):
    """Parameters of a new run; those without a default are required."""

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
        """Half a character (a lone surrogate), which JSON can escape, is not text."""
        try:
            text = json.dumps(params, ensure_ascii=False)
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("must be Unicode: half a surrogate pair is not a character") from None
        except RecursionError:
            text = None
        if text is None or is_deep(params, text):
            raise ValueError(f"must be nested at most {DEEPEST} levels deep")
        return params


class WrongRequest(Picklable, Exception):
    """A request's body is not valid; each of ``errors`` names a part and the reason."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__("; ".join(f"{each['name']}: {each['message']}" for each in errors))
        self.errors = errors


def params_in(body: bytes) -> dict[str, Any]:
    """The parameters in a request to run a flow. Raises WrongRequest."""
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
        raise WrongRequest([{"name": "body", "message": f"it is not JSON: {error}"}]) from None


class CancelRequest(_Asked):
    """Nothing: `{}`."""


class ResumeRequest(_Asked):
    """What to run again, besides what has no result; at most one of the three."""

    failed: bool = Field(False, description="also the tolerated failures")
    error: str | None = Field(None, description="of these, only those of this group", min_length=1)
    from_: str | None = Field(
        None, alias="from", description="this stage and all later ones", min_length=1
    )


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
