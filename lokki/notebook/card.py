"""A run as a notebook shows it: its head, and a line for each stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from time import monotonic

from lokki.durations import duration
from lokki.engine.view import StageView
from lokki.model.status import RunStatus

_COLOURS = {"red": "#d6453d", "green": "#2e9250", "yellow": "#b07800", "dim": "#7d7d7d"}
"""Readable on white and on black."""
_MARKS = {
    "waiting": ("·", "dim"),
    "kept": ("✓", "dim"),
    "running": ("▸", ""),
    "paused": ("‖", "yellow"),
    "done": ("✓", "green"),
    "failed": ("✗", "red"),
    "cancelled": ("◌", "yellow"),
}
_OF_RUN = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "paused": "yellow"}


class Card:
    """A run in progress; ``url`` is that of its dashboard, if any, ``began`` a monotonic time."""

    def __init__(
        self, flow: str, run_id: str, stages: Sequence[StageView], url: str | None, began: float
    ) -> None:
        self.status: RunStatus = RunStatus.RUNNING
        self._flow = flow
        self._run_id = run_id
        self._stages = stages
        self._url = url
        self._began = began
        self._ended: float | None = None

    def end(self, status: RunStatus, now: float) -> None:
        """The run has ended, or is left paused."""
        self.status, self._ended = status, now

    def __repr__(self) -> str:
        """For what shows no HTML."""
        now, last = self._now()
        lines = [f"{self._flow} {self.status} {self._run_id} {duration(now - self._began)}"]
        for stage in self._stages:
            cells = " ".join(text for text, _ in stage.cells(now, last=last) if text)
            lines.append(f"  {_MARKS[stage.status][0]} {stage.name} {cells}".rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        now, last = self._now()
        rows = [
            (stage, [_styled(*cell) for cell in stage.cells(now, last=last)])
            for stage in self._stages
        ]
        head = head_of(self._flow, self.status, self._run_id, now - self._began, self._url)
        return head + _table(_row(stage, cells) for stage, cells in rows)

    def _now(self) -> tuple[float, bool]:
        """The time that is shown, and whether nothing will change any more."""
        return (monotonic(), False) if self._ended is None else (self._ended, True)


def head_of(flow: str, status: str, run_id: str, seconds: float | None, url: str | None) -> str:
    """The line above the stages of a run, as HTML."""
    parts = [
        f"<b>{escape(flow)}</b>",
        _styled(status, _OF_RUN.get(status, "")),
        f"<code>{escape(run_id)}</code>",
    ]
    if seconds is not None:
        parts.append(_styled(duration(seconds), "dim"))
    if url is not None:
        address = escape(f"{url.rstrip('/')}/ui/runs/{run_id}")
        parts.append(f'<a href="{address}" target="_blank" rel="noopener">dashboard</a>')
    return f"<div>{' &nbsp; '.join(parts)}</div>"


def _table(rows: Iterable[str]) -> str:
    return f'<table style="margin: 0.3em 0; border: 0">{"".join(rows)}</table>'


def _row(stage: StageView, cells: Sequence[str]) -> str:
    mark, style = _MARKS[stage.status]
    idle = stage.status in ("waiting", "kept")
    bar = "" if idle or not stage.is_map else _bar(stage)
    shown = [_styled(mark, style), _styled(stage.name, "dim" if idle else ""), bar, *cells]
    return f"<tr>{''.join(map(_cell, shown))}</tr>"


def _cell(html: str) -> str:
    return f'<td style="text-align: left; padding: 0.1em 0.6em; border: 0">{html}</td>'


def _bar(stage: StageView) -> str:
    counts = stage.counts
    share = counts.done / counts.total if counts.total else 1.0
    colour = _COLOURS["red" if counts.failed else "green"]
    return (
        '<div style="width: 16em; height: 0.5em; border-radius: 0.25em; overflow: hidden; '
        'background: rgba(128, 128, 128, 0.3)">'
        f'<div style="width: {100 * share:.1f}%; height: 100%; background: {colour}"></div></div>'
    )


def _styled(text: str, style: str) -> str:
    colour = f' style="color: {_COLOURS[style]}"' if style in _COLOURS else ""
    return f"<span{colour}>{escape(text)}</span>" if text else ""
