"""A flow's own files."""

from __future__ import annotations

import json
import os
import stat
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from lokki.errors import BuildError
from lokki.graph import FlowDefinition
from lokki.location import located

_UNUSED = ("__pycache__", ".git", ".venv", "node_modules")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a flow is: ``module``, imported from ``root``; ``project`` has its pyproject.toml.

    ``files`` are the files to package, by their paths in ``root``.
    """

    module: str
    root: Path
    project: Path | None
    files: tuple[Path, ...]


def source_of(
    flow: FlowDefinition[..., Any], include: str = "", exclude: str = "lokki-build"
) -> Source:
    """The code of a flow: the modules beside it that it imports, and what ``include`` names.

    ``include`` has globs from ``root``, comma-separated; nothing in the folder ``exclude`` is
    included. Raises BuildError when the flow is in no file, and for a glob that matches nothing.
    """
    file = getattr(sys.modules[flow.__module__], "__file__", None)
    if file is None:
        raise BuildError(f"flow '{flow.name}' is not in a file, and only files can be packaged")
    root, module = located(Path(file).resolve())
    files = {Path(file).resolve(), *_imported(root), *_included(root, include)}
    built = Path(exclude).resolve()
    relative = sorted(each.relative_to(root) for each in files if built not in each.parents)
    return Source(module, root, _project(root), tuple(relative))


def _imported(root: Path) -> Iterator[Path]:
    """The imported files below ``root``; of a package, all its files.

    What is installed from a folder there is a dependency.
    """
    installed = [each for each in _installed_from() if root in each.parents]
    below = os.path.join(root, "")
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        top = name.partition(".")[0]
        if file is None or top in ("lokki", "__main__", "lokki_server"):
            continue
        path = _resolved(file)
        if not str(path).startswith(below) or "site-packages" in path.parts:
            continue
        if any(path.is_relative_to(each) for each in installed):
            continue
        folder = root / top
        if folder.is_dir() and path.is_relative_to(folder):
            yield from _files(folder)
        else:
            yield path


def _installed_from() -> Iterator[Path]:
    """The folders from which distributions are installed here, as editable or not."""
    for each in distributions():
        origin = each.read_text("direct_url.json")
        if origin is not None and "dir_info" in (parsed := json.loads(origin)):
            yield Path(url2pathname(urlsplit(parsed["url"]).path)).resolve()


@cache
def _resolved(file: str) -> Path:
    """The path of a module's file; there are thousands, and each takes a system call per folder."""
    return Path(file).resolve()


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part in _UNUSED for part in path.parts):
            yield path


def _included(root: Path, include: str) -> Iterator[Path]:
    for pattern in filter(None, (each.strip() for each in include.split(","))):
        try:
            found = [path for path in root.glob(pattern) if path.is_file()]
        except (ValueError, NotImplementedError) as error:
            raise BuildError(f"lambda.include: '{pattern}' is not a pattern: {error}") from None
        if not found:
            raise BuildError(f"lambda.include: '{pattern}' matches no file in {root}")
        yield from (path.resolve() for path in found)


def _project(root: Path) -> Path | None:
    """The nearest folder, upwards, with a project's pyproject.toml."""
    for folder in (root, *root.parents):
        file = folder / "pyproject.toml"
        if file.is_file() and "project" in tomllib.loads(file.read_text("utf-8")):
            return folder
    return None


def is_executable(file: Path) -> bool:
    """Whether its owner may execute a file."""
    return bool(file.stat().st_mode & stat.S_IXUSR)
