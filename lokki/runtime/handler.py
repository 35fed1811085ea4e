"""The entry point of every Lambda function of a flow."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from lokki.errors import LokkiError
from lokki.frames import users_frames
from lokki.runtime.deaths import MOST_TEXT, encodable
from lokki.runtime.event import FlowContext, LambdaEvent, parse
from lokki.runtime.loading import loaded
from lokki.runtime.work import StepFailed
from lokki.store.shown import plain


class Handler:
    """The handler of a flow's functions; loads the step, its module and its store at once.

    ``structure`` is the flow's at its build, as JSON. Raises like `loaded`.
    """

    def __init__(self, flow: str, structure: str) -> None:
        self.invocation = loaded(flow, structure)

    def __call__(self, event: Any, context: Any) -> Mapping[str, Any]:
        """Do what Step Functions or a caller requests; errors have the names of the user's.

        UTF-8 can encode every text of the answer or the error: Lambda's runtime client ends its
        process on others, such as the names of some files.
        """

        def left() -> float:
            return float(context.get_remaining_time_in_millis()) / 1000

        try:
            asked = _event(event, context, first=self.invocation.is_first)
            answer = self.invocation.run(asked, seconds_left=left)
        except StepFailed as failed:
            frames = _encodable_frames(users_frames(failed.error))
            reported = _reported(failed.name, _text_of(failed), frames)
        except LokkiError as error:
            if _is_encodable(str(error)):
                raise
            reported = _reported(type(error).__name__, str(error), None)
        else:
            return answer if _is_encodable(answer) else plain(answer)
        raise reported


def _event(raw: Any, context: Any, *, first: bool) -> LambdaEvent:
    """The event of a state, or a plain one, for trying a function out.

    A plain event is the step's argument: the flow's parameters for a first step, the input for any
    other.
    """
    if isinstance(raw, dict) and "flow" in raw:
        return parse(raw)
    flow = FlowContext(f"direct-{context.aws_request_id}", (raw or {}) if first else {})
    return LambdaEvent(flow, None if first else raw, direct=True)


def _text_of(failed: StepFailed) -> str:
    """The text of an error, preceded by its own name if it is raised under another."""
    kind, reason = failed.failure.type, failed.failure.reason
    return reason if f".{failed.name}".endswith(f".{kind}") else f"{kind}: {reason}"


def _reported(name: str, text: str, frames: TracebackType | None) -> Exception:
    """The error for Step Functions: the name, the text and the frames of the user's error.

    It replaces that error, whose text may contain a secret or fail.
    """
    reported: type[Exception] = type(encodable(name).replace("\0", "\\0"), (Exception,), {})
    return reported(encodable(text[:MOST_TEXT])).with_traceback(frames)


def _encodable_frames(frames: TracebackType | None) -> TracebackType | None:
    """The frames, unless one of them has a name or a line that UTF-8 cannot encode."""
    return frames if _is_encodable(traceback.format_tb(frames)) else None


def _is_encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
