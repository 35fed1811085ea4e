"""Servers of different flows, folders and Pythons on one journal: each runs its own runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FLOW = """
import time
from lokki import flow, step

NEEDED

@step
def give(value):
    "Waits until the file is there, if it is asked to."
    while value == "wait" and not OPEN.exists():
        time.sleep(0.01)
    return TOLD

@flow
def NAME(value: str = ""):
    return give(value)
"""


def flow(name, needed="", told="value"):
    return FLOW.replace("NAME", name).replace("NEEDED", needed).replace("TOLD", told)


@pytest.fixture
def project(place):
    """Makes a project: a folder with a flow that imports what is in this folder alone."""

    def made(name):
        place.write(f"{name}/only_{name}.py", f"TOLD = {name!r}")
        return place.write(
            f"{name}/flows.py", flow(name, f"import only_{name}", f"only_{name}.TOLD")
        )

    return made


@pytest.fixture
def environment(tmp_path):
    """Makes a virtual environment that has lokki, and a module of its own."""

    def made(name):
        folder = tmp_path / name
        command = [sys.executable, "-m", "venv", "--without-pip", "--symlinks", str(folder)]
        subprocess.run(command, check=True, timeout=50)
        (packages,) = folder.glob("lib/python*/site-packages")
        (packages / "lokki.pth").write_text("\n".join(path for path in sys.path if path))
        (packages / f"only_{name}.py").write_text(f"TOLD = {name!r}\n")
        return str(folder / "bin" / "python")

    return made


def result(server, run_id):
    run = server.ended(run_id)
    assert run["status"] == "succeeded", run["error"]
    return server.get(f"/runs/{run_id}/result")["result"]


def test_a_server_runs_the_runs_of_its_own_project(place, project):
    project("a")
    project("b")
    a = place.serve(inside="a", LOKKI_SERVER_MAX_RUNS="1")
    b = place.serve(inside="b")
    first = a.start("a", value="wait")
    others = [a.start("a") for _ in range(20)]
    assert result(b, b.start("b")) == "b", "it does not stand behind those of the other project"
    assert {b.get(f"/runs/{run}")["status"] for run in others} == {"queued"}
    place.open()
    assert [result(b, run) for run in [first, *others]] == ["a"] * 21


def test_a_server_runs_the_runs_of_its_own_python(place, environment):
    """The file is the same; what it imports is in one of the environments alone."""
    place.write("flows.py", flow("told", "import only_venv", "only_venv.TOLD"))
    without = place.serve("flows.py")
    assert without.get("/flows")["problems"]
    python = environment("venv")
    server = place.serve("flows.py", python=python, LOKKI_SERVER_MAX_RUNS="1")
    first = server.start("told", value="wait")
    others = [server.start("told") for _ in range(5)]
    waits = without.get(f"/runs/{others[0]}")["waits_for"]
    prefix = str(Path(python).parent.parent)
    assert waits == {"source": str(place.folder / "flows.py"), "prefix": prefix, "folder": None}
    place.open()
    assert [result(server, run) for run in [first, *others]] == ["venv"] * 6


def test_modules_of_one_name_in_two_folders(place):
    for folder in ("a", "b"):
        place.write(f"{folder}/pkg/__init__.py")
        place.write(f"{folder}/pkg/flows.py", flow("told", told=repr(folder)))
    a = place.serve("pkg.flows", inside="a", LOKKI_SERVER_MAX_RUNS="1")
    b = place.serve("pkg.flows", inside="b")
    first = a.start("told", value="wait")
    other = a.start("told")
    assert result(b, b.start("told")) == "b"
    assert a.get(f"/runs/{other}")["waits_for"]["folder"] == str(place.folder / "a")
    place.open()
    assert [result(a, first), result(a, other)] == ["a", "a"]


def test_a_run_whose_server_is_gone_waits_for_the_next_one(place, project):
    """Another server only finds that its process is gone, and says what it waits for."""
    file = project("a")
    project("b")
    a = place.serve(inside="a", LOKKI_SERVER_MAX_RUNS="1")
    first, second = a.start("a", value="wait"), a.start("a")
    a.until_status(first, "running")
    children = a.children()
    a.kill()
    for pid in children:
        subprocess.run(["kill", "-9", str(pid)], check=False)
    b = place.serve(inside="b")
    b.until_status(first, "queued")
    assert result(b, b.start("b")) == "b"
    shown = subprocess.run(
        [sys.executable, "-m", "lokki", "show", second],
        cwd=place.folder, capture_output=True, text=True, timeout=50, check=True,
        env=os.environ | {"COLUMNS": "1000"},
    )  # fmt: skip
    told = f"for a server that offers {file}, with the Python in {sys.prefix}"
    assert told in shown.stdout
    place.open()
    place.serve(inside="a")
    assert [result(b, first), result(b, second)] == ["a", "a"]


def test_a_run_of_a_file_that_is_not_offered_is_resumed_where_that_was_asked(place, project):
    """Its successor in the same folder goes on with it."""
    place.write("other/flows.py", flow("other").replace('value == "wait" and', ""))
    project("b")
    place.open()
    run = subprocess.run(
        [sys.executable, "-m", "lokki", "run", "other/flows.py"],
        cwd=place.folder, capture_output=True, text=True, timeout=50, check=True,
    )  # fmt: skip
    assert run.stdout == "\n"
    place.shut()
    b = place.serve("--grace", "0", inside="b")
    (run,) = b.get("/runs")["runs"]
    answer = b.client.post(f"/runs/{run['id']}/resume", json={"from": "give"})
    assert answer.status_code == 202, answer.text
    b.until_status(run["id"], "running")
    assert b.stop() == 0
    successor = place.serve(inside="b")
    place.open()
    assert result(successor, run["id"]) == ""
