"""The user's code as it is when a run begins: workers that start later run this code, too.

Files may be changed while a run goes on, and a worker is started when it is first needed, or when
one has died: it would import half of a program anew, and mix it with the engine's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from types import CodeType
from typing import NamedTuple, TypeAlias

from lokki.location import installed

Stamp: TypeAlias = tuple[int, int]
"""When a file was modified, in nanoseconds, and its size."""


class Source(NamedTuple):
    """A module's file, and what it had in it at its stamp."""

    file: str
    stamp: Stamp
    text: bytes


Sources: TypeAlias = Mapping[str, Source]
"""By the name of the module."""

_read: dict[str, Source] = {}


def sources_now() -> Sources:
    """The files of the user's modules that this process has imported."""
    found = {}
    for name, module in list(sys.modules.items()):
        file = file_of(module)
        if file is not None and file.endswith(".py") and not is_fixed(name, file):
            with suppress(OSError):
                found[name] = _source(file)
    return found


def file_of(module: object) -> str | None:
    """The file of what stands for a module; one that is loaded when it is used is left unloaded."""
    try:
        file = object.__getattribute__(module, "__dict__").get("__file__")
    except AttributeError:
        return None
    return file if isinstance(file, str) else None


def is_fixed(name: str, file: str | None) -> bool:
    """Whether a module is Python's, lokki's or an installed package's: the same everywhere."""
    return file is None or installed(file) or name.partition(".")[0] == "lokki"


def _source(file: str) -> Source:
    now = stamp(file)
    known = _read.get(file)
    if known is None or known.stamp != now:
        with open(file, "rb") as opened:
            known = _read[file] = Source(file, now or (0, 0), opened.read())
    return known


def stamp(file: str) -> Stamp | None:
    """The stamp of a file; None where there is none."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


class AsTheyWere(MetaPathFinder):
    """Finds modules whose files have been changed, with what the files had in them.

    Whether one has been is looked at when it is imported: an editor may be writing it just then.
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
        """Compile the text; the compiled module on disk may be that of the changed file."""
        return self.source_to_code(self._text, self.path)
