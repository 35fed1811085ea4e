"""What a worker process imports before its first call: the program of the engine's process.

As in a process that multiprocessing spawns, blocks of ``if __name__ == "__main__":`` do not run,
since the main module has another name.
"""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any

from lokki.engine.program import MAIN, MAIN_IN_WORKER, Origin, Program
from lokki.engine.settings import remember
from lokki.engine.sources import AsTheyWere, file_of
from lokki.errors import LokkiError, Picklable
from lokki.frames import cut, summarized

_replaced: list[ModuleType] = []  # former __main__ modules, whose functions are still in use
_idle = False
_importing: ContextVar[str | None] = ContextVar("importing", default=None)


class RunsFlow(LokkiError):
    """A file or module runs a flow while a command imports it."""


class ImportFailed(Picklable, Exception):
    """A module cannot be imported here; has type, text and traceback of the user's error."""

    def __init__(self, source: str, error: BaseException) -> None:
        shown = summarized(error)
        cut(shown)
        self.kind = type(error).__name__
        self.reason = f"a worker process cannot import {source}: {error}"
        if isinstance(error, SystemExit):
            self.reason = (
                f"{source} exits when a worker process imports it; guard its main code: "
                'if __name__ == "__main__": …'
            )
        self.traceback = "".join(shown.format())
        super().__init__(self.reason)


class _Reached(BaseException):
    """An import has reached the place where it runs a flow."""


def set_idle(idle: bool) -> None:
    """Record whether this process is a worker without a call."""
    global _idle
    _idle = idle


@contextmanager
def importing(source: str) -> Iterator[None]:
    """Inside this context, a file or module is imported for its flow, and must not run one."""
    before = _importing.set(source)
    try:
        yield
    finally:
        _importing.reset(before)


def imports_program() -> bool:
    """Whether a worker, or a command that looks for flows, imports the program in this process."""
    return _idle or _importing.get() is not None


def check_may_run() -> None:
    """Keep a module that runs a flow on import from running it in every process.

    In a worker, its import ends there: the engine is running the flow, and its process has not got
    further in the module, either. Raises RunsFlow where a command imports the module, and
    LokkiError in a process of multiprocessing.
    """
    if _idle:
        raise _Reached
    if (source := _importing.get()) is not None:
        raise RunsFlow(
            f'{source} runs a flow on import; guard its main code: if __name__ == "__main__": …'
        )
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None and getattr(process.current_process(), "_inheriting", False):
        raise LokkiError(
            "a new process of multiprocessing imports a module that runs a flow, which would never "
            'end; run it under:  if __name__ == "__main__":'
        )


def prepare(program: Program) -> None:
    """Import what the engine's process has. Raises ImportFailed with what a module raises."""
    sys.path[:] = program.path
    sys.argv[:] = program.arguments
    if program.folder is not None:
        os.chdir(program.folder)
    if program.sources:
        sys.meta_path.insert(0, AsTheyWere(program.sources))
    if program.main is not None and sys.modules[MAIN].__name__ != MAIN_IN_WORKER:
        remember(_run(program.main, partial(_main, program, program.main)))
    if program.flow is not None:
        module = imported(program.flow)
        if program.is_loaded:
            _stand_for_main(module)


def imported(module: Origin) -> ModuleType:
    """The module, imported by name if the name leads to its file, otherwise from the file."""
    name, file = module
    loaded = sys.modules.get(name)
    if name == MAIN or (loaded is not None and file in (None, _file(loaded))):
        found = sys.modules[name]
    elif file is None:
        found = _run(name, partial(import_module, name))
    else:
        found = _run(file, partial(_imported, name, file))
    remember(found)
    return found


def _file(module: ModuleType) -> str | None:
    file = file_of(module)
    return None if file is None else os.path.abspath(file)


def _imported(name: str, file: str) -> ModuleType:
    spec = _spec(name, file)
    if spec is None or spec.loader is None:
        return import_module(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with suppress(_Reached):
        spec.loader.exec_module(module)
    above, _, last = name.rpartition(".")
    if above in sys.modules:
        setattr(sys.modules[above], last, module)
    return module


def _spec(name: str, file: str) -> ModuleSpec | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is not None and spec.origin == file:
        return spec
    return importlib.util.spec_from_file_location(name, file)


def _main(program: Program, file: str) -> ModuleType:
    name = program.main_spec
    module = ModuleType(MAIN_IN_WORKER)
    loader = SourceFileLoader(MAIN_IN_WORKER, file)
    vars(module).update(__file__=file, __cached__=None, __loader__=loader)
    if name is not None and (spec := importlib.util.find_spec(name)) is not None:
        vars(module).update(__spec__=spec, __package__=spec.parent, __loader__=spec.loader)
    sys.modules[MAIN_IN_WORKER] = module
    _stand_for_main(module)
    source = program.sources.get(MAIN) or program.sources.get(MAIN_IN_WORKER)
    text = _text(file) if source is None else source.text
    code = compile(text, file, "exec", dont_inherit=True)
    with suppress(_Reached):
        exec(code, vars(module))  # noqa: S102 - as Python would
    return module


def _text(file: str) -> bytes:
    with io.open_code(file) as source:
        return source.read()


def _run(source: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except BaseException as error:
        raise ImportFailed(source, error) from error


def _stand_for_main(module: ModuleType) -> None:
    if sys.modules[MAIN] is not module:
        _replaced.append(sys.modules[MAIN])
        sys.modules[MAIN] = module
