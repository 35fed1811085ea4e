"""Quotas of sizes and numbers, which AWS would report only while it makes the stack.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html ,
https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html ,
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from lokki.builder.asl import StateMachine
from lokki.builder.document import Document
from lokki.builder.resources import Function, Template
from lokki.errors import BuildError

MOST_RESOURCES = 500
_MOST_DOCUMENT_BYTES = 1_000_000
"""Of a template in a bucket, and of a state machine's definition."""
_MOST_VARIABLES_BYTES = 4_096
_LONGEST_REFERENCE = "x" * 63
"""Stands for what is known only in the account: the name of the bucket."""
_SMALLER = "split the flow, or call the inner steps of a map in one function with direct_pass=True"


def check_limits(made: Template, machine: StateMachine | None) -> None:
    """Raise BuildError for documents that AWS would refuse, with what to change."""
    for problem in _problems(made, machine):
        raise BuildError(problem)


def json_text(document: Document) -> str:
    """A document as indented JSON; as compact JSON if AWS would refuse it otherwise."""
    value = document.to_json()
    shown = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return shown if len(shown.encode()) <= _MOST_DOCUMENT_BYTES else _compact(value)


def _problems(made: Template, machine: StateMachine | None) -> Iterator[str]:
    for resource in made.resources.values():
        if isinstance(resource, Function) and resource.environment is not None:
            yield from _of_variables(resource.environment["Variables"])
    if len(made.resources) > MOST_RESOURCES:
        yield (
            f"the flow needs {len(made.resources)} resources, but a stack has at most "
            f"{MOST_RESOURCES}: {_SMALLER}"
        )
    documents = {"template": made, **({"state machine": machine} if machine else {})}
    for name, document in documents.items():
        size = len(_compact(document.to_json()).encode())
        if size > _MOST_DOCUMENT_BYTES:
            yield (
                f"the {name} has {size:,} bytes, but AWS takes {_MOST_DOCUMENT_BYTES:,}: {_SMALLER}"
            )


def _of_variables(variables: dict[str, Any]) -> Iterator[str]:
    known = {
        name: value if isinstance(value, str) else _LONGEST_REFERENCE
        for name, value in variables.items()
    }
    size = len(_compact(known).encode())
    if size > _MOST_VARIABLES_BYTES:
        longest = max(known, key=lambda name: len(known[name]))
        yield (
            f"the environment of a function has {size:,} bytes, but Lambda takes "
            f"{_MOST_VARIABLES_BYTES:,}: shorten lambda.env, of which {longest} is the longest; a "
            "value in Secrets Manager takes only its ARN here"
        )


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
