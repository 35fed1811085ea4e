"""The table of the commands: what it lists, and that a command imports no other one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lokki.cli import commands

LOADED = (
    "import sys; from lokki.cli.main import entry_point\n"
    "try: entry_point()\n"
    "finally: print(*sorted(n for n in sys.modules if n.startswith('lokki.cli.commands.')))"
)


def test_each_command_has_its_file_and_each_file_is_listed():
    folder = Path(commands.__file__).parent
    files = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    listed = [each.name for each in commands.TABLE]
    assert sorted(listed) == sorted(files)


@pytest.mark.parametrize("name", ["runs", "config", "gc", "serve"])
def test_a_command_imports_no_other_one(tmp_path, name):
    done = subprocess.run(
        [sys.executable, "-c", LOADED, name, "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.stdout.splitlines()[-1] == f"lokki.cli.commands.{name}"
