"""What is published: its name in all that tells how to install it, and its version."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest

import lokki

ROOT = Path(__file__).parents[1]
FOLDERS = (".ci", ".github", "bench", "docs", "examples", "findings", "lokki", "server", "tests")
ANOTHER_PROJECT = re.compile(
    r"""(?:\binstall|\buv\ add|\buvx|--with)\s+(?:-\S+\s+|uv\s+)*['"]?lokki(?![\w-])"""
    r"""|\blokki\[[a-z]"""
)
"""`lokki` on PyPI is somebody else's; ours is `lokki-engine`."""


def texts():
    """Each text of ours, by its path."""
    files = [each for folder in FOLDERS for each in (ROOT / folder).rglob("*") if each.is_file()]
    for file in [*files, *(each for each in ROOT.iterdir() if each.is_file())]:
        path = file.relative_to(ROOT)
        if not {"__pycache__", ".envs", ".work"} & set(path.parts):
            yield path.as_posix(), file.read_text("utf-8", errors="replace")


def test_no_text_tells_to_install_another_project():
    found = dict(texts())
    assert {
        "README.md",
        "lokki/cli/commands/serve.py",
        "docs/service.md",
        ".ci/run",
    } <= found.keys()
    assert {path for path, text in found.items() if ANOTHER_PROJECT.search(text)} == set()


@pytest.mark.parametrize(
    ("command", "is_another"),
    [
        ("pip install {}", True),
        ("pip install -q uv '{}'", True),
        ("uv add {}>=0.2", True),
        ("uvx {} run", True),
        ("needs '{}[aws]'", True),
        ("pip install {}-engine", False),
        ("pip install '{}-engine[server]'", False),
    ],
)
def test_what_would_be_another_project(command, is_another):
    assert bool(ANOTHER_PROJECT.search(command.format("lokki"))) is is_another


def test_the_version_is_that_of_the_newest_release():
    changes = (ROOT / "CHANGELOG.md").read_text()
    newest = re.search(r"^## (\d\S*)", changes, re.MULTILINE)
    assert newest is not None
    assert newest[1] == lokki.__version__ == version("lokki-engine")
