"""The commands over what is recorded, as whole processes, also on runs of other processes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import closing
from time import time

import anyio
import click
import pytest

from lokki.cli.commands import cancel
from lokki.cli.program import Program
from lokki.cli.removal import collect
from lokki.config import load
from lokki.store.history import read_history
from lokki.store.journal import Journal
from lokki.store.keys import run_prefix
from lokki.store.local import LocalStore

AT = 1770114600.0
OLD, NEW = "20260203-103000-000abcde", "20260203-104000-000fghij"
ERROR = ("failed", "ValueError", "bad 7")

HELD = """
import os, time
from lokki import flow, main, step

@step
def numbers():
    return range(2)

@step
def held(number):
    print(f"holding {number}\\n", end="")
    while not os.path.exists("go"):
        time.sleep(0.01)
    print(f"released {number}\\n", end="")
    return number

@flow
def holding():
    return numbers().map(held, concurrency_limit=1)

if __name__ == "__main__":
    main(holding)
"""

MENDED = """
import os
from lokki import flow, main, step

@step
def numbers():
    return range(10)

@step
def checked(number):
    if number in (2, 3) and not os.path.exists("ready"):
        raise ValueError(f"bad {number}")
    if number == 5 and not os.path.exists("ready"):
        raise OSError("gone")
    return number

@step
def total(numbers):
    return sum(numbers)

@flow
def mended():
    return numbers().map(checked, tolerated_failures=5).agg(total)

if __name__ == "__main__":
    main(mended)
"""


DYING = """
import os
from lokki.cli.removal import collect
from lokki.config import load
from lokki.store.local import LocalStore

