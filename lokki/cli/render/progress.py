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
from lokki.cli.render.view import Screen
from lokki.cli.streams import Watched
from lokki.config import Logging
from lokki.engine.events import Event, RunFinished, StageFailed
from lokki.engine.view import RunView, StageView

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
        self._view = RunView(StageView(stage.name, is_map=stage.is_map) for stage in stages)
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
        self._view.event(event, monotonic())
        if isinstance(event, StageFailed | RunFinished):
            self._end_view()
        super().event(event)

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
            screen.draw(self._above.take(), self._view.stages, monotonic())
            self._over.wait(_REFRESH_SECONDS)
        screen.draw(self._above.take(last=True), self._view.stages, monotonic(), last=True)
        self._above.release()
