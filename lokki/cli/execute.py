"""Runs a flow from the terminal: signals, output and exit code."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import termios
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from time import time
from typing import Any, Protocol

from lokki import logging, output
from lokki.call import secrets_of
from lokki.cli.exits import exits_reported
from lokki.cli.program import Program
from lokki.cli.render.progress import ProgressReport
from lokki.cli.render.report import LineReport, Outline
from lokki.cli.render.words import as_options
from lokki.cli.streams import stdout_to_stderr
from lokki.config import Config
from lokki.engine.engine import Engine, RunHandle, engine_for
from lokki.engine.events import Event
from lokki.engine.witness import CLOSED, reporting
from lokki.errors import LokkiError, ResultUnreadable, RunCancelled, RunFailed
from lokki.forks import end_process
from lokki.graph import FlowGraph
from lokki.stages import MapStage
from lokki.store.groups import raised_at
from lokki.telemetry import set_up

INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Handle(Protocol):
    """A run that has been started, like a `RunHandle`."""

    run_id: str

    def events(self) -> AsyncIterator[Event]: ...
    async def result(self) -> Any: ...
    def cancel(self) -> None: ...


@dataclass(frozen=True)
class Start:
    """How to start a run: ``begin`` starts it, and keeps open what it needs.

    ``stages`` are those that it will have. Messages name ``program``; ``summary`` is reported
    first, ``other_python`` when an import fails.
    """

    begin: Callable[[LineReport], AbstractAsyncContextManager[Handle]]
    stages: Sequence[Outline]
    program: Program
    summary: Sequence[str] = ()
    other_python: str = ""


@asynccontextmanager
async def in_engine(
    submit: Callable[[Engine], RunHandle[Any]],
    graph: FlowGraph[Any],
    config: Config,
    report: LineReport,
) -> AsyncIterator[RunHandle[Any]]:
    """A run of ``graph`` that ``submit`` starts in an engine of its own."""
    set_up()
    output.mask(secrets_of(graph))
    async with engine_for(graph, echo=report.echo, config=config) as engine:
        _tell_limits(graph, engine, report)
        yield submit(engine)


_STOPPED = "Event loop stopped before Future completed."
"""What asyncio's run_until_complete raises after loop.stop()."""


def execute(start: Start, config: Config) -> int:
    """Start a run, wait for it and print its result on stdout; return the exit code.

    Everything but the result goes to stderr, including the output of steps. Ctrl-C and SIGTERM
    cancel the run; a second one ends the process. The end of the terminal (SIGHUP) cancels the run,
    too, unless it was ignored from the start, as under `nohup`.
    """
    with stdout_to_stderr():
        report = _report(start, config)
        interrupts = _Interrupts(report)
        before = {each: signal.signal(each, interrupts) for each in _heeded()}
        try:
            with exits_reported(report.end_at_once):
                result = asyncio.run(_result(start, report, interrupts))
        except LokkiError as error:
            return _failed(error, report, start.other_python)
        except SystemExit as error:
            report.end_at_once(f"a task that a step started ended the event loop with {error!r}")
            return 1
        except RuntimeError as error:
            if str(error) != _STOPPED:
                raise
            report.end_at_once("a step stopped the event loop, which all async calls share")
            return 1
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            reporting.acquire()
            report.end_at_once(f"the event loop lost its descriptors: {CLOSED}")
            end_process(1)
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
    return 0 if result is None else _show(result, report)


def _heeded() -> list[signal.Signals]:
    """The signals that cancel a run: not SIGHUP under `nohup`."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [each for each in _SIGNALS if not (ignored and each is signal.SIGHUP)]


def _report(start: Start, config: Config) -> LineReport:
    settings = config.logging
    terminal = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    report = ProgressReport if terminal and settings.format == "human" else LineReport
    return report(settings, start.stages, start.program)


def _report_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Leave out what `execute` reports: asyncio wakes the loop by a descriptor that is gone."""
    error = context.get("exception")
    if isinstance(error, OSError) and error.errno == errno.EBADF:
        *_, innermost = traceback.walk_tb(error.__traceback__)
        if innermost[0].f_globals["__name__"].startswith("asyncio."):
            return
    loop.default_exception_handler(context)


