"""Where a Python file is imported from."""

from __future__ import annotations

from pathlib import Path


def located(file: Path) -> tuple[Path, str]:
    """The folder to import ``file`` from, outside of all packages, and its module's dotted name."""
    folder, names = file.parent, [] if file.stem == "__init__" else [file.stem]
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        folder, names = folder.parent, [folder.name, *names]
    return folder, ".".join(names) or file.stem
