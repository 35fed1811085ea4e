"""The user's code as a process imported it; the files may have changed since."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TypeAlias

from lokki.engine.sources import Stamp, file_of, is_fixed, stamp

Stamps: TypeAlias = Mapping[str, Stamp | None]
"""Stamps of files; None for a missing file."""

is_fixed(__name__, __file__)  # imports what it needs: before `Code` sees imports, and before a fork


def changed(stamps: Stamps) -> bool:
    """Whether one of the files has changed, disappeared or appeared."""
    return any(stamp(file) != known for file, known in stamps.items())


class Code:
    """Stamps the files of modules before they are read, also of modules that steps import.

    It precedes the other finders, asks them, and so learns which file they find.
    """

    def __init__(self) -> None:
        self._before = set(sys.modules)
        self._stamps: dict[str, Stamp | None] = {}
        self._reported = 0
        sys.meta_path.insert(0, self)

    @contextmanager
    def imports(self, file: str) -> Iterator[None]:
        """Inside this context, a file with flows is imported."""
        self._note(file)
        try:
            yield
        finally:
            for name, module in list(sys.modules.items()):  # modules that no finder was asked for
                if name not in self._before:
                    self._note_users(name, file_of(module))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            if not hasattr(finder, "find_spec"):  # Python skips it, too
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                self._note_users(fullname, spec.origin if spec.has_location else None)
                return spec
        return None

    def _note_users(self, name: str, file: str | None) -> None:
        if file is not None and not is_fixed(name, file):
            self._note(os.path.abspath(file))

    def _note(self, file: str) -> None:
        if file not in self._stamps:
            self._stamps[file] = stamp(file)

    def changed(self) -> bool:
        """Whether some of the code has changed."""
        return changed(self._stamps.copy())

    def news(self) -> Stamps:
        """The files that no earlier call returned."""
        before, self._reported = self._reported, len(self._stamps)
        return dict(list(self._stamps.items())[before:])
