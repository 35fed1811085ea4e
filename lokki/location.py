"""Locates Python files: the folder to import them from, and whether they are the user's."""

from __future__ import annotations

import os
import re
import sysconfig
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LIBRARIES = re.compile(
    r"[/\\](?:(?:site|dist)-packages|lib(?:64)?[/\\]python3\.\d+)[/\\]|^<frozen "
    r"|^(?![/\\]|\w:).*\.(?:pyx|pxd|pxi)$"
)
"""Parts of the paths of libraries, on any machine; Cython names its files without their folder."""


def located(file: Path) -> tuple[Path, str]:
    """The folder to import ``file`` from, outside all packages, and its module's dotted name."""
    folder, names = file.parent, [] if file.stem == "__init__" else [file.stem]
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        folder, names = folder.parent, [folder.name, *names]
    return folder, ".".join(names) or file.stem


@cache
def _installed_in() -> tuple[str, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    return tuple({os.path.join(sysconfig.get_path(name), "") for name in names})


def near(file: str) -> str:
    """A file's path from the working directory, if it lies there."""
    from pathlib import Path  # slow to import

    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file


def installed(file: str) -> bool:
    """Whether a file belongs to Python or an installed package, not to the user."""
    return file.startswith(_installed_in())


def in_library(file: str) -> bool:
    """The same for a file of another machine, by its path alone."""
    return installed(file) or _LIBRARIES.search(file) is not None
