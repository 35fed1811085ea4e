"""What `show` and `runs` draw: golden outputs, and terminals of several kinds."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import termios
from contextlib import closing
from datetime import UTC, datetime
from time import time

import pytest

from lokki.store.journal import Journal

AT = 1770114600.0
LOST = ("tolerated", "ConnectionError", "peer closed")


def bad(index):
    return ("tolerated", "ValueError", f"bad reading {index}: sensor 0x{index:x} gave nothing")


@pytest.fixture
def shown(done):
    """The stdout of a command that succeeds, without the blanks that end its lines."""

    def printed(*arguments):
        code, out, err = done(*arguments)
        assert (code, err) == (0, "")
        assert "\x1b" not in out
        return "\n".join(line.rstrip() for line in out.splitlines())

    return printed


@pytest.fixture
def crunched(record):
    """Ten thousand items, 37 of which failed, which was tolerated."""
    items = ["ok"] * 10_000
    items[300:6_300:200] = [bad(index) for index in range(300, 6_300, 200)]
    items[9_100:9_107] = [LOST] * 7
    return record(
        "20260203-103000-000abcde",
        ("numbers", "task", 0.004, ["ok"]),
        ("crunch", "map", 75.25, items),
        ("total", "task", 75.5, ["ok"]),
        params='{"count": 10000, "note": "of May"}',
    )


TOLERATED = """\
run      20260203-103000-000abcde
flow     crunching
status   succeeded, 37 items tolerated
started  2026-02-03 10:30:00 by python crunch.py run
took     1m15s
params   count = 10000
         note = "of May"

stage      done      of  tolerated   took   rate
numbers       1       1               4ms
crunch   10,000  10,000         37  1m15s  133/s
total         1       1             1m15s

crunch
██!!█!█!!█!!█!!█!!█!█!!█!!█!!█!!█!█!!█!!█!!█!█!!██████████████████████!!██████
! tolerated   █ done

8a73ee  30 items of crunch, tolerated  ValueError: bad reading N: sensor N gave
nothing
        at /flows/crunch.py:12 in crunch
        item 300, 500, 700, 900, 1100, …
        item 300: bad reading 300: sensor 0x12c gave nothing
        resume: lokki resume 20260203-103000-000abcde --error 8a73ee

dff37e  7 items of crunch, tolerated  ConnectionError: peer closed
        at /flows/crunch.py:12 in crunch
        item 9100, 9101, 9102, 9103, 9104, …
        resume: lokki resume 20260203-103000-000abcde --error dff37e

resume all that failed: lokki resume 20260203-103000-000abcde --failed"""


FAILED = """\
run      20260203-103000-000abcde
flow     crunching
status   failed, 1 item failed, 2 tolerated
started  2026-02-03 10:30:00 by python crunch.py run
took     1h01m

stage    done   of  failed  tolerated   took     rate
numbers     1    1                      0.5s
crunch     58  100       1          2  1h01m  0.9/min

crunch
███!███████████████████████████████████✗███◌█◌█·······························
✗ failed   ! tolerated   ◌ cancelled   █ done   · not yet

90395c  1 item of crunch  ValueError: not a number: long, long, long, long,
long, long, long, long, long, long, long, long, long, long, long, long, long,
long, long, long, long, long, long, long, long, long, long, long, long, long,
long, long, long, long, long, long, long, long, long, long, long, long, long,
long, long, long, long, long, long, long, long,…
        at /flows/crunch.py:12 in crunch
        item 50
        resume: lokki resume 20260203-103000-000abcde

91d6c0  2 items of crunch, tolerated  OSError: no route to host 10.0.0.3
        at /flows/crunch.py:12 in crunch
        item 3, 4
        resume: lokki resume 20260203-103000-000abcde --error 91d6c0

765a0e  1 item of crunch, not tried again  OSError: no route
        at /flows/crunch.py:12 in crunch
        item 55"""

TASK = """\
run      20260203-103000-000abcde
flow     crunching
status   failed
started  2026-02-03 10:30:00 by python crunch.py run
took     21ms

stage  done  of  failed  took
load      1   1       1  21ms

