"""Servers and their runners are killed in the midst of runs: nothing is lost, nothing runs twice.

A call of a step writes when it begins and when it ends, and by which process, so that a test sees
what ran again, and whether a run was ever in two processes at a time.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from contextlib import suppress

import pytest
from journals import EVERY_ITEM, ask
from serving import Place, until

COUNT = 120
FLOW = f"""
import os, signal, time
import lokki
from lokki import flow, step

HERE = Path(__file__).parent

def note(run, text):
    with open(HERE / f"calls {{run}}", "a") as calls:
        calls.write(text + chr(10))

@step
def numbers(count):
    return list(range(count))

@step
def work(number, name, held):
    note(name, f"begin {{number}} {{os.getpid()}}")
    while number >= held and not OPEN.exists():
        time.sleep(0.01)
    time.sleep(0.02)
    note(name, f"end {{number}} {{os.getpid()}}")
    return number

@step
def total(values):
    return sum(values)

@step
def lethal(name):
    note(name, f"begin 0 {{os.getpid()}}")
    os.kill(os.getpid(), signal.SIGKILL)

@step
def once(name):
    note(name, f"begin 0 {{os.getpid()}}")
    if not OPEN.exists():
        raise OSError("closed")

@flow
def long(name: str, count: int = {COUNT}, held: int = {COUNT}):
    done = numbers(count).map(work, name=name, held=held, concurrency_limit=2, batch_size=1)
    return done.agg(total)

@flow
def deadly(name: str):
    return lethal(name)

@flow
def failing(name: str):
    return once(name)
"""


@pytest.fixture
def place(tmp_path, journal):
    made = Place(tmp_path)
    made.write("flows.py", FLOW)
    made.journal = journal
    yield made
    made.close()


def calls(place, name):
    """The calls of a run: what, which item, which process."""
    path = place.folder / f"calls {name}"
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [tuple(line.split()) for line in lines if line.endswith("\n")]


def recorded(place, run_id):
    """The items of the map of a run whose success is on disk."""
    rows = ask(
        place.journal,
        f"SELECT items.id & 4294967295 FROM {EVERY_ITEM}"
        " JOIN stages ON stages.id = items.id >> 32"
        f" WHERE run = '{run_id}' AND stages.position = 1 AND items.status = 'succeeded'",
    )
    return {str(index) for (index,) in rows}


def check_one_process_at_a_time(found):
    """Once another process has begun with a run, the one before it does nothing more."""
    pids = [pid for _, _, pid in found]
    changes = [pid for before, pid in zip([None, *pids], pids, strict=False) if pid != before]
    assert len(changes) == len(set(changes)), f"two processes at a time: {changes}"


def begun(place, names):
    return sum(kind == "begin" for name in names for kind, *_ in calls(place, name))


def kill(pid):
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Watched:
    """Runs of which it is known at each kill what is on disk and what was begun."""

    def __init__(self, place, ids):
        self.place = place
        self.ids = ids
        self.marks = []

    def mark(self):
        """What is recorded now does not begin from now on."""
        for name, run_id in self.ids.items():
            done = recorded(self.place, run_id)
            self.marks.append((name, len(calls(self.place, name)), done))

    def check(self):
        for name, length, done in self.marks:
            later = {item for kind, item, _ in calls(self.place, name)[length:] if kind == "begin"}
            assert not later & done, "an item whose outcome was recorded ran again"
        for name in self.ids:
            found = calls(self.place, name)
            check_one_process_at_a_time(found)
            assert {item for kind, item, _ in found if kind == "end"} == {
                str(n) for n in range(COUNT)
            }


def gone(pid):
    """Whether a process is no more, or is only not waited for yet."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # before, or while it is read
        return True


