"""The chains of tests/typing, read by both type checkers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GOOD = "tests/typing/good.py"
BAD = "tests/typing/bad.py"

pytestmark = pytest.mark.timeout(300)


def output(*command):
    """What a checker prints; it must have worked, whether or not it found errors."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout or done.returncode == 0, done.stderr
    return done.stdout


def mypy(path):
    printed = output("mypy", "--strict", "--cache-dir", os.devnull, "--output", "json", path)
    found = [json.loads(line) for line in printed.splitlines() if line]
    return [(e["file"], e["line"], e["message"]) for e in found if e["severity"] == "error"]


def pyright(path):
    printed = output("pyright", "--pythonpath", sys.executable, "--outputjson", path)
    report = json.loads(printed)
    assert report["summary"]["filesAnalyzed"] == 1
    return [
        (e["file"], e["range"]["start"]["line"] + 1, e["message"])
        for e in report["generalDiagnostics"]
        if e["severity"] == "error"
    ]


both_checkers = pytest.mark.parametrize("check", [mypy, pyright])


@both_checkers
def test_good_chains_pass(check):
    assert check(GOOD) == []


@both_checkers
def test_bad_chains_are_refused_line_by_line(check):
    lines = (ROOT / BAD).read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    found = check(BAD)
    assert marked
    assert {line for _, line, _ in found} == marked
    assert {Path(file).name for file, _, _ in found} == {"bad.py"}
