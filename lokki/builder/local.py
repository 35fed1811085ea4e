"""Dependencies that are folders or files of this machine; a package contains wheels of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit
from urllib.request import url2pathname
from zipfile import ZipFile

from lokki.builder.uv import uv
from lokki.errors import BuildError

_PATH = re.compile(
    r"(?:-e |[\w.-]+ ?(?P<extras>\[.*?\])? ?@ ?)?"
    r"(?P<path>file://[^\s;]+|\.{0,2}/.*?)"
    r"(?P<marker> *;.*)?"
)
"""A line of `uv export` or a requirement, if it names a path."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel: its file's name and bytes, its extras and the marker of where it is needed."""

    name: str
    content: bytes
    extras: str = ""
    marker: str = ""

    @property
    def package(self) -> str:
        """The name of what is in it."""
        return self.name.partition("-")[0].replace("_", "-").lower()

    @property
    def digest(self) -> str:
        """A hash of the files in it, whenever it was made."""
        with ZipFile(BytesIO(self.content)) as opened:
            files = sorted((each.filename, each.CRC) for each in opened.infolist())
        return sha256(repr((self.name, files, self.extras, self.marker)).encode()).hexdigest()

    def put(self, folder: Path) -> str:
        """Write it into ``folder``; the requirement for it, seen from beside the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.name).write_bytes(self.content)
        return f"{self.package}{self.extras} @ ./{folder.name}/{self.name}{self.marker}"


def apart(lines: Iterable[str], base: Path) -> tuple[tuple[str, ...], tuple[Wheel, ...]]:
    """Requirements without those that name paths, and wheels of these.

    Relative paths start at ``base``. Raises BuildError for a path that gives no wheel for Lambda.
    """
    matches = [(line, _PATH.fullmatch(line)) for line in lines]
    wheels = [
        Wheel(
            *wheel_of(_resolved(found["path"], base)),
            found["extras"] or "",
            f" {found['marker'].strip()}" if found["marker"] else "",
        )
        for _, found in matches
        if found
    ]
    return tuple(line for line, found in matches if not found), tuple(wheels)


def wheel_of(path: Path) -> tuple[str, bytes]:
    """Name and bytes of the wheel at ``path``, or of the project there. Raises BuildError."""
    if path.suffix == ".whl" and path.is_file():
        return path.name, path.read_bytes()
    if not path.exists():
        raise BuildError(f"a dependency is {path}, which does not exist")
    with TemporaryDirectory(prefix="lokki-") as folder:
        uv("build", "--quiet", "--wheel", "--out-dir", folder, str(path))
        (wheel,) = Path(folder).glob("*.whl")
        if not wheel.stem.endswith("-any"):
            raise BuildError(
                f"the dependency {path} has compiled code, built here for this machine alone "
                f"({wheel.name}): build wheels of it for manylinux (cibuildwheel does), and depend "
                "on their files"
            )
        return wheel.name, wheel.read_bytes()


def _resolved(path: str, base: Path) -> Path:
    if path.startswith("file://"):
        path = url2pathname(urlsplit(path).path)
    return Path(os.path.normpath(base / path))
