"""The workflow on GitHub and ``.ci/run`` check the same."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMAND = re.compile(r"\buv run ([a-z]+(?: [a-z]+)*)")


def test_the_workflow_checks_what_ci_run_checks():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    script = (ROOT / ".ci" / "run").read_text()
    assert set(COMMAND.findall(workflow)) == set(COMMAND.findall(script)) != set()


def test_every_supported_python_is_tested():
    metadata = (ROOT / "pyproject.toml").read_text()
    supported = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', metadata)
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    matrix = re.search(r"python: \[(.*)\]", workflow)
    assert matrix is not None
    assert re.findall(r"3\.\d+", matrix[1]) == supported != []


def test_the_tests_of_platforms_are_there():
    named = (ROOT / ".ci" / "platform").read_text().split()
    assert named
    assert [path for path in named if not list(ROOT.glob(path))] == []


def test_the_oldest_and_the_newest_python_are_those_that_packages_are_used_on():
    metadata = (ROOT / "pyproject.toml").read_text()
    supported = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', metadata)
    used = re.search(r"bash \.ci/packages (.*)", (ROOT / ".github/workflows/ci.yml").read_text())
    assert used is not None
    assert used[1].split() == [supported[0], supported[-1]]
    assert "bash .ci/packages " in (ROOT / ".ci" / "run").read_text()
