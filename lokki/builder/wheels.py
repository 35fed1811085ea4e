"""Which wheels a package takes: those of the system that Lambda runs its Python on."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from lokki.builder.uv import uv
from lokki.errors import BuildError


@dataclass(frozen=True, slots=True)
class System:
    """An operating system of Lambda; ``tag`` is uv's name of the newest wheels that run on it."""

    name: str
    tag: str


_OLD = System("Amazon Linux 2 (glibc 2.26)", "manylinux_2_17")
"""Between 2.17 and 2.28 uv has no platform
(docs.astral.sh/uv/reference/cli/#uv-pip-install--python-platform)."""
_NEW = System("Amazon Linux 2023 (glibc 2.34)", "manylinux_2_34")
_NEWEST_TAG = "manylinux_2_40"
_FIRST_ON_NEW = "3.12"


def system_of(python: str) -> System:
    """What Lambda runs a Python on (docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html)."""
    return _NEW if _minor(python) >= _minor(_FIRST_ON_NEW) else _OLD


def wheel_options(python: str, architecture: str, tag: str | None = None) -> tuple[str, ...]:
    """Uv's options for the wheels that run in Lambda; ``tag``: for those of another glibc."""
    processor = "aarch64" if architecture == "arm64" else architecture
    return (
        "--python-version", python,
        "--python-platform", f"{processor}-{tag or system_of(python).tag}",
        "--only-binary", ":all:",
    )  # fmt: skip


def resolved(needed: Path, *, python: str, architecture: str) -> dict[str, str]:
    """The version of each package that would be installed. Raises BuildError if there is none."""
    try:
        return _resolved(needed, wheel_options(python, architecture))
    except BuildError as error:
        raise explained(error, needed, python=python, architecture=architecture) from None


def installed(folder: Path) -> dict[str, str]:
    """The version of each package in a folder."""
    found = distributions(path=[str(folder)])
    return {re.sub(r"[-_.]+", "-", each.name).lower(): each.version for each in found}


def older_notes(
    taken: Mapping[str, str], needed: Path, *, python: str, architecture: str
) -> tuple[str, ...]:
    """A note if packages are older than what a newer glibc than Lambda's would get."""
    newest = _resolved(needed, wheel_options(python, architecture, _NEWEST_TAG))
    older = [
        f"{name} {taken[name]} (newest: {version})"
        for name, version in sorted(newest.items())
        if taken.get(name, version) != version
    ]
    if not older:
        return ()
    system = system_of(python)
    advice = (
        f"; Python {_FIRST_ON_NEW} and later run on {_NEW.name}: build with one of them"
        if system == _OLD
        else ""
    )
    return (
        f"older versions are packaged, since Lambda runs Python {python} on {system.name}, for "
        f"which the newest have no wheel: {', '.join(older)}{advice}",
    )


def explained(error: BuildError, needed: Path, *, python: str, architecture: str) -> BuildError:
    """An error of uv, with the Python for which there would be wheels, if that is why."""
    fails = system_of(python) == _OLD and not _resolves(needed, python, architecture)
    if not fails or not _resolves(needed, _FIRST_ON_NEW, architecture):
        return error
    return BuildError(
        f"{error}\nLambda runs Python {python} on {_OLD.name}, for which these dependencies have "
        f"no wheels; on {_NEW.name}, with Python {_FIRST_ON_NEW}, they have. Build with it (`uv "
        f"run --python {_FIRST_ON_NEW} lokki build …`), or depend on versions with wheels for "
        f"{_OLD.tag}"
    )


def _resolves(needed: Path, python: str, architecture: str) -> bool:
    try:
        _resolved(needed, wheel_options(python, architecture))
    except BuildError:
        return False
    return True


def _resolved(needed: Path, options: tuple[str, ...]) -> dict[str, str]:
    lines = uv(
        "pip", "compile", "--quiet", "--no-header", "--no-annotate", needed.name,
        "--overrides", "overrides.txt", "--python", sys.executable, *options,
        folder=needed.parent,
    ).splitlines()  # fmt: skip
    pins = (line.partition(";")[0].strip().partition("==") for line in lines)
    return {name: version for name, equal, version in pins if equal}


def _minor(python: str) -> int:
    return int(python.partition(".")[2])
