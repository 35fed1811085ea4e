"""Children that steps fork. One that comes back from its call ends: its parent has the run.

It would go on as if it were the engine, and call what the parent calls as well. Children that end
by themselves, as those of multiprocessing do, or that become another program are left alone.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn

from lokki.steps import running

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

end_process = os._exit
"""What ends a process at once, whatever a flow's code is given instead."""

count = 0
"""How many forks there are between this process and the first one: it is another in each child."""

_step: str | None = None


def _forked() -> None:
    global count, _step
    count += 1
    here = running.get()
    _step = None if here is None else here[0].name


os.register_at_fork(after_in_child=_forked)


def end_child(error: BaseException | None = None) -> NoReturn:
    """End this process, which was forked in a call and has come back from it.

    Says so on stderr, unless the child meant to end by SystemExit, which is ``error`` or what is
    handled here: then with its code.
    """
    error = error or sys.exception()
    code = (error.code or 0) if type(error) is SystemExit else None
    if isinstance(code, int):
        end_process(code & 0xFF)
    step = "a step" if _step is None else f"step '{_step}'"
    message = (
        f"lokki: {step} has forked its process, and the child came back from the call: it ends, "
        "since the run is its parent's. Use subprocess, multiprocessing or "
        '@step(executor="process") instead, or end the child with os._exit().\n'
    )
    try:
        os.write(2, message.encode())
    finally:
        end_process(1)


def end_child_on(loop: AbstractEventLoop) -> None:
    """In a child that was forked on ``loop``: end it as soon as the loop goes on.

    Before all else that is ready, where the loop is asyncio's own: tasks of steps, too. And where
    the loop reports that a callback has failed, as does, since Python 3.14, a task of a loop that
    the fork has stopped; the context of that error is what the task itself has raised.
    """
    loop.call_soon(end_child)
    ready = getattr(loop, "_ready", None)
    if isinstance(ready, deque):
        ready.rotate(1)
    report = loop.get_exception_handler()

    def end_or_report(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
        if "handle" in context:
            error = context.get("exception")
            end_child(error and error.__context__)
        elif report is None:
            loop.default_exception_handler(context)
        else:
            report(loop, context)

    loop.set_exception_handler(end_or_report)
