"""``lokki init``: the project that it makes runs, and its own tests pass."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tomllib
from importlib.metadata import distribution

import pytest


def test_a_new_project_runs_and_passes_its_tests(done, terminal, monkeypatch):
    code, out, err = done("init", "Garden Birds")
    assert (code, out) == (0, "")
    assert err.endswith("next: cd 'Garden Birds' && uv sync && uv run lokki run garden_birds.py\n")
    project = terminal / "Garden Birds"
    made = {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}
    assert all(f"made {os.path.join('Garden Birds', each)}\n" in err for each in made)

    monkeypatch.chdir(project)
    assert done("run", "garden_birds.py", "--count", "3")[:2] == (0, "3 words, 12 letters\n")
    code, out, _ = done("config", "--json")
    assert code == 0
    assert '"lambda.package_type": {\n    "value": "zip",\n    "from": "./lokki.toml"' in out
    alone = ("-p", "no:randomly", "-p", "no:cacheprovider", "-k", "not build")
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *alone], capture_output=True, text=True, check=False
    )
    assert tests.returncode == 0, tests.stdout
    assert "2 passed, 1 deselected" in tests.stdout


@pytest.mark.timeout(180)
def test_a_new_project_passes_its_test_of_the_build(done, terminal, rehearsal, monkeypatch):
    done("init", "owls")
    monkeypatch.chdir(terminal / "owls")
    monkeypatch.syspath_prepend(terminal / "owls")
    test = runpy.run_path("tests/test_owls.py")["test_the_build_gives_the_same_result"]
    test(rehearsal)


def test_the_project_installs_the_lokki_that_made_it(done, terminal):
    done("init", "birds")
    written = tomllib.loads((terminal / "birds" / "pyproject.toml").read_text())
    assert written["project"]["name"] == "birds"
    assert distribution("lokki-engine").read_text("direct_url.json") is not None
    source = written["tool"]["uv"]["sources"]["lokki-engine"]["path"]
    with open(os.path.join(source, "pyproject.toml"), "rb") as file:
        assert tomllib.load(file)["project"]["name"] == "lokki-engine"


def test_the_current_folder_becomes_a_project(done, terminal, monkeypatch):
    folder = terminal / "finches"
    folder.mkdir()
    (folder / "data.csv").write_text("1,2")
    monkeypatch.chdir(folder)
    code, _, err = done("init")
    assert code == 0
    assert err.endswith("\nnext: uv sync && uv run lokki run finches.py\n")
    assert done("run", "finches.py")[1] == "10 words, 110 letters\n"


def test_no_file_is_overwritten(done, terminal):
    folder = terminal / "birds"
    (folder / "tests").mkdir(parents=True)
    (folder / "pyproject.toml").write_text("mine")
    (folder / "tests" / "conftest.py").write_text("mine, too")
    code, _, err = done("init", "birds")
    assert code == 1
    assert "birds/pyproject.toml, birds/tests/conftest.py: already there, so nothing" in err
    assert sorted(path.name for path in folder.rglob("*")) == [
        "conftest.py",
        "pyproject.toml",
        "tests",
    ]


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("json", "json-flow"),
        ("lokki", "lokki-flow"),
        ("2026", "flow"),
        ("7 birds", "birds-flow"),
        ("class", "class-flow"),  # a keyword
        ("measure", "measure-flow"),  # a step of the flow that is made
        ("pytest", "pytest-flow"),  # what is installed could not be imported any more
    ],
)
def test_names_that_no_module_can_have(done, terminal, name, advice):
    code, _, err = done("init", name)
    assert code == 1
    assert f"such as '{advice}'" in err
    assert not (terminal / name).exists()


def test_a_name_with_accents_becomes_one_without(done, terminal):
    assert done("init", "Über Vögel")[0] == 0
    assert (terminal / "Über Vögel" / "uber_vogel.py").is_file()


def test_a_folder_that_cannot_be_made_is_told(done, terminal):
    (terminal / "notes").write_text("mine")
    code, out, err = done("init", "notes/birds")
    assert (code, out) == (1, "")
    assert err == "Error: notes/birds/pyproject.toml cannot be made: Not a directory\n"


def test_the_comments_of_the_commands_are_in_a_column(done, terminal):
    done("init", "Garden Birds")
    lines = (terminal / "Garden Birds" / "README.md").read_text().splitlines()
    columns = {line.index("# ") for line in lines if line.startswith("uv ")}
    assert len(columns) == 1
