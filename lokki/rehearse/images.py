"""Assembles the files of an image without a container engine."""

from __future__ import annotations

import shutil
from pathlib import Path

from lokki.builder.builder import python_version
from lokki.builder.image_pkg import CODE
from lokki.builder.zip_pkg import install
from lokki.errors import BuildError
from lokki.rehearse.environment import architecture


def assembled(built: Path, folder: Path) -> Path:
    """Put into ``folder`` what the Dockerfile of a build would install and copy.

    Raises BuildError for a build without an image.
    """
    needed, code = built / "lambdas" / "requirements.txt", built / "lambdas" / CODE
    if not code.is_dir():
        raise BuildError(f'{built} has no image: build with lambda.package_type = "image"')
    shutil.rmtree(folder, ignore_errors=True)
    dependencies = install(needed, python=python_version(), architecture=architecture())
    folder.mkdir(parents=True)
    ours = {each.name for each in code.iterdir()}
    for each in dependencies.iterdir():
        if each.name not in ours:
            (folder / each.name).symlink_to(each.resolve())
        elif each.is_dir():
            shutil.copytree(each, folder / each.name)
    shutil.copytree(code, folder, dirs_exist_ok=True)
    return folder.resolve()
