"""A run is defined once: a field that is added to the model is in all that is told of a run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from lokki import Client

ROOT = Path(__file__).parents[2]
FIELD = '''    teller: int = field(default_factory=__import__("os").getpid)
    """which process has made this"""
'''
"""By its default it is known whose value is shown: that of a server, or of what asks it."""


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
    """What `lokki show` says of a run, and the process that has said it."""
    command = [sys.executable, "-m", "lokki", "show", run_id, "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=folder) as process:
        assert process.stdout is not None
        run = json.loads(process.stdout.read())
    return run, process.pid


def test_a_field_of_a_run_is_added_in_one_place(place, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(copied(tmp_path / "packages")))
    place.write("flows/flows.py")
    server = place.serve("flows.py", inside="flows")
    teller, run = server.process.pid, server.ran("words")
    assert run["teller"] == teller
    assert server.get("/runs")["runs"][0]["teller"] == teller

    described = server.get("/openapi.json")["components"]["schemas"]["Run"]["properties"]
    assert described["teller"]["description"] == "which process has made this"

    with server.events(f"/runs/{run['id']}/events") as events:
        assert next(data for name, _, data in events if name == "run")["teller"] == teller
    with server.events("/events") as events:
        assert next(events)[2]["runs"][0]["teller"] == teller

    url = str(server.client.base_url)
    assert Client(url).run(run["id"]).state()["teller"] == teller
    assert shown(tmp_path, run["id"], "--on", url)[0]["teller"] == teller
    here, process = shown(tmp_path, run["id"])
    assert here["teller"] == process