LocalStore.delete_prefix = lambda self, prefix: os._exit(9)
collect(load(), None, None, 0, dry_run=False)
"""


@pytest.fixture
def held(start, terminal):
    """A run of another process whose first item has begun, and waits for a file ``go``."""
    (terminal / "held.py").write_text(HELD)
    process = start("held.py", "run")
    while process.stderr.readline() != "holding 0\n":
        assert process.poll() is None
    return process


@pytest.fixture
def mended(done, terminal):
    """A run with three tolerated failures, that are none once there is a file ``ready``."""
    (terminal / "mended.py").write_text(MENDED)
    code, out, err = done("mended.py", "run")
    assert (code, out) == (0, "35\n"), err
    return json.loads(done("runs", "--json")[1])["runs"][0]["id"]


LISTED = f"{'run':{len(OLD)}}  flow       status     ended\n"


def ids_of(listed: str) -> list[str]:
    return [line.split()[0] for line in listed.splitlines()[1:]]


def ids(out: str) -> list[str]:
    return [run["id"] for run in json.loads(out)["runs"]]


# ---- runs and show -------------------------------------------------------------------------------


def test_runs_are_filtered(record, done):
    record(OLD, flow="a")
    record(NEW, flow="b", at=AT + 600, status="failed")
    record("today", flow="b", at=time() - 60, seconds=1)

    def listed(*options):
        code, out, err = done("runs", "--json", *options)
        assert (code, err) == (0, "")
        return ids(out)

    assert listed() == ["today", NEW, OLD]
    assert listed("--flow", "b") == ["today", NEW]
    assert listed("--status", "failed", "--status", "running") == [NEW]
    assert listed("--status", "FAILED") == [NEW]
    assert listed("--since", "1h") == ["today"]
    assert listed("--since", "2026-02-03T10:35") == ["today", NEW]
    assert listed("--flow", "a", "--status", "failed") == []


def test_the_json_of_a_list_tells_whether_there_is_more(record, done):
    record(OLD)
    record(NEW, at=AT + 600)
    assert json.loads(done("runs", "--json", "-n", 1)[1])["next"] == NEW
    whole = done("runs", "--json", "--n", 2)[1]
    assert json.loads(whole)["next"] is None
    assert done("show", "--json", "-n", 2)[1] == whole


def test_the_next_page_of_a_list_is_before_the_last_run_of_this_one(record, done):
    for number in range(5):
        record(f"r{number}", at=AT + number, flow="ab"[number % 2])

    def page(*options):
        shape = json.loads(done("runs", "--json", "-n", 2, *options)[1])
        return [run["id"] for run in shape["runs"]], shape["next"]

    assert page() == (["r4", "r3"], "r3")
    assert page("--before", "r3") == (["r2", "r1"], "r1")
    assert page("--before", "r1") == (["r0"], None)
    assert page("--before", "r3", "--flow", "a") == (["r2", "r0"], None)
    assert page("--before", "last", "--flow", "b") == (["r1"], None)
    assert page("--before", "r0") == ([], None)
    assert done("runs", "--before", "nosuch")[0] == 1


def test_a_flow_without_runs_is_reported_with_the_one_that_may_be_meant(record, done, journal):
    empty = '{\n  "runs": [],\n  "next": null\n}\n'
    assert done("runs", "--flow", "a", "--json") == (
        0,
        empty,
        f"no runs of flow 'a' in {journal}\n",
    )
    record(OLD, flow="stations")
    record(NEW, flow="birds")
    near = f"no runs of flow 'staitons' in {journal}; did you mean 'stations'?\n"
    assert done("runs", "--flow", "staitons") == (0, "", near)
    assert done("runs", "--flow", "staitons", "--json") == (0, empty, near)
    every = f"no runs of flow 'x' in {journal}; flows with runs: birds, stations\n"
    assert done("runs", "--flow", "x")[2] == every
    assert done("gc", "--keep", 0, "--flow", "x") == (0, "", every + "nothing to remove\n")
    none = f"no such runs of birds in {journal}\n"
    assert done("runs", "--flow", "birds", "--status", "failed") == (0, none, "")


def test_the_json_of_a_run(record, done):
    record(
        OLD,
        ("numbers", "task", 0.5, ["ok"]),
        ("crunch", "map", None, ["ok", ERROR]),
        status="failed",
        params='{"count": 2}',
        error='{"type": "ValueError", "message": "bad 7"}',
    )
    code, out, err = done("show", OLD, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "id": OLD,
        "where": "local",
        "flow": "crunching",
        "status": "failed",
        "params": {"count": 2},
        "params_cut": False,
        "created": "2026-02-03T10:30:00.000Z",
        "started": "2026-02-03T10:30:00.000Z",
        "finished": "2026-02-03T10:31:15.500Z",
        "duration": 75.5,
        "cancel_requested": None,
        "removing": False,
        "chain": "a → map(b)",
        "structure": [
            {"name": "a", "kind": "task", "steps": ["a"]},
            {"name": "b", "kind": "map", "steps": ["b"]},
        ],
        "stages": [
            {
                "position": 0,
                "name": "numbers",
                "kind": "task",
                "started": "2026-02-03T10:30:00.000Z",
                "finished": "2026-02-03T10:30:00.500Z",
                "duration": 0.5,
                "total": 1,
                "succeeded": 1,
                "failed": 0,
                "tolerated": 0,
                "retrying": 0,
                "inner": [],
                "failures": [],
                "reused": 0,
            },
            {
                "position": 1,
                "name": "crunch",
                "kind": "map",
                "started": "2026-02-03T10:30:00.000Z",
                "finished": None,
                "duration": 75.5,
                "total": 2,
                "succeeded": 1,
                "failed": 1,
                "tolerated": 0,
                "retrying": 0,
                "inner": [],
                "failures": [
                    {
                        "id": "80d0b4",
                        "count": 1,
                        "failed": 1,
                        "retrying": 0,
                        "step": "crunch",
                        "type": "ValueError",
                        "message": "bad 7",
                        "varies": False,
                        "place": {"file": "/flows/crunch.py", "line": 12, "function": "crunch"},
                        "items": [1],
                        "tolerated": False,
                        "traceback": "Traceback (most recent call last):\n"
                        '  File "/flows/crunch.py", line 12, in crunch\n',
                    }
                ],
                "reused": 0,
            },
        ],
        "error": {
            "type": "ValueError",
            "message": "bad 7",
            "step": None,
            "index": None,
            "attempt": None,
            "traceback": None,
        },
        "source": None,
        "started_by": "python crunch.py run",
        "owner": None,
        "folder": None,
        "resumes": [],
        "waits_for": None,
        "pause_requested": None,
        "no_cache": False,
        "tags": [],
        "lokki_version": None,
        "python_version": None,
        "code": None,
        "commit": None,
    }


@pytest.mark.parametrize("name", [(OLD,), ("20260203-1030",), ("--run", OLD), (OLD, "--run", OLD)])
def test_a_run_is_named_by_its_id_or_its_beginning(record, done, name):
    record(OLD)
    record(NEW, at=AT + 600)
    assert json.loads(done("show", *name, "--json")[1])["id"] == OLD


def test_last_is_of_the_programs_flow(record, done, terminal):
    (terminal / "held.py").write_text(HELD)
    record(OLD, flow="holding", lines=[(AT, "held", 0, 1, "INFO", "stdout", "mine")])
    record(NEW, at=AT + 600, lines=[(AT, "crunch", 0, 1, "INFO", "stdout", "other")])
    assert json.loads(done("held.py", "show", "last", "--json")[1])["id"] == OLD
    assert json.loads(done("show", "last", "--json")[1])["id"] == NEW
    assert ids(done("held.py", "runs", "--json")[1]) == [OLD]
    assert "mine" in done("held.py", "logs")[1]
    assert "other" in done("logs")[1]
    assert OLD in done("held.py", "cancel", "last")[2]
    assert OLD in done("held.py", "resume", "last", "--dry-run")[2]
    for command in ("show", "logs", "cancel", "resume"):
        assert "'last', the newest of holding." in done("held.py", command, "--help")[1]
        assert "'last', the newest of any flow." in done(command, "--help")[1]
    assert f"python held.py resume {OLD}" not in done("held.py", "show", NEW)[1]


@pytest.fixture
def watching(held, start):
    """A process that draws a run of another process, and what comes on its terminal till then."""
    ours, theirs = pty.openpty()
    process = start("show", "--watch", stdout=theirs)
    os.close(theirs)

    def told_until(word):
        told = ""
        while word not in told:
            told += os.read(ours, 1 << 16).decode(errors="replace")
        return told

    yield process, told_until
    os.close(ours)


def test_watch_draws_a_run_of_another_process_until_it_ends(watching, held, terminal):
    process, told_until = watching
    assert f"process {held.pid}" in told_until("not yet")
    (terminal / "go").touch()
    told_until("succeeded")
    assert process.wait(50) == 0


def test_ctrl_c_ends_what_watches_a_run(watching):
    process, told_until = watching
    told_until("running")
    process.send_signal(signal.SIGINT)
    assert process.wait(50) == 130
    assert process.stderr.read() == ""


def test_watch_into_a_file_prints_the_end(held, start, terminal):
    process = start("show", "last", "--watch")
    (terminal / "go").touch()
    out, err = process.communicate(timeout=50)
    assert (process.returncode, err) == (0, "")
    assert out.count("status   succeeded") == 1


# ---- logs ----------------------------------------------------------------------------------------

LINES = [
    (AT, "crunch", 0, 1, "INFO", "stdout", "first"),
    (AT + 1, "crunch", 1, 1, "WARNING", "mine.logger", "second"),
    (AT + 2, "crunch", 1, 2, "DEBUG", "mine.logger", "third"),
    (AT + 3, "total", None, 1, "ERROR", "stderr", "fourth = ünï"),
]


def test_logs_for_people_and_as_json(record, done):
    record(OLD, lines=LINES)
    code, out, err = done("logs", OLD)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "2026-02-03T10:30:00 [INFO] crunch[0]: first",
        "2026-02-03T10:30:01 [WARNING] crunch[1]: second",
        "2026-02-03T10:30:02 [DEBUG] crunch[1] (attempt 2): third",
        "2026-02-03T10:30:03 [ERROR] total: fourth = ünï",
    ]
    shapes = [json.loads(line) for line in done("logs", "--run", OLD, "--json")[1].splitlines()]
    assert len(shapes) == 4
    ids = [each.pop("id") for each in shapes]
    assert ids == sorted(set(ids))
    assert shapes[1] == {
        "ts": "2026-02-03T10:30:01.000Z",
        "level": "WARNING",
        "step": "crunch",
        "item": 1,
        "attempt": 1,
        "source": "mine.logger",
        "message": "second",
    }


def test_times_of_logs_are_local(record, done, monkeypatch):
    record(OLD, lines=LINES)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert done("logs")[1].startswith("2026-02-03T19:30:00 ")
    assert len(done("logs", "--since", "2026-02-03T19:30:02")[1].splitlines()) == 2
    assert json.loads(done("logs", "--json")[1].splitlines()[0])["ts"] == "2026-02-03T10:30:00.000Z"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--step", "total"], ["fourth"]),
        (["--item", "1"], ["second", "third"]),
        (["--item", "1", "--attempt", "2"], ["third"]),
        (["--level", "INFO"], ["first", "second", "fourth"]),
        (["--level", "warning"], ["second", "fourth"]),
        (["--since", "2026-02-03T10:30:02"], ["third", "fourth"]),
        (["--start", "2026-02-03T10:30:01", "--end", "2026-02-03T10:30:02"], ["second", "third"]),
        (["--level", "ERROR", "--step", "total", "--follow"], ["fourth"]),
    ],
)
def test_logs_are_filtered(record, done, options, wanted):
    record(OLD, lines=LINES)
    code, out, err = done("logs", "last", *options)
    assert (code, err) == (0, "")
    told = [line.split(": ")[1].split(" = ")[0] for line in out.splitlines()]
    assert told == wanted


def test_failures_are_lines_of_level_error_when_they_are_tolerated_too(done, mended):
    code, out, _ = done("logs", mended, "--level", "ERROR")
    assert code == 0
    assert sorted(line.split("] ", 1)[1] for line in out.splitlines()) == [
        "checked[2]: failed, tolerated: ValueError: bad 2",
        "checked[3]: failed, tolerated: ValueError: bad 3",
        "checked[5]: failed, tolerated: OSError: gone",
    ]


def test_lines_until_a_time_are_reported_wherever_they_stand(record, done):
    record(OLD, lines=[LINES[0], LINES[3], LINES[1]])
    out = done("logs", "--end", "2026-02-03T10:30:01")[1]
    assert [line.split(": ")[1] for line in out.splitlines()] == ["first", "second"]


def test_no_lines_are_reported(record, done):
    record(OLD, lines=LINES)
    assert done("logs", "--step", "b") == (0, "", "no lines\n")


def test_a_step_that_the_run_has_not_is_reported_with_those_it_has(record, done):
    record(OLD, lines=LINES)
    code, out, err = done("logs", "--step", "cruch")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == f"Error: run {OLD} has no step 'cruch'; it has a, b"
    assert "fourth" in done("logs", "--step", "total")[1], "which it had before it was changed"


def test_an_item_that_no_map_has_is_reported_with_how_many_there_are(record, done):
    record(OLD, ("a", "task", 1.0, ["ok"]), ("b", "map", 1.0, ["ok"] * 3), lines=LINES)
    assert done("logs", "--item", 2) == (0, "", "no lines\n")
    code, out, err = done("logs", "--item", 3)
    assert (code, out) == (2, "")
    assert err.endswith(f"Error: run {OLD} has no item 3; its map has 3, counted from 0\n")
    record("mapless", at=AT + 600)
    assert done("logs", "--item", 0)[2].endswith("has no item 0; it has none\n")
    record("going-on", at=AT + 900, status="running")
    assert done("logs", "--item", 3) == (0, "", "no lines\n"), "its map has not begun"


@pytest.mark.parametrize("option", ["--follow", "--tail", "-f"])
def test_follow_goes_on_until_a_run_of_another_process_ends(held, start, terminal, option):
    process = start("logs", "last", option)
    assert process.stdout.readline().endswith("[INFO] held[0]: holding 0\n")
    (terminal / "go").touch()
    out, err = process.communicate(timeout=50)
    assert (process.returncode, err) == (0, "")
    told = [line.partition("] ")[2] for line in out.splitlines()]
    assert told == ["held[0]: released 0", "held[1]: holding 1", "held[1]: released 1"]


def test_follow_ends_when_the_runs_process_is_killed(held, start, journal):
    process = start("logs", "--follow")
    assert process.stdout.readline().endswith("holding 0\n")
    held.kill()
    held.wait()
    out, err = process.communicate(timeout=50)
    with read_history(journal) as history:
        run = history.find("last").id
    told = f"the process of run {run} is gone; resume: lokki resume {run}\n"
    assert (process.returncode, out, err) == (0, "", told)


def test_ctrl_c_ends_what_follows_a_run(held, start):
    process = start("logs", "--follow")
    assert process.stdout.readline().endswith("holding 0\n")
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=50) == ("", "")
    assert process.returncode == 130


# ---- cancel --------------------------------------------------------------------------------------


def test_cancel_a_run_of_another_process(held, start, done, terminal):
    process = start("cancel", "last")
    told = process.stderr.readline()
    run = told.split()[2].removesuffix(":")
    assert told == f"cancelling run {run}: waiting for its calls to end\n"
    waiting = "cancelling: waiting for the calls of 'held' in threads to end\n"
    while held.stderr.readline() != waiting:
        assert held.poll() is None
    (terminal / "go").touch()
    out, err = process.communicate(timeout=50)
    assert (process.returncode, out) == (0, "")
    assert err == f"run {run} is cancelled; resume: lokki resume {run}\n"
    _, told = held.communicate(timeout=50)
    assert held.returncode == 130
    assert told.splitlines()[-1] == f"resume: python held.py resume {run}"
    assert done("cancel", run) == (
        1,
        "",
        f"Error: run {run} has already been cancelled\n",
    )
    assert done("resume", run)[:2] == (0, "[0, 1]\n")


def test_cancel_a_run_whose_process_is_gone(held, done):
    held.kill()
    held.wait()
    assert "running (lost)" in done("show", "last")[1]
    code, _, err = done("held.py", "cancel", "last")
    assert code == 0
    assert "is cancelled; resume: python held.py resume " in err
    assert "waiting" not in err


def test_cancel_while_the_runs_process_dies(held, start, done):
    process = start("cancel", "last")
    assert process.stderr.readline().startswith("cancelling run ")
    held.kill()
    held.wait()
    assert process.wait(50) == 0
    assert json.loads(done("show", "last", "--json")[1])["status"] == "cancelled"


def test_cancel_leaves_a_run_that_was_resumed_meanwhile(record, monkeypatch, journal):
    with closing(Journal(journal)) as first, closing(Journal(journal)) as second:
        record(OLD, status="running")
        first.take(OLD, time()).result()

        def meanwhile(seconds):
            assert first.run(OLD).owner == first.owner, "it waits for ever"
            first.finish(OLD, "cancelled", time(), None).result()
            second.take(OLD, time()).result()

        monkeypatch.setattr(cancel, "sleep", meanwhile)
        with pytest.raises(click.ClickException, match="another process has run"):
            cancel.command.main([OLD], obj=Program("lokki"), standalone_mode=False)
        assert second.run(OLD).cancel_requested is None


# ---- gc ------------------------------------------------------------------------------------------


@pytest.fixture
def payload(journal):
    """Store a large payload of a run; gives its file's folder."""

    def stored(run, flow="crunching"):
        store = LocalStore(journal.parent / "payloads")
        anyio.run(store.put, f"{run_prefix(flow, run)}/crunch/output.pkl", b"large")
        return journal.parent / "payloads" / run_prefix(flow, run)

    return stored


