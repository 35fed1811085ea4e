"""The packages that a flow uses, and their versions."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import metadata
from types import ModuleType

from lokki.engine.program import Program
from lokki.engine.sources import file_of
from lokki.location import installed


def packages_of(program: Program) -> dict[str, str]:
    """The installed packages that the modules of a program have imported, with their versions."""
    names: set[str] = set()
    for user in program.sources:
        for value in list(vars(sys.modules.get(user, ModuleType(user))).values()):
            of = (
                value.__name__
                if type(value) is ModuleType
                else getattr(type(value), "__module__", "")
            )
            if callable(value) and not isinstance(value, ModuleType):
                of = getattr(value, "__module__", None)
            if isinstance(of, str):
                names.add(of.partition(".")[0])
    return versions_of(sorted(filter(_is_package, names)))


def versions_of(names: Iterable[str]) -> dict[str, str]:
    """The versions of these packages that are installed here, by the names of the modules."""
    found, distributions = {}, None
    for name in names:
        version = _version(name)
        if version is None:
            distributions = distributions or metadata.packages_distributions()
            version = next(map(_version, distributions.get(name, ())), None)
        if version is not None:
            found[name] = version
    return found


def _is_package(name: str) -> bool:
    file = file_of(sys.modules.get(name))
    known = name in sys.stdlib_module_names or name in ("lokki", "lokki_server")
    return not known and file is not None and installed(file)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
