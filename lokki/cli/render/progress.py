"""What a terminal shows of a run: a view of its stages, with all other lines above it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from time import monotonic
from typing import TextIO, cast

from lokki import logging
from lokki.cli.program import Program
from lokki.cli.render.report import LineReport, Outline
from lokki.cli.render.view import Screen, StageView
from lokki.cli.streams import Watched
from lokki.config import Logging
from lokki.engine.events import (
    Event,
    RunCancelling,
    RunFinished,
    RunPausing,
    RunUnpaused,
    StageFailed,
    StageFinished,
    StageProgressed,
    StageStarted,
)
from lokki.model.status import RunStatus

_PATIENCE_SECONDS = 0.4
"""A run that ends earlier needs no view."""
_REFRESH_SECONDS = 0.25
_IN_VIEW = frozenset({"step_start", "step_complete", "step_retrying", "map_progress"})


class ProgressReport(LineReport):
    """Draws the stages of a run that takes a while; all other lines go above them.

    Its own thread draws, so that it continues while a step blocks the event loop. A step that reads
    from the terminal ends the view; from then on, lines are written.
    """

    def __init__(self, settings: Logging, stages: Sequence[Outline], program: Program) -> None:
        super().__init__(settings, stages, program)
        self._views = [StageView(stage.name, is_map=stage.is_map) for stage in stages]
        self._process = os.getpid()
        self._over = threading.Event()
        self._drawing = threading.Thread(target=self._draw, name="lokki-view", daemon=True)
        self._stdin = sys.stdin

    async def __aenter__(self) -> ProgressReport:
        self._drawing.start()
        if self._stdin is not None and self._stdin.isatty():
            sys.stdin = cast(TextIO, Watched(self._stdin, self._end_view))
        return self

    async def __aexit__(self, *error: object) -> None:
        if isinstance(sys.stdin, Watched):
            sys.stdin = self._stdin
        self._end_view()

    def tell(self, record: logging.Record) -> None:
        if self._over.is_set() or record.event not in _IN_VIEW:
            super().tell(record)

    def event(self, event: Event) -> None:
        match event:
            case StageStarted(position, name, is_map, counts):
                if position >= len(self._views):
                    self._views.append(StageView(name, is_map=is_map))
                for view in self._views[:position]:
                    if view.status == "waiting":
                        view.status = "kept"
                self._views[position].begin(counts, monotonic())
            case StageProgressed(position, counts):
                self._views[position].counts = counts
            case StageFinished(position, counts, seconds):
                self._views[position].end("done", counts, seconds)
            case StageFailed(position, counts, seconds, _):
                self._views[position].end("failed", counts, seconds)
            case RunCancelling():
                self._stop("cancelled")
            case RunPausing():
                self._stop("paused")
            case RunUnpaused():
                self._stop("running")
            case RunFinished(RunStatus.FAILED, _):
                self._stop("failed")
        if isinstance(event, StageFailed | RunFinished):
            self._end_view()
        super().event(event)

    def _stop(self, status: str) -> None:
        """The state in which the current stage ends, unless it ends by itself."""
        for view in self._views:
            if view.status in ("running", "paused", "cancelled"):
                view.status = status

    def end_at_once(self, message: str) -> None:
        self._end_view()
        super().end_at_once(message)

    def _write_at_once(self, text: str) -> None:
        if self._above.holds:
            self._above.write(text)
        else:
            super()._write_at_once(text)

    def _end_view(self) -> None:
        """Draw the view for the last time; later lines go below it."""
        if os.getpid() == self._process:  # not a child that a step has forked
            self._over.set()
            self._drawing.join()

    def _draw(self) -> None:
        if self._over.wait(_PATIENCE_SECONDS):
            return
        screen = Screen(self._out)
        self._above.hold()
        while not self._over.is_set():
            screen.draw(self._above.take(), self._views, monotonic())
            self._over.wait(_REFRESH_SECONDS)
        screen.draw(self._above.take(last=True), self._views, monotonic(), last=True)
        self._above.release()
