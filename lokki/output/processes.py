"""Captures the processes that a call starts with ``multiprocessing`` without a fork.

A new process (spawn, forkserver) gets, with its task, the call that it belongs to and the socket on
which it sends, like a forked child (`forks.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from multiprocessing.process import BaseProcess
from socket import socket
from typing import Any, TextIO

from lokki.call import BoundCall, running
from lokki.output.forks import (
    as_child,
    begin_to_read,
    connection_of,
    end_lines_at_exit,
    expect_children,
)
from lokki.output.hooks import Hook
from lokki.output.sinks import Sink, attached, captured_call

_CALL = "_lokki_call"


Attach = Callable[[str, Sink, TextIO | None], None]


class _Taken:
    """The call that runs here; pickled, it continues in another process."""

    def __init__(self, attach: Attach) -> None:
        self._attach = attach

    def __reduce__(self) -> tuple[Any, ...]:
        here = running.get()
        assert here is not None
        call, index, attempt, *_ = here
        shown = attached[call.run_id][-1][1] is not None
        what = (call.name, call.run_id, call.flow, call.in_map, call.secrets)
        return _go_on, (self._attach, connection_of(here), shown, what, index, attempt)


def _go_on(
    attach: Attach, connection: socket, shown: bool, what: Any, index: int, attempt: int
) -> None:
    import multiprocessing.util  # noqa: F401 - by which it will end

    name, run_id, flow, in_map, secrets = what
    call = BoundCall(
        invoke=_done_elsewhere,
        name=name,
        run_id=run_id,
        flow=flow,
        params={},
        is_async=False,
        lane="process",
        timeout=None,
        exceptions=(),
        in_map=in_map,
        secrets=secrets,
    )
    attach(run_id, *as_child(connection, run_id, shown=shown))
    end_lines_at_exit()
    running.set([call, index, attempt, None])


def _done_elsewhere(value: Any) -> Any:
    raise NotImplementedError("the call itself runs in the process that started this one")


def _starting(attach: Attach, start: Callable[..., None]) -> Callable[..., None]:
    @wraps(start)
    def replacement(self: BaseProcess) -> None:
        if (here := captured_call()) is None:
            return start(self)
        expect_children(here)
        vars(self)[_CALL] = _Taken(attach)
        try:
            start(self)
        finally:
            vars(self).pop(_CALL, None)
            begin_to_read()

    return replacement


def process_starts(attach: Attach) -> Hook:
    """Makes the processes that a call starts part of it: the new process calls ``attach``."""
    return Hook(BaseProcess, "start", partial(_starting, attach))
