"""The OpenAPI document that clients are generated from."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.constants import REF_TEMPLATE
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from lokki_server.models import NotReady, ProblemDetails
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


def problem(model: type[ProblemDetails] = ProblemDetails) -> dict[str, Any]:
    """A response that is a problem, for the ``responses`` of a route.

    It refers to the model: FastAPI would make a validator for each response of each route.
    """
    schema = {"$ref": REF_TEMPLATE.format(model=model.__name__)}
    return {"content": {MEDIA_TYPE: {"schema": schema}}}


class Api(FastAPI):
    """An app whose document declares the token, and the models of problems."""

    def openapi(self) -> dict[str, Any]:
        """The document; for a server without a token, the token is optional."""
        if self.openapi_schema is None:
            document = get_openapi(title=self.title, version=self.version, routes=self.routes)
            components = document["components"]
            components["schemas"] = dict(sorted((components["schemas"] | _problems()).items()))
            components["securitySchemes"] = {"bearer": _BEARER}
            security: list[Any] = (
                [{"bearer": []}] if self.state.token.needed else [{"bearer": []}, {}]
            )
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    if not is_open(path):
                        operation["security"] = security
            self.openapi_schema = document
        return self.openapi_schema


def _problems() -> dict[str, Any]:
    """The schemas of problems, by name."""
    _, found = models_json_schema(
        [(ProblemDetails, "serialization"), (NotReady, "serialization")], ref_template=REF_TEMPLATE
    )
    schemas: dict[str, Any] = found["$defs"]
    return schemas
