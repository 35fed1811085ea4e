"""The examples, as whole processes, with the commands that they name."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import forking

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


def test_taxi_counts_a_year(tmp_path):
    done = run("taxi.py", "run", "--trips", "100", folder=tmp_path)
    assert done.returncode == 0
    assert re.fullmatch(
        r"2025: 1,\d{3} trips; the best tips were in [A-Z]\w+: \d\d\.\d %\n", done.stdout
    )
    assert run("taxi.py", "run", "--trips", "100", folder=tmp_path).stdout == done.stdout


def test_a_pipeline_publishes_what_passes_all_checks(tmp_path):
    done = run("pipeline.py", "run", folder=tmp_path)
    assert (done.returncode, done.stdout) == (
        0,
        "main is published: it passes compile, unit tests, command\n",
    )


def test_a_pipeline_ends_with_the_check_that_fails(tmp_path):
    done = run("pipeline.py", "run", "--revision", "broken", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "AssertionError: 'duck: flap' != 'duck: quack'" in done.stderr
    assert "RuntimeError: 'unit tests' failed with exit code 1" in done.stderr


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
    own = os.environ | {"HOME": str(folder)} | environ
    return forking.done([str(EXAMPLES / example), *arguments], cwd=folder, env=own)
