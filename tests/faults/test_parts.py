"""Parts of a service break, one at a time: it tells which, and goes on with it, or ends."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from serving import Place, until

from lokki.store.journal import Journal

FLOWS = """
from lokki import flow, step

@step
def doubled(number):
    return 2 * number

@flow
def small(number: int = 1):
    return doubled(number)

@flow(schedule="rate(1 hour)")
def hourly(number: int = 1):
    return doubled(number)

@step
def numbers():
    return list(range(40))

@step
def blob(number):
    while number >= 8 and not OPEN.exists():
        pass
    return bytes([number]) * 50_000

@step
def lengths(blobs):
    return sum(map(len, blobs))

@flow
def blobs():
    return numbers().map(blob, concurrency_limit=1, batch_size=1).agg(lengths)
"""


@pytest.fixture
def place(tmp_path, journal):
    made = Place(tmp_path)
    made.write("flows.py", FLOWS)
    yield made
    made.close()


def broken(server, part):
    """Wait until the service tells that one part of it is broken, and no other; gives why."""

    def told():
        answer = server.client.get("/readyz")
        assert server.client.get("/healthz").status_code == 200
        return answer.status_code == 503 and answer.json()

    problem = until(told, f"a server whose part {part} is broken")
    assert problem["ready"] is False
    assert {name: state["ready"] for name, state in problem["parts"].items()} == {
        "journal": True, "flows": True, "runners": True, "clock": True, "events": True
    } | {part: False}  # fmt: skip
    why = problem["parts"][part]["problem"]
    assert problem["detail"] == f"{part}: {why}"
    return why


def problem_of(server, part):
    """Why a part does not work, if the server tells that one does not."""
    answer = server.client.get("/readyz")
    return answer.json()["parts"][part]["problem"]


@contextmanager
def limited(pid, what, most):
    """A limit of a process, for a while."""
    _, hard = resource.prlimit(pid, what)
    before = resource.prlimit(pid, what, (most, hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, what, before)


def no_more_files(server):
    """A limit of open files that the process has reached."""
    return limited(server.process.pid, resource.RLIMIT_NOFILE, 3)


def test_files_that_cannot_be_looked_into_are_when_they_can_be(place):
    server = place.serve(".")
    with no_more_files(server):
        place.write("flows.py", FLOWS + "# changed")
        place.write("more.py", FLOWS.replace("small", "late").replace("hourly", "later"))
        assert "Too many open files" in broken(server, "flows")
        assert server.client.get("/flows/small").status_code == 200
    server.ready()
    until(lambda: server.client.get("/flows/late").status_code == 200, "a file that is new")
    assert server.ran("late")["status"] == "succeeded"
    assert "flows: [Errno 24] Too many open files" in server.told
    assert "Traceback" not in server.told


def test_a_runner_that_cannot_be_started_is_when_it_can_be(place):
    server = place.serve("flows.py")
    with no_more_files(server):
        (runner,) = server.runners()
        os.kill(runner, signal.SIGKILL)
        until(lambda: "a runner cannot be started: [Errno 24]" in server.told, "the reason")
        assert "a runner cannot be started: [Errno 24]" in broken(server, "runners")
    server.ready()
    assert server.ran("small")["status"] == "succeeded"
    assert "Traceback" not in server.told


def test_runners_that_end_at_once_are_reported(place):
    server = place.serve("flows.py")
    wrong = place.folder / "lokki.toml"
    wrong.write_text("local = 5")
    (runner,) = server.runners()
    os.kill(runner, signal.SIGKILL)
    until(lambda: "a runner cannot start: " in server.told, "the reason")
    assert "no runner is ready; runner" in broken(server, "runners")
    wrong.unlink()
    server.ready()
    assert "./lokki.toml" in server.told
    assert "Traceback" not in server.told


def test_a_clock_that_cannot_read_its_schedules_is_reported(place, journal):
    server = place.serve("flows.py")
    until(lambda: server.get("/flows/hourly/schedule")["next"], "a schedule that is followed")
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("ALTER TABLE schedules RENAME TO away")
        assert "no such table: schedules" in broken(server, "clock")
        connection.execute("ALTER TABLE away RENAME TO schedules")
    server.ready()
    assert server.ran("small")["status"] == "succeeded"
    assert server.told.count("no such table: schedules") == 1
    assert "Traceback" not in server.told


def test_a_journal_that_another_process_holds_is_reported(place, journal):
    server = place.serve("flows.py")
    with closing(sqlite3.connect(journal, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        why = until(lambda: problem_of(server, "journal"), "a server that cannot write")
        assert "it has made no progress for" in why
        assert server.client.get("/healthz").status_code == 200
        connection.execute("ROLLBACK")
    server.ready()
    assert server.ran("small")["status"] == "succeeded"


# ---- a journal that can be written no more -------------------------------------------------------


def test_a_service_that_cannot_write_ends(place):
    server = place.serve("flows.py")
    with limited(server.process.pid, resource.RLIMIT_FSIZE, 1_000):
        answer = server.client.post("/flows/small/runs", json={"params": {}})
        assert answer.status_code == 503
        assert server.process.wait(40) == 1
    assert "disk I/O error; free some space on its disk" in server.told
    assert "Traceback" not in server.told
    assert place.serve("flows.py").ran("small")["status"] == "succeeded"


FULL_DISK = """
mount -t tmpfs -o size=4m tmpfs "$1"
echo mounted
exec cat
"""


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MB: its folder, and what a command begins with that is to see it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    namespace = ["unshare", "--map-root-user", "--mount"]
    mount = [*namespace, "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    if shutil.which("unshare") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    holder = subprocess.Popen(
        [*namespace, "sh", "-c", FULL_DISK, "sh", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"mounted\n"
    enter = ["nsenter", "--target", str(holder.pid), "--user", "--mount", "--preserve-credentials"]
    yield folder, Path(f"/proc/{holder.pid}/root{folder}"), enter
    holder.communicate(timeout=20)


def test_a_service_whose_disk_is_full_ends_and_the_next_one_goes_on(place, small_disk):
    folder, seen, enter = small_disk
    flows, journal = str(place.folder / "flows.py"), str(folder / "lokki.db")
    server = place.serve(flows, within=enter, LOKKI_LOCAL_JOURNAL=journal)
    run_id = server.start("blobs")
    until(lambda: begun(server, run_id), "its map")
    filler = seen / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    answer = until(lambda: refused(server), "a run that cannot be queued")
    assert answer["title"] == "The journal cannot be used"
    assert server.process.wait(50) == 1, server.told
    assert "free some space on its disk" in server.told
    assert "Traceback" not in server.told
    filler.unlink()
    place.open()
    second = place.serve(flows, within=enter, LOKKI_LOCAL_JOURNAL=journal)
    assert second.ended(run_id)["status"] == "succeeded"
    assert second.get(f"/runs/{run_id}/result")["result"] == 40 * 50_000


def begun(server, run_id):
    return len(server.get(f"/runs/{run_id}")["stages"]) == 2


def refused(server):
    """What a new run is answered once the journal has no room for it."""
    answer = server.client.post("/flows/small/runs", json={"params": {}})
    return answer.status_code == 503 and answer.json()


def test_a_runner_that_cannot_write_ends_and_another_goes_on(place, journal):
    server = place.serve("flows.py")
    run_id = server.start("blobs")
    until(lambda: items(journal) == 8, "eight items")
    (runner,) = server.runners()
    with limited(runner, resource.RLIMIT_FSIZE, 100_000):
        place.open()
        until(lambda: runner not in server.runners(), "the end of the runner")
    run = server.ended(run_id)
    assert (run["status"], len(run["resumes"])) == ("succeeded", 1)
    assert server.get(f"/runs/{run_id}/result")["result"] == 40 * 50_000
    assert "a runner ends: the journal" in server.told
    assert "Traceback" not in server.told


def items(journal):
    with closing(Journal(journal)) as opened:
        stages = opened.history.stages(opened.history.find("last").id)
        return stages[1].succeeded if len(stages) > 1 else 0
