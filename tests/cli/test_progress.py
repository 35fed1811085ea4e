"""The progress view, as a terminal shows it: of real runs in a pseudo-terminal, and drawn alone."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import textwrap

import pytest

from lokki.cli.render.view import Screen
from lokki.engine.state import Counts
from lokki.engine.view import StageView
from lokki.store.history import read_history


class Terminal:
    """What a terminal shows of what is written to it: the few sequences that lokki writes."""

    def __init__(self, columns):
        self.columns = columns
        self.rows = [""]
        self.row = self.column = 0

    def feed(self, text):
        for part in re.findall(r"\x1b\[[0-9;?]*[a-zA-Z]|[^\x1b]", text):
            if part == "\n":
                self._down()
            elif part == "\r":
                self.column = 0
            elif part.endswith("A") and len(part) > 1:
                self.row = max(0, self.row - int(part[2:-1]))
            elif part == "\x1b[J":
                self.rows[self.row] = self.rows[self.row][: self.column]
                del self.rows[self.row + 1 :]
            elif len(part) == 1:
                self._put(part)
            else:
                assert part.endswith("m"), f"unexpected {part!r}"
        return self

    def _put(self, sign):
        if self.column == self.columns:
            self._down()
            self.column = 0
        line = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = line[: self.column] + sign + line[self.column + 1 :]
        self.column += 1

    def _down(self):
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")

    @property
    def lines(self):
        return [row.rstrip() for row in self.rows if row.strip()]


class Session:
    """A run in a pseudo-terminal: its stdin and stderr, but not its stdout."""

    def __init__(self, path, command, columns, env, **options):
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, path, *command],
            stdin=theirs,
            stderr=theirs,
            stdout=subprocess.PIPE,
            env={**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **env},
            cwd=path.parent,
            **options,
        )
        os.close(theirs)
        self.raw = ""
        self.columns = columns

    def until(self, pattern):
        """Read until what has been written, without its styles, has the pattern."""
        while not re.search(pattern, re.sub(r"\x1b\[[0-9;]*m", "", self.raw)):
            assert self._read(), self.raw
        return self

    def end(self):
        """The exit code, the result and the lines on the terminal in the end."""
        while self._read():
            pass
        out = self.process.stdout.read().decode()
        return self.process.wait(20), out, Terminal(self.columns).feed(self.raw).lines

    def hang_up(self):
        """Close the terminal's window."""
        os.close(self.ours)
        self.ours = -1

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        if self.ours >= 0:
            os.close(self.ours)

    def type(self, text):
        os.write(self.ours, text.encode())

    def _read(self):
        try:
            data = os.read(self.ours, 1 << 16)
        except OSError:  # the other end is closed
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)