async def _result(start: Start, report: LineReport, interrupts: _Interrupts) -> Any:
    asyncio.get_running_loop().set_exception_handler(_report_loop_error)
    for line in start.summary:
        report.tell(logging.run_resuming(line, time()))
    async with start.begin(report) as handle, report:
        interrupts.guard(handle)
        with report.lines_of(handle.run_id):
            try:
                async for event in handle.events():
                    report.event(event)
                return await handle.result()
            finally:
                interrupts.release()


def _tell_limits(graph: FlowGraph[Any], engine: Engine, report: LineReport) -> None:
    """Report a map that asks for more calls at a time than are possible."""
    for stage in graph.stages:
        wanted = isinstance(stage, MapStage) and stage.concurrency_limit
        limit = engine.limit_of(stage)
        if wanted and limit is not None and wanted > limit:
            option = "--processes" if engine.lane_of(stage) == "process" else "--concurrency"
            report.tell(logging.map_limited(stage.name, time(), wanted, limit, option))


def _show(result: object, report: LineReport) -> int:
    try:
        with output.as_it_is():
            print(result, flush=True)
    except BrokenPipeError:  # its reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except Exception as error:
        text = f"Error: the run succeeded, but its result cannot be printed: {error!r}"
        report.tell(logging.ending(text, time(), 1))
        return 1
    return 0


_mask = threading.local()


def _hold_signals() -> None:
    """Before a step forks: an early signal for the child waits for `_leave_signals`.

    Otherwise our handler would take it: a pool that ends as soon as it has begun would wait forever
    for a worker that was asked to end too early.
    """
    _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _mask.before)


def _leave_signals() -> None:
    """In a child that a step has forked: restore the default action of signals that end it.

    At once, since a Python handler may miss a signal that comes just before a blocking call.
    """
    for each in _SIGNALS:
        if isinstance(signal.getsignal(each), _Interrupts):
            signal.signal(each, signal.SIG_DFL)
    _release_signals()


os.register_at_fork(
    before=_hold_signals, after_in_parent=_release_signals, after_in_child=_leave_signals
)


class _Interrupts:
    """Handles the signals, even while a step blocks the event loop.

    A closed terminal sends SIGHUP more than once, then its shell does, and service managers send it
    beside SIGTERM: it never counts as the second signal, which ends the process.
    """

    def __init__(self, report: LineReport) -> None:
        self._report = report
        self._count = 0
        self._asked = False
        self._restore_terminal = _terminal()
        self._cancel: Callable[[], object] | None = None
        self._run_id = ""

    def guard(self, handle: Handle) -> None:
        """Cancel this run at the first signal, even one that has already come."""
        loop = asyncio.get_running_loop()
        self._run_id = handle.run_id
        self._cancel = partial(loop.call_soon_threadsafe, handle.cancel)
        if self._asked:
            self._cancelling()

    def release(self) -> None:
        """The run has ended: there is nothing more to cancel."""
        self._cancel = None

    def __call__(self, number: int, frame: object) -> None:
        self._count += number != signal.SIGHUP
        if self._count > 1:
            self._restore_terminal()
            end_process(INTERRUPTED)
        self._asked = True
        self._cancelling()

    def _cancelling(self) -> None:
        if self._cancel is not None:
            self._cancel()
            self._report.cancelling(self._run_id)


def _terminal() -> Callable[[], None]:
    """Return a function that restores the terminal as it is now: a step may have changed it."""
    try:
        before = termios.tcgetattr(2)
    except termios.error:
        return lambda: None

    def restore() -> None:
        with suppress(OSError, termios.error):
            if os.tcgetpgrp(2) == os.getpgrp():  # in the background, it is another process's
                termios.tcsetattr(2, termios.TCSANOW, before)

    return restore


def _failed(error: LokkiError, report: LineReport, other_python: str) -> int:
    """Report how a run ended, and how to resume it."""
    if isinstance(error, RunCancelled):
        report.end(str(error), INTERRUPTED)
        return INTERRUPTED
    text = f"Error: {error.said(as_options)}"
    if isinstance(error, RunFailed):  # its error has been reported with its traceback
        item = "" if error.index is None else f", item {error.index}"
        text = f"Error: the run failed in step '{error.step}'{item}, attempt {error.attempt}"
        if where := raised_at(error.traceback):
            text += f", at {where[0]}:{where[1]}"
        if other_python and error.type in ("ImportError", "ModuleNotFoundError"):
            text += f"; {other_python}"
    again = ["--from", error.stage] if isinstance(error, ResultUnreadable) else []
    report.end(text, 1, *again)
    return 1
