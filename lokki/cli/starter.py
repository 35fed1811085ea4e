"""The files of a new project: a flow, its tests, and what installs, runs and rehearses them."""

from __future__ import annotations

import json
import keyword
import re
import sys
import unicodedata
from importlib.machinery import PathFinder
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lokki.builder.needs import DISTRIBUTION
from lokki.errors import LokkiError

_IN_FLOW = {"main", "list_words", "measure", "summarize"}
_TAKEN = {
    *sys.stdlib_module_names,
    *keyword.kwlist,
    "lokki",
    "test",
    "tests",
    "conftest",
} | _IN_FLOW

_FLOW = '''"""Measure some words: a flow to put your own steps into."""

from lokki import flow, main, step


@step
def list_words(count: int) -> list[str]:
    """What to map over: file names, URLs, ids, rows."""
    return ["ab" * number for number in range(1, count + 1)]


@step(retry={"retries": 2, "delay": 1}, timeout_seconds=60)
def measure(word: str) -> int:
    """The work on one item; it is tried again if it fails."""
    return len(word)


@step
def summarize(lengths: list[int]) -> str:
    """Gets the results of all items, in order."""
    return f"{len(lengths)} words, {sum(lengths)} letters"


@flow
def MODULE(count: int = 10):
    """Measure some words."""
    return list_words().map(measure).agg(summarize)


if __name__ == "__main__":
    main(MODULE)
'''
_TESTS = '''"""Tests of the steps, of the whole flow here, and of its build as AWS runs it."""

import pytest
from MODULE import MODULE, measure

pytestmark = pytest.mark.usefixtures("isolated")  # a journal of their own, no waits for retries


def test_an_item():
    assert measure.fn("abab") == 4  # the plain function


def test_the_flow():
    assert MODULE.run_sync(count=3) == "3 words, 12 letters"


def test_the_build_gives_the_same_result(rehearsal):
    assert rehearsal.run(MODULE(count=3)).result == "3 words, 12 letters"
'''
_CONFTEST = """from lokki.testing import isolated as isolated
from lokki.testing import rehearsal as rehearsal
"""
_PROJECT = """[project]
name = "NAME"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["lokki-engine"]

[dependency-groups]
dev = ["lokki-engine[rehearse]", "pytest>=8.4"]

[tool.pytest.ini_options]
pythonpath = ["."]
testpaths = ["tests"]
"""
_CONFIGURATION = """# `lokki config` lists every key with its value and where that comes from.

[lambda]
package_type = "zip" # "image" for large dependencies; it needs Docker to deploy

# [aws]
# artifact_bucket = "birds-lokki" # then: lokki plan, lokki deploy, lokki invoke MODULE.py
"""
_COMMANDS = {
    "uv sync": "install",
    "uv run lokki run MODULE.py": "run the flow here; --count 100 is its parameter",
    "uv run pytest": "test it, also as AWS would run it",
    "uv run lokki rehearse MODULE.py": "run its build here, and see what AWS would do",
    "uv add 'lokki-engine[server]'": "once, then:",
    "uv run lokki serve MODULE.py": "HTTP API and dashboard",
}
_README = """# NAME

```sh
COMMANDS
```

A run that was interrupted or has failed: `uv run lokki resume last`.
"""
_IGNORED = """.venv/
__pycache__/
.pytest_cache/
lokki-build/
"""


def files_of(folder: str) -> dict[str, str]:
    """The files of a project in a folder of this name, by path. Raises LokkiError."""
    letters = unicodedata.normalize("NFKD", folder).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "-", letters.lower()).strip("-")
    module = name.replace("-", "_")
    if not name[:1].isalpha() or module in _TAKEN or _is_installed(module):
        other = f"{name.lstrip('0123456789-')}-flow".lstrip("-")
        raise LokkiError(
            f"'{folder}' cannot be the name of a project and its module: choose another one, such "
            f"as '{other}'"
        )
    files = {
        "pyproject.toml": _PROJECT + _source(),
        "lokki.toml": _CONFIGURATION,
        f"{module}.py": _FLOW,
        "tests/conftest.py": _CONFTEST,
        f"tests/test_{module}.py": _TESTS,
        "README.md": _README.replace("COMMANDS", _commands(module)),
        ".gitignore": _IGNORED,
    }
    return {
        path: text.replace("MODULE", module).replace("NAME", name) for path, text in files.items()
    }


def _is_installed(module: str) -> bool:
    """Whether an import of this name finds something that is not in this folder."""
    elsewhere = [each for each in sys.path if Path(each).resolve() != Path.cwd()]
    return PathFinder.find_spec(module, elsewhere) is not None


def _commands(module: str) -> str:
    told = {command.replace("MODULE", module): does for command, does in _COMMANDS.items()}
    width = max(map(len, told))
    return "\n".join(f"{command:<{width}}  # {does}" for command, does in told.items())


def _source() -> str:
    """Where uv finds lokki if it was not installed from an index: a table of ``pyproject.toml``.

    https://packaging.python.org/en/latest/specifications/direct-url/
    """
    found = json.loads(distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    if not found:
        return ""
    url = found["url"]
    if "vcs_info" in found:
        source = {"git": url, "rev": found["vcs_info"]["commit_id"]}
    elif url.startswith("file:"):
        source = {"path": unquote(urlsplit(url).path)}
    else:
        source = {"url": url}
    entries = ", ".join(f"{key} = {json.dumps(value)}" for key, value in source.items())
    return f"\n[tool.uv.sources]\n{DISTRIBUTION} = {{ {entries} }}\n"
