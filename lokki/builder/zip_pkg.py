"""The package of a flow for Lambda, its code and dependencies, as a folder and as a ZIP."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

from lokki.builder.needs import Needs
from lokki.builder.own import own_requirement
from lokki.builder.source import Source, is_executable
from lokki.builder.uv import uv
from lokki.builder.wheels import explained, installed, older_notes, wheel_options
from lokki.errors import BuildError

MOST_UNPACKED = 250 * 1024 * 1024
"""Most bytes unpacked (docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)."""
_OF_COMMANDS = ("click", "rich", "markdown-it-py", "mdurl", "pygments")
"""Dependencies of lokki's commands, none of which runs in Lambda."""
_OF_BOTO = ("boto3", "botocore", "aioboto3", "aiobotocore")
_SERVICES = ("s3", "secretsmanager", "sts")
"""The services that lokki uses in Lambda; botocore's data about the others takes 15 MB."""
_OF_DURABLE = ("batch", "lambda")
"""Those that a durable function uses besides."""
_DURABLE_SDK = "aws-durable-execution-sdk-python>=3,<4"
"""What a durable function runs by, which calls Lambda."""
_ABOUT = ("requirements.txt", "overrides.txt", "services.txt")
"""The files that list what is installed."""
_COMPLETE = ".complete"
_NOTES = ".notes"
_PACKED = ".packed.zip"
_UNUSED_FOLDERS = ("__pycache__", "tests")
_UNUSED_ENDS = (".pyi", ".pyx", ".pxd", ".c", ".h", ".pyc", ".lock")
_UNUSED_RECORDS = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")
_THE_SAME_TIME = (1980, 1, 1, 0, 0, 0)
_READABLE, _EXECUTABLE = 0o644 << 16, 0o755 << 16


@dataclass(frozen=True, slots=True)
class Part:
    """A top-level entry of a package: its name, and its bytes unpacked and zipped."""

    name: str
    unpacked: int
    zipped: int


@dataclass(frozen=True, slots=True)
class Zip:
    """A package: its path, its bytes zipped and unpacked, its parts, the largest first."""

    file: Path
    size: int
    unpacked: int
    parts: tuple[Part, ...]


