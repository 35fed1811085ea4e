"""Checks of this machine: Python, packages, configuration, a run."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from time import monotonic

from lokki.builder.needs import DISTRIBUTION
from lokki.chain import StepNode
from lokki.cli.doctor.check import Check
from lokki.config import Config, exists, files, unknown_variables
from lokki.decorators import flow, step
from lokki.engine.engine import Engine
from lokki.errors import LokkiError, RunFailed

_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)(?:\[[^]]*\])?\s*(?P<how>[>=]=)\s*(?P<version>[\d.]+)"
    r"(?:;\s*extra\s*==\s*['\"](?P<extra>\w+)['\"])?"
)
"""A requirement as our own metadata has them."""


def python() -> Check:
    """The versions of lokki and Python, and the system."""
    system = platform.system()
    found = (
        f"lokki {version(DISTRIBUTION)}, Python {platform.python_version()}, "
        f"{system} {platform.machine()}"
    )
    if os.name == "nt":
        return Check("lokki", "error", found, "lokki does not run on Windows: use WSL 2")
    return Check("lokki", "ok", found)


def packages() -> Iterator[Check]:
    """Packages that are older than lokki needs, and the extras that are installed."""
    outdated, missing, extras = dict[str, str](), set[str](), set[str]()
    for requirement in requires(DISTRIBUTION) or ():
        parts = _REQUIREMENT.match(requirement)
        if parts is None:
            continue
        name, how, wanted, extra = parts.group("name", "how", "version", "extra")
        if extra is not None:
            extras.add(extra)
        try:
            found = version(name)
        except PackageNotFoundError:
            missing.add(extra or name)
            continue
        if _numbers(found) < _numbers(wanted) or (how == "==" and found != wanted):
            outdated[f"'{name}{how}{wanted}'"] = f"{name} {found}, but lokki needs {how} {wanted}"
    if outdated:
        advice = f"pip install {' '.join(outdated)}"
        yield Check("packages", "error", "; ".join(outdated.values()), advice)
    installed = ", ".join(sorted(extras - missing)) or "none"
    left_out = ", ".join(sorted(extras & missing))
    yield Check("extras", "ok", installed + (f"; not installed: {left_out}" if left_out else ""))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:3]))


def configuration(config: Config) -> Iterator[Check]:
    """The files that were read, and variables that set nothing."""
    found = list(filter(exists, files()))
    yield Check("configuration", "ok", ", ".join(found) or "no file: the defaults")
    for line in unknown_variables():
        yield Check("configuration", "warning", line, "correct its name, or unset it")
    targets = [
        name
        for name in ("webhook", "slack", "email", "sns")
        if getattr(config.notify, name) is not None
    ]
    if targets:
        yield Check("notices", "ok", f"{', '.join(targets)}; `lokki notify` sends a test notice")


@step
def _numbers_up_to_three() -> list[int]:
    return [1, 2, 3]


@step(executor="process")
def _squared(number: int) -> int:
    return number**2


@step
def _added(numbers: list[int]) -> int:
    return sum(numbers)


@flow
def _trial() -> StepNode[int]:
    return _numbers_up_to_three().map(_squared).agg(_added)


async def run() -> Check:
    """A small run in threads and a worker process, with a journal and settings of its own."""
    began = monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="lokki-") as folder:
            path = Path(folder, "trial.db")
            async with Engine(journal=path, processes=1, config=Config()) as engine:
                await engine.run(_trial)
    except RunFailed as error:
        return Check("a run", "error", str(error), "look at the limits of processes and memory")
    except (LokkiError, OSError) as error:
        return Check(
            "a run", "error", str(error), f"make room in {tempfile.gettempdir()}, or set TMPDIR"
        )
    return Check("a run", "ok", f"in threads and a worker process, {monotonic() - began:.1f} s")
