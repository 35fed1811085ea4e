"""Starts the fork server ahead of the first engine, beside the import of the engine.

`engine.py` imports this before anything else. If the program has defined a step that runs in a
process by then, as a flow's file has, the first engine finds a server that is nearly ready.
"""

from __future__ import annotations

import atexit
import os
import sys
from multiprocessing.process import parent_process

from lokki.engine.importing import imports_program
from lokki.engine.spawning import cores
from lokki.engine.starting import Starter
from lokki.steps import lanes_defined

_ready: Starter | None = None


def starter(threads: int) -> Starter:
    """A starter of workers in which libraries use ``threads`` threads."""
    global _ready
    found, _ready = _ready, None
    if found is not None and found.threads == threads:
        return found
    if found is not None:
        found.rest()
    return Starter(threads)


def _begin() -> None:
    """Start a server for an engine with default settings, if one is likely to be needed."""
    global _ready
    if parent_process() is not None or "lokki.engine.worker" in sys.modules or imports_program():
        return  # a process of the program, or one that only looks at it
    if not sys.executable or hasattr(sys, "frozen"):
        return  # no interpreter, or the program itself, which would start itself again and again
    if "process" in lanes_defined and cores() > 1:
        _ready = Starter(1)
        _ready.expect()
        atexit.register(_end)
        os.register_at_fork(after_in_child=_forget)


def _end() -> None:
    if _ready is not None:
        _ready.rest()


def _forget() -> None:
    """In a forked child: the server is its parent's."""
    global _ready
    _ready = None


_begin()