def write_requirements(needs: Needs, folder: Path, *more: str, durable: bool = False) -> Path:
    """Write the requirements of a package into ``folder``, and the wheels made on this machine.

    Dependencies of lokki's commands are left out, unless something else may need them. ``durable``:
    the package has a durable function.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wheels = folder / "wheels"
    local = (each.put(wheels) for each in needs.wheels)
    lines = [*needs.lines, *local, own_requirement(wheels), *more, *[_DURABLE_SDK] * durable]
    unused = [name for name in _OF_COMMANDS if not needs.has(name)]
    (folder / "overrides.txt").write_text(
        "".join(f"{name}; sys_platform == ''\n" for name in unused)
    )
    (folder / "services.txt").write_text(
        "" if needs.has(*_OF_BOTO) else "\n".join([*_SERVICES, *_OF_DURABLE * durable])
    )
    file = folder / "requirements.txt"
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file


def install(needed: Path, *, python: str, architecture: str) -> Path:
    """The folder with a package's dependencies, for Lambda's processor and Python; made once.

    They are compiled, since Lambda cannot keep what it compiles itself.
    """
    about = [python, architecture, *(each.read_bytes() for each in _files(needed.parent))]
    digest = sha256(repr(about).encode()).hexdigest()[:16]
    folder = needed.parent.parent / f"dependencies-{digest}"
    if (folder / _COMPLETE).is_file():
        return folder
    for each in needed.parent.parent.glob("dependencies-*"):
        shutil.rmtree(each)
    try:
        uv(
            "pip", "install", "--quiet", "--requirement", needed.name,
            "--overrides", "overrides.txt", "--target", str(folder.resolve()),
            *wheel_options(python, architecture), folder=needed.parent,
        )  # fmt: skip
    except BuildError as error:
        raise explained(error, needed, python=python, architecture=architecture) from None
    notes = older_notes(installed(folder), needed, python=python, architecture=architecture)
    (folder / _NOTES).write_text("\n".join(notes), "utf-8")
    services = (needed.parent / "services.txt").read_text().split()
    _prune(folder, services)
    _compile(folder)
    (folder / _COMPLETE).touch()
    return folder


def install_notes(folder: Path) -> tuple[str, ...]:
    """What to say about the dependencies in a folder from `install`."""
    return tuple((folder / _NOTES).read_text("utf-8").splitlines())


def _files(folder: Path) -> Iterator[Path]:
    """What an installation depends on."""
    yield from (folder / name for name in _ABOUT)
    yield from sorted(folder.glob("wheels/*.whl"))


def _compile(folder: Path) -> None:
    """Compile it in another process: strings interned in this one would change the bytecode."""
    options = ("-s", str(folder), "-p", "/var/task", "--invalidation-mode", "unchecked-hash")
    command = [sys.executable, "-I", "-m", "compileall", "-qq", *options, str(folder)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)


def copy_code(
    source: Source, folder: Path, modules: Mapping[str, str], beside: Path | None = None
) -> None:
    """Copy the flow's files, and the modules that Lambda calls, by the names of their files.

    ``beside`` has the other files of a package. Raises BuildError for a clash with one of them.
    """
    for file in source.files:
        theirs = beside is not None and (beside / file).exists()
        if theirs or (file.name in modules and file.parent == Path()):
            raise BuildError(
                f"{source.root / file} has the name of another file in the package; rename it"
            )
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source.root / file, target)
    for name, text in modules.items():
        (folder / name).write_text(text, "utf-8")


def write_zip(dependencies: Path, code: Path, file: Path) -> None:
    """Pack the folders from `install` and `copy_code`; the same files give the same bytes.

    The dependencies, most of a package, are compressed once and kept in their folder; they come
    first. Raises BuildError for more than Lambda unpacks.
    """
    packed = dependencies / _PACKED
    if not packed.is_file():
        _add(dependencies, file)
        file.replace(packed)
    shutil.copyfile(packed, file)
    _add(code, file)
    made = read_zip(file)
    if made.unpacked > MOST_UNPACKED:
        heaviest = ", ".join(f"{part.name} {part.unpacked / 1e6:.0f} MB" for part in made.parts[:5])
        raise BuildError(
            f"the package has {made.unpacked / 1e6:.0f} MB unpacked, but Lambda takes "
            f"{MOST_UNPACKED / 1e6:.0f} MB in a ZIP ({heaviest}): set lambda.package_type to "
            '"image", which may have 10 GB'
        )


def parted(
    files: Sequence[zipfile.ZipInfo],
) -> tuple[Sequence[zipfile.ZipInfo], Sequence[zipfile.ZipInfo]]:
    """The dependencies and the code of a package, given its files in their order.

    Each part is sorted, and has a file that the other has not: the code's ``handler.py`` is before
    any file of lokki. Of a ZIP that is no package of lokki, all is code.
    """
    names = [each.filename for each in files]
    first = next((at for at, pair in enumerate(pairwise(names), 1) if pair[0] > pair[1]), 0)
    return files[:first], files[first:]


def read_zip(file: Path) -> Zip:
    """Notes about a package."""
    with zipfile.ZipFile(file) as package:
        parts = tuple(_parts(package.infolist()))
    return Zip(file, file.stat().st_size, sum(part.unpacked for part in parts), parts)


def _add(folder: Path, file: Path) -> None:
    """Add the files of a folder to a ZIP, creating it if needed."""
    files = (each.relative_to(folder) for each in folder.rglob("*") if each.is_file())
    names = sorted({each.as_posix() for each in files} - {_COMPLETE, _NOTES})
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as package:
        for name in names:
            entry = zipfile.ZipInfo(name, _THE_SAME_TIME)
            entry.external_attr = _EXECUTABLE if is_executable(folder / name) else _READABLE
            entry.compress_type = zipfile.ZIP_DEFLATED
            package.writestr(entry, (folder / name).read_bytes())


def _parts(entries: Iterable[zipfile.ZipInfo]) -> Iterator[Part]:
    sizes: dict[str, tuple[int, int]] = {}
    for entry in entries:
        top = entry.filename.partition("/")[0].partition("-")[0].removesuffix(".py")
        unpacked, zipped = sizes.get(top, (0, 0))
        sizes[top] = unpacked + entry.file_size, zipped + entry.compress_size
    heaviest = sorted(sizes.items(), key=lambda each: (-each[1][0], each[0]))
    return (Part(name, *size) for name, size in heaviest)


def _prune(folder: Path, services: Sequence[str]) -> None:
    """Remove what nothing imports; with ``services``, botocore's data about all others."""
    for path in sorted(folder.rglob("*"), reverse=True):
        record = path.parent.name.endswith(".dist-info") and path.name in _UNUSED_RECORDS
        if path.is_dir():
            data = path.parent == folder / "botocore" / "data"
            if path.name in _UNUSED_FOLDERS or (data and services and path.name not in services):
                shutil.rmtree(path)
        elif record or path.name.endswith(_UNUSED_ENDS) or _is_script_of_here(path, folder):
            path.unlink()


def _is_script_of_here(path: Path, folder: Path) -> bool:
    """Whether it is a command in Python, whose first line names this machine's interpreter."""
    if path.parent != folder / "bin":
        return False
    with path.open("rb") as opened:
        head = opened.read(512)
    return head.startswith(b"#!") and b"python" in head
