"""What a worker process imports to match the engine's process: the main module and the flow's.

`Program.of` finds it in the engine; `importing.py` imports it in the worker.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from lokki.engine.sources import Sources, file_of, sources_now
from lokki.location import installed

if TYPE_CHECKING:
    from lokki.graph import FlowGraph


class Origin(NamedTuple):
    """A module: its name and its file, if any. The main module's name is `MAIN`."""

    name: str
    file: str | None


MAIN = "__main__"
MAIN_IN_WORKER = "__mp_main__"
"""The name of a main module where ``__name__ == "__main__"`` must not hold.

It is the one that processes of multiprocessing use.
"""
_SCRIPTS = (MAIN, MAIN_IN_WORKER)


@dataclass(frozen=True)
class Program:
    """What this process was started with, and the modules of the flow that it runs.

    ``main`` is the main module's file if a worker must run it, ``main_spec`` the module's name if
    it was started with ``python -m``; ``flow`` is the flow's module if it is another one;
    ``is_loaded``: a command of lokki has loaded it and made it stand for ``__main__``.
    ``sources`` are all of the user's modules; for a worker, those that it does not know.
    """

    path: tuple[str, ...]
    arguments: tuple[str, ...]
    folder: str | None
    main: str | None
    main_spec: str | None
    flow: Origin | None
    is_loaded: bool
    sources: Sources

    @classmethod
    def of(cls, graph: FlowGraph[Any]) -> Program:
        """The program that runs this graph here."""
        main = sys.modules[MAIN]
        names = {call.step.__module__ for call in graph.calls}
        names.add(getattr(graph.flow, "__module__", MAIN))
        script = _script(main, is_flows=not names.isdisjoint(_SCRIPTS))
        sys.modules[MAIN_IN_WORKER] = main  # under which workers return values of its classes
        spec = getattr(main, "__spec__", None)
        module = sys.modules.get(getattr(graph.flow, "__module__", MAIN), main)
        return cls(
            tuple(sys.path),
            tuple(sys.argv),
            _working_directory(),
            script,
            None if spec is None or spec.name == MAIN else spec.name,
            None if module.__name__ in _SCRIPTS else origin(module),
            main.__name__ not in _SCRIPTS,
            sources_now(),
        )

    def for_worker(self, known: Sources) -> Program:
        """The program to send, with the sources that the worker does not know."""
        news = {name: each for name, each in self.sources.items() if name not in known}
        return replace(self, sources=news)

    def has(self, module: ModuleType) -> Origin | None:
        """Where a worker finds a module of this process; None if it cannot."""
        if module.__name__ in _SCRIPTS and module is sys.modules[MAIN]:
            return None if self.main is None else Origin(MAIN, self.main)
        return origin(module)


def origin(module: ModuleType) -> Origin | None:
    """The name and the file by which another process can import a module."""
    name, file = module.__name__, file_of(module)
    has_spec = getattr(module, "__spec__", None) is not None
    if sys.modules.get(name) is not module or not (file or has_spec):
        return None
    return Origin(name, None if file is None else os.path.abspath(file))


def _script(main: ModuleType, *, is_flows: bool) -> str | None:
    """The main module if it is the user's; that of a tool that runs the flow is left alone.

    So are ``__main__.py`` files, which start their program under any name, unless they contain the
    flow or one of its steps.
    """
    file = file_of(main)
    if main.__name__ not in _SCRIPTS or file is None or not os.path.isfile(file):
        return None
    starts = os.path.basename(file) == "__main__.py"
    if file.endswith(".pyc") or (not is_flows and (starts or installed(os.path.abspath(file)))):
        return None
    return os.path.abspath(file)


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None