@pytest.fixture
def session(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NO_COLOR", raising=False)
    started = []

    def session(body, *command, columns=80, options=None, **env):
        path = tmp_path / "mine.py"
        header = "import sys, time\nfrom lokki import current, flow, main, step\n"
        path.write_text(header + textwrap.dedent(body) + FOOTER)
        started.append(Session(path, command or ("run",), columns, env, **(options or {})))
        return started[-1]

    yield session
    for each in started:
        each.close()


FOOTER = """
if __name__ == "__main__":
    main(mine)
"""

MEASURE = """
    @step
    def items():
        return range(400)

    @step(retry={"retries": 1, "delay": 0.3, "exceptions": (OSError,)})
    def measure(n):
        time.sleep(0.01)
        if n % 100 == 7 and current().attempt == 1:
            raise OSError("flaky")
        if n % 100 == 5:
            raise ValueError("broken")
        if n % 100 == 0:
            print(f"item {n}", flush=True)
        return n

    @step
    def total(values):
        time.sleep(0.3)
        return len(values)

    @flow
    def mine():
        return items().map(measure, tolerated_failures=0.5, concurrency_limit=4).agg(total)
"""


@pytest.mark.parametrize("columns", [80, 200])
def test_the_stages_of_a_run(session, columns):
    run = session(MEASURE, columns=columns).until(r"retrying.*/s +\d+s left")
    code, out, lines = run.end()
    assert (code, out) == (0, "396\n")
    head, printed, tolerated, view, foot = (
        lines[0],
        lines[1:5],
        lines[5:-4],
        lines[-4:-1],
        lines[-1],
    )
    assert re.fullmatch(r"\[INFO\] Run \S+ of mine started", head)
    assert printed == ["item 0", "item 100", "item 200", "item 300"]
    told = "".join(tolerated)  # over two lines of a narrow terminal
    assert told.startswith("[WARNING] Step 'measure': 4 of 400 items failed, as is tolerated; see:")
    patterns = [
        r"✓ items +(\d+ms|\d\.\ds)",  # as short as the machine is fast
        r"✓ measure  ━{6,}  400/400  4 tolerated  \d+/s  \d\.\ds",
        r"✓ total +\d\.\ds",
    ]
    for line, pattern in zip(view, patterns, strict=True):
        assert re.fullmatch(pattern, line)
        assert len(line) == columns - 1
    assert re.fullmatch(r"\[INFO\] Run \S+ succeeded", foot)
    assert "\x1b[33m" in run.raw
    assert "\x1b[?25l" not in run.raw  # the cursor is never hidden


def test_without_colour(session):
    run = session(MEASURE, NO_COLOR="1").until(r"measure  ━")
    assert run.end()[2][-3].startswith("✓ measure")
    assert not re.search(r"\x1b\[[0-9;]*m", run.raw)


def test_a_terminal_that_cannot_be_drawn_on_gets_lines(session):
    run = session(MEASURE, TERM="dumb")
    code, _, lines = run.end()
    assert code == 0
    assert "\x1b" not in run.raw
    assert "[==========================] 400/400 (100%) completed (4 tolerated)" in lines


def test_a_short_run_draws_nothing(session):
    run = session(
        """
        @step
        def short():
            print("hello")

        @flow
        def mine():
            return short()
        """
    )
    _, _, lines = run.end()
    assert len(lines) == 3
    assert lines[1] == "hello"
    assert "\x1b" not in run.raw


def test_what_steps_print_stays_as_it_is(session):
    run = session(
        """
        @step
        def talking():
            print("begun ", end="", flush=True)
            time.sleep(0.6)
            print("ended")
            print("x" * 250)
            print("\\x1b[31mred\\x1b[0m")
            print("10 %\\r20 %")
            for number in range(20_000):
                print("line", number)
            print("in parts: ", end="")
            time.sleep(0.4)
            print("one line")
            time.sleep(0.4)
            print("the rest", end="")

        @flow
        def mine():
            return talking()
        """
    )
    _, _, lines = run.end()
    assert lines[1:4] == ["begun", "ended", "x" * 80]
    assert lines[3:9] == ["x" * 80, "x" * 80, "x" * 80, "x" * 10, "red", "20 %"]
    assert lines[9:-4] == [f"line {number}" for number in range(20_000)]
    assert lines[-4:-2] == ["in parts: one line", "the rest"]
    assert lines[-2].startswith("✓ talking")


def test_a_failure_is_reported_below_the_view(session):
    run = session(
        """
        @step
        def failing():
            time.sleep(0.6)
            raise ValueError("invalid input")

        @flow
        def mine():
            return failing()
        """,
        columns=200,
    )
    code, _, lines = run.end()
    assert code == 1
    view, trace = lines[1], lines[2]
    assert view.startswith("✗ failing")
    assert trace == "Traceback (most recent call last):"
    assert re.match(r"\[ERROR\] Step 'failing' failed after 0\.\d+s: ValueError: ", lines[6])
    told = r"Error: the run failed in step 'failing', attempt 1, at \S+\.py:\d+"
    assert re.fullmatch(told, lines[7])
    assert lines[8].startswith("resume: python ")
    assert "".join(lines).count("ValueError: invalid input") == 2


def test_what_a_resumed_run_has_done_before_is_drawn_as_done(session):
    body = """
        import os

        @step
        def first():
            return 1

        @step
        def second(one):
            time.sleep(0.6)
            return one + len(os.environ["ADDED"])

        @flow
        def mine():
            return first().next(second)
        """
    assert session(body).end()[0] == 1
    code, out, lines = session(body, "resume", "last", ADDED="x").end()
    assert (code, out) == (0, "2\n")
    assert "✓ first" in lines
    assert any(line.startswith("✓ second") for line in lines)


SLOW = """
    @step
    def items():
        return range(100)

    @step
    def slow(n):
        time.sleep(WAIT)
        return n

    @flow
    def mine():
        return items().map(slow)
"""


def test_ctrl_c(session):
    run = session(SLOW.replace("WAIT", "1"), columns=300).until(r"▸ slow")
    run.process.send_signal(signal.SIGINT)
    code, out, lines = run.end()
    assert (code, out) == (130, "")
    assert re.fullmatch(
        r"cancelling: waiting for the calls of 'slow' in threads to end; resume: "
        r"python \S+ resume \S+ \(Ctrl-C again quits at once\)",
        lines[1],
    )
    assert [line.split()[0] for line in lines[2:]] == ["✓", "◌", "run"]
    assert "  cancelling" in re.sub(r"\x1b\[[0-9;]*m", "", run.raw)
    assert "cancelling" not in lines[3]


def test_a_second_ctrl_c_leaves_the_terminal_as_it_was(session):
    run = session(SLOW.replace("time.sleep(WAIT)", "input('name? ')")).until(r"name\? ")
    before = termios.tcgetattr(run.ours)
    run.process.send_signal(signal.SIGINT)
    run.until("cancelling: ")
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(20) == 130
    assert termios.tcgetattr(run.ours) == before


def test_the_end_of_the_terminal_cancels_the_run(session, journal):
    def lead():
        fcntl.ioctl(2, termios.TIOCSCTTY, 0)

    talking = SLOW.replace("time.sleep(WAIT)", "time.sleep(0.5); print('done', n)")
    run = session(talking, options={"start_new_session": True, "preexec_fn": lead})
    run.until(r"▸ slow").hang_up()
    assert (run.process.wait(20), run.process.stdout.read()) == (130, b"")
    with read_history(journal) as history:
        found = history.find("last")
        _, slow = history.stages(found.id)
    assert found.status == "cancelled"
    assert slow.failed == 0
    assert slow.succeeded > 0


def test_a_step_that_asks_for_something_ends_the_view(session):
    run = session(
        """
        @step
        def asking():
            time.sleep(0.6)
            print("a question")
            name = input("name? ")
            time.sleep(0.6)
            return name

        @step
        def told(name):
            return f"hello {name}"

        @flow
        def mine():
            return asking().next(told)
        """
    ).until(r"name\? ")
    drawn = run.raw.count("asking")
    run.type("bob\n")
    code, out, lines = run.end()
    assert (code, out) == (0, "hello bob\n")
    assert run.raw.count("asking") == drawn + 1
    assert lines[1] == "a question"
    assert [line.split()[0] for line in lines[2:4]] == ["▸", "·"]
    assert lines[4].startswith("name? ")
    assert re.match(r"\[INFO\] Step 'asking' completed in ", lines[-4])


def test_a_step_may_forget_about_its_stdin(session):
    run = session(
        """
        @step
        def reading():
            return [line for line in sys.stdin]

        @flow
        def mine():
            return reading()
        """
    ).until("Run .* started")
    run.type("one\ntwo\n\x04")
    assert run.end()[:2] == (0, "['one\\n', 'two\\n']\n")


# ---- drawn alone ---------------------------------------------------------------------------------


def drawing(monkeypatch, columns=80, lines=24):
    """A screen of that size, and the terminal that it draws on."""

    class Stream(io.StringIO):
        encoding = "utf-8"

        def fileno(self):
            return 99

        def write(self, text):
            terminal.feed(text.replace("\n", "\r\n"))
            return len(text)

    terminal = Terminal(columns)
    size = os.terminal_size((columns, lines))
    monkeypatch.setattr(os, "get_terminal_size", lambda descriptor: size)
    return Screen(Stream()), terminal


def mapping(name, total, **counts):
    stage = StageView(name, is_map=True)
    stage.begin(Counts(total), 100.0)
    stage.counts = Counts(total, **counts)
    return stage


def test_the_bar_shows_how_much_is_done(monkeypatch):
    screen, terminal = drawing(monkeypatch, 60)
    stages = [mapping("work", 1000, succeeded=500), mapping("more", 1000, succeeded=1000)]
    screen.draw("", stages, 110.0)
    first, second = terminal.lines
    assert (first.count("━"), first.count("─")) == (10, 11)
    assert (second.count("━"), second.count("─")) == (21, 0)
    assert first.endswith("500/1,000   50/s  10s left")


def test_when_all_that_is_left_is_retrying_nobody_knows_how_long_that_takes(monkeypatch):
    screen, terminal = drawing(monkeypatch)
    stage = mapping("work", 1000, succeeded=990, retrying=9)
    screen.draw("", [stage], 110.0)
    assert terminal.lines[0].endswith("99/s  1s left")
    stage.counts = Counts(1000, succeeded=991, retrying=9)
    screen.draw("", [stage], 110.0)
    assert terminal.lines[0].endswith("99/s  10.0s")


def test_a_run_that_is_being_cancelled(monkeypatch):
    screen, terminal = drawing(monkeypatch)
    stage = mapping("work", 1000, succeeded=990)
    stage.status = "cancelled"
    screen.draw("", [stage], 110.0)
    assert terminal.lines[0].startswith("◌ work")
    assert terminal.lines[0].endswith("99/s  cancelling")
    screen.draw("", [stage], 120.0, last=True)
    assert terminal.lines[0].endswith("  20.0s")


def test_the_rate_of_a_resumed_map_is_of_what_it_does_now(monkeypatch):
    screen, terminal = drawing(monkeypatch)
    stage = StageView("work", is_map=True)
    stage.begin(Counts(1000, succeeded=900), 100.0)
    stage.counts = Counts(1000, succeeded=910)
    screen.draw("", [stage], 110.0)
    assert terminal.lines[0].endswith("910/1,000  1.0/s  1m30s left")
    stage.end("done", Counts(1000, succeeded=1000), 50.0)
    screen.draw("", [stage], 150.0)
    assert terminal.lines[0].endswith("1,000/1,000  50.0s")


def test_the_rate_of_a_map_is_that_of_late_and_in_the_end_that_of_all_its_time(monkeypatch):
    screen, terminal = drawing(monkeypatch)
    stage = mapping("work", 1000)
    for second in range(1, 101):
        stage.counts = Counts(1000, succeeded=second if second < 60 else 60 + 2 * (second - 60))
        screen.draw("", [stage], 100.0 + second)
    assert "  2.0/s  7m10s left" in terminal.lines[0]
    stage.end("done", Counts(1000, succeeded=1000), 100.0)
    screen.draw("", [stage], 200.0)
    assert terminal.lines[0].endswith("1,000/1,000  10/s  1m40s")


def test_a_narrow_terminal_loses_the_bar_and_then_the_rest_but_no_line_wraps(monkeypatch):
    for columns in range(2, 60):
        screen, terminal = drawing(monkeypatch, columns)
        stage = mapping("a_step_with_a_long_name", 20_000, succeeded=7, failed=3, retrying=12)
        for now in (110.0, 120.0):
            screen.draw("", [stage, StageView("漢字", is_map=False)], now)
        assert len(terminal.lines) == 2, terminal.lines
        assert terminal.lines[0].startswith("▸"[: columns - 1])


def test_more_stages_than_there_is_room_for(monkeypatch):
    screen, terminal = drawing(monkeypatch, lines=10)
    stages = [StageView(f"stage_{number}", is_map=False) for number in range(50)]
    for stage in stages[:20]:
        stage.begin(Counts(1), 100.0)
        stage.end("done", Counts(1, succeeded=1), 1.0)
    stages[20].begin(Counts(1), 100.0)
    for now in (101.0, 102.0):
        screen.draw("", stages, now)
    assert len(terminal.lines) == 8
    assert terminal.lines[0].startswith("✓ stage_19")
    assert terminal.lines[1].startswith("▸ stage_20")
    screen.draw("", stages, 103.0, last=True)
    assert len(terminal.lines) == 50


def test_lines_above_and_a_window_that_becomes_narrower(monkeypatch):
    screen, terminal = drawing(monkeypatch, 100)
    stage = mapping("work", 1000, succeeded=500)
    screen.draw("one\n\x1b[31mtwo\n", [stage], 110.0)
    narrow = Terminal(40)  # which wraps the lines that it has
    for line in terminal.rows[:-1]:
        narrow.feed(line.rstrip() + "\r\n")
    monkeypatch.setattr(os, "get_terminal_size", lambda descriptor: os.terminal_size((40, 24)))
    terminal.__dict__.update(vars(narrow))
    screen.draw("three\n", [stage], 110.0)
    assert terminal.lines[:3] == ["one", "two", "three"]
    assert terminal.lines[3].startswith("▸ work")
    assert len(terminal.lines) == 4


def test_a_stream_without_utf_8_is_drawn_in_ascii(monkeypatch):
    screen, terminal = drawing(monkeypatch)
    stream = screen._stream
    type(stream).encoding = "ascii"
    Screen(stream).draw("", [mapping("work", 10, succeeded=5), StageView("x", is_map=True)], 110.0)
    assert terminal.lines[0].startswith("> work  ===")
    assert "---" in terminal.lines[0]
    assert terminal.lines[1] == ". x"
    assert all(line.isascii() for line in terminal.lines)
