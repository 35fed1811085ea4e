"""The managed runtime of Lambda on this machine: a Python with only its libraries."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from lokki.builder.builder import python_version
from lokki.builder.image_pkg import RUNTIME_CLIENT
from lokki.builder.uv import uv
from lokki.config import Architecture

_THERE = (RUNTIME_CLIENT, "boto3")
"""The libraries of the managed runtime."""


def runtime_python() -> Path:
    """The runtime's interpreter, in this process's version; made once and cached.

    Raises BuildError if it cannot be made.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lokki"
    kept = cache / f"python{python_version()}-{RUNTIME_CLIENT.replace('==', '-')}"
    python = kept / "bin" / "python"
    if kept.is_dir() and not python.is_file():  # it was complete: its interpreter has gone since
        shutil.rmtree(kept, ignore_errors=True)
    if not python.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as made:
            into = str(Path(made, "bin", "python"))
            uv("venv", "--quiet", "--allow-existing", "--python", sys.executable, made)
            uv("pip", "install", "--quiet", "--compile-bytecode", "--python", into, *_THERE)
            with suppress(OSError):  # another process was faster
                Path(made).rename(kept)
    return python


def architecture() -> Architecture:
    """The processor architecture of this machine, by Lambda's name."""
    return "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
