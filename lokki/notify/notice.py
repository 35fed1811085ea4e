"""A notice of a run's end, and its texts. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from lokki.model.failure import Error
from lokki.model.status import RunStatus
from lokki.model.times import utc

_LONGEST_MESSAGE = 300
TEST_RUN = "test"


class Refused(Exception):
    """A server has refused a notice, and would refuse it again."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A run that has ended: what, when, and the error if it failed; secrets are hidden in it."""

    run_id: str
    flow: str
    status: RunStatus
    at: float
    error: Error | None = None

    @property
    def title(self) -> str:
        """The run's end in a few words."""
        return f"{self.flow}: run {self.run_id} {_ENDS[self.status]}"

    @property
    def text(self) -> str:
        """The notice for people: the title, the error, and the command that shows more."""
        lines = [self.title]
        if self.error is not None:
            lines.append(_described(self.error))
        if self.run_id != TEST_RUN:
            lines.append(f"See: lokki show {self.run_id}")
        return "\n".join(lines)

    def fields(self) -> dict[str, object]:
        """The notice for programs, as the body of a webhook has it."""
        return {
            "event": f"run.{self.status.value}",
            "run": self.run_id,
            "flow": self.flow,
            "status": self.status.value,
            "at": utc(self.at),
            "error": self.error,
            "text": self.text,
        }


_ENDS = {
    RunStatus.SUCCEEDED: "has succeeded",
    RunStatus.FAILED: "has failed",
    RunStatus.CANCELLED: "was cancelled",
}
ENDS = tuple(status.value for status in _ENDS)
"""The statuses of which there are notices."""


def _described(error: Error) -> str:
    where = ""
    if error.step is not None:
        where = error.step if error.index is None else f"{error.step}, item {error.index}"
        where = f" ({where})"
    message = error.message
    if len(message) > _LONGEST_MESSAGE:
        message = message[: _LONGEST_MESSAGE - 1] + "…"
    return f"{error.type}: {message}{where}"
