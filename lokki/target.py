"""What may run a flow on AWS."""

from __future__ import annotations

from typing import Literal, get_args

from lokki.errors import DefinitionError

Target = Literal["stepfunctions", "durable"]
"""A state machine of Step Functions, or a durable function of Lambda."""


def check_target(target: object) -> None:
    """Raise DefinitionError for anything but a `Target` or None."""
    if target is not None and target not in get_args(Target):
        known = " or ".join(map(repr, get_args(Target)))
        raise DefinitionError(f"target must be {known}, not {target!r}")
