"""Times as in JSON."""

from __future__ import annotations

from datetime import UTC, datetime

Time = str
"""RFC 3339 in UTC, with milliseconds."""


def utc(at: float) -> Time:
    """A time in seconds since the epoch, as in JSON."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def rfc3339(at: float | None) -> Time | None:
    """A time, if there is one, as `utc` returns it."""
    return None if at is None else utc(at)


def seconds(at: Time) -> float:
    """A time from JSON, in seconds since the epoch."""
    return datetime.fromisoformat(at).timestamp()
