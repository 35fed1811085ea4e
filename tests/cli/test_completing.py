"""Completion in real shells: what TAB adds to a line that is typed at them, and what it lists."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path
from struct import pack

import pytest
from serving import Place, until

RUN = "20260203-103000-000abcde"
FLOWS = """
raise SystemExit("it must not be imported")

@flow(schedule="rate(1 hour)")
def hourly(
    limit: int, dry: bool = False, *, mode="fast", password: "Secret[str]" = None
): "Counts."

@lokki.flow
def daily(day: date | None = None):
    return one()
"""
SHELLS = {
    "bash": (["bash", "--norc", "-i"], 'eval "$(lokki completion bash)"'),
    "zsh": (
        ["zsh", "-f", "-i"],
        'autoload -U compinit && compinit -u -D && eval "$(lokki completion zsh)"',
    ),
    "fish": (["fish", "--no-config", "-i"], "lokki completion fish | source"),
}


AT_TERMINAL = "import os, sys; os.login_tty(0); os.execvp(sys.argv[1], sys.argv[1:])"


class Shell:
    """An interactive shell at a terminal of its own."""

    def __init__(self, name: str) -> None:
        command, setup = SHELLS[name]
        self.name = name
        programs = Path(sys.executable).parent
        path = f"{programs}:{os.environ['PATH']}"
        self._own, terminal = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", AT_TERMINAL, *command],
            stdin=terminal,
            env=os.environ | {"PATH": path, "TERM": "xterm"},
        )
        os.close(terminal)
        ioctl(self._own, termios.TIOCSWINSZ, pack("HHHH", 40, 100, 0, 0))
        self.shown = ""
        self.type(f"{setup}; echo REA''DY\n")
        self.until("READY")

    def type(self, text: str) -> None:
        os.write(self._own, text.encode())

    def read(self) -> str:
        """What it has shown so far."""
        while select.select([self._own], [], [], 0)[0]:
            self.shown += os.read(self._own, 65_536).decode(errors="replace")
        return self.shown

    def until(self, *texts: str) -> None:
        """Wait until it has shown these texts."""
        until(lambda: all(text in self.read() for text in texts), f"{texts} in {self.shown}")

    def completed(self, typed: str) -> str:
        """What a line that is typed has become: it is given to echo, not run."""
        line = Path("line.txt")
        self.type(f"{typed}\x01echo \x05 >{line}; echo DO''NE\n")
        self.until("DONE")
        return line.read_text()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._own)


@pytest.fixture(params=SHELLS)
def shell(request, terminal):
    if shutil.which(request.param) is None:
        pytest.skip(f"there is no {request.param} here")
    opened = Shell(request.param)
    yield opened
    opened.close()


def test_tab_completes_commands_runs_and_options(shell, record):
    record(RUN)
    assert shell.completed("lokki sho\t2026\t--js\t") == f"lokki show {RUN} --json\n"


def test_tab_completes_a_flows_options_from_the_text_of_its_file(shell):
    Path("birds.py").write_text(FLOWS)
    typed = "lokki run birds.py:ho\t--li\t5 --dr\t--mo\tx --log-f\tjson --pass\t"
    completed = "lokki run birds.py:hourly --limit 5 --dry --mode x --log-format json --pass\n"
    assert shell.completed(typed) == completed
    assert "it must not be imported" not in shell.shown


def test_tab_completes_files_flows_and_places(shell, record):
    record(RUN, flow="crunching")
    Path("only_birds.py").touch()
    assert shell.completed("lokki schedules only\t") == "lokki schedules only_birds.py\n"


def test_tab_completes_the_options_of_a_runs_flow(shell, done):
    flow = "def work(limit: int = 1, mode='x'):\n    return one()\n"
    Path("mine.py").write_text(
        f"from lokki import flow, step\n\n@step\ndef one():\n    return 1\n\n@flow\n{flow}"
    )
    assert done("run", "mine.py")[0] == 0
    completed = "lokki rerun last --limit 5 --mode x --log-level INFO\n"
    assert shell.completed("lokki rerun la\t--li\t5 --mo\tx --log-l\tINFO") == completed


def test_tab_lists_runs_with_what_they_are(shell, record):
    record(RUN)
    record("20260203-103001-000abcde", flow="other", status="failed")
    shell.type("lokki show \t\t")
    shell.until(RUN, "20260203-103001-000abcde", "last")
    if shell.name != "bash":  # which shows no help
        shell.until("other, failed")


def test_tab_asks_the_server_of_a_line(shell, terminal, record):
    place = Place(terminal)
    try:
        place.write("flows.py")
        journal = terminal / "there" / "lokki.db"
        server = place.serve("flows.py", LOKKI_LOCAL_JOURNAL=str(journal))
        run = server.ran("summed")["id"]
        line = f"lokki show --on {str(server.client.base_url).rstrip('/')} {run[:8]}"
        assert shell.completed(f"{line}\t") == f"{line.rpartition(' ')[0]} {run}\n"
    finally:
        place.close()


def test_a_shell_that_is_unknown_is_reported(done):
    code, out, err = done("completion", "tcsh")
    assert (code, out) == (2, "")
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in err
