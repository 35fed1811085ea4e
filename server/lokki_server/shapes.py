"""Runs as every place tells them, and items, as the API gives them."""

from __future__ import annotations

from typing import Any

from lokki.places.shapes import RunShape as RunShape
from lokki.places.shapes import line_shape, rfc3339
from lokki.places.shapes import page as page
from lokki.places.shapes import run as run
from lokki.places.shapes import runs as runs
from lokki.store.items import Attempt, Item
from lokki.store.lines import LogLine
from lokki.store.texts import shortened


def item(found: Item) -> dict[str, Any]:
    failure = found.failure
    return {
        "index": found.index,
        "status": found.status,
        "attempts": found.attempts,
        "started": rfc3339(found.started),
        "finished": rfc3339(found.finished),
        "duration": round(max(0.0, found.finished - found.started), 6),
        "error": failure and error(*failure),
    }


def error(kind: str, reason: str) -> dict[str, str]:
    """A failure in a list of items."""
    return {"type": kind, "message": shortened(reason, "")[0]}


def attempt(found: Attempt) -> dict[str, Any]:
    return {
        "attempt": found.attempt,
        "step": found.step,
        "at": rfc3339(found.at),
        "type": found.type,
        "message": found.reason,
        "traceback": found.traceback,
    }


def line(found: LogLine) -> dict[str, Any]:
    return {"id": found.id, **line_shape(found)}
