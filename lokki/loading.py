"""Loads the flow that ``FILE[:flow]`` or ``MODULE[:flow]`` names.

A file in a package is imported under its dotted name. So a module has one name however its flow is
named, as the stored values of its classes need.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from lokki.decorators import Flow
from lokki.engine.importing import RunsFlow, importing
from lokki.errors import DefinitionError, LokkiError
from lokki.frames import cut, summarized
from lokki.location import located


class LoadError(LokkiError):
    """A flow cannot be loaded, or its body fails; ``traceback`` has the user's frames, as text."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


class NotThere(LoadError):
    """There is no such file, module or flow."""


def load_flow(target: str) -> Flow[..., Any]:
    """The flow that ``target`` names; without ``:flow``, the only one that its module defines.

    Raises NotThere when there is no such file, module or flow, or more than one flow; LoadError
    when the import fails.
    """
    source, name = source_and_name(target)
    return flow_in(load_module(source), source, name)


def from_here(target: str) -> str:
    """A target that another folder understands: a file, or a module in this folder, by its path.

    Another module stays as it is.
    """
    source, name = source_and_name(target)
    file = Path(source) if is_file(source) else Path(*source.split(".")).with_suffix(".py")
    if not is_file(source) and not file.is_file():
        return target
    return f"{file.absolute()}:{name}" if name else str(file.absolute())


def is_file(source: str) -> bool:
    """Whether ``source`` names a file, not a module."""
    return source.endswith(".py") or source.startswith(".") or os.sep in source


def file_named(source: str) -> Path:
    """The named file; for a module, its file in this folder."""
    if is_file(source):
        return Path(source).resolve()
    return Path.cwd().joinpath(*source.split(".")).with_suffix(".py")


def source_and_name(target: str) -> tuple[str, str]:
    """The file or module, and the name of the flow if given."""
    named = re.fullmatch(r"(.*):([\w-]*)", target)
    return (named[1], named[2]) if named else (target, "")


def flow_in(module: ModuleType, source: str, name: str) -> Flow[..., Any]:
    """A flow of the module of ``source``. Raises NotThere for none, or more than one."""
    flows = _flows(module)
    if name:
        wanted = [flow for key, flow in flows.items() if name in (key, flow.name)]
        if not wanted:
            raise NotThere(f"{source} has no flow '{name}'; it has {_listed(flows)}")
        return wanted[0]
    own = _own(flows, module) or flows
    if len(own) != 1:
        raise NotThere(
            f"{source} has {_listed(own)}"
            + (f"; say which: {source}:{next(iter(own))}" if own else "; decorate one with @flow")
        )
    return next(iter(own.values()))


def load_flows(source: str) -> dict[str, Flow[..., Any]]:
    """The flows that a file or module defines, by name, without those that it imports.

    Raises as `load_flow`.
    """
    module = load_module(source)
    return {flow.name: flow for flow in _own(_flows(module), module).values()}


def _flows(module: ModuleType) -> dict[str, Flow[..., Any]]:
    return {key: value for key, value in vars(module).items() if isinstance(value, Flow)}


def _own(flows: dict[str, Flow[..., Any]], module: ModuleType) -> dict[str, Flow[..., Any]]:
    return {key: flow for key, flow in flows.items() if flow.__module__ == module.__name__}


def _listed(flows: dict[str, Flow[..., Any]]) -> str:
    if not flows:
        return "no flow"
    return f"the flow{'s' * (len(flows) > 1)} " + ", ".join(sorted(flows))


def load_module(source: str) -> ModuleType:
    """Import a file or a module. Raises as `load_flow`."""
    if not source:
        raise NotThere("name a file or a module, such as birds.py or birds.py:birds_flow")
    try:
        with importing(source):
            module = _from_file(source) if is_file(source) else _from_name(source)
    except (DefinitionError, LoadError):
        raise
    except RunsFlow as error:
        raise LoadError(str(error), users_traceback(error)) from error
    except SystemExit as error:
        message = f'{source} exits on import; guard its main code: if __name__ == "__main__": …'
        raise LoadError(message, users_traceback(error)) from error
    except Exception as error:
        message = f"{source} cannot be imported"
        if isinstance(error, ImportError) and "no known parent package" in str(error):
            message += "; for relative imports, put an __init__.py beside it"
        raise LoadError(message, users_traceback(error)) from error
    # Values of its classes were stored as __main__'s when the file itself was the program.
    sys.modules["__main__"] = module
    return module


def users_traceback(error: BaseException) -> str:
    """The traceback of an error without the frames of lokki, and of what imported the file."""
    shown = summarized(error)
    cut(shown)
    return "".join(shown.format())


def _from_name(name: str) -> ModuleType:
    """Import a module. The working directory comes first; a file there is imported as a file."""
    file = file_named(name)
    if file.is_file() and f".{located(file)[1]}".endswith(f".{name}"):
        return _from_file(str(file))
    _refuse_taken(name, Path.cwd())
    sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not f"{name}.".startswith(f"{error.name}."):
            raise
        path = name.replace(".", os.sep)
        raise NotThere(f"there is no module '{name}' here, nor a file {path}.py") from None
    if hasattr(module, "__path__") and module.__file__ is None:
        raise NotThere(f"{name} is a folder; name a file in it, such as {name}/flows.py")
    return module


def _meant(path: Path) -> str:
    """A question about a file beside a missing one, if one has nearly its name."""
    import difflib

    near = difflib.get_close_matches(path.name, [each.name for each in path.parent.glob("*.py")], 1)
    return f"; did you mean {near[0]}?" if near else ""


def _from_file(source: str) -> ModuleType:
    """Import a file as the module of its name, with its folder on the path, like Python."""
    path = Path(source).resolve()
    if path.is_dir():
        inside = Path(source, "flows.py")
        raise NotThere(f"{source} is a folder; name a file in it, such as {inside}")
    if not path.is_file():
        raise NotThere(f"there is no file {source}{_meant(path)}")
    root, name = located(path)
    _refuse_taken(name, root)
    sys.path.insert(0, str(root))
    if root != path.parent:
        sys.path.append(str(path.parent))
        return importlib.import_module(name)
    spec = importlib.util.spec_from_loader(name, SourceFileLoader(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _refuse_taken(name: str, folder: Path) -> None:
    """Raise LoadError when a file or package in ``folder`` would hide another module."""
    top = name.partition(".")[0]
    found = PathFinder.find_spec(top, [str(folder)])
    if found is None or found.origin is None:
        return
    loaded = getattr(sys.modules.get(top), "__file__", None)
    if top in sys.stdlib_module_names or (loaded is not None and loaded != found.origin):
        file = (found.submodule_search_locations or [found.origin])[0]
        raise LoadError(
            f"{file} has the name of the module '{top}', which Python or lokki uses; rename it"
        )


def alias_main() -> None:
    """Make values that ``lokki run FILE`` stored readable when FILE itself is the program."""
    module = sys.modules["__main__"]
    path = getattr(module, "__file__", None)
    if path is not None:
        folder, name = located(Path(path).resolve())
        sys.path.append(str(folder))
        sys.modules.setdefault(name, module)


def alias_source(source: str, flow: Flow[..., Any]) -> None:
    """Make values readable that were stored when the flow's file, since moved, was ``source``."""
    name = located(Path(source.rpartition(":")[0]))[1]
    sys.modules.setdefault(name, sys.modules[flow.__module__])
