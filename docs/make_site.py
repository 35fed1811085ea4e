"""Make a web site of README, SECURITY, CONTRIBUTING, CHANGELOG and docs/*.md, with zensical.

uv run python docs/make_site.py FOLDER

A link to another of these pages leads there; one to a file that is no page is only its text. Fails
on links that lead nowhere, and on whatever else zensical warns about.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
CONFIGURATION = HERE / "zensical.toml"
_TOP = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "docs/README.md": "index.md",
}
"""Pages that have another name on the site than in ``docs``, by their path in the repository."""
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
_FENCE = re.compile(r"^ *(```|~~~)")
_ITEM = re.compile(r" *(?:[-*]|\d+\.) ")


def pages() -> dict[str, str]:
    """The files of the pages, and of their pictures, by path: their names on the site."""
    found = [file for ending in ("md", "svg", "png") for file in HERE.glob(f"*.{ending}")]
    return {f"docs/{file.name}": file.name for file in found} | _TOP


def page(path: str, names: Mapping[str, str]) -> str:
    """A page as the site has it."""
    return "".join(_linked((ROOT / path).read_text("utf-8"), posixpath.dirname(path), names))


def _linked(text: str, folder: str, names: Mapping[str, str]) -> Iterator[str]:
    def link(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        file, mark, part = target.partition("#")
        path = posixpath.normpath(posixpath.join(folder, file))
        if path in names:
            return f"{picture}[{words}]({names[path]}{mark}{part})"
        if not (ROOT / path).exists():
            raise SystemExit(f"{folder or '.'}: the link to {target} leads nowhere")
        return words

    in_code, in_text = False, False
    for line in text.splitlines(keepends=True):
        if _FENCE.match(line):
            in_code = not in_code
        is_item = not in_code and _ITEM.match(line) is not None
        if is_item and in_text:
            yield "\n"  # zensical begins no list without it
        in_text = bool(line.strip()) and not is_item and not line.startswith(" ")
        yield line if in_code else _LINK.sub(link, line)


def make(folder: Path) -> None:
    """Make the site in a folder. Raises CalledProcessError, after zensical's complaint."""
    names = pages()
    with tempfile.TemporaryDirectory() as made:
        project = Path(made)
        (project / "pages").mkdir()
        shutil.copy(CONFIGURATION, project)
        for path, name in names.items():
            if name.endswith(".md") and path != "docs/README.md":
                (project / "pages" / name).write_text(page(path, names), "utf-8")
            elif not name.endswith(".md"):
                shutil.copy(ROOT / path, project / "pages" / name)
        zensical = [sys.executable, "-m", "zensical", "build", "--strict"]
        subprocess.run(zensical, cwd=project, check=True)
        shutil.copytree(project / "site", folder, dirs_exist_ok=True)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
