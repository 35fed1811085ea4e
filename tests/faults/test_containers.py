"""`lokki serve` as a container starts it: as the first process, with a disk that is read only."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from serving import Place, until

FIRST = ["unshare", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
READ_ONLY = """
mount --make-rprivate /
mount --bind "$1" "$1"
awk '{print $5}' /proc/self/mountinfo | while read -r place; do
    [ "$place" = "$1" ] || mount -o remount,bind,ro "$place" 2> /dev/null
done
shift
exec setpriv --reuid 12345 --regid 12345 --clear-groups \
    --inh-caps +dac_read_search --ambient-caps +dac_read_search env -u HOME "$@"
"""
FLOWS = """
import os
import subprocess
from lokki import flow, step

@step
def orphaned():
    "The number of a process whose parent ends before it does."
    told = subprocess.run(["sh", "-c", "sleep 0.3 > /dev/null & echo $!"], capture_output=True)
    return int(told.stdout)

@flow
def orphans():
    return orphaned()

@step
def until_open(number):
    "Until the file is there."
    import time
    while not OPEN.exists():
        time.sleep(0.01)
    return number

@flow
def waiting():
    return until_open(1)

@step
def numbers():
    return list(range(3))

@step(executor="process")
def large(number):
    return bytes([number]) * 1_000_000

@step
def lengths(blobs):
    return [sum(map(len, blobs)), os.getuid(), os.environ.get("HOME"), os.access(".", os.W_OK)]

@flow
def blobs():
    return numbers().map(large).agg(lengths)
"""


@pytest.fixture
def place(tmp_path, journal):
    made = Place(tmp_path)
    made.write("flows.py", FLOWS)
    yield made
    made.close()


def needed(*command):
    """Skip the test where this system does not let us do it."""
    try:
        done = subprocess.run([*command, "true"], capture_output=True, timeout=20)
    except FileNotFoundError:
        pytest.skip(f"there is no {command[0]}")
    if done.returncode:
        pytest.skip(f"this system does not allow it: {done.stderr.decode()}")


@pytest.fixture
def contained(place):
    """A server that is the first process of a container, and the number it has outside of that."""
    needed(*FIRST)
    server = place.serve("flows.py", "--grace", "0", within=FIRST)
    (first,) = server.children()
    assert b"lokki" in Path(f"/proc/{first}/cmdline").read_bytes()
    assert "\t1\n" in next(line for line in status(first) if line.startswith("NSpid"))
    return server, first


def status(pid):
    return Path(f"/proc/{pid}/status").read_text().splitlines(keepends=True)


def test_the_first_process_waits_for_those_whose_parents_have_ended(contained):
    server, first = contained
    run = server.ran("orphans")
    orphan = server.get(f"/runs/{run['id']}/result")["result"]
    seen = Path(f"/proc/{first}/root/proc")
    assert (seen / "1").exists()
    until(lambda: not (seen / str(orphan)).exists(), "an end of the orphan", seconds=20)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_process_ends_in_order(contained, place, journal, how):
    server, first = contained
    run = server.start("waiting")
    server.until_status(run, "running")
    os.kill(first, how)
    assert server.process.wait(40) == 0, server.told
    assert "Traceback" not in server.told
    with closing(sqlite3.connect(journal)) as connection:
        assert connection.execute("SELECT status, owner FROM runs").fetchall() == [("queued", None)]
    place.open()
    assert place.serve("flows.py").ended(run)["status"] == "succeeded"


def test_the_first_process_ends_as_the_server_does(place):
    needed(*FIRST)
    told = subprocess.run(
        [*FIRST, "lokki", "serve", "--host", "192.0.2.1"],
        cwd=place.folder, capture_output=True, text=True, timeout=40,
    )  # fmt: skip
    assert told.returncode == 1
    assert "cannot listen on 192.0.2.1" in told.stderr


def test_nothing_is_written_but_beside_the_journal_by_a_user_that_nobody_knows(place, journal):
    if os.getuid():
        pytest.skip("another user can only be taken on by root")
    needed("unshare", "--mount", "setpriv", "--reuid", "12345", "--clear-groups")
    journal.parent.mkdir(mode=0o700)
    os.chown(journal.parent, 12345, 12345)
    container = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", str(journal.parent)]
    server = place.serve(str(place.folder / "flows.py"), within=container)
    run = server.ran("blobs")
    assert run["status"] == "succeeded", run["error"]
    assert server.get(f"/runs/{run['id']}/result")["result"] == [3_000_000, 12345, None, False]
    assert server.stop() == 0, server.told
    assert "Traceback" not in server.told
    assert "WARNING" not in server.told
