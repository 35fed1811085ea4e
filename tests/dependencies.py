"""The dependencies of packages of lokki alone, installed once for all processes of a test run."""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import replace
from pathlib import Path

from lokki import flow, step
from lokki.builder.builder import build
from lokki.config import load
from lokki.rehearse.environment import architecture
from lokki.rehearse.images import assembled


@step
def nothing() -> None:
    pass


@flow
def packaged():
    return nothing()


class Dependencies:
    """What the packages of flows without dependencies of their own need, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def into(self, build_dir: Path) -> str:
        """Give a build folder what ZIPs and images need, as earlier builds leave it there."""
        for found in self._built().glob("*/dependencies-*"):
            shutil.copytree(found, build_dir / found.name, copy_function=os.link)
        return str(build_dir)

    def _built(self) -> Path:
        self._folder.mkdir(exist_ok=True)
        built = self._folder / "built"
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not built.exists():
                for kind in ("zip", "image"):
                    _build(self._folder / kind, kind)
                built.touch()
        return self._folder


def _build(folder: Path, kind: str) -> None:
    config = load({"lambda.package_type": kind, "lambda.architecture": architecture()})
    build(packaged.outline(), replace(config, build_dir=str(folder)))
    if kind == "image":
        assembled(folder, folder / "assembled")
