"""Children that steps fork. One that comes back from its call ends: its parent has the run.

It would go on as if it were the engine, and call what the parent calls as well. Children that end
by themselves, as those of multiprocessing do, or that become another program are left alone.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from lokki.steps import running

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


def end_child() -> NoReturn:
    """End this process, which was forked in a call and has come back from it.

    Says so on stderr, unless the child meant to end by SystemExit: then with its code.
    """
    error = sys.exception()
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
