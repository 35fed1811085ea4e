"""Who waits for a run goes on when the server is started anew."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from serving import until

from lokki import Client
from lokki.errors import ServerError

AWAY = re.compile(r"http://\S+ cannot be reached: .+; trying again for up to 60 s$", re.MULTILINE)


class Waiting:
    """A command in a process of its own that waits for a run."""

    def __init__(self, folder, name, *arguments):
        self._out, self._err = (folder / f"{name}.{end}" for end in ("out", "err"))
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lokki", *arguments],
                cwd=folder,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
                stdout=out,
                stderr=err,
            )

    @property
    def out(self):
        return self._out.read_text()

    @property
    def err(self):
        return self._err.read_text()


@pytest.fixture
def restarted(place):
    """A server with a run that waits, and what starts it anew."""
    place.write("flows.py")
    server = place.serve("flows.py")
    run_id = server.start("waiting", value=5)
    server.until_status(run_id, "running")
    until(lambda: server.get(f"/runs/{run_id}/logs")["lines"], "the step")

    def again():
        place.serve("flows.py", "--port", str(server.client.base_url.port))
        place.open()

    return server, run_id, again


def looks(server):
    """How often somebody has looked at a run."""
    count = (
        r'lokki_http_request_seconds_count{method="GET",route="/runs/{run_id}",status="200"} (.*)'
    )
    (found,) = re.findall(count.replace("{", r"\{"), server.client.get("/metrics").text)
    return float(found)


def test_commands_outlive_a_restart(restarted, place):
    server, run_id, again = restarted
    url = str(server.client.base_url)
    show = Waiting(place.folder, "show", "show", run_id, "--watch", "--on", url)
    before = looks(server)
    until(lambda: looks(server) > before + 1, "the looks of the one that draws")
    logs = Waiting(place.folder, "logs", "logs", run_id, "--follow", "--on", url)
    run = Waiting(place.folder, "run", "run", "flows.py:waiting", "--value", "6", "--on", url)
    commands = (show, logs, run)
    try:
        until(lambda: "waiting" in logs.out and "waiting" in run.err, "what they print")
        server.kill()
        until(lambda: all(AWAY.search(each.err) for each in commands), "what they tell")
        again()
        assert [each.process.wait(50) for each in commands] == [0, 0, 0]
    finally:
        for each in commands:
            each.process.kill()
    assert [each.err.count("trying again") for each in commands] == [1, 1, 1]
    assert "succeeded" in show.out
    assert run.out == "6\n"


def test_a_client_outlives_a_restart(restarted, caplog):
    server, run_id, again = restarted
    caplog.set_level(logging.WARNING)
    run = Client(str(server.client.base_url)).run(run_id)
    with ThreadPoolExecutor() as threads:
        result = threads.submit(run.result, 50)
        lines = threads.submit(lambda: [line["message"] for line in run.logs(follow=True)])
        server.kill()
        until(lambda: len(caplog.messages) == 2, "what they tell")
        again()
        assert result.result(50) == 5
        assert lines.result(50) == ["waiting"]
    assert all(map(AWAY.fullmatch, caplog.messages))


def test_patience_has_an_end_and_a_timeout_is_kept(restarted, caplog):
    server, run_id, _ = restarted
    run = Client(str(server.client.base_url)).run(run_id)
    hasty = Client(str(server.client.base_url), patience=0).run(run_id)
    server.kill()
    with pytest.raises(ServerError, match="cannot be reached"):
        hasty.wait()
    assert not caplog.messages
    with pytest.raises(TimeoutError, match=r"cannot be reached.*, after 0\.3 s"):
        run.wait(timeout=0.3)


def test_a_server_that_was_never_there_is_not_waited_for(place):
    logs = Waiting(place.folder, "logs", "logs", "r1", "--follow", "--on", "http://127.0.0.1:9")
    assert logs.process.wait(30) == 1
    assert "refused" in logs.err
    assert "trying again" not in logs.err
