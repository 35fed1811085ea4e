"""Which module may import which: the contracts of ``[tool.importlinter]``, and that they bite."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(root):
    """The exit status and output of ``lint-imports``, run for the lokki package in ``root``."""
    done = subprocess.run(
        [sys.executable, "-c", LINT, str(ROOT / "pyproject.toml"), "--no-cache"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_contracts_are_kept():
    status, printed = lint(ROOT)
    assert status == 0, printed
    assert "0 broken" in printed


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("errors.py", "from lokki.retry import RetryConfig", "Imports point down"),
        ("retry.py", "from lokki.chain import Step", "Imports point down"),
        ("store/keys.py", "from lokki.engine.engine import Engine", "Imports point down"),
        ("call.py", "from lokki.store.codec import dumps", "Imports point down"),
        ("surplus.py", "", "Imports point down"),
        ("engine/engine.py", "from lokki_server.app import create_app", "The service is on top"),
        ("store/keys.py", "from lokki.graph import FlowGraph", "The store knows no flows"),
        ("store/keys.py", "from lokki.call import Failure", "The store knows no flows"),
        ("params.py", "import cloudpickle", "The definition layer is pure"),
        ("chain.py", "import asyncio", "The definition layer is pure"),
        ("schedule.py", "from time import time", "The definition layer is pure"),
        ("engine/state.py", "from lokki.chain import Step", "The state machine is pure"),
        ("engine/state.py", "from lokki.engine.events import Event", "The state machine is pure"),
        ("runtime/handler.py", "import click", "The runtime is small"),
        ("runtime/event.py", "from lokki.config import load", "The runtime is small"),
        ("builder/states.py", "import asyncio", "The compiler is pure"),
        ("builder/builder.py", "from lokki.rehearse import rehearsal", "Imports point down"),
        ("engine/state.py", "import anyio", "The state machine is pure"),
        ("engine/state.py", "from time import monotonic", "The state machine is pure"),
        ("engine/state.py", "import random", "The state machine is pure"),
    ],
)
def test_an_import_against_a_contract_is_found(tmp_path, module, line, contract):
    shutil.copytree(ROOT / "lokki", tmp_path / "lokki")
    shutil.copytree(ROOT / "server" / "lokki_server", tmp_path / "lokki_server")
    with open(tmp_path / "lokki" / module, "a") as source:
        source.write(f"\n{line}\n")
    status, printed = lint(tmp_path)
    assert status == 1
    assert contract in printed.partition("Broken contracts")[2]
