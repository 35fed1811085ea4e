"""Reports a run in progress line by line, for people or as JSON lines."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import time
from typing import Any, TextIO, cast

from lokki import logging, output
from lokki.cli.program import Program
from lokki.config import Logging
from lokki.engine.events import (
    Event,
    RunCancelling,
    RunFinished,
    RunPaused,
    RunPausing,
    RunStarted,
    RunUnpaused,
    StageFailed,
    StageFinished,
    StageProgressed,
    StageStarted,
)
from lokki.engine.state import Counts
from lokki.graph import FlowGraph
from lokki.model.attachment import Shown
from lokki.model.status import RunStatus
from lokki.stages import MapStage
from lokki.store.texts import shortened


@dataclass(frozen=True, slots=True)
class Outline:
    """What is known of a stage before it begins; ``in_threads``: some of its calls run there."""

    name: str
    is_map: bool
    in_threads: bool = False


def outlines(graph: FlowGraph[Any]) -> list[Outline]:
    """The stages of a flow."""
    return [
        Outline(
            stage.name,
            isinstance(stage, MapStage),
            any(call.step.lane == "thread" for call in stage.calls),
        )
        for stage in graph.stages
    ]


class LineReport:
    """Writes a line to stderr for each event, and for every few percent of a map's items.

    ``program`` makes the commands that messages name. ``echo`` is where the steps' own output
    goes: unchanged or, in JSON, nowhere, since each line of it is reported separately (`lines_of`).
    """

    def __init__(self, settings: Logging, stages: Sequence[Outline], program: Program) -> None:
        self._settings = settings
        self._stages = list(stages)
        self._program = program
        self._json = settings.format == "json"
        self._out = sys.stderr
        self._above = Above(self._out)
        echo = open(os.devnull, "w") if self._json else self._above  # noqa: SIM115
        self.echo = cast(TextIO, echo)
        self._run_id: str | None = None
        self._position = 0
        self._reported = Counts()
        self._retried = False
        self._resume_shown = False

    async def __aenter__(self) -> LineReport:
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._json:
            self.echo.close()

    @contextmanager
    def lines_of(self, run_id: str) -> Iterator[None]:
        """Inside this context, report what a run's steps print and log, if lines are JSON."""
        if not self._json:
            yield
            return
        output.attach(run_id, self._line, self.echo)
        try:
            yield
        finally:
            output.detach(run_id, self._line)

    def _line(self, line: logging.Line | Shown) -> None:
        if isinstance(line, Shown):
            if line.number is not None:
                self.tell(logging.step_shown(line))
        else:
            self.tell(logging.step_line(*line))

    def said(self, line: logging.Line) -> None:
        """Report what a step elsewhere printed or logged, as if it had run here."""
        level, source, message = line[-3:]
        if source == "lokki":  # its lines about failed attempts are only recorded
            return
        if self._json:
            self._line(line)
        elif source in ("stdout", "stderr") or logging.reaches(level, "WARNING"):
            self.echo.write(message + "\n")

    def tell(self, record: logging.Record) -> None:
        """Write a record, if its level is high enough."""
        if logging.reaches(record.level, self._settings.level):
            with suppress(OSError, ValueError):
                self._write(self._text(record))

    def _text(self, record: logging.Record) -> str:
        return (logging.as_json(record) if self._json else logging.human(record)) + "\n"

    def _write(self, text: str) -> None:
        self._above.write_line(text)

    def event(self, event: Event) -> None:
        """Report an event."""
        now = time()
        match event:
            case RunStarted(run_id, flow, resumed):
                self._run_id = run_id
                self.tell(logging.run_start(run_id, flow, now, resumed=resumed))
            case StageStarted(position, name, is_map, counts):
                if position >= len(self._stages):
                    self._stages.append(Outline(name, is_map))
                self._position, self._retried = position, False
                self._reported = Counts(counts.total)
                self.tell(logging.step_start(name, now, timestamps=self._settings.show_timestamps))
            case StageProgressed(_, counts):
                self._progress(counts, now)
            case StageFinished(_, counts, seconds):
                self._finished(counts, seconds, now)
            case StageFailed():
                self._failed(event, now)
            case RunCancelling() if not self._resume_shown:  # by another process, not by Ctrl-C
                self.tell(logging.run_cancelling(self._run_id, self._waiting(), now))
            case RunPausing():
                self.tell(logging.run_pausing(self._run_id, self._ending(), now))
            case RunPaused():
                unpause = self._program.command("unpause", str(self._run_id))
                self.tell(logging.run_paused(self._run_id, unpause, now))
            case RunUnpaused():
                self.tell(logging.run_unpaused(self._run_id, now))
            case RunFinished(status, _):
                if self._json or status == RunStatus.SUCCEEDED:
                    self.tell(logging.run_end(self._run_id, str(status), now))

    def _progress(self, counts: Counts, now: float) -> None:
        stage = self._stages[self._position]
        if counts.retrying and not self._retried:
            self._retried = True
            self.tell(logging.step_retrying(stage.name, now, counts.retrying, counts.total))
        interval = self._settings.progress_interval
        if _percent(counts) // interval > _percent(self._reported) // interval:
            self._bar(counts, now)

    def _finished(self, counts: Counts, seconds: float, now: float) -> None:
        name = self._stages[self._position].name
        if counts.done > self._reported.done or not counts.total:
            self._bar(counts, now)
        self.tell(logging.step_complete(name, now, seconds))
        if counts.reused:
            self.tell(logging.step_reused(name, now, counts.reused, counts.total))
        if counts.tolerated:
            listed_by = self._program.command("show", str(self._run_id))
            self.tell(logging.step_tolerated(name, now, counts.tolerated, counts.total, listed_by))

    def _failed(self, event: StageFailed, now: float) -> None:
        """A failure; for people, after the user's traceback."""
        failure = event.failure
        reason, traceback = shortened(failure.reason, failure.traceback)
        record = logging.step_failed(
            failure.step,
            now,
            event.seconds,
            f"{failure.type}: {reason}",
            item=failure.index,
            attempt=failure.attempt,
            traceback=traceback,
        )
        if traceback and not self._json:
            self._write(traceback.rstrip() + "\n")
        self.tell(record)

    def _bar(self, counts: Counts, now: float) -> None:
        stage = self._stages[self._position]
        self._reported = counts
        if stage.is_map:
            troubles = {"failed": counts.failed, "tolerated": counts.tolerated}
            troubles["retrying"] = counts.retrying
            self.tell(logging.map_progress(stage.name, now, counts.done, counts.total, **troubles))

    def cancelling(self, run_id: str) -> None:
        """Answer Ctrl-C at once, in any situation: a signal handler calls this."""
        record = logging.run_cancelling(run_id, self._waiting(), time(), self._resume(run_id))
        self._resume_shown = True
        with suppress(OSError):
            self._write_at_once(self._text(record))

    def _waiting(self) -> str:
        """What a cancel waits for."""
        stage = self._stages[self._position]
        if stage.in_threads:
            return f"waiting for the calls of '{stage.name}' in threads to end"
        return f"stopping the calls of '{stage.name}'"

    def _ending(self) -> str:
        """What a pause waits for."""
        return f"waiting for the running calls of '{self._stages[self._position].name}' to end"

    def _write_at_once(self, text: str) -> None:
        os.write(2, text.encode())  # a stream may be in the middle of a write

    def end(self, message: str, code: int, *again: str) -> None:
        """The last line about a run without a result, with how to resume it unless that was shown.

        ``again`` are options that a resume needs.
        """
        known = self._run_id is not None and not self._resume_shown
        resume = self._resume(self._run_id, *again) if known else None
        self.tell(logging.ending(message, time(), code, self._run_id, resume))

    def end_at_once(self, message: str) -> None:
        """The last line of a process that ends now, from any of its threads."""
        self.end(f"Error: {message}", 1)

    def _resume(self, run_id: str | None, *again: str) -> str:
        return self._program.command("resume", str(run_id), *again)