def test_gc_removes_old_runs_with_all_that_is_theirs(record, payload, done, journal):
    long = [(AT, "crunch", 0, 1, "INFO", "stdout", f"{n:0>1000}") for n in range(1_000)]
    record(OLD, ("crunch", "map", 1.0, ["ok", ERROR]), lines=long)
    record("today", ("crunch", "map", 1.0, ["ok"]), at=time() - 60, seconds=1)
    gone, kept = payload(OLD), payload("today")
    size = journal.stat().st_size
    code, out, err = done("gc", "--older-than", "30d", "--dry-run")
    assert (code, out) == (0, LISTED + f"{OLD}  crunching  succeeded  2026-02-03T10:31:15\n")
    assert err == "1 run would be removed\n"
    assert gone.exists()
    code, out, err = done("gc", "--older-than", "30d")
    assert (code, out) == (0, "")
    given = re.fullmatch(r"1 run removed, (.+) bytes of the journal freed\n", err)[1]
    assert 1_000_000 < int(given.replace(",", "")) <= size - journal.stat().st_size
    assert ids(done("runs", "--json")[1]) == ["today"]
    assert (gone.exists(), kept.exists()) == (False, True)
    assert done("gc", "--older-than", "30d") == (0, "", "nothing to remove\n")


@pytest.mark.parametrize(("answer", "left"), [("n", {OLD, NEW}), ("y", set())])
def test_gc_asks_at_a_terminal_before_it_removes_what_could_be_resumed(
    record, start, done, answer, left
):
    record(OLD, ("crunch", "map", 1.0, ["ok", ERROR]), status="failed")
    record(NEW, ("crunch", "map", 1.0, ["ok"]), at=AT + 600)
    ours, theirs = pty.openpty()
    process = start("gc", "--keep", 0, stdin=theirs)
    os.write(ours, f"{answer}\n".encode())
    _, err = process.communicate(timeout=50)
    os.close(theirs)
    os.close(ours)
    assert "Remove 2 runs, of which 1 could be resumed? [y/N]: " in err
    assert process.returncode == (1 if left else 0)
    assert set(ids(done("runs", "--json")[1])) == left


