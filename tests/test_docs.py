"""The code blocks of the README and the docs do what they say.

A ``python`` block that begins with ``# name.py`` is written to that file, any other is run. The
commands of a ``console`` block are run beside those files, and print what the block shows.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_blocks(page, tmp_path):
    for language, text in BLOCK.findall(page.read_text()):
        if language == "python":
            named = re.match(r"# ([\w/]+\.py)\n", text)
            file = tmp_path / (named[1] if named else "block.py")
            file.write_text(text)
            if named is None:
                done = _run([sys.executable, str(file)], tmp_path)
                assert done.returncode == 0, done.stderr
        elif language == "console":
            for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
                done = _run(["bash", "-c", command], tmp_path)
                assert (done.stdout or done.stderr) == shown, done.stderr


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"PATH": path},
    )
