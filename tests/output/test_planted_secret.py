"""A secret that is given away in every way: nobody finds it where lokki writes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import forking
import planted
import pytest
from serving import Place

FLOWS = Path(planted.__file__)
WORD = "swordfish-1234"
NAMES = ["planted", "planted_elsewhere", "planted_by_async", "planted_late", "planted_in_a_body"]
PLACES = ("", "/stages/1/items", "/stages/1/strip", "/stages/1/items/30", "/logs")
pytestmark = pytest.mark.timeout(120)


def told(*arguments, **variables):
    """All that a command writes."""
    environment = {**os.environ, **variables}
    done = forking.done(["-m", "lokki", *arguments], env=environment, stdin=subprocess.DEVNULL)
    return done.stdout + done.stderr


def stored(journal):
    return b"".join(each.read_bytes() for each in journal.parent.rglob("*") if each.is_file())


@pytest.mark.parametrize("format", ["human", "json"])
@pytest.mark.parametrize("name", NAMES)
def test_a_run_here_tells_it_nowhere(name, format, tmp_path, journal):
    shutil.copy(FLOWS, tmp_path / "planted.py")
    target = f"{tmp_path / 'planted.py'}:{name}"
    ran = told("run", target, LOKKI_SECRET_WORD=WORD, LOKKI_LOGGING_FORMAT=format)
    assert "***" in ran
    assert WORD not in ran
    if name != "planted_in_a_body":
        for command in (["logs", "last"], ["logs", "last", "--json"], ["show", "last", "--json"]):
            assert WORD not in told(*command), command
        assert b"***" in stored(journal)
        assert WORD.encode() not in stored(journal)
    if name == "planted":
        lines = map(json.loads, told("logs", "last", "--json").splitlines())
        silent = {place for place, way in enumerate(planted.WAYS) if way == "at_the_exit"}
        assert {line["item"] for line in lines} == set(range(len(planted.WAYS))) - silent


def test_a_service_tells_it_nowhere(tmp_path, journal):
    place = Place(tmp_path)
    shutil.copy(FLOWS, tmp_path / "planted.py")
    try:
        server = place.serve("planted.py", "--runners", "1", LOKKI_SECRET_WORD=WORD)
        for name in NAMES[:-1]:
            run = server.ran(name.replace("_", "-"))
            for path in PLACES:
                answer = server.client.get(f"/runs/{run['id']}{path}")
                assert (answer.status_code, WORD in answer.text) == (200, False), path
        refused = server.client.post("/flows/planted-in-a-body/runs", json={"params": {}})
        assert "***" in refused.text
        assert WORD not in refused.text
        server.stop()
        assert WORD not in server.told
        assert WORD.encode() not in stored(journal)
    finally:
        place.close()
