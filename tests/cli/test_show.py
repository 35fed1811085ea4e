"""What `show` and `runs` draw: golden outputs, and terminals of several kinds."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from datetime import UTC, datetime
from time import time

import pytest

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

stage     done      of  tolerated   took   rate
numbers      1       1               4ms
crunch   9,963  10,000         37  1m15s  132/s
total        1       1             1m15s

crunch
██!!█!█!!█!!█!!█!!█!█!!█!!█!!█!!█!█!!█!!█!!█!█!!██████████████████████!!██████
! tolerated   █ done

8a73ee  30 items of crunch, tolerated  ValueError: bad reading N: sensor N gave
nothing
        at /flows/crunch.py:12 in crunch
        item 300, 500, 700, 900, 1100, …
        item 300: bad reading 300: sensor 0x12c gave nothing
        again: lokki resume 20260203-103000-000abcde --error 8a73ee

dff37e  7 items of crunch, tolerated  ConnectionError: peer closed
        at /flows/crunch.py:12 in crunch
        item 9100, 9101, 9102, 9103, 9104, …
        again: lokki resume 20260203-103000-000abcde --error dff37e

all that failed again: lokki resume 20260203-103000-000abcde --failed"""


FAILED = """\
run      20260203-103000-000abcde
flow     crunching
status   failed, 1 item failed, 2 tolerated
started  2026-02-03 10:30:00 by python crunch.py run
took     1h01m

stage    done   of  failed  tolerated  retrying   took     rate
numbers     1    1                                0.5s
crunch     55  100       1          2         1  1h01m  0.9/min

crunch
███!███████████████████████████████████✗███↻█◌█·······························
✗ failed   ! tolerated   ◌ cancelled   ↻ retrying   █ done   · not yet

90395c  1 item of crunch  ValueError: not a number: long, long, long, long,
long, long, long, long, long, long, long, long, long, long, long, long, long,
long, long, long, long, long, long, long, long, long, long, long, long, long,
long, long, long, long, long, long, long, long, long, long, long, long, long,
long, long, long, long, long, long, long, long,…
        at /flows/crunch.py:12 in crunch
        item 50
        again: lokki resume 20260203-103000-000abcde

91d6c0  2 items of crunch, tolerated  OSError: no route to host N
        at /flows/crunch.py:12 in crunch
        item 3, 4
        item 3: no route to host 10.0.0.3
        again: lokki resume 20260203-103000-000abcde --error 91d6c0"""

TASK = """\
run      20260203-103000-000abcde
flow     crunching
status   failed
started  2026-02-03 10:30:00 by python crunch.py run
took     21ms

stage  done  of  failed  took
load      0   1       1  21ms

6468fd  load  KeyError: 'nothing'
        at /flows/crunch.py:12 in crunch
        again: lokki resume 20260203-103000-000abcde"""

LIST = """\
run                       flow           status            items  tolerated
20250202-103002-000abcde  crunching      cancelled           2/5          1
20250202-103001-000abcde  crunching      succeeded             1
20250202-103000-000abcde  flow-of-words  succeeded"""

WIDE = """\
20250202-103002-000abcde  crunching      cancelled  02 Feb 2025            2/5          1  2h01m
20250202-103001-000abcde  crunching      succeeded  02 Feb 2025              1             1m15s
20250202-103000-000abcde  flow-of-words  succeeded  02 Feb 2025                            1m15s"""

NARROW = """\
run                      flow         status           items tolerated
20260203-103000-000abcde crunching    succeeded 9,963/10,000        37
20250202-103002-000abcde crunching    cancelled          2/5         1
20250202-103001-000abcde crunching    succeeded            1
20250202-103000-000abcde flow-of-wor… succeeded"""

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
    record("20260203-103001-000fghij", status="failed", error='{"message": "the disk is full"}')
    task, other = shown("show", "20260203-103000"), shown("show", "20260203-103001")
    assert task == TASK
    assert other.splitlines()[-3:] == [
        "the disk is full",
        "",
        "go on with it: lokki resume 20260203-103001-000fghij",
    ]


def test_a_run_whose_process_is_gone(record, shown):
    run = record("20260203-103000-000abcde", ("crunch", "map", None, ["ok"] * 3), status="running")
    told = shown("show", run).splitlines()
    assert "status   running (lost)" in told
    assert "took     0ms" in told, "until it was seen last"
    assert told[-1] == f"its process is gone; go on with it: lokki resume {run}"
    assert shown("show", "--watch").splitlines() == told, "there is nothing to wait for"


def test_more_kinds_of_failures_than_fit(record, shown):
    kinds = [("tolerated", f"Error{letter}", "no") for letter in "abcdefghijkl"]
    record("20260203-103000-000abcde", ("crunch", "map", 1.0, kinds))
    told = shown("show", "last")
    assert told.count("        again: lokki resume") == 10
    assert "2 more kinds of failures: --json has them" in told


def test_the_list(record, shown, crunched, monkeypatch):
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
    assert told[1].startswith("20260203-103000-000abcde  crunching")
    assert "\n".join([told[0], *told[2:]]) == LIST
    some = shown("runs", "-n", "2").splitlines()
    assert (len(some), some[-1]) == (
        4,
        "older ones: more with --n, or --before 20250202-103002-000abcde",
    )
    monkeypatch.setenv("COLUMNS", "110")
    assert shown("runs").splitlines()[2:] == WIDE.splitlines()
    monkeypatch.setenv("COLUMNS", "70")
    assert shown("runs") == NARROW
    monkeypatch.setenv("COLUMNS", "34")
    assert shown("runs") == TINY, "whole ids"


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


def _read(terminal: int) -> str:
    try:
        return os.read(terminal, 1 << 16).decode(errors="replace")
    except OSError:  # the other side is closed
        return ""


def test_control_characters_are_told_not_obeyed(record, shown):
    run = record(
        "20260203-103000-000abcde",
        ("crunch", "map", 0.5, [("tolerated", "ValueError", "\x1b[2Jgone \x07 10")]),
        started_by="python crunch.py run --note \x1b]0;title\x07",
    )
    told = shown("show", "--run", run)
    assert "\x1b" not in told
    assert r"by python crunch.py run --note \x1b]0;title\x07" in told
    assert r"item 0: \x1b[2Jgone \x07 10" in told
