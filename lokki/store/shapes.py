"""Runs as JSON: the shapes that the terminal prints with ``--json`` and the service answers with.

Times are RFC 3339 in UTC with milliseconds, durations are seconds in which the run was worked on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lokki.logging import utc
from lokki.store.history import Group, Run
from lokki.store.leases import host_and_process, is_worked_on
from lokki.store.lines import LogLine
from lokki.store.schema import StageRow


def rfc3339(at: float | None) -> str | None:
    """A time as the shapes have it."""
    return None if at is None else utc(at)


def run_shape(run: Run, stages: Sequence[StageRow], now: float) -> dict[str, Any]:
    """A run with its stages; ``owner`` is the process that runs it, or did when it was lost."""
    owner = None
    if run.owner is not None:
        host, process = host_and_process(run.owner)
        owner = {"host": host, "process": process, "alive": is_worked_on(run, now)}
    return {
        "id": run.id,
        "flow": run.flow,
        "status": run.status,
        "params": plain(json.loads(run.params_json)),
        "created": rfc3339(run.created),
        "started": rfc3339(run.started),
        "finished": rfc3339(run.finished),
        "duration": _seconds(run, run.started, run.finished),
        "cancel_requested": rfc3339(run.cancel_requested),
        "removing": run.removing,
        "stages": [stage_shape(run, stage) for stage in stages],
        "error": plain(json.loads(run.error)) if run.error else None,
        "source": run.source,
        "started_by": run.started_by,
        "owner": owner,
    }


def plain(value: Any) -> Any:
    """A value of JSON without lone surrogates, which no UTF-8 can be made of."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


def stage_shape(run: Run, stage: StageRow) -> dict[str, Any]:
    """A stage of a run and where its items are."""
    return {
        "position": stage.position,
        "name": stage.name,
        "kind": stage.kind,
        "started": rfc3339(stage.started),
        "finished": rfc3339(stage.finished),
        "duration": _seconds(run, stage.started, stage.finished),
        "total": stage.total,
        "succeeded": stage.succeeded,
        "failed": stage.failed,
        "tolerated": stage.tolerated,
        "retrying": stage.retrying,
    }


def resume_shape(at: float, detail: str | None) -> dict[str, Any]:
    """A resume of a run: ``by`` a command line, and what was done ``again``, in words."""
    told = json.loads(detail or "{}")
    return {"at": rfc3339(at), "by": told.get("by"), "again": told.get("again", [])}


def group_shape(group: Group) -> dict[str, Any]:
    """Failures that are alike."""
    place = group.place
    return {
        "id": group.id,
        "count": group.count,
        "failed": group.failed,
        "retrying": group.retrying,
        "step": group.step,
        "type": group.type,
        "message": group.reason,
        "place": place and {"file": place[0], "line": place[1], "function": place[2]},
        "items": list(group.items),
        "tolerated": group.tolerated == group.count,
        "traceback": group.traceback,
    }


def line_shape(line: LogLine) -> dict[str, Any]:
    """A line that a step printed or logged."""
    return {
        "ts": rfc3339(line.at),
        "level": line.level,
        "step": line.step,
        "item": line.item,
        "attempt": line.attempt,
        "source": line.source,
        "message": line.message,
    }


def _seconds(run: Run, started: float | None, finished: float | None) -> float | None:
    if started is None or finished is None:
        return None
    return round(run.worked(started, finished), 3)