def _percent(counts: Counts) -> int:
    return 100 * counts.done // max(1, counts.total)


class Above:
    """A stream whose text is written at once, or held until a view can show it above itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.RLock()  # a signal handler writes, too
        self._held: list[str] = []
        self._mid_line = False
        self.holds = False

    def write(self, text: str) -> int:
        with self._lock:
            if self.holds:
                self._held.append(text)
            else:
                self._stream.write(text)
            if text:
                self._mid_line = not text.endswith("\n")
        return len(text)

    def flush(self) -> None:
        with self._lock:
            if not self.holds:
                self._stream.flush()

    def write_line(self, text: str) -> None:
        """Write on a new line, even when a step is in the middle of one."""
        with self._lock:
            self.write("\n" + text if self._mid_line else text)
            self.flush()

    def hold(self) -> None:
        with self._lock:
            self.holds = True
            if self._mid_line:
                self.write("\n")

    def take(self, *, last: bool = False) -> str:
        """The complete lines held, keeping an incomplete last one; ``last``: everything."""
        with self._lock:
            if not self._held:
                return ""
            lines, end, rest = "".join(self._held).rpartition("\n")
            if last and rest:
                self._held, self._mid_line = [], False
                return "".join((lines, end, rest, "\n"))
            before, returned, rest = rest.rpartition("\r")  # overwritten text is not shown
            self._held = [returned + rest] if rest else [before + returned] if before else []
            return lines + end

    def release(self) -> None:
        """Write what has come since the last lines were taken, and hold no more."""
        with self._lock:
            self.holds = False
            held, self._held = self._held, []
            self.write("".join(held))