@pytest.mark.timeout(120)
def test_runs_outlive_the_deaths_of_their_runners(place):
    server = place.serve("flows.py")
    names = ["a", "b", "c"]
    runs = Watched(place, {name: server.start("long", name=name) for name in names})
    chance = random.Random(1)
    for _ in range(3):
        (runner,) = until(server.runners, "a runner")
        target = begun(place, names) + chance.randrange(30, 60)
        until(lambda target=target: begun(place, names) >= target, "calls to kill it amid")
        kill(runner)
        until(lambda runner=runner: gone(runner), "the end of the runner")
        runs.mark()
    for name in names:
        run = server.ended(runs.ids[name])
        assert run["status"] == "succeeded", run["error"]
        assert server.get(f"/runs/{run['id']}/result")["result"] == sum(range(COUNT))
        assert 1 <= len(run["resumes"]) <= 3
    runs.check()


@pytest.mark.timeout(120)
def test_a_new_server_goes_on_after_the_death_of_one(place):
    """The runner of a server that is killed ends what it has; the rest is for the next server."""
    server = place.serve("flows.py", LOKKI_SERVER_MAX_RUNS="2")
    names = ["a", "b", "c"]
    runs = Watched(place, {name: server.start("long", name=name, held=40) for name in names})
    until(lambda: begun(place, ["a", "b"]) >= 20, "twenty calls")
    (runner,) = server.runners()
    server.kill()
    runs.mark()
    second = place.serve("flows.py")
    until(lambda: begun(place, ["a", "b"]) >= 60, "sixty calls")
    assert {pid for name in ("a", "b") for _, _, pid in calls(place, name)} == {str(runner)}
    kill(runner)
    until(lambda: gone(runner), "the end of the runner")
    runs.mark()
    place.open()
    for name in names:
        run = second.ended(runs.ids[name])
        assert run["status"] == "succeeded", run["error"]
        assert len(run["resumes"]) == (0 if name == "c" else 1)
    runs.check()


@pytest.mark.timeout(120)
def test_a_server_and_its_runners_may_die_together(place):
    server = place.serve("flows.py", "--runners", "2")
    names = ["a", "b", "c"]
    runs = Watched(place, {name: server.start("long", name=name) for name in names})
    for target in (30, 90):
        until(lambda target=target: begun(place, names) >= target, "calls to kill it amid")
        children = server.children()
        server.kill()
        for pid in children:
            kill(pid)
        until(lambda children=children: all(map(gone, children)), "the end of its processes")
        runs.mark()
        server = place.serve("flows.py", "--runners", "2")
    for name in names:
        assert server.ended(runs.ids[name])["status"] == "succeeded"
    runs.check()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_two_servers_share_a_journal(place, database, request, monkeypatch):
    """Each run is run once, whichever of them it was queued with; one takes over from the other.

    A PostgreSQL server crashes and restarts meanwhile.
    """
    if database == "postgres":
        postgres = request.getfixturevalue("postgres")
        place.journal = postgres.journal()
        monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", place.journal.url)
    servers = [place.serve("flows.py"), place.serve("flows.py")]
    short = {f"s{n}": servers[n % 2].start("failing", name=f"s{n}") for n in range(20)}
    names = ["a", "b", "c"]
    runs = Watched(place, {n: servers[i % 2].start("long", name=n) for i, n in enumerate(names)})
    for name, run_id in short.items():
        run = servers[0].ended(run_id)
        assert (run["status"], run["resumes"]) == ("failed", [])
        assert len(calls(place, name)) == 1, "a run that has ended ran again"
    until(lambda: begun(place, names) >= 40, "calls to kill it amid")
    if database == "postgres":
        postgres.stop()
        postgres.start()
        until(lambda: begun(place, names) >= 80, "calls after the restart of PostgreSQL")
    children = servers[0].children()
    servers[0].kill()
    for pid in children:
        kill(pid)
    until(lambda: all(map(gone, children)), "the end of its processes")
    runs.mark()
    for name in names:
        assert servers[1].ended(runs.ids[name])["status"] == "succeeded"
    runs.check()
    for name in names:
        found = Counter(item for kind, item, _ in calls(place, name) if kind == "end")
        assert max(found.values()) <= 2


