"""The OpenAPI document that clients are generated from."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from lokki_server.problems import MEDIA_TYPE
from lokki_server.security import is_open

_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "The server's token. A server without one, on a loopback address, ignores it.",
}


EXECUTION = "/aws/flows/{name}/executions/{run_id}"
"""The path of a run on AWS, which has the routes of any run."""


def operation_id(route: APIRoute) -> str:
    """The name of an operation: that of its function in camelCase, `listRuns` for `list_runs`.

    For a run on AWS, `getExecution` for `get_run`, `getExecutionResult` for `get_result`.
    """
    verb, *about = route.name.split("_")
    if route.path_format.startswith(EXECUTION):
        about = ["execution", *(word for word in about if word != "run")]
    return verb + "".join(word.capitalize() for word in about)


class Api(FastAPI):
    """An app whose document declares the token, and problems with their own media type."""

    def openapi(self) -> dict[str, Any]:
        """The document; for a server without a token, the token is optional."""
        if self.openapi_schema is None:
            document = get_openapi(title=self.title, version=self.version, routes=self.routes)
            document["components"]["securitySchemes"] = {"bearer": _BEARER}
            security: list[Any] = (
                [{"bearer": []}] if self.state.token.needed else [{"bearer": []}, {}]
            )
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    if not is_open(path):
                        operation["security"] = security
                    for response in operation["responses"].values():
                        _set_problem_type(response)
            self.openapi_schema = document
        return self.openapi_schema


def _set_problem_type(response: dict[str, Any]) -> None:
    """Move a problem's schema to its own media type: FastAPI writes it under the route's."""
    content = response.get("content", {})
    if MEDIA_TYPE in content:
        (described,) = (each for each in content.values() if each)
        response["content"] = {MEDIA_TYPE: described}
