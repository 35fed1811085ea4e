"""The failure of a call or of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from lokki.model.base import Example, model


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of a call, as values that can be stored and sent.

    ``type`` is the name of the exception's class, ``reason`` its text, ``traceback`` the text of
    the user's frames; ``retryable``: the step's RetryConfig names such an exception. ``later``:
    after how many seconds a RetryLater asks for another try, and for how long in all.
    """

    step: str
    index: int | None
    attempt: int
    type: str
    reason: str
    traceback: str
    retryable: bool = False
    later: tuple[float, float] | None = None


@model
class Error:
    """What ended a run; ``step`` and the fields after it are set if a step did."""

    type: Annotated[str, Example("ValueError")]
    message: str
    step: str | None = None
    index: int | None = None
    attempt: int | None = None
    traceback: str | None = None

    @classmethod
    def of(cls, failure: Failure) -> Error:
        """A failure that ended a run."""
        return cls(
            type=failure.type,
            message=failure.reason,
            step=failure.step,
            index=failure.index,
            attempt=failure.attempt,
            traceback=failure.traceback,
        )

    @property
    def failure(self) -> Failure | None:
        """The failure of the step that ended the run; None if no step did."""
        if self.step is None:
            return None
        attempt, trace = self.attempt or 1, self.traceback or ""
        return Failure(self.step, self.index, attempt, self.type, self.message, trace)
