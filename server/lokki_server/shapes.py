"""Runs and items as the API gives them; most of it is what the terminal prints with ``--json``."""

from __future__ import annotations

from collections.abc import Iterable
from time import time
from typing import Any

from lokki.store.history import History, Run
from lokki.store.items import Attempt, Item
from lokki.store.lines import LogLine
from lokki.store.schema import StageRow
from lokki.store.shapes import group_shape, line_shape, resume_shape, rfc3339, run_shape


def runs(history: History, found: Iterable[Run]) -> list[dict[str, Any]]:
    """Runs without their failures."""
    found = list(found)
    stages: dict[str, list[StageRow]] = {run.id: [] for run in found}
    for stage in history.stages(*stages):
        stages[stage.run].append(stage)
    now = time()
    return [run_shape(run, stages[run.id], now) | {"chain": run.shape} for run in found]


def run(history: History, found: Run) -> dict[str, Any]:
    """A run with its failures and resumes."""
    (shape,) = runs(history, [found])
    stages = history.stages(found.id)
    for stage, each in zip(stages, shape["stages"], strict=False):
        each["failures"] = [group_shape(group) for group in history.groups(stage)]
    shape["resumes"] = [resume_shape(*each) for each in history.resumes(found.id)]
    return shape


def item(found: Item) -> dict[str, Any]:
    failure = found.failure
    return {
        "index": found.index,
        "status": found.status,
        "attempts": found.attempts,
        "started": rfc3339(found.started),
        "finished": rfc3339(found.finished),
        "duration": round(found.finished - found.started, 6),
        "error": failure and {"type": failure[0], "message": failure[1]},
    }


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
