"""A resume from another folder, or with another Python, than its run was started with."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import textwrap
import time
import venv
from contextlib import closing

import forking
import pytest

from lokki.store.leases import LEASE_SECONDS

FLOW = """
    from pathlib import Path
    from lokki import flow, main, step

    SIZE = len(Path("words.txt").read_text().split()) if __name__ != "__main__" else 2

    @step
    def words(file):
        return [file.read_text()] * SIZE

    @step
    def checked(text):
        assert Path("ready").exists(), "not ready"
        return text + Path("words.txt").read_text()

    @flow
    def relative(file: Path = Path("words.txt")):
        return words().map(checked)

    if __name__ == "__main__":
        main(relative)
"""


@pytest.fixture
def folder(tmp_path):
    """A folder in which a run has failed, which reads files by relative paths."""
    folder, elsewhere = tmp_path / "started", tmp_path / "elsewhere"
    for each in (folder, elsewhere):
        each.mkdir()
    (folder / "words.txt").write_text("a b ")
    (tmp_path / "relative_words.py").write_text(textwrap.dedent(FLOW))
    assert call("-m", "lokki", "run", "../relative_words.py", at=folder)[0] == 1
    (folder / "ready").touch()
    return folder


def call(*arguments, at, python=None, **variables):
    words, environment = [*map(str, arguments)], {**os.environ, **variables}
    if python is None:
        done = forking.done(words, cwd=at, env=environment)
    else:
        command = [python, *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=50, cwd=at, env=environment
        )
    return done.returncode, done.stdout, done.stderr


RESULT = "['a b a b ', 'a b a b ']\n"


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "lokki", "resume", "last"],
        ["-m", "lokki", "resume", "last", "../relative_words.py"],
        ["-m", "lokki", "resume", "--run", "last", "../relative_words.py:relative"],
        ["../relative_words.py", "resume", "last"],
    ],
)
def test_a_resume_goes_to_the_folder_of_its_run(folder, tmp_path, words):
    code, out, err = call(*words, at=tmp_path / "elsewhere")
    assert (code, out) == (0, RESULT), err
    assert err.startswith(f"[INFO] in {folder}, where the run was started\n")


def test_a_module_is_found_where_it_is_typed(folder, tmp_path):
    words = ["-m", "lokki", "resume", "last", "relative_words"]
    code, out, err = call(*words, at=tmp_path)
    assert (code, out) == (0, RESULT), err


def test_a_resume_in_the_same_folder_tells_no_folder(folder):
    code, out, err = call("-m", "lokki", "resume", "last", at=folder)
    assert (code, out) == (0, RESULT)
    assert str(folder) not in err


def test_the_settings_of_a_resume_are_those_where_it_is_typed(folder, tmp_path, journal):
    elsewhere = tmp_path / "elsewhere"
    (folder / "lokki.toml").write_text("[logging]\nlevel = 'ERROR'")
    (elsewhere / "lokki.toml").write_text("[logging]\nformat = 'json'\n[local]\npayloads = 'big'")
    relative = os.path.relpath(journal, elsewhere)
    command = ["-m", "lokki", "resume", "last"]
    code, out, err = call(*command, at=elsewhere, LOKKI_LOCAL_JOURNAL=relative)
    assert (code, out) == (0, RESULT), err
    told = [json.loads(line) for line in err.splitlines()]
    assert (told[0]["event"], told[0]["level"]) == ("run_folder", "INFO")
    assert not any(path.suffix == ".db" for path in folder.rglob("*"))


def test_a_folder_that_is_gone_is_reported_and_the_resume_goes_on_here(folder, tmp_path):
    moved = folder.rename(tmp_path / "moved")
    code, out, err = call("-m", "lokki", "resume", "last", at=moved)
    assert (code, out) == (0, RESULT), err
    assert err.startswith(
        "[WARNING] the folder that the run was started in cannot be entered: "
        f"{folder}: No such file or directory; it continues in {moved}\n"
    )


def test_a_resume_elsewhere_does_not_become_the_folder_of_a_run(folder, tmp_path):
    moved = folder.rename(tmp_path / "moved")
    words = ["-m", "lokki", "resume", "last", "../relative_words.py"]
    code, _, err = call(*words, at=tmp_path / "elsewhere")
    assert (code, "words.txt" in err) == (1, True), err
    shown = json.loads(call("-m", "lokki", "show", "last", "--json", at=tmp_path)[1])
    assert shown["folder"] == str(folder)
    code, out, err = call(*words, at=moved)
    assert (code, out) == (0, RESULT), err


def test_a_run_whose_owner_elsewhere_had_a_clock_ahead_is_kept_for_a_lease_at_most(folder, journal):
    hours = time.time() + 36_000
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute(
            "UPDATE runs SET status = 'running', finished = NULL, owner = ?, leased_until = ?",
            ("elsewhere:1:abcd", hours),
        )
    code, _, err = call("-m", "lokki", "resume", "last", at=folder)
    assert (code, "process 1 on elsewhere" in err) == (1, True), err
    left = re.search(r"if it is gone, in (\d+) s", err)
    assert left is not None
    assert int(left[1]) <= LEASE_SECONDS
    with closing(sqlite3.connect(journal)) as connection:
        ((until,),) = connection.execute("SELECT leased_until FROM runs")
    assert until <= time.time() + LEASE_SECONDS


def test_show_tells_the_folder(folder, tmp_path):
    run = json.loads(call("-m", "lokki", "show", "last", "--json", at=tmp_path)[1])
    assert run["folder"] == str(folder)
    lines = call("-m", "lokki", "show", "last", at=tmp_path, COLUMNS="300")[1].splitlines()
    assert f"folder   {folder}" in lines


IMPORTING = """
    import os
    from lokki import flow, main, step
    TOP

    @step
    def work():
        assert os.environ.get("READY"), "not ready"
        INSIDE
        return "done"

    @flow
    def importing():
        return work()
"""


@pytest.mark.parametrize("place", ["TOP", "INSIDE"])
def test_another_python_is_named_when_an_import_fails(tmp_path, place):
    venv.create(tmp_path / "other", symlinks=True)
    (packages,) = (tmp_path / "other").glob("lib/*/site-packages")
    (packages / "only_there.py").touch()
    other = tmp_path / "other" / "bin" / "python"
    file = tmp_path / "importing.py"
    body = IMPORTING.replace(place, "import only_there").replace("TOP", "").replace("INSIDE", "")
    file.write_text(textwrap.dedent(body))
    path = os.pathsep.join(filter(None, sys.path))
    command = ["-m", "lokki", "run", file]
    assert call(*command, at=tmp_path, python=other, PYTHONPATH=path)[0] == 1
    for _ in range(2):
        code, out, err = call("-m", "lokki", "resume", "last", at=tmp_path, READY="1")
        assert (code, out) == (1, "")
        assert "ModuleNotFoundError: No module named 'only_there'" in err
        assert f"; the run was started with {other}; this is {sys.executable}\n" in err
    code, out, err = call(
        "-m", "lokki", "resume", "last", at=tmp_path, python=other, PYTHONPATH=path, READY="1"
    )
    assert (code, out) == (0, "done\n"), err
