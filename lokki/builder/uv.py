"""Runs uv, which makes packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from lokki.errors import BuildError


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