def test_gc_does_not_ask_when_that_is_confirmed_or_nothing_could_be_resumed(record, start, done):
    for run, status, given in ((OLD, "failed", ["--confirm"]), (NEW, "succeeded", [])):
        record(run, ("crunch", "map", 1.0, ["ok"]), status=status)
        ours, theirs = pty.openpty()
        _, err = start("gc", "--keep", 0, *given, stdin=theirs).communicate(timeout=50)
        os.close(theirs)
        os.close(ours)
        assert err.startswith("1 run removed, ")


def test_what_a_gc_that_died_has_left_can_only_be_removed(record, payload, done, terminal):
    record(OLD, status="failed")
    gone = payload(OLD)
    (terminal / "dying.py").write_text(DYING)
    assert done("dying.py")[0] == 9
    record(NEW, at=AT + 600)
    assert gone.exists()
    told = f"Error: run {OLD} is being removed: its payloads are gone\n"
    assert done("resume", OLD) == (1, "", told)
    assert "status   removing" in done("show", OLD)[1]
    limits = ("--keep", 9, "--older-than", "2026-02-03T10:00")
    listed = done("gc", *limits, "--dry-run")[1].splitlines()
    assert listed[1] == f"{OLD}  crunching  removing  2026-02-03T10:31:15"
    err = done("gc", *limits)[2]
    assert err.startswith("1 run removed, ")
    assert "could have been resumed" not in err
    assert not gone.exists()
    assert ids(done("runs", "--json")[1]) == [NEW]


