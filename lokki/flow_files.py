"""Finds the files that define flows among files, modules and folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from lokki.engine.sources import Stamp, stamp
from lokki.errors import LokkiError
from lokki.loading import is_file

_USES_LOKKI = re.compile(r"^\s*(from lokki\b|import lokki\b)", re.MULTILINE)
_DEFINES_FLOW = re.compile(r"^\s*@(lokki\.)?flow\b", re.MULTILINE)


def found_in(sources: Sequence[str]) -> list[str]:
    """The files and modules among ``sources``, and the files in its folders that define flows.

    Without sources, those of this folder. Raises LokkiError for a folder that cannot be read.
    """
    found = []
    for source in sources or ["."]:
        path = Path(source)
        if path.is_dir():
            found += [str(file) for file in _python_files(path) if _defines_flows(file)]
        else:
            is_path = path.is_file() or is_file(source)
            found.append(str(path.resolve()) if is_path else source)
    return list(dict.fromkeys(found))


def _python_files(folder: Path) -> list[Path]:
    """The Python files in a folder; `Path.glob` hides errors since Python 3.13."""
    try:
        return sorted(file for file in folder.resolve().iterdir() if file.suffix == ".py")
    except PermissionError as error:
        raise LokkiError(f"the folder {folder} cannot be read: {error.strerror}") from error


def _defines_flows(file: Path) -> bool:
    """Whether a file uses lokki and has flows; an unreadable one is checked again next time."""
    try:
        return _read(file, stamp(str(file)))
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        return False


@lru_cache(maxsize=10_000)
def _read(file: Path, seen: Stamp | None) -> bool:
    """Whether a file, as of this stamp, uses lokki and has flows."""
    try:
        text = file.read_text()
    except UnicodeDecodeError:
        return False
    return bool(_USES_LOKKI.search(text) and _DEFINES_FLOW.search(text))
