"""The log lines of a run, for people or as JSON: the same locally and on AWS.

Times in lines for people are local, those in JSON lines are UTC.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import sqrt
from typing import Any, TypeAlias

from lokki.model.attachment import Shown
from lokki.model.times import utc

Line: TypeAlias = tuple[float, str, int | None, int, str, str, str]
"""What a step printed or logged: at (seconds since the epoch), step, item index, attempt, level,
source (``stdout``, ``stderr`` or the logger's name), message."""

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
"""In rising order; a level with another name counts as INFO."""

_BAR = 26


def counted(number: int, what: str) -> str:
    """``1 item``, ``2,000 items``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


@dataclass(frozen=True, slots=True)
class Record:
    """Something to log: ``at`` in seconds since the epoch, ``fields`` for JSON.

    ``text`` is for people; ``bare``: without the level before it.
    """

    level: str
    at: float
    event: str
    text: str
    fields: dict[str, Any] = field(default_factory=dict)
    bare: bool = False


def rank(level: str) -> int:
    """The rank of a level: its index in `LEVELS`."""
    return LEVELS.index(level if level in LEVELS else "INFO")


def reaches(level: str, least: str) -> bool:
    """Whether ``level`` is at least ``least``."""
    return rank(level) >= rank(least)


def human(record: Record) -> str:
    """A record as a line for people."""
    return record.text if record.bare else f"[{record.level}] {record.text}"


def as_json(record: Record) -> str:
    """A record as a JSON line."""
    head = {"level": record.level, "ts": utc(record.at), "event": record.event}
    return json.dumps(head | record.fields, default=str)


def local(at: float) -> str:
    """A time for people: local, to the second."""
    return datetime.fromtimestamp(at).isoformat(timespec="seconds")


def clock(at: float) -> str:
    """A time for people: as `local`, with a space before the time of day."""
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}"


def zoned(at: float) -> str:
    """As `clock`, with the name of the local time zone."""
    return f"{clock(at)} {datetime.fromtimestamp(at).astimezone():%Z}"


def step_start(step: str, at: float, *, timestamps: bool = True) -> Record:
    shown = f" at {local(at)}" if timestamps else ""
    return Record("INFO", at, "step_start", f"Step '{step}' started{shown}", {"step": step})


def step_complete(step: str, at: float, seconds: float) -> Record:
    text = f"Step '{step}' completed in {seconds:.3f}s (status=success)"
    fields = {"step": step, "duration": round(seconds, 3), "status": "success"}
    return Record("INFO", at, "step_complete", text, fields)


def step_failed(
    step: str, at: float, seconds: float, error: str, *, again: bool = False, **more: Any
) -> Record:
    """A failed attempt; with ``again``, another follows."""
    text = f"Step '{step}' failed after {seconds:.3f}s: {error}"
    fields = {"step": step, "duration": round(seconds, 3), "status": "failed", "message": error}
    return Record("WARNING" if again else "ERROR", at, "step_failed", text, fields | more)


def map_progress(step: str, at: float, done: int, total: int, **others: int) -> Record:
    """How far a map is; ``others`` counts items with other outcomes, such as tolerated failures."""
    percent = 100 * done // total if total else 100
    named = ", ".join(f"{count} {name}" for name, count in others.items() if count)
    bar = _bar(done, total)
    text = f"[{bar}] {done}/{total} ({percent}%) completed" + f" ({named})" * bool(named)
    fields = {"step": step, "completed": done, "total": total, **others}
    return Record("INFO", at, "map_progress", text, fields, bare=True)


def _bar(done: int, total: int) -> str:
    """A bar whose last cell is filled when everything is done.

    Users were promised six of its 26 cells at 30 %: the first cells stand for 5 % each, later ones
    for less and less.
    """
    share = done / total if total else 1
    cells = int((20 + 6 * sqrt(share)) * share)
    return "=" * _BAR if cells == _BAR else ("=" * (cells - 1) + ">" * (cells > 0)).ljust(_BAR)


def step_tolerated(step: str, at: float, count: int, total: int, listed_by: str) -> Record:
    text = f"Step '{step}': {count} of {total} items failed, as is tolerated; see: {listed_by}"
    return Record("WARNING", at, "step_tolerated", text, {"step": step, "tolerated": count})


def step_reused(step: str, at: float, count: int, total: int) -> Record:
    """Results of earlier calls were used."""
    text = f"{count} of {total} results were reused" if total > 1 else "its result was reused"
    fields = {"step": step, "reused": count, "total": total}
    return Record("INFO", at, "step_reused", f"Step '{step}': {text}", fields)


def step_retrying(step: str, at: float, count: int, total: int) -> Record:
    are = "is" if count == 1 else "are"
    items = f": {count} of {total} items {are} retrying" if total > 1 else " is retrying"
    text = f"Step '{step}'{items}"
    return Record("WARNING", at, "step_retrying", text, {"step": step, "retrying": count})


def step_line(
    at: float, step: str, item: int | None, attempt: int, level: str, source: str, message: str
) -> Record:
    """A line that a step printed or logged."""
    call = step if item is None else f"{step}[{item}]"
    call += f" (attempt {attempt})" if attempt > 1 else ""
    fields = {"step": step, "item": item, "attempt": attempt, "source": source}
    return Record(level, at, "log", f"{call}: {message}", fields | {"message": message})


def step_shown(shown: Shown) -> Record:
    """A step has shown something."""
    call = shown.step if shown.item is None else f"{shown.step}[{shown.item}]"
    title = shown.title or shown.type
    fields = {
        "step": shown.step,
        "item": shown.item,
        "attempt": shown.attempt,
        "name": shown.name,
        "title": shown.title,
        "type": shown.type,
        "bytes": shown.size,
    }
    return Record("INFO", shown.at, "shown", f"{call} has shown: {title}", fields)


def of_run(run_id: str, record: Record) -> Record:
    """A record in a log that several runs share, as on AWS."""
    return replace(record, fields={"run": run_id, **record.fields})


def said(text: str) -> tuple[str, Line] | None:
    """The run and the line that this JSON records; None for other JSON.

    The JSON is from `of_run` with a `step_line`, or a `step_failed` or `step_reused`: a line of
    lokki's own.
    """
    try:
        record = json.loads(text)
        level, message = record["level"], record.get("message")
        match record["event"]:
            case "log":
                source = record["source"]
            case "step_failed":
                again = ", will be retried" * (level != "ERROR")
                source, message = "lokki", f"failed{again}: {message}"
            case "step_reused":
                source, message = "lokki", "the result of an earlier call was reused"
            case _:
                return None
        at = datetime.fromisoformat(record["ts"]).timestamp()
        return record["run"], (
            at, record["step"], record["item"], record["attempt"], level, source, message,
        )  # fmt: skip
    except (ValueError, LookupError, TypeError):
        return None


def map_limited(step: str, at: float, wanted: int, limit: int, option: str) -> Record:
    """A map's concurrency limit is higher than the engine's, which ``option`` raises."""
    text = (
        f"Step '{step}' may run {wanted} items at a time, but the limit here is {limit} calls at "
        f"a time; to raise it: {option} {wanted}"
    )
    fields = {"step": step, "concurrency_limit": wanted, "limit": limit}
    return Record("WARNING", at, "map_limited", text, fields)


def run_start(run_id: str, flow: str, at: float, *, resumed: bool = False) -> Record:
    text = f"Run {run_id} of {flow} {'resumed' if resumed else 'started'}"
    return Record("INFO", at, "run_start", text, {"run": run_id, "flow": flow, "resumed": resumed})


def run_queued(run_id: str, flow: str, at: float) -> Record:
    text = f"Run {run_id} of {flow} is queued and waits for a runner"
    return Record("INFO", at, "run_queued", text, {"run": run_id, "flow": flow})


def run_end(run_id: str | None, status: str, at: float) -> Record:
    level = {"succeeded": "INFO", "failed": "ERROR"}.get(status, "WARNING")
    return Record(level, at, "run_end", f"Run {run_id} {status}", {"run": run_id, "status": status})


def run_resuming(plan: str, at: float) -> Record:
    """What a resume will do."""
    return Record("INFO", at, "run_resuming", plan, {"message": plan}, bare=True)


def run_cancelling(
    run_id: str | None, waiting: str, at: float, resume: str | None = None
) -> Record:
    """A run is being cancelled; with ``resume``, the answer to Ctrl-C."""
    text = f"cancelling: {waiting}"
    if resume:
        text += f"; resume: {resume} (Ctrl-C again quits at once)"
    fields = {"run": run_id, "message": f"cancelling: {waiting}", "resume": resume}
    return Record("WARNING", at, "run_cancelling", text, fields, bare=True)


def run_pausing(run_id: str | None, waiting: str, at: float) -> Record:
    text = f"pausing: {waiting}"
    return Record("WARNING", at, "run_pausing", text, {"run": run_id, "message": text}, bare=True)


def run_paused(run_id: str | None, unpause: str, at: float) -> Record:
    """A run is paused; ``unpause`` continues it."""
    text = f"Run {run_id} is paused; continue: {unpause}"
    return Record("WARNING", at, "run_paused", text, {"run": run_id, "unpause": unpause})


def run_unpaused(run_id: str | None, at: float) -> Record:
    return Record("INFO", at, "run_unpaused", f"Run {run_id} continues", {"run": run_id})


def lines_missing(why: str, at: float) -> Record:
    """The output of a run's steps cannot be read, and is not shown."""
    text = f"output of the steps is not shown: {why}"
    return Record("WARNING", at, "lines_missing", text, {"message": why})


def place_away(message: str, at: float) -> Record:
    """The backend of a run that somebody waits for does not answer."""
    return Record("WARNING", at, "place_away", message, {"message": message})


def run_folder(message: str, level: str, at: float) -> Record:
    """A resume changes to the folder that its run was started in, or cannot."""
    return Record(level, at, "run_folder", message, {"message": message})


def variable_unknown(message: str, at: float) -> Record:
    """A variable looks like a setting but is none."""
    return Record("WARNING", at, "variable_unknown", message, {"message": message})


def ending(
    message: str, at: float, code: int, run_id: str | None = None, resume: str | None = None
) -> Record:
    """The last line of a command that failed."""
    text = f"{message}\nresume: {resume}" if resume else message
    fields = {"run": run_id, "exit_code": code, "message": message, "resume": resume}
    return Record("ERROR", at, "error", text, fields, bare=True)
