"""A flow's code: its files and its dependencies."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import distribution
from itertools import takewhile
from pathlib import Path
from typing import Any

from lokki.errors import BuildError
from lokki.graph import FlowDefinition
from lokki.location import located

DISTRIBUTION = "lokki-engine"
"""The distribution of lokki; on PyPI, `lokki` is another project."""
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
    """The imported files below ``root``; of a package, all its files."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        top = name.partition(".")[0]
        if file is None or top in ("lokki", "__main__", "lokki_server"):
            continue
        path = _resolved(file)
        if not path.is_relative_to(root) or "site-packages" in path.parts:
            continue
        folder = root / top
        if folder.is_dir() and path.is_relative_to(folder):
            yield from _files(folder)
        else:
            yield path


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


# ---- what it depends on --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Needs:
    """The dependencies of a flow's project, in pip's format, without lokki itself.

    ``complete``: it includes their own dependencies, like a lock file.
    """

    lines: tuple[str, ...]
    complete: bool

    def has(self, *names: str) -> bool:
        """Whether one of these packages may be needed."""
        return not self.complete or any(_name(line) in names for line in self.lines)


def needs_of(source: Source) -> Needs:
    """The dependencies of a flow's project.

    Raises BuildError if uv cannot resolve them, or the project depends on the other lokki.
    """
    if source.project is None:
        return Needs((), complete=True)
    declared = tomllib.loads((source.project / "pyproject.toml").read_text("utf-8"))["project"]
    if _name(declared.get("name", "")) == DISTRIBUTION:
        return Needs((), complete=True)
    locked = (source.project / "uv.lock").is_file()
    lines = declared.get("dependencies", [])
    if locked:
        lines = uv(
            "export", "--quiet", "--locked", "--no-dev", "--no-emit-project", "--no-hashes",
            "--no-header", "--no-annotate", "--project", str(source.project),
        ).splitlines()  # fmt: skip
    needed = [line.strip() for line in lines if line.strip()]
    if any(_name(line) == "lokki" for line in needed):
        raise BuildError(
            f"{source.project / 'pyproject.toml'} depends on 'lokki', which is another project on "
            f"PyPI: depend on '{DISTRIBUTION}', which has the package lokki"
        )
    others = (line for line in needed if _name(line) != DISTRIBUTION)
    return Needs(tuple(others), complete=locked)


def digest_of(source: Source, *about: str) -> str:
    """A hash of everything in a package: code, dependencies, lokki, and ``about`` it."""
    found = sha256(repr((needs_of(source).lines, about)).encode())
    lokki, own = distribution(DISTRIBUTION), Path(__file__).parent.parent
    released = lokki.read_text("direct_url.json") is None
    ours = [] if released else sorted(file.relative_to(own) for file in own.rglob("*.py"))
    found.update(lokki.version.encode())
    for root, files in ((source.root, source.files), (own, ours)):
        for file in files:
            found.update(f"{file}\0".encode() + (root / file).read_bytes())
    return found.hexdigest()[:16]


def _name(line: str) -> str:
    """The package that a line of requirements names."""
    found = re.match(r"[A-Za-z0-9._-]+", line.strip())
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def uv(*arguments: str, folder: Path | None = None) -> str:
    """What uv prints. Raises BuildError with its complaint."""
    beside = os.path.dirname(sys.executable)  # for an environment that is not activated
    found = shutil.which("uv") or shutil.which("uv", path=beside)
    if found is None:
        raise BuildError("packages are made with uv, which is not installed: pip install uv")
    done = subprocess.run(
        [found, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        command = f"uv {' '.join(_shown(arguments))}"
        raise BuildError(f"'{command}' failed:\n{done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _shown(arguments: Sequence[str]) -> list[str]:
    """The command without its options and their values."""
    return list(takewhile(lambda each: not each.startswith("-"), arguments))
