"""Which module may import which: the contracts of ``[tool.importlinter]``, and that they bite.

Beside them: no modules import one another in a circle, through imports within functions and those
for type checkers alone either. Such modules can only be read, changed and tested together.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import grimp
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
        ("graph.py", "from lokki.decorators import Flow", "Imports point down"),
        ("engine/engine.py", "from lokki.decorators import Flow", "Imports point down"),
        ("store/keys.py", "from lokki.engine.engine import Engine", "Imports point down"),
        ("call.py", "from lokki.store.codec import dumps", "Imports point down"),
        ("surplus.py", "", "Imports point down"),
        ("engine/engine.py", "from lokki_server.app import create_app", "The service is on top"),
        (
            "../lokki_server/app.py",
            "from lokki.cli.render.run import show_run",
            "knows no commands",
        ),
        ("store/keys.py", "from lokki.graph import FlowGraph", "The store knows no flows"),
        ("store/keys.py", "from lokki.call import Failure", "The store knows no flows"),
        ("params/checking.py", "import cloudpickle", "The definition layer is pure"),
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


def circles(graph):
    """The imports of modules that import one another, a list for each group of such modules."""
    groups = set()
    for module in graph.modules:
        both = graph.find_upstream_modules(module) & graph.find_downstream_modules(module)
        groups.add(frozenset({module, *both}))
    return [
        [
            f"{importer} imports {imported}"
            for importer in sorted(group)
            for imported in sorted(group & graph.find_modules_directly_imported_by(importer))
        ]
        for group in groups
        if len(group) > 1
    ]


def test_no_modules_import_one_another():
    graph = grimp.build_graph("lokki", "lokki_server", cache_dir=None)
    assert circles(graph) == []


def test_a_circle_is_found_wherever_its_imports_are(tmp_path, monkeypatch):
    package = tmp_path / "rounds"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "alone.py").write_text("from rounds import first\n")
    (package / "first.py").write_text("def call():\n    from rounds.second import called\n")
    (package / "second.py").write_text(
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from rounds import first\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert circles(grimp.build_graph("rounds", cache_dir=None)) == [
        ["rounds.first imports rounds.second", "rounds.second imports rounds.first"]
    ]


def test_a_worker_starts_without_what_only_the_engine_needs():
    slow = {"anyio", "asyncio", "cloudpickle", "hashlib", "pathlib", "sqlite3", "urllib.parse"}
    slow -= imported_by("traceback")  # it imports pathlib since Python 3.15
    assert slow & imported_by("lokki.engine.worker") == set()


def imported_by(module):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
    )
    return set(done.stdout.split())


def test_a_process_of_the_service_that_imports_flows_starts_without_pydantic():
    code = "import sys, lokki_server.inspector, lokki_server.runner; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"pydantic", "fastapi"} & set(done.stdout.split()) == set()
