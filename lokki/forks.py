"""Children that steps fork. One that returns from its call ends: its parent has the run.

It would continue as if it were the engine, and repeat the parent's calls. Children that end by
themselves, like those of multiprocessing, or that become another program are left alone.
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
"""Ends a process at once, even where a flow's code has replaced `os._exit`."""

count = 0
"""How many forks lie between the first process and this one: it differs in each child."""

_step: str | None = None


def _forked() -> None:
    global count, _step
    count += 1
    here = running.get()
    _step = None if here is None else here[0].name


os.register_at_fork(after_in_child=_forked)


def end_child(error: BaseException | None = None) -> NoReturn:
    """End this process, which was forked in a call and has returned from it.

    Says so on stderr, unless the child ends by SystemExit (``error``, or the exception being
    handled): then it ends with that code.
    """
    error = error or sys.exception()
    code = (error.code or 0) if type(error) is SystemExit else None
    if isinstance(code, int):
        end_process(code & 0xFF)
    step = "a step" if _step is None else f"step '{_step}'"
    message = (
        f"lokki: {step} forked its process, and the child returned from the call: it ends here, "
        "since the run belongs to its parent. Use subprocess, multiprocessing or "
        '@step(executor="process") instead, or end the child with os._exit().\n'
    )
    try:
        os.write(2, message.encode())
    finally:
        end_process(1)


def end_child_on(loop: AbstractEventLoop) -> None:
    """In a child that was forked on ``loop``: end it as soon as the loop continues.

    Where the loop is asyncio's own, before everything else that is ready, tasks of steps included.
    Also where the loop reports a failed callback: since Python 3.14, so does a task of a loop that
    the fork has stopped. The context of that error is what the task itself raised.
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
