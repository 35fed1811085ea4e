"""The Python that functions run under in a rehearsal."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from lokki.rehearse.environment import runtime_python

_ABOUT = "import awslambdaric, boto3, sys; print(sys.version)"


def test_it_is_this_python_with_the_runtimes_libraries_however_many_make_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with ThreadPoolExecutor(2) as pool:
        making = [pool.submit(runtime_python) for _ in range(2)]
    (python,) = {each.result() for each in making}
    told = subprocess.run([python, "-c", _ABOUT], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == sys.version
    assert [each.name for each in (tmp_path / "lokki").iterdir()] == [python.parent.parent.name]


def test_one_whose_interpreter_is_gone_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    python = runtime_python()
    python.unlink()
    assert runtime_python() == python
    subprocess.run([python, "-c", _ABOUT], capture_output=True, check=True)
