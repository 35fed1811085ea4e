"""Errors as the API reports them: RFC 9457 problem details."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lokki.errors import (
    AttachmentNotFound,
    AwsError,
    DefinitionError,
    JournalError,
    KeyReused,
    LokkiError,
    NotPausable,
    NotTunable,
    Picklable,
    RunNotFound,
    RunOwned,
    StageNotFound,
)
from lokki.model.run import Run
from lokki.store.jobs import QueueFull
from lokki.store.runs import RunRecord
from lokki_server.wording import as_fields

MEDIA_TYPE = "application/problem+json"
_RETRY_SECONDS = 10
MOST_ERRORS = 20
"""More errors of a request are only counted."""


class Problem(Picklable, Exception):
    """An error that is an answer; ``more`` has further members of it.

    ``retry_after``: seconds after which the request may succeed.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str | None = None,
        retry_after: int | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail or title)
        self.status = status
        self.title = title
        self.detail = detail
        self.more = more
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}


def answer(problem: Problem) -> JSONResponse:
    """A problem as a response."""
    body = {"type": "about:blank", "title": problem.title, "status": problem.status}
    if problem.detail is not None:
        body["detail"] = problem.detail
    return JSONResponse(
        body | problem.more, problem.status, headers=problem.headers, media_type=MEDIA_TYPE
    )


def wrong_request(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """The problem of a request that does not match the OpenAPI document."""
    messages = [f"{each['name']}: {each['message']}" for each in errors]
    return Problem(422, "The request is wrong", _listed(messages), errors=_first(errors))


def wrong_params(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """The problem of parameters that a flow does not accept."""
    messages = [each["message"] for each in errors]
    return Problem(422, "The parameters are wrong", _listed(messages), errors=_first(errors))


def run_has_ended(run: RunRecord | Run) -> Problem:
    """A run that has ended cannot be cancelled."""
    return Problem(409, "The run has ended", f"run {run.id} is {run.status}")


def nothing_to_resume() -> Problem:
    """A run that has succeeded is resumed for something alone."""
    return Problem(409, "The run has succeeded", "name what to run again")


def _listed(messages: Sequence[str]) -> str:
    more = len(messages) - MOST_ERRORS
    return "; ".join(messages[:MOST_ERRORS]) + (f"; and {more} more" if more > 0 else "")


def _first(errors: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    more = len(errors) - MOST_ERRORS
    rest = [{"name": None, "message": f"and {more} more"}] if more > 0 else []
    return [*errors[:MOST_ERRORS], *rest]


def of(error: LokkiError) -> Problem:
    """The problem that answers one of lokki's errors."""
    text = error.said(as_fields)
    match error:
        case RunNotFound():
            return Problem(404, "No such run", text)
        case StageNotFound():
            return Problem(404, "No such stage", text)
        case AttachmentNotFound():
            return Problem(404, "Nothing of this name was shown", text)
        case RunOwned():
            return Problem(409, "The run is in use", text)
        case NotTunable():
            return Problem(409, "The run cannot be tuned", text)
        case NotPausable():
            return Problem(409, "The run cannot be paused or continued", text)
        case KeyReused():
            return Problem(422, "The idempotency key was used before", text)
        case QueueFull():
            return Problem(503, "The queue is full", text, retry_after=_RETRY_SECONDS)
        case AwsError():
            return Problem(502, "AWS cannot do this", text)
        case DefinitionError():
            return Problem(409, "This cannot be done with the run", text)
        case JournalError():
            return Problem(503, "The journal cannot be used", text)
    return Problem(409, "This cannot be done", text)


def answer_to(error: Exception) -> JSONResponse:
    """Any error as a response."""
    match error:
        case Problem():
            problem = error
        case LokkiError():
            problem = of(error)
        case RequestValidationError():
            problem = wrong_request(
                [
                    {"name": ".".join(map(str, each["loc"])), "message": each["msg"]}
                    for each in error.errors()
                ]
            )
        case HTTPException() if isinstance(error.__cause__, RecursionError):
            problem = Problem(422, "The request is wrong", "the body is nested too deeply")
        case HTTPException():
            title = HTTPStatus(error.status_code).phrase
            problem = Problem(error.status_code, title, error.detail)
            problem.headers = dict(error.headers or {})
        case _:
            detail = f"{type(error).__name__}: {error}"
            problem = Problem(500, "The server has failed", detail)
    return answer(problem)


def register_handlers(app: FastAPI) -> None:
    """Register handlers that answer every error of an app with a problem."""

    async def answered(request: Request, error: Exception) -> JSONResponse:
        return answer_to(error)

    for kind in (Problem, LokkiError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, answered)