@pytest.fixture
def meanwhile(monkeypatch):
    """Have something done, once, while a gc in this process removes its first payloads."""
    delete, waiting = LocalStore.delete_prefix, []

    async def watched(self, prefix):
        if waiting:
            waiting.pop()()
        return await delete(self, prefix)

    monkeypatch.setattr(LocalStore, "delete_prefix", watched)
    return waiting.append


def test_a_run_whose_payloads_are_being_removed_is_left_to_that_gc(
    record, payload, done, meanwhile, capsys
):
    record(OLD)
    gone, told = payload(OLD), []
    words = ["gc", "--keep", "0"], ["cancel", OLD], ["resume", OLD]
    meanwhile(lambda: told.extend(done(*each)[2] for each in words))
    collect(load(), None, None, 0, dry_run=False)
    assert told == [
        "nothing to remove\n",
        f"Error: run {OLD} has already succeeded\n",
        f"Error: run {OLD} is being removed: its payloads are gone\n",
    ]
    assert capsys.readouterr().err.startswith("1 run removed, ")
    assert not gone.exists()


def test_two_gcs_at_once_remove_each_run_once(record, journal, done, meanwhile, capsys):
    lines = [(AT, "crunch", 0, 1, "INFO", "stdout", f"{n:0>1000}") for n in range(200)]
    for number in range(4):
        record(f"r{number}", at=AT + number, lines=lines)
    size, others = journal.stat().st_size, []
    meanwhile(lambda: others.append(done("gc", "--keep", 2)))
    collect(load(), None, None, 0, dry_run=False)
    own = capsys.readouterr().err
    why = "their space is kept for later runs, since another process is working"
    assert others == [(0, "", f"2 runs removed, {why}\n")]
    given = re.fullmatch(r"2 runs removed, (.+) bytes of the journal freed\n", own)[1]
    assert 400_000 < int(given.replace(",", "")) < size / 2
    assert journal.stat().st_size < 200_000
    assert ids(done("runs", "--json")[1]) == []


