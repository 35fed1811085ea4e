"""The user's code as this process imported it: workers that start later run it, too.

Files may change after their import, and a worker starts when it is first needed or replaces a dead
one: it would import half of a changed program and mix it with the engine's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from types import CodeType
from typing import NamedTuple, TypeAlias

from lokki.location import installed

Stamp: TypeAlias = tuple[int, int]
"""A file's modification time in nanoseconds, and its size."""


class Source(NamedTuple):
    """A module's file, its stamp, and its content at that time."""

    file: str
    stamp: Stamp
    text: bytes


Sources: TypeAlias = Mapping[str, Source]
"""By the name of the module."""


class _Read(NamedTuple):
    """What was read of a module; a reload changes its spec."""

    module: object
    spec: object
    source: Source


_read: dict[str, _Read] = {}


def sources_now() -> Sources:
    """The files of the user's modules that this process has imported.

    For each module, the content of its file at the first call of this after the import.
    """
    found = {}
    for name, module in list(sys.modules.items()):
        file = file_of(module)
        if file is not None and file.endswith(".py") and not is_fixed(name, file):
            with suppress(OSError):
                found[name] = _source(name, module, file)
    return found


def file_of(module: object) -> str | None:
    """The file of a module; a lazily loaded one stays unloaded."""
    file = _attribute(module, "__file__")
    return file if isinstance(file, str) else None


def _attribute(module: object, name: str) -> object:
    try:
        return object.__getattribute__(module, "__dict__").get(name)
    except AttributeError:
        return None


def is_fixed(name: str, file: str | None) -> bool:
    """Whether a module belongs to Python, lokki or an installed package: the same everywhere."""
    return file is None or installed(file) or name.partition(".")[0] == "lokki"


def _source(name: str, module: object, file: str) -> Source:
    spec, known = _attribute(module, "__spec__"), _read.get(name)
    if known is None or known.module is not module or known.spec is not spec:
        now = stamp(file) or (0, 0)
        with open(file, "rb") as opened:
            known = _read[name] = _Read(module, spec, Source(file, now, opened.read()))
    return known.source


def stamp(file: str) -> Stamp | None:
    """The stamp of a file; None if there is no file."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


class AsTheyWere:
    """Finds modules whose files have changed, with the earlier content of the files.

    It checks for changes when a module is imported: an editor may be writing the file then.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> ModuleSpec | None:
        source = self._sources.get(fullname)
        if source is None or stamp(source.file) == source.stamp:
            return None
        return spec_from_file_location(
            fullname, source.file, loader=_Loader(fullname, source.file, source.text)
        )


class _Loader(SourceFileLoader):
    def __init__(self, name: str, file: str, text: bytes) -> None:
        super().__init__(name, file)
        self._text = text

    def get_code(self, fullname: str) -> CodeType | None:
        """Compile the text; a compiled module on disk may belong to the changed file."""
        return self.source_to_code(self._text, self.path)
