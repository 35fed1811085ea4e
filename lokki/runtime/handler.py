"""The entry point of every Lambda function of a flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lokki.call import users_frames
from lokki.runtime.event import FlowContext, Item, LambdaEvent, parse
from lokki.runtime.invocation import StepFailed
from lokki.runtime.loading import loaded

_MAX_CAUSE = 8_000
"""Characters of an error's text that are reported; Step Functions keeps 32,768 of a cause."""


class Handler:
    """The handler of a flow's functions; loads the step, its module and its store at once.

    ``structure`` is the flow's at its build, as JSON. Raises like `loaded`.
    """

    def __init__(self, flow: str, structure: str) -> None:
        self.invocation = loaded(flow, structure)

    def __call__(self, event: Any, context: Any) -> Mapping[str, Any]:
        """Do what Step Functions or a caller requests; errors have the names of the user's."""
        try:
            return self.invocation.run(_event(event, context, first=self.invocation.is_first))
        except StepFailed as failed:
            reported = _reported(failed)
        raise reported


def _event(raw: Any, context: Any, *, first: bool) -> LambdaEvent:
    """The event of a state, or a plain one, for trying a function out.

    A plain event is the step's argument: the flow's parameters for a first step, the input for any
    other.
    """
    if isinstance(raw, dict) and "flow" in raw:
        return parse(raw)
    flow = FlowContext(f"direct-{context.aws_request_id}", (raw or {}) if first else {})
    return LambdaEvent(flow, (Item(None, None if first else raw),), direct=True)


def _reported(failed: StepFailed) -> Exception:
    """The error for Step Functions: the name, the text and the frames of the user's error.

    It replaces that error, whose text may contain a secret or fail.
    """
    reported: type[Exception] = type(failed.name, (Exception,), {})
    return reported(failed.failure.reason[:_MAX_CAUSE]).with_traceback(users_frames(failed.error))