def test_gc_leaves_a_run_that_was_resumed_since_it_looked(record, journal, meanwhile, capsys):
    record(OLD, status="failed")
    record(NEW, at=AT + 600)

    def resumed():
        with closing(Journal(journal)) as other:
            other.take(OLD, time()).result()
            other.finish(OLD, "succeeded", time(), None).result()

    meanwhile(resumed)
    collect(load(), None, None, 0, dry_run=False)
    assert capsys.readouterr().err.startswith("1 run removed, ")
    with read_history(journal) as history:
        assert [run.id for run in history.runs()] == [OLD]


def test_gc_keeps_the_newest(record, done, terminal):
    (terminal / "held.py").write_text(HELD)
    for number in range(4):
        record(f"a{number}", at=AT + number)
        record(f"b{number}", at=AT + 10 + number, flow="holding")
    assert "1 run removed" in done("gc", "--keep", 3, "--flow", "crunching")[2]
    assert "2 runs removed" in done("held.py", "gc", "--keep", 2)[2]
    assert ids(done("runs", "--json")[1]) == ["b3", "b2", "a3", "a2", "a1"]
    assert "nothing" in done("gc", "--keep", 0, "--older-than", "2026-02-03T10:00")[2]
    assert "3 runs removed" in done("gc", "--keep", 1, "--older-than", "2026-02-03T10:31:20")[2]
    assert ids(done("runs", "--json")[1]) == ["b3", "b2"]


def test_gc_never_removes_a_run_that_goes_on(held, record, done, terminal):
    record(OLD)
    assert ids_of(done("gc", "--keep", 0, "--dry-run")[1]) == [OLD]
    assert "1 run removed" in done("gc", "--keep", 0)[2]
    (terminal / "go").touch()
    out, err = held.communicate(timeout=50)
    assert (held.returncode, out) == (0, "[0, 1]\n"), err
    assert "1 run removed" in done("gc", "--keep", 0)[2]


def test_gc_keeps_a_run_whose_process_is_gone_until_that_is_long_ago(record, done):
    record(OLD, status="running")
    record(NEW, at=AT + 600, status="cancelled")
    assert ids_of(done("gc", "--keep", 0, "--dry-run")[1]) == [NEW]
    assert done("gc", "--older-than", "2026-02-03T10:29:59")[2] == "nothing to remove\n"
    code, out, err = done("gc", "--older-than", "30d", "--dry-run")
    lines = [re.split("  +", line) for line in out.splitlines()]
    seen = lines[2].pop(3)
    assert (code, lines) == (
        0,
        [
            ["run", "flow", "status", "ended"],
            [NEW, "crunching", "cancelled", "2026-02-03T10:41:15", "can be resumed"],
            [OLD, "crunching", "running (lost)", "can be resumed"],
        ],
    )
    assert seen.startswith("2026-02-03T10:3")
    assert err == "2 runs would be removed; 2 could be resumed\n"
    record("done", at=AT + 900)
    err = done("gc", "--older-than", "30d")[2]
    assert err.startswith("3 runs removed, ")
    assert err.endswith("; 2 could have been resumed\n")


