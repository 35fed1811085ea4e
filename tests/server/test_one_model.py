"""A run is defined once: a field that is added to the model is in all that shows a run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from lokki import Client

ROOT = Path(__file__).parents[2]
FIELD = '''    made_by: int = field(default_factory=__import__("os").getpid)
    """the process that made this"""
'''
"""Its default shows where a value comes from: the server, or the process that asks it."""


def copied(folder):
    """Where both packages are, with a new field of a run."""
    for source in ("lokki", "server/lokki_server"):
        into = folder / Path(source).name
        shutil.copytree(ROOT / source, into, ignore=shutil.ignore_patterns("*.pyc.*"))  # in writing
    file = folder / "lokki" / "model" / "run.py"
    text, count = re.subn(r'(?m)^class Run:\n    """.*"""\n\n', rf"\g<0>{FIELD}", file.read_text())
    assert count == 1
    file.write_text(text)
    return folder


def shown(folder, run_id, *options):
    """A run as `lokki show` prints it, and the id of that process."""
    command = [sys.executable, "-m", "lokki", "show", run_id, "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=folder) as process:
        assert process.stdout is not None
        run = json.loads(process.stdout.read())
    return run, process.pid


def test_a_field_of_a_run_is_added_in_one_place(place, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(copied(tmp_path / "packages")))
    place.write("flows/flows.py")
    server = place.serve("flows.py", inside="flows")
    made_by, run = server.process.pid, server.ran("words")
    assert run["made_by"] == made_by
    assert server.get("/runs")["runs"][0]["made_by"] == made_by

    described = server.get("/openapi.json")["components"]["schemas"]["Run"]["properties"]
    assert described["made_by"]["description"] == "the process that made this"

    with server.events(f"/runs/{run['id']}/events") as events:
        assert next(data for name, _, data in events if name == "run")["made_by"] == made_by
    with server.events("/events") as events:
        assert next(events)[2]["runs"][0]["made_by"] == made_by

    url, folder = str(server.client.base_url), tmp_path / "flows"
    assert Client(url).run(run["id"]).state()["made_by"] == made_by
    assert shown(folder, run["id"], "--on", url)[0]["made_by"] == made_by
    here, process = shown(folder, run["id"])
    assert here["made_by"] == process
