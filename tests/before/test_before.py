"""What lokki 0.1.0 has made is opened, shown and resumed: see README.md."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import forking
import pytest

from lokki.aws.execution_view import machine_of
from lokki.model.structure import text_of

HERE = Path(__file__).parent
FAILED, PLAIN = "20261129-202822-362t08fc", "20261129-202817-661nfa2c"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "lokki.db").write_bytes(gzip.decompress((HERE / "lokki.db.gz").read_bytes()))
    shutil.copy(HERE / "birds.py", tmp_path)
    return tmp_path


def lokki(folder, *arguments, **variables):
    environment = {"LOKKI_LOCAL_JOURNAL": str(folder / "lokki.db"), **variables}
    return forking.done(["-m", "lokki", *arguments], cwd=folder, env=os.environ | environment)


def test_its_runs_are_listed_and_shown_with_their_structure(folder):
    listed = json.loads(lokki(folder, "runs", "--json").stdout)["runs"]
    assert [run["status"] for run in listed] == ["succeeded", "failed", "succeeded"]
    run = json.loads(lokki(folder, "show", FAILED, "--json").stdout)
    assert run["chain"] == "numbers → map(double → check) → total"
    assert run["structure"] == [
        {"name": "numbers", "kind": "task", "steps": ["numbers"]},
        {"name": "double", "kind": "map", "steps": ["double", "check"]},
        {"name": "total", "kind": "task", "steps": ["total"]},
    ]
    inner = {each["step"]: each["succeeded"] for each in run["stages"][1]["inner"]}
    assert inner == {"double": 6, "check": 5}
    assert run["error"]["message"] == "8 is not right"
    assert "✗" in lokki(folder, "show", FAILED, PYTHONUTF8="1").stdout
    assert json.loads(lokki(folder, "result", PLAIN).stdout) == [0, 2, 4, 6]


def test_its_lines_are_read_by_step(folder):
    lines = lokki(folder, "logs", FAILED, "--step", "check", "--level", "INFO").stdout.splitlines()
    assert sum("checked" in line for line in lines) == 5
    refused = lokki(folder, "logs", FAILED, "--step", "chek")
    assert "it has numbers, double, check, total" in refused.stderr


def test_a_failed_run_of_it_goes_on(folder):
    done = lokki(folder, "resume", FAILED, "birds.py:birds", FIXED="1")
    assert (done.stdout, done.returncode) == ("30\n", 0), done.stderr
    calls = lokki(folder, "logs", FAILED, "--level", "INFO").stdout
    assert calls.count("checked") == 6  # five before, and one now


def test_another_structure_is_refused_with_both(folder):
    text = (folder / "birds.py").read_text()
    (folder / "birds.py").write_text(text.replace(".map(double).next(check)", ".map(double)"))
    refused = lokki(folder, "resume", FAILED, "birds.py:birds")
    assert refused.returncode == 2
    assert "it was started as: numbers → map(double → check) → total" in refused.stderr
    assert "the code is now:   numbers → map(double) → total" in refused.stderr


def test_its_state_machine_is_read():
    machine = machine_of((HERE / "statemachine.json").read_text())
    assert machine.flow == "birds"
    assert text_of(machine.structure) == "numbers → map(double → check) → total"
    assert [stage.label is not None for stage in machine.stages] == [False, True, False]
