"""Finding the flow that a command line names: ``FILE[:flow]`` or ``MODULE[:flow]``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from lokki.decorators import Flow
from lokki.errors import DefinitionError, LokkiError


class LoadError(LokkiError):
    """A flow's file or module cannot be loaded; ``traceback`` is the user's, as text."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


def load_flow(target: str) -> Flow[..., Any]:
    """The flow that ``target`` names; without ``:flow`` the only one that its module defines.

    Raises LoadError when there is no such file or module, when it cannot be imported, or when it
    does not hold one such flow.
    """
    place, _, name = target.rpartition(":") if ":" in target else (target, "", "")
    module = _module(place)
    flows = {key: value for key, value in vars(module).items() if isinstance(value, Flow)}
    if name:
        wanted = [flow for key, flow in flows.items() if name in (key, flow.name)]
        if not wanted:
            raise LoadError(f"{place} has no flow '{name}'; it has {_listed(flows)}")
        return wanted[0]
    own = {key: flow for key, flow in flows.items() if flow.__module__ == module.__name__} or flows
    if len(own) != 1:
        raise LoadError(
            f"{place} has {_listed(own)}"
            + (f"; say which: {place}:{next(iter(own))}" if own else "; decorate one with @flow")
        )
    return next(iter(own.values()))


def _listed(flows: dict[str, Flow[..., Any]]) -> str:
    return "the flows " + ", ".join(sorted(flows)) if flows else "no flow"


def _module(place: str) -> ModuleType:
    path = Path(place)
    is_file = path.suffix == ".py" or os.sep in place
    if is_file and not path.is_file():
        raise LoadError(f"there is no file {place}")
    try:
        return _from_file(path.resolve()) if is_file else _from_name(place)
    except DefinitionError:
        raise
    except SystemExit as error:
        raise LoadError(f"{place} exits while it is imported (with {error.code})") from error
    except Exception as error:
        shown = traceback.TracebackException.from_exception(error)
        own = Path(__file__).parent
        shown.stack = traceback.StackSummary.from_list(
            frame
            for frame in shown.stack
            if not frame.filename.startswith((str(own), "<frozen importlib"))
            and "importlib" not in frame.filename
        )
        raise LoadError(f"{place} cannot be imported", "".join(shown.format())) from error


def _from_name(name: str) -> ModuleType:
    sys.path.insert(0, os.getcwd())
    if importlib.util.find_spec(name) is None:
        raise LoadError(f"there is no module '{name}' here; for a file, write {name}.py")
    return importlib.import_module(name)


def _from_file(path: Path) -> ModuleType:
    """Import a file as the module of its name, with its folder on the path, as Python would."""
    name = path.stem
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    # Values of its classes were stored as __main__'s when the file itself was the program.
    sys.modules["__main__"] = module
    return module


def alias_main() -> None:
    """Let values stored by ``lokki run FILE`` be read when FILE itself is the program."""
    module = sys.modules["__main__"]
    path = getattr(module, "__file__", None)
    if path is not None:
        sys.modules.setdefault(Path(path).stem, module)
