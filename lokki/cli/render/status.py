"""A run's status and times."""

from __future__ import annotations

from rich.text import Text

from lokki.durations import duration
from lokki.model.run import LOCAL, Run

_COLOURS = {
    "queued": "dim", "running": "cyan", "paused": "yellow", "succeeded": "green",
    "failed": "red", "cancelled": "yellow",
}  # fmt: skip


def status(run: Run) -> Text:
    if run.removing:
        return Text("removing", style="yellow")
    if run.is_lost:
        return Text("running", style=_COLOURS["running"]).append(" (lost)", style="red")
    if run.status == "running" and run.cancel_requested is not None:
        return Text("cancelling", style=_COLOURS["cancelled"])
    if run.status == "running" and run.pause_requested is not None:
        return Text("pausing", style=_COLOURS["paused"])
    return Text(run.status, style=_COLOURS.get(run.status, ""))


def elsewhere(run: Run) -> str:
    """Where a run outside a journal is."""
    return "" if run.where == LOCAL else run.where


def took(run: Run) -> Text:
    return Text() if run.duration is None else Text(duration(run.duration))
