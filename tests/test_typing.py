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


def mypy(*paths):
    printed = output("mypy", "--strict", "--cache-dir", os.devnull, "--output", "json", *paths)
    found = [json.loads(line) for line in printed.splitlines() if line]
    return [(e["file"], e["line"], e["message"]) for e in found if e["severity"] == "error"]


def pyright(*paths):
    printed = output("pyright", "--pythonpath", sys.executable, "--outputjson", *paths)
    report = json.loads(printed)
    assert report["summary"]["filesAnalyzed"] == len(paths)
    return [
        (e["file"], e["range"]["start"]["line"] + 1, e["message"])
        for e in report["generalDiagnostics"]
        if e["severity"] == "error"
    ]


@pytest.mark.parametrize("check", [mypy, pyright])
def test_good_chains_pass_and_bad_ones_are_refused_line_by_line(check):
    lines = (ROOT / BAD).read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    found = check(GOOD, BAD)
    assert marked
    assert [each for each in found if Path(each[0]).name != "bad.py"] == []
    assert {line for _, line, _ in found} == marked
