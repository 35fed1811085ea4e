"""The package of a flow: its code and what it depends on, for Lambda, as a folder and as a ZIP."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lokki.builder.source import Source, own_requirement, requirements, uv
from lokki.errors import BuildError

MOST_UNPACKED = 250 * 1024 * 1024
"""Bytes that Lambda unpacks (docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""
_UNUSED_FOLDERS = ("__pycache__", "tests", "bin")
_UNUSED_ENDS = (".pyi", ".pyx", ".pxd", ".c", ".h", ".pyc", ".lock")
_UNUSED_RECORDS = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")
_THE_SAME_TIME = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o644 << 16


@dataclass(frozen=True, slots=True)
class Part:
    """What a package holds at its top: a name and bytes, unpacked and zipped."""

    name: str
    unpacked: int
    zipped: int


@dataclass(frozen=True, slots=True)
class Zip:
    """A package: where it is, its bytes zipped and unpacked, its parts, the heaviest first."""

    file: Path
    size: int
    unpacked: int
    parts: tuple[Part, ...]


def write_requirements(source: Source, folder: Path, *more: str) -> Path:
    """Write what a package installs into ``folder``, with a wheel of a lokki of one's own."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "requirements.txt"
    lines = [*requirements(source), own_requirement(folder / "wheels"), *more]
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file


def install(needed: Path, folder: Path, *, python: str, architecture: str) -> None:
    """Install what a package needs, for Lambda's processor and Python, without what it does not."""
    # Python 3.12 and later run on Amazon Linux 2023, earlier ones on Amazon Linux 2.
    libc = "manylinux_2_28" if int(python.partition(".")[2]) >= 12 else "manylinux2014"
    processor = "aarch64" if architecture == "arm64" else architecture
    uv(
        "pip", "install", "--quiet", "--requirement", needed.name, "--target", str(folder),
        "--python-version", python, "--python-platform", f"{processor}-{libc}",
        "--only-binary", ":all:",
        folder=needed.parent,
    )  # fmt: skip
    _prune(folder)


def copy_code(source: Source, folder: Path, handler: str) -> None:
    """Copy the flow's files, and the module that Lambda calls. Raises BuildError for a clash."""
    for file in source.files:
        target = folder / file
        if target.exists() or (file.name == "handler.py" and file.parent == Path()):
            raise BuildError(
                f"{source.root / file} has the name of another file in the package; rename it"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.root / file, target)
    (folder / "handler.py").write_text(handler, "utf-8")


def write_zip(folder: Path, file: Path) -> Zip:
    """Pack a folder: the same files give the same bytes.

    Raises BuildError for more than Lambda unpacks.
    """
    names = sorted(
        each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()
    )
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as package:
        for name in names:
            entry = zipfile.ZipInfo(name, _THE_SAME_TIME)
            entry.external_attr = _READABLE
            entry.compress_type = zipfile.ZIP_DEFLATED
            package.writestr(entry, (folder / name).read_bytes())
        parts = tuple(_parts(package.infolist()))
    unpacked = sum(part.unpacked for part in parts)
    if unpacked > MOST_UNPACKED:
        heaviest = ", ".join(f"{part.name} {part.unpacked / 1e6:.0f} MB" for part in parts[:5])
        raise BuildError(
            f"the package has {unpacked / 1e6:.0f} MB unpacked, and Lambda takes "
            f"{MOST_UNPACKED / 1e6:.0f} MB in a ZIP ({heaviest}): set lambda.package_type to "
            '"image", which may have 10 GB'
        )
    return Zip(file, file.stat().st_size, unpacked, parts)


def _parts(entries: Iterable[zipfile.ZipInfo]) -> Iterator[Part]:
    sizes: dict[str, tuple[int, int]] = {}
    for entry in entries:
        top = entry.filename.partition("/")[0].partition("-")[0].removesuffix(".py")
        unpacked, zipped = sizes.get(top, (0, 0))
        sizes[top] = unpacked + entry.file_size, zipped + entry.compress_size
    heaviest = sorted(sizes.items(), key=lambda each: (-each[1][0], each[0]))
    return (Part(name, *size) for name, size in heaviest)


def _prune(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        record = path.parent.name.endswith(".dist-info") and path.name in _UNUSED_RECORDS
        if path.is_dir():
            if path.name in _UNUSED_FOLDERS:
                shutil.rmtree(path)
        elif record or path.name.endswith(_UNUSED_ENDS):
            path.unlink()
