"""The managed runtime of Lambda on this machine: a Python with its libraries and no others."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from lokki.builder.image_pkg import RUNTIME_CLIENT
from lokki.builder.source import uv
from lokki.config import Architecture

_THERE = (RUNTIME_CLIENT, "boto3")
"""What the managed runtime has besides Python itself."""


def runtime_python(version: str) -> Path:
    """The interpreter of the runtime for a version of Python; made once, and kept in the cache.

    Raises BuildError when it cannot be made.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "lokki" / f"python{version}-{RUNTIME_CLIENT.replace('==', '-')}"
    python = folder / "bin" / "python"
    if not (folder / "complete").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        uv("venv", "--quiet", "--python", version, str(folder))
        uv("pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *_THERE)
        (folder / "complete").touch()
    return python


def architecture() -> Architecture:
    """The processor architecture of this machine, as Lambda calls it."""
    return "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
