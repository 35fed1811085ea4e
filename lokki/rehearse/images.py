"""The files of an image, put together without a container engine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lokki.builder.builder import python_version
from lokki.builder.image_pkg import CODE
from lokki.builder.zip_pkg import install
from lokki.errors import BuildError
from lokki.rehearse.environment import architecture


def assembled(built: Path, folder: Path) -> Path:
    """Put what the Dockerfile of a build would install and copy into ``folder``.

    Raises BuildError for a build without an image.
    """
    needed, code = built / "lambdas" / "requirements.txt", built / "lambdas" / CODE
    if not code.is_dir():
        raise BuildError(f'{built} has no image: build with lambda.package_type = "image"')
    shutil.rmtree(folder, ignore_errors=True)
    dependencies = install(needed, python=python_version(), architecture=architecture())
    shutil.copytree(dependencies, folder, copy_function=os.link)
    for file in code.rglob("*"):
        if file.is_file():
            target = folder / file.relative_to(code)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    return folder.resolve()