# ---- resume --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--failed"], ["checked: 3 of 10 items that failed and were tolerated"]),
        (["--error", "{ValueError}"], ["checked: 2 of 10 items that failed with {id}"]),
        (["--from", "checked"], ["checked: all of its 10 items, as requested"]),
    ],
)
def test_what_a_resume_does_again(mended, done, terminal, options, told):
    stages = json.loads(done("show", mended, "--json")[1])["stages"]
    group = next(each for each in stages[1]["failures"] if each["type"] == "ValueError")["id"]
    options = [option.replace("{ValueError}", group) for option in options]
    told = [line.replace("{id}", group) for line in told] + ["total: runs after that"]
    assert done("resume", mended, *options, "--dry-run") == (0, "\n".join(told) + "\n", "")
    assert json.loads(done("show", mended, "--json")[1])["stages"] == stages
    (terminal / "ready").touch()
    code, out, err = done("mended.py", "resume", mended, *options)
    assert (code, out) == (0, "40\n" if "--error" in options else "45\n"), err
    first = err.splitlines()[: len(told) + 1]
    assert [line.removeprefix("[INFO] ") for line in first] == [
        *told,
        f"Run {mended} of mended resumed",
    ]
    (resume,) = json.loads(done("show", mended, "--json")[1])["resumes"]
    command = " ".join(["python mended.py resume", mended, *options])
    assert (resume["by"], resume["again"]) == (command, told)


def test_a_plain_resume_of_what_has_succeeded_gives_its_result(mended, done):
    code, out, err = done("resume", "--run", mended)
    assert (code, out) == (0, "35\n")
    assert f"run {mended} has succeeded: nothing runs again" in err


def test_the_run_of_a_moved_file_is_an_option_too(mended, done, terminal):
    (terminal / "mended.py").rename(terminal / "moved.py")
    for words in ([mended, "moved.py"], ["--run", mended, "moved.py"]):
        code, out, err = done("resume", *words)
        assert (code, out) == (0, "35\n"), err
    assert "is gone; name the file of its flow" in done("resume", mended)[2]


def test_force_goes_on_with_another_structure(mended, done, terminal):
    changed = MENDED.replace(".agg(total)", ".agg(largest)")
    largest = "@step\ndef largest(numbers):\n    return max(numbers)\n\n\n@flow"
    (terminal / "mended.py").write_text(changed.replace("@flow", largest, 1))
    code, out, err = done("resume", mended)
    assert (code, out) == (2, "")
    assert "structure has changed" in err
    assert err.endswith(
        "keep the results before 'largest' and run the rest again: --force --from largest\n"
    )
    code, _, err = done("resume", mended, "--force")
    assert code == 2
    assert "numbers, checked, largest" in err
    code, out, err = done("resume", mended, "--force", "--from", "largest")
    assert (code, out) == (0, "9\n"), err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--from", "nosuch"], "numbers, checked, total"),
        (["--error", "zzzzzz"], "zzzzzz"),
        (["--failed", "--from", "checked"], "--failed, --error and --from"),
        (["--force"], "numbers, checked, total"),
    ],
)
def test_wrong_wishes_of_a_resume(mended, done, options, told):
    code, out, err = done("resume", mended, *options)
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    assert told in err


# ---- usage ---------------------------------------------------------------------------------------

COMMANDS = (
    "init", "run", "resume", "rerun", "runs", "show", "diff", "logs", "cancel", "pause", "unpause",
    "tune", "gc", "journal", "config", "doctor", "notify", "result", "flows", "schedules", "build",
    "rehearse", "plan", "deploy", "invoke", "destroy", "pull", "push", "serve", "completion",
)  # fmt: skip
LOKKIS = ("init", "doctor", "flows", "journal", "schedules", "serve", "completion")
"""Those that a flow's own program does not have."""


