"""What every route uses: the service, and its answers when something is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Path, Request

from lokki_server.models import ProblemDetails
from lokki_server.problems import MEDIA_TYPE
from lokki_server.service import Service


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Serving = Annotated[Service, Depends(_service)]
RunId = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9_-]{1,80}$", description="a run's id, or the beginning of it")
]
FlowName = Annotated[str, Path(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,59}$")]
Position = Annotated[int, Path(ge=0, le=255)]
Index = Annotated[int, Path(ge=0, lt=2**32)]


def seconds(at: datetime | None) -> float | None:
    """A time in seconds since the epoch; one without a zone is in UTC, as all that are told."""
    if at is None:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def refusals() -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of requests that come to no route."""
    return dict.fromkeys((400, 401, 403, 413, 415, 421, 429), _RESPONSE)


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may end with these codes."""
    return dict.fromkeys((*codes, 422, 503), _RESPONSE)


_RESPONSE: dict[str, Any] = {"model": ProblemDetails, "content": {MEDIA_TYPE: {}}}