6468fd  load  KeyError: 'nothing'
        at /flows/crunch.py:12 in crunch
        resume: lokki resume 20260203-103000-000abcde"""

LIST = """\
run                      flow          status    started       items tolerated
20250202-103002-000abcde crunching     cancelled 02 Feb 2025     3/5         1
20250202-103001-000abcde crunching     succeeded 02 Feb 2025       1
20250202-103000-000abcde flow-of-words succeeded 02 Feb 2025"""

WIDE = """\
20250202-103002-000abcde  crunching      cancelled  02 Feb 2025      3/5          1  2h01m
20250202-103001-000abcde  crunching      succeeded  02 Feb 2025        1             1m15s
20250202-103000-000abcde  flow-of-words  succeeded  02 Feb 2025                      1m15s"""

NARROW = """\
run                       flow           status      items  tolerated
20260203-103000-000abcde  crunching      succeeded  10,000         37
20250202-103002-000abcde  crunching      cancelled     3/5          1
20250202-103001-000abcde  crunching      succeeded       1
20250202-103000-000abcde  flow-of-words  succeeded"""

TINY = """\
run                      status
20260203-103000-000abcde succeeded
20250202-103002-000abcde cancelled
20250202-103001-000abcde succeeded
20250202-103000-000abcde succeeded"""


def test_a_run_with_tolerated_failures(crunched, shown):
    assert shown("show", crunched) == TOLERATED


def test_a_failed_run_tells_first_what_ended_it(record, shown):
    items = ["ok"] * 60 + ["pending"] * 40
    items[3] = items[4] = ("tolerated", "OSError", "no route to host 10.0.0.3")
    items[50] = ("failed", "ValueError", "not a number: " + "long, " * 100)
    items[55] = ("retrying", "OSError", "no route")
    items[57] = ("cancelled",)
    run = record(
        "20260203-103000-000abcde",
        ("numbers", "task", 0.5, ["ok"]),
        ("crunch", "map", None, items),
        status="failed",
        seconds=3_700,
        error='{"type": "ValueError", "message": "step crunch, item 50"}',
    )
    assert shown("show", "--run", run) == FAILED


def test_a_failed_task_and_an_error_that_is_of_no_step(record, shown):
    record(
        "20260203-103000-000abcde",
        ("load", "task", None, [("failed", "KeyError", "'nothing'")]),
        status="failed",
        seconds=0.021,
    )
    record(
        "20260203-103001-000fghij",
        status="failed",
        error='{"type": "OSError", "message": "the disk is full"}',
    )
    task, other = shown("show", "20260203-103000"), shown("show", "20260203-103001")
    assert task == TASK
    assert other.splitlines()[-3:] == [
        "the disk is full",
        "",
        "resume: lokki resume 20260203-103001-000fghij",
    ]


def test_a_run_whose_process_is_gone(record, shown):
    run = record("20260203-103000-000abcde", ("crunch", "map", None, ["ok"] * 3), status="running")
    told = shown("show", run).splitlines()
    assert "status   running (lost)" in told
    assert "took     1m15s" in told, "until its last outcome"
    assert told[-1] == f"its process is gone; resume: lokki resume {run}"
    assert shown("show", "--watch").splitlines() == told, "there is nothing to wait for"


def test_items_that_are_retrying_tell_why(record, shown):
    again = ("retrying", "OSError", "no route to host 10.0.0.3")
    run = record(
        "20260203-103000-000abcde",
        ("load", "task", 0.1, ["ok"]),
        ("crunch", "map", None, ["ok", again, LOST, ("retrying", *LOST[1:]), "pending"]),
        status="running",
    )
    told = shown("show", run)
    assert told.partition("done   · not yet\n\n")[2].splitlines() == [
        "dff37e  2 items of crunch, 1 of them tolerated, 1 of them retrying",
        "ConnectionError: peer closed",
        "        at /flows/crunch.py:12 in crunch",
        "        item 3, 2",
        f"        resume: lokki resume {run} --error dff37e",
        "",
        "91d6c0  1 item of crunch, retrying  OSError: no route to host 10.0.0.3",
        "        at /flows/crunch.py:12 in crunch",
        "        item 1",
        "",
        f"its process is gone; resume: lokki resume {run}",
    ]


def test_a_message_that_is_the_same_for_all_is_reported_as_it_is(record, shown):
    record("20260203-103000-000abcde", ("crunch", "map", 1.0, [("tolerated", "E", "port 80")] * 3))
    told = shown("show", "last")
    assert "3 items of crunch, tolerated  E: port 80\n" in told
    assert told.count("port 80") == 1


def test_resumes_and_a_chain_within_a_map_are_reported_in_the_head(record, shown, journal):
    run = record("20260203-103000-000abcde", status="failed", shape="a → map(b → c) → d")
    assert "flow     crunching: a → map(b → c) → d" in shown("show", run).splitlines()
    assert "resumed" not in shown("show", run)
    with closing(Journal(journal)) as book:
        for number in (1, 2):
            told = {"by": f"lokki resume last --n {number}", "again": []}
            book.take(run, AT + 600 * number, detail=told).result()
            book.finish(run, "failed", AT + 600 * number + 1, None).result()
            line = f"2026-02-03 10:{40 + 10 * (number - 1)}:00 by lokki resume last --n {number}"
            times = "2 times, the last " if number == 2 else ""
            assert f"resumed  {times}{line}" in shown("show", run).splitlines()


def test_a_map_of_several_steps_tells_what_each_of_them_did_and_takes(record, shown):
    run = record(
        "20260203-103000-000abcde",
        ("numbers", "task", 0.1, ["ok"]),
        ("crunch", "map", 0.5, ["ok", LOST, "ok", bad(3), "ok"]),
        shape="numbers → map(crunch → pack → ship)",
        spent=[(0, 0.0012), (0, 0.0014), (1, 0.00004), (2, 1.5)],
    )
    told = shown("show", run).partition("! tolerated   █ done\n")[2]
    assert told.partition("\n\n")[0].splitlines() == [
        "inner step  done  failed attempts    mean",
        "· crunch       3                2   1.3ms",
        "· pack         3                   0.04ms",
        "· ship         3                     1.5s",
    ]


def test_a_run_that_is_being_removed_is_reported_as_that(record, shown, done, journal):
    run = record(
        "20260203-103000-000abcde", ("crunch", "map", None, ["ok", LOST]), status="running"
    )
    with closing(Journal(journal)) as book:
        assert book.begin_removal(run, AT + 99).result()
    assert shown("runs").splitlines()[1].split()[:3] == [run, "crunching", "removing"]
    told = shown("show", run)
    assert "status   removing, 1 item tolerated\n" in told
    assert "took     1m15s\n" in told
    assert "resume" not in told
    assert told.endswith(
        "it is being removed: its payloads are gone, and the next gc removes the rest"
    )
    assert json.loads(shown("show", run, "--json"))["removing"] is True
    assert json.loads(shown("runs", "--json"))["runs"][0]["removing"] is True
    refused = f"Error: run {run} is being removed: its payloads are gone\n"
    assert done("cancel", run) == (1, "", refused)
    assert done("logs", run, "--follow") == (0, "", "no lines\n")


def test_a_run_that_is_lost_cannot_be_paused(record, done):
    run = record("20260203-103000-000abcde", ("crunch", "map", None, ["ok"]), status="running")
    for command, why in (
        ("pause", f"the process of run {run} is gone: resume the run instead"),
        ("unpause", f"run {run} is not paused: it is running"),
    ):
        assert done(command, run) == (1, "", f"Error: {why}\n")
    assert done("tune", run, "--concurrency", "0")[0] == 2


def test_more_kinds_of_failures_than_fit(record, shown):
    kinds = [("tolerated", f"Error{letter}", "no") for letter in "abcdefghijkl"]
    record("20260203-103000-000abcde", ("crunch", "map", 1.0, kinds))
    told = shown("show", "last")
    assert told.count("        resume: lokki resume") == 10
    assert "2 more failure groups: see --json" in told


def test_the_list(record, shown, done, crunched, monkeypatch):
    years = 366 * 86_400
    record("20250202-103000-000abcde", at=AT - years, flow="flow-of-words")
    record(
        "20250202-103002-000abcde",
        ("load", "task", 1.0, ["ok"]),
        ("crunch", "map", None, ["ok"] * 2 + ["pending"] * 2 + [LOST]),
        at=AT - years + 2,
        status="cancelled",
        seconds=7_260,
    )
    record("20250202-103001-000abcde", ("crunch", "map", 1.0, ["ok"]), at=AT - years + 1)
    old = ("--n", 2, "--flow", "crunching", "--status", "cancelled", "--status", "running")
    ended = shown("runs", *old).splitlines()
    assert len(ended) == 2
    assert "20250202-103002-000abcde crunching" in ended[1]
    told = shown("runs").splitlines()
    assert shown("show").splitlines() == told
    assert told[1].startswith("20260203-103000-000abcde crunching")
    assert "\n".join([told[0], *told[2:]]) == LIST
    code, some, err = done("runs", "-n", "2")
    assert (code, len(some.splitlines())) == (0, 3)
    assert err == "for older runs: a larger --n, or --before 20250202-103002-000abcde\n"
    monkeypatch.setenv("COLUMNS", "110")
    assert shown("runs").splitlines()[2:] == WIDE.splitlines()
    monkeypatch.setenv("COLUMNS", "70")
    assert shown("runs") == NARROW
    monkeypatch.setenv("COLUMNS", "34")
    assert shown("runs") == TINY, "whole ids"
    for columns in (33, 30, 24):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert shown("runs").splitlines() == [line.split()[0] for line in TINY.splitlines()]
    monkeypatch.setenv("COLUMNS", "20")
    assert shown("runs").splitlines()[1:3] == ["20260203-103000-000a", "bcde"], "folded, not cut"


def test_a_run_of_today(record, shown):
    now = time()
    run = record("today", at=now, seconds=0.25)
    clock = f"{datetime.fromtimestamp(now, UTC):%H:%M:%S}"
    assert shown("runs").splitlines()[1] == f"{run}  crunching  succeeded  {clock}  0.2s"


def test_no_run_at_all(shown, journal):
    assert shown("runs") == shown("show") == f"no runs in {journal}"
    assert not journal.parent.exists(), "reading makes no journal"


def test_without_utf_8_there_are_ascii_marks(crunched, shown, monkeypatch):
    monkeypatch.setenv("PYTHONUTF8", "0")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    told = shown("show", crunched)
    assert told.isascii()
    assert "! tolerated   # done" in told


def test_a_file_is_wide_unless_columns_says_other(crunched, shown, monkeypatch):
    monkeypatch.delenv("COLUMNS")
    assert max(map(len, shown("show", crunched).splitlines())) == 118
    monkeypatch.setenv("COLUMNS", "200")
    assert max(map(len, shown("show", crunched).splitlines())) == 198


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("colour", [True, False])
def test_on_a_terminal(crunched, start, monkeypatch, columns, colour):
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setenv("TERM", "xterm-256color")
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = start("show", crunched, stdout=theirs)
    os.close(theirs)
    told = ""
    while part := _read(ours):
        told += part
    os.close(ours)
    assert process.wait(50) == 0
    assert ("\x1b[31m" in told) is colour, "red is for what failed"
    strip = next(line for line in told.splitlines() if line.count("█") > 9)
    assert strip.count("█") + strip.count("!") == columns - 2


@pytest.mark.parametrize(("columns", "lines"), [(30, 8), (40, 10), (80, 24)])
def test_a_window_that_is_too_low_has_the_status_and_the_stage(
    record, start, terminal, monkeypatch, columns, lines
):
    for name, value in {"COLUMNS": columns, "LINES": lines, "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, str(value))
    run = record(
        "20260203-103000-000abcde",
        ("numbers", "task", 0.1, ["ok"]),
        ("crunch", "map", None, ["ok", bad(1), LOST, *[("failed", f"E{n}", "") for n in range(9)]]),
        at=time(),
        status="running",
        seconds=1,
        params=json.dumps({f"param_{number}": number for number in range(9)}),
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    start("show", run, "--watch", stdout=theirs)
    os.close(theirs)
    told = ""
    while "more lines" not in told:
        told += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", _read(ours))
    os.close(ours)
    drawn = [line.rstrip() for line in told.splitlines()]
    drawn = drawn[: 1 + next(n for n, line in enumerate(drawn) if line.endswith("more lines"))]
    assert len(drawn) < lines
    assert max(map(len, drawn)) <= columns
    assert drawn[0].startswith("run      20260203-103000")
    assert any(line.startswith("status   running, 9 items") for line in drawn)
    assert any(line.split()[:2] == ["crunch", "12"] for line in drawn)


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 1 << 16).decode(errors="replace")
    except OSError:  # the other side is closed
        return ""


def test_control_characters_are_reported_not_obeyed(record, shown):
    run = record(
        "20260203-103000-000abcde",
        ("crunch", "map", 0.5, [("tolerated", "ValueError", "\x1b[2Jgone \x07 10")]),
        started_by="python crunch.py run --note \x1b]0;title\x07",
    )
    told = shown("show", "--run", run)
    assert "\x1b" not in told
    assert r"by python crunch.py run --note \x1b]0;title\x07" in told
    assert r"ValueError: \x1b[2Jgone \x07 10" in told
