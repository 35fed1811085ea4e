"""The lines that steps print and log."""

from __future__ import annotations

from typing import NamedTuple

from lokki.model.base import model
from lokki.model.times import Time, seconds, utc


class LogLine(NamedTuple):
    """A line that a step printed or logged; ``at`` is in seconds since the epoch.

    ``id`` grows from line to line of a run.
    """

    id: int
    at: float
    step: str
    item: int | None
    attempt: int
    level: str
    source: str
    message: str


@model
class Line:
    """A line that a step printed or logged, as in JSON."""

    id: int
    ts: Time
    level: str
    step: str
    item: int | None
    attempt: int
    source: str
    message: str

    @classmethod
    def of(cls, line: LogLine) -> Line:
        """A line that was read."""
        fields = line._asdict()
        return cls(ts=utc(fields.pop("at")), **fields)

    @property
    def read(self) -> LogLine:
        """The line as read from a journal."""
        about = (self.step, self.item, self.attempt, self.level, self.source, self.message)
        return LogLine(self.id, seconds(self.ts), *about)


@model
class LineList:
    """A page of lines."""

    lines: list[Line]
    next: int
    """the `after` of the next page"""
    previous: int | None
    """the `before` of the previous page"""
