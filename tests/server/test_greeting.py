"""What `lokki serve` tells when it begins: more on a terminal than elsewhere."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys

import pytest
from serving import until

FLOWS = """
from lokki import flow, step

@step
def one():
    return 1

@flow
def plain():
    return one()

@flow(schedule="cron(0 9 * * ? 2190)", timezone="Asia/Tokyo")
def daily():
    return one()
"""
LISTED = (
    "  daily  flows.py  next 2190-01-01 00:00:00\n"
    "  plain  flows.py\n"
    "  broken.py: ModuleNotFoundError: No module named 'nosuch'\n"
)


class Terminal:
    """A `lokki serve` at a terminal."""

    def __init__(self, place, **variables):
        self._own, terminal = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lokki", "serve", "--port", "0"],
            cwd=place.folder,
            env=os.environ | {"TZ": "UTC", "TERM": "dumb"} | variables,
            stderr=terminal,
        )
        os.close(terminal)
        self._shown = ""

    def shown(self):
        while select.select([self._own], [], [], 0)[0]:
            self._shown += os.read(self._own, 65_536).decode().replace("\r\n", "\n")
        return self._shown

    def close(self):
        self.process.terminate()
        self.process.wait(50)
        os.close(self._own)


@pytest.fixture
def open_terminal(place):
    opened = []

    def open_terminal(**variables):
        opened.append(Terminal(place, **variables))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()


def test_flows_schedules_and_problems_are_reported_on_a_terminal(place, open_terminal):
    place.write("flows.py", FLOWS)
    place.write("broken.py", f"import nosuch\n{FLOWS}")
    terminal = open_terminal()
    until(lambda: LISTED in terminal.shown(), "what is served")
    assert terminal.shown().startswith("lokki serves http://127.0.0.1:")


def test_where_there_are_no_flows_it_says_so(place, open_terminal):
    terminal = open_terminal()
    until(lambda: "  no flows: define one with @flow" in terminal.shown(), "that there is none")


def test_elsewhere_the_address_alone_is_reported_and_what_is_wrong(place, open_terminal):
    place.write("flows.py", FLOWS)
    server = place.serve()
    server.stop()
    assert server.told == f"lokki serves {str(server.client.base_url).rstrip('/')}\n"
    place.write("broken.py", f"import nosuch\n{FLOWS}")
    server = place.serve()
    server.stop()
    _, *problems = server.told.splitlines()
    assert problems == ["broken.py: ModuleNotFoundError: No module named 'nosuch'"]
    terminal = open_terminal(LOKKI_LOGGING_FORMAT="json")
    until(lambda: "broken.py" in terminal.shown(), "what is wrong")
    assert "daily" not in terminal.shown()
