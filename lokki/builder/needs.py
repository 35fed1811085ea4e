"""What a flow's project depends on, and a hash of everything in its package."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from lokki.builder.local import Wheel, apart
from lokki.builder.source import Source, is_executable
from lokki.builder.uv import uv
from lokki.errors import BuildError

DISTRIBUTION = "lokki-engine"
"""The distribution of lokki; on PyPI, `lokki` is another project."""


@dataclass(frozen=True, slots=True)
class Needs:
    """The dependencies of a flow's project, in pip's format, without lokki itself.

    ``wheels`` are those on this machine; ``complete``: it includes their own dependencies, like a
    lock file.
    """

    lines: tuple[str, ...]
    complete: bool
    wheels: tuple[Wheel, ...] = ()

    def has(self, *names: str) -> bool:
        """Whether one of these packages may be needed."""
        return not self.complete or any(_name(line) in names for line in self.lines)


def needs_of(source: Source) -> Needs:
    """The dependencies of a flow's project.

    Raises BuildError if uv cannot resolve or build them, if a lock file is needed to know them, or
    if the project depends on the other lokki.
    """
    if source.project is None:
        return Needs((), complete=True)
    file = source.project / "pyproject.toml"
    written = tomllib.loads(file.read_text("utf-8"))
    declared = written["project"]
    if _name(declared.get("name", "")) == DISTRIBUTION:
        return Needs((), complete=True)
    locked = _locked_in(source.project)
    lines = declared.get("dependencies", [])
    if locked is not None:
        lines = uv(
            "export", "--quiet", "--locked", "--no-dev", "--no-emit-project", "--no-hashes",
            "--no-header", "--no-annotate", "--project", str(source.project),
        ).splitlines()  # fmt: skip
    else:
        _check_sources(written, file)
    needed = [line.strip() for line in lines if line.strip()]
    if any(_name(line) == "lokki" for line in needed):
        raise BuildError(
            f"{file} depends on 'lokki', which is another project on "
            f"PyPI: depend on '{DISTRIBUTION}', which has the package lokki"
        )
    others = [line for line in needed if _name(line) != DISTRIBUTION]
    rest, wheels = apart(others, locked or source.project)
    without_lokki = (each for each in wheels if each.package != DISTRIBUTION)
    return Needs(rest, locked is not None, tuple(without_lokki))


def _locked_in(project: Path) -> Path | None:
    """The folder with a project's lock file: its own, or that of its workspace."""
    if (project / "uv.lock").is_file():
        return project
    for folder in project.parents:
        file = folder / "pyproject.toml"
        if file.is_file() and (folder / "uv.lock").is_file():
            members = _uv_settings(tomllib.loads(file.read_text("utf-8"))).get("workspace", {})
            if any(project in folder.glob(each) for each in members.get("members", [])):
                return folder
    return None


def _check_sources(written: Mapping[str, Any], file: Path) -> None:
    """Without a lock file, a dependency's source is unknown: PyPI may have another by its name.

    Not that of lokki, whose own package is this one.
    """
    sources = {
        _name(each): source for each, source in _uv_settings(written).get("sources", {}).items()
    }
    sources.pop(DISTRIBUTION, None)
    for line in written["project"].get("dependencies", []):
        source = sources.get(_name(line), {})
        if not isinstance(source, list) and not {"path", "workspace", "git", "url"}.isdisjoint(
            source
        ):
            raise BuildError(
                f"{file} says under [tool.uv.sources] where '{_name(line)}' comes from, which only "
                "a lock file tells lokki: run `uv lock`"
            )


def _uv_settings(written: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = written.get("tool", {}).get("uv", {})
    return found


def digest_of(source: Source, needs: Needs, *about: str) -> str:
    """A hash of everything in a package: code, dependencies, lokki, and ``about`` it."""
    wheels = [each.digest for each in needs.wheels]
    made_of = needs.lines, wheels, about, _digest_of_lokki()
    return _digest(source.root, source.files, made_of)[:16]


@cache
def _digest_of_lokki() -> str:
    lokki, own = distribution(DISTRIBUTION), Path(__file__).parent.parent
    released = lokki.read_text("direct_url.json") is None
    ours = [] if released else sorted(file.relative_to(own) for file in own.rglob("*.py"))
    return _digest(own, ours, lokki.version)


def _digest(root: Path, files: Iterable[Path], about: object) -> str:
    found = sha256(repr(about).encode())
    for file in files:
        runs = is_executable(root / file)
        found.update(f"{file}\0{runs}\0".encode() + (root / file).read_bytes())
    return found.hexdigest()


def _name(line: str) -> str:
    """The package that a line of requirements names."""
    found = re.match(r"[A-Za-z0-9._-]+", line.strip())
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""