@pytest.mark.timeout(120)
def test_a_flow_that_kills_its_runner_fails_in_the_end(place):
    server = place.serve("flows.py", LOKKI_SERVER_MAX_RESUMES="2")
    run = server.ended(server.start("deadly", name="d"))
    assert run["status"] == "failed"
    assert run["error"]["type"] == "RunnerDied"
    assert "died 3 times" in run["error"]["message"]
    assert len(calls(place, "d")) == 3
    assert len(run["resumes"]) == 2
    until(lambda: server.client.get("/readyz").status_code == 200, "another runner")
    place.open()
    assert server.ran("failing", name="after")["status"] == "succeeded"
    again = server.client.post(f"/runs/{run['id']}/resume", json={})
    assert again.status_code == 202
    assert server.ended(run["id"])["status"] == "failed"
    assert len(calls(place, "d")) == 6


# ---- a regular end -------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_what_ends_within_the_grace_is_ended(place, how):
    server = place.serve("flows.py", "--grace", "40")
    run_id = server.start("long", name="a", count=30)
    until(lambda: begun(place, ["a"]) >= 5, "five calls")
    server.process.send_signal(how)
    assert server.process.wait(50) == 0, server.told
    assert "Traceback" not in server.told
    second = place.serve("flows.py")
    run = second.get(f"/runs/{run_id}")
    assert (run["status"], run["resumes"]) == ("succeeded", [])


@pytest.mark.timeout(120)
def test_what_lasts_longer_is_handed_back(place):
    server = place.serve("flows.py", "--grace", "0")
    runs = Watched(place, {"a": server.start("long", name="a")})
    until(lambda: begun(place, ["a"]) >= 20, "twenty calls")
    children = server.children()
    assert server.stop() == 0, server.told
    assert "Traceback" not in server.told
    assert all(map(gone, children)), "a process was left behind"
    runs.mark()
    assert ask(place.journal, "SELECT status, owner FROM runs") == [("queued", None)]
    second = place.serve("flows.py")
    run = second.ended(runs.ids["a"])
    assert run["status"] == "succeeded"
    assert len(run["resumes"]) == 1
    runs.check()


def test_a_server_that_has_just_begun_ends_at_once(place):
    server = place.begin("flows.py")
    until(lambda: server.children(), "its first process")
    assert server.stop(20) == 0, server.told
    assert "Traceback" not in server.told


def test_a_queued_run_waits_for_the_next_server(place):
    place.write("slow.py", FLOW.replace("flow\ndef long", "flow\ndef slow"))
    server = place.serve("slow.py", "--grace", "0", LOKKI_SERVER_MAX_RUNS="1")
    first = server.start("slow", name="a")
    queued = server.start("slow", name="b", count=3)
    until(lambda: begun(place, ["a"]), "the first call")
    assert server.get(f"/runs/{queued}")["status"] == "queued"
    unwanted = server.start("slow", name="e")
    answer = server.client.post(f"/runs/{unwanted}/cancel", json={})
    assert answer.json()["status"] == "cancelled", "at once: nobody has it"
    assert server.client.post(f"/runs/{first}/cancel", json={}).status_code == 202
    assert server.ended(first)["status"] == "cancelled"
    assert server.ended(queued)["status"] == "succeeded"
    third = server.start("slow", name="c")
    fourth = server.start("slow", name="d", count=3)
    until(lambda: begun(place, ["c"]), "the first call")
    answer = server.client.post(f"/runs/{third}/cancel", json={})
    assert answer.json()["status"] in ("running", "cancelled")
    assert server.stop() == 0
    second = place.serve("slow.py")
    assert second.ended(fourth)["status"] == "succeeded"
    assert calls(place, "e") == []