@pytest.mark.parametrize("program", ["lokki", "python held.py"])
def test_help_is_whole_and_ends_with_an_example(done, terminal, program):
    (terminal / "held.py").write_text(HELD)
    own = ["held.py"] if program != "lokki" else []
    code, listed, _ = done(*own, "--help")
    assert code == 0
    assert listed.splitlines()[-1] == f"Example: {program} run" + (" birds.py" * (not own))
    rows = [row.split(maxsplit=1) for row in listed.partition("Commands:\n")[2].splitlines()]
    told = [(row[0], row[1]) for row in rows if len(row) == 2 and row[0] != "Example:"]
    assert [name for name, _ in told] == [each for each in COMMANDS if not (own and each in LOKKIS)]
    for name, short in told:
        assert short.endswith("."), "click cuts what is too long with '...'"
        assert not short.endswith("..")
        code, text, err = done(*own, name, "-h")
        assert (code, err) == (0, "")
        assert short in text
        assert text.splitlines()[-1].startswith(f"Example: {program} {name}")
        assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["shwo"], 1, "Did you mean 'show'?"),
        (["list"], 1, "Did you mean 'runs'?"),
        (["held.py", "rm"], 1, "Did you mean 'gc'?"),
        (["retry", "last"], 1, "one of: 'rerun', 'resume'?"),
        (["rn"], 1, "one of: 'run', 'runs'"),
        (["held.py", "shwo"], 1, "Did you mean 'show'?"),
        (["held.py"], 1, "Commands:"),
        ([], 1, "Commands:"),
        (["show", "--wach"], 2, "Did you mean '--watch'?"),
        (["held.py", "show", "--wach"], 2, "Did you mean '--watch'?"),
        (["runs", "--status", "broken"], 2, "'queued', 'running', 'paused', 'succeeded'"),
        (["runs", "--since", "yesterday"], 2, "neither like 30m, 2h or 7d nor a time like"),
        (["runs", "--since", "99999999999w"], 2, "neither like 30m"),
        (["runs", "-n", "0"], 2, "0 is too small: the least is 1."),
        (
            ["runs", "--on", "mars"],
            2,
            "neither 'local' nor 'aws' nor the URL of a server, such as http:",
        ),
        (["logs", "--level", "warn"], 2, "'warn' is not one of 'DEBUG', 'INFO', 'WARNING',"),
        (["logs", "--item", "-1"], 2, "-1 is too small: the least is 0."),
        (["logs", "--item", "abc"], 2, "'abc' is not a whole number."),
        (["show", "last", "--watch", "--json"], 2, "leave --json out"),
        (["show", "a", "--run", "b"], 2, "give one of them"),
        (["show", "a", "b"], 2, "unexpected extra argument"),
        (["cancel"], 2, "Missing argument 'RUN': an id, the beginning of one, or 'last'."),
        (["resume"], 2, "Missing argument 'RUN': an id, the beginning of one, or 'last'."),
        (["held.py", "resume"], 2, "Missing argument 'RUN'"),
        (["run"], 2, "Missing argument 'FILE[:flow]|MODULE[:flow]'"),
        (["gc"], 2, "give --older-than 30d, --keep 100, or both"),
    ],
)
def test_wrong_usage(done, terminal, journal, words, code, told):
    (terminal / "held.py").write_text(HELD)
    ended, out, err = done(*words)
    assert (ended, out) == (code, "")
    assert err.startswith("Usage: ")
    assert told in " ".join(err.split())
    assert not journal.parent.exists()


@pytest.mark.parametrize("command", ["show", "logs", "cancel", "resume"])
@pytest.mark.parametrize("name", ["last", "nosuch"])
def test_a_run_that_is_not_there(done, terminal, journal, command, name):
    (terminal / "held.py").write_text(HELD)
    what = "no runs yet" if name == "last" else f"no run '{name}'"
    assert done(command, name) == (1, "", f"Error: {what} in the journal {journal}\n")
    what = what.replace("runs", "runs of holding")
    assert done("held.py", command, name) == (1, "", f"Error: {what} in the journal {journal}\n")
    assert not journal.parent.exists(), "asking makes no journal"


@pytest.mark.parametrize("command", ["show", "logs", "cancel", "resume"])
def test_a_beginning_of_several_runs(record, done, command):
    record(OLD)
    record(NEW)
    code, out, err = done(command, "2026")
    assert (code, out) == (1, "")
    assert err == (f"Error: '2026' begins several ids ({OLD}, {NEW}); give more characters\n")


def test_a_damaged_journal_is_reported(done, journal):
    journal.parent.mkdir()
    journal.write_bytes(b"this is no database, but it is long enough to be read as one" * 20)
    for words in (["runs"], ["show", "last"], ["logs"], ["cancel", "x"], ["gc", "--keep", 1]):
        code, out, err = done(*words)
        assert (code, out) == (1, "")
        assert err.startswith(f"Error: the journal {journal}: file is not a database")


@pytest.mark.parametrize(
    "words",
    [
        "logs",
        "logs --json --follow",
        "show last",
        "show last --watch",
        "show last --json",
        "runs",
        "runs --json",
        "gc --keep 0 --dry-run",
        "config",
        "--help",
        "logs --help",
        "--version",
    ],
)
def test_a_reader_that_has_seen_enough_is_no_error(record, terminal, words):
    record(OLD, lines=LINES * 100)
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "-m", "lokki", *words.split()],
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=50,
        check=False,
    )
    os.close(write)
    told = b"1 run would be removed\n" if words.startswith("gc") else b""
    assert (ended.returncode, ended.stderr) in ((0, b""), (0, told))


def test_a_closed_stdout_is_no_error(record, terminal):
    record(OLD, lines=LINES)
    for words in ("show last", "logs", "runs --json", "--help"):
        command = f"{sys.executable} -m lokki {words} >&-"
        ended = subprocess.run(["bash", "-c", command], capture_output=True, timeout=50)
        assert (ended.returncode, ended.stderr) == (0, b""), words


def test_a_journal_that_is_being_written_is_read(held, done, journal):
    with closing(Journal(journal)) as book:
        run = book.history.find("last").id
    shape = json.loads(done("show", run, "--json")[1])
    assert shape["owner"]["process"] == held.pid
    assert shape["owner"]["alive"] is True
    assert shape["status"] == "running"
