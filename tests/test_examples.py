"""The examples, as whole processes, with the commands that they name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_birds(tmp_path):
    done = run("birds.py", "run", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "flappy goose, flappy duck, flappy seagul\n")


def test_reads_are_put_where_they_come_from(tmp_path):
    done = run("reads.py", "run", "--count", "12", "--processes", "2", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "12 of 12 reads are where they belong\n")
    assert len(list((tmp_path / "reads").glob("*.txt"))) == 13


def test_reads_are_the_same_for_the_same_seed(tmp_path):
    for name in ("one", "two"):
        assert run("reads.py", "run", "--count", "2", "--folder", name, folder=tmp_path).stdout
    one, two = ((tmp_path / name / "1.txt").read_text() for name in ("one", "two"))
    assert one == two


def test_pages_that_are_gone_are_tolerated_and_others_tried_again(tmp_path):
    done = run("pages.py", "run", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "98 pages; missing: [7, 57]\n")


def test_pages_go_on_after_an_outage(tmp_path):
    failed = run("pages.py", "run", folder=tmp_path, OUTAGE="60")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "ConnectionError" in failed.stderr
    before = shown(tmp_path)
    assert before["status"] == "failed"
    assert before["stages"][1]["succeeded"] >= 40
    told = run("pages.py", "resume", "last", "--failed", "--dry-run", folder=tmp_path)
    assert told.returncode == 0
    assert shown(tmp_path) == before
    done = run("pages.py", "resume", "last", "--failed", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "98 pages; missing: [7, 57]\n")
    after = shown(tmp_path)
    assert (after["id"], after["status"]) == (before["id"], "succeeded")
    assert after["stages"][0] == before["stages"][0]


def shown(folder: Path) -> dict:
    return json.loads(run("pages.py", "show", "last", "--json", folder=folder).stdout)


def run(
    example: str, *arguments: str, folder: Path, **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / example), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        cwd=folder,
        env=os.environ | {"HOME": str(folder)} | environ,
    )
