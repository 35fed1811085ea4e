"""The packages of functions, unpacked: the dependencies that several have in common are there once.

Most of a package are its dependencies, thousands of files, which nearly all flows share.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from lokki.builder.zip_pkg import parted


def unpacked(function: Any, *, writable: bool) -> Path:
    """The folder of a package; the functions of a flow share theirs.

    They find it read-only where they are confined; else, nobody but root can put files into it.
    It has links to the dependencies, but where a folder of theirs has code of the flow, too.
    """
    kind = "-writable" * writable
    folder = _folder() / f"{function.code_digest}{kind}"
    if folder.exists():
        return folder
    with zipfile.ZipFile(io.BytesIO(function.code_bytes)) as package:
        dependencies, code = parted(package.infolist())
        shared = _dependencies(package, dependencies, kind)
        own = {_top(each) for each in code}
        files = [*code, *(each for each in dependencies if _top(each) in own)]
        made = _extracted(package, files)
    for each in shared.iterdir():
        if each.name not in own:
            (made / each.name).symlink_to(each)
    return _finished(made, folder, writable=writable)


def remove() -> None:
    """Remove every package."""
    _set_mode(_folder(), 0o755)
    shutil.rmtree(_folder(), ignore_errors=True)
    _folder.cache_clear()


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="lokki-functions-")).resolve()


def _dependencies(package: zipfile.ZipFile, files: Sequence[zipfile.ZipInfo], kind: str) -> Path:
    same = [(each.filename, each.file_size, each.CRC, each.external_attr) for each in files]
    folder = _folder() / f"dependencies-{sha256(repr(same).encode()).hexdigest()}{kind}"
    if folder.exists():
        return folder
    return _finished(_extracted(package, files), folder, writable=bool(kind))


def _extracted(package: zipfile.ZipFile, files: Iterable[zipfile.ZipInfo]) -> Path:
    made = Path(tempfile.mkdtemp(dir=_folder()))
    for each in files:
        extracted = Path(package.extract(each, made))
        executable = each.external_attr >> 16 & stat.S_IXUSR
        extracted.chmod(0o755 if each.is_dir() else 0o555 if executable else 0o444)
    return made


def _finished(made: Path, folder: Path, *, writable: bool) -> Path:
    if not writable:
        _set_mode(made, 0o555)
    return made.rename(folder)


def _top(entry: zipfile.ZipInfo) -> str:
    """What it is, or is in, in the folder of a package."""
    return entry.filename.partition("/")[0]


def _set_mode(folder: Path, mode: int) -> None:
    for each, _, _ in os.walk(folder):
        os.chmod(each, mode)
