"""Starts programs of lokki, in processes of their own, which need not import it first.

They are forks of a process that has: a start then takes milliseconds, where an interpreter with all
its imports takes tenths of a second, thousands of times. A test that is about the interpreter (its
options, its variables, what it imports) starts one with `subprocess`.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

CLI = ("lokki.cli.main", "lokki.cli.execute", "lokki.cli.render.console", "lokki.backends.combined")
AWS = (*CLI, "lokki.aws.deploy", "lokki.backends.aws", "lokki.cli.invoking")
SERVER = ("lokki.cli.main", "lokki_server.server")
"""What is imported already."""
_DIGITS = 12
"""Of an id or a status that is reported."""
_OPTIONS = {"stdin", "stdout", "stderr", "cwd", "env"}


def started(
    words: Sequence[str], imported: Sequence[str] = CLI, **options: Any
) -> subprocess.Popen[str]:
    """A process as of ``Popen([sys.executable, *words], text=True, **options)``.

    ``words`` are ``-m`` and a module, or a file, and its arguments. Where a new interpreter would
    differ, by an option or a variable of Python's, it is one.
    """
    differs = _of_python(options.get("env") or os.environ) != _of_python(_AT_FIRST)
    if differs or not options.keys() <= _OPTIONS or "COVERAGE_PROCESS_CONFIG" in os.environ:
        return subprocess.Popen([sys.executable, *words], text=True, **options)
    return _Forked((words, imported), text=True, **options)


def done(
    words: Sequence[str], imported: Sequence[str] = CLI, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Such a process, once it has ended, with what it has printed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started(words, imported, **pipes, **options) as process:
        try:
            out, err = process.communicate(timeout=50)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _of_python(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that an interpreter reads at its start. (UTF-8 is what it uses anyway.)"""
    found = {name: text for name, text in environment.items() if name.startswith("PYTHON")}
    return {name: text for name, text in found.items() if (name, text) != ("PYTHONUTF8", "1")}


_AT_FIRST = dict(os.environ)


class _Forked(subprocess.Popen[str]):
    """A process of which another is the parent, which reports its id, and then its end."""

    def _execute_child(self, args: Any, *given: Any) -> None:
        (self.args, imported), folder, environment, pipes = args, *given[4:6], given[9:15]
        self._report, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile() as request:
            wanted = [self.args, os.path.abspath(folder or "."), dict(environment or os.environ)]
            request.write(json.dumps(wanted).encode())
            request.seek(0)
            streams = zip((pipes[0], pipes[3], pipes[5]), range(3), strict=True)
            theirs_too = [own if pipe == -1 else pipe for pipe, own in streams]
            socket.send_fds(
                _parent(imported), [b"!"], [request.fileno(), theirs.fileno(), *theirs_too]
            )
        self.pid = int(self._report.recv(_DIGITS))
        self._child_created = True
        self._close_pipe_fds(*pipes)

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        try:
            told = self._report.recv(_DIGITS, socket.MSG_DONTWAIT if wait_flags else 0)
        except BlockingIOError:
            return 0, 0
        self._report.close()
        return self.pid, int(told)

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):
            try:
                pid, status = self._try_wait(os.WNOHANG)
                if pid:
                    self._handle_exitstatus(status)
            finally:
                self._waitpid_lock.release()
        return self.returncode


@cache
def _parent(imported: Sequence[str]) -> socket.socket:
    """The connection to the process whose forks are started."""
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, __file__, str(theirs.fileno()), *imported]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            env=_AT_FIRST | {"PYTHONUTF8": "1"},
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _forks(requests: socket.socket) -> tuple[list[str], str, dict[str, str]]:
    """Fork for each request; returns only in forks: the words, folder and environment of each."""
    reports: dict[int, socket.socket] = {}

    def report(*_: Any) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                with reports.pop(ended[0]) as told, suppress(OSError):
                    told.send(b"%*d" % (_DIGITS, ended[1]))

    signal.signal(signal.SIGCHLD, report)
    gc.freeze()
    while True:
        if not (sent := socket.recv_fds(requests, 1, 5)[1]):
            os._exit(0)  # nobody asks any more
        request, reporting, *streams = sent
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        reporter = socket.socket(fileno=reporting)
        if pid := os.fork():
            reports[pid] = reporter
            reporter.send(b"%*d" % (_DIGITS, pid))
        else:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for each in (requests, reporter, *reports.values()):
                each.close()
            for number, each in enumerate(streams):
                os.dup2(each, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        for each in streams:
            os.close(each)
        with open(request) as file:
            if not pid:
                words, folder, environment = json.load(file)
                return words, folder, environment


def _run(words: list[str], folder: str, environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    time.tzset()
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        before = getattr(sys, name)
        options = {"encoding": before.encoding, "errors": before.errors, "closefd": False}
        stream = open(number, "w" if number else "r", 1 if number == 2 else -1, **options)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    if words[0] == "-m":
        sys.argv, sys.path[0] = words[1:], folder
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        return
    file = os.path.abspath(words[0])
    sys.argv, sys.path[0] = words, os.path.dirname(os.path.realpath(file))
    module = sys.modules["__main__"] = ModuleType("__main__")
    module.__file__ = file
    exec(compile(Path(file).read_bytes(), file, "exec"), module.__dict__)


def _end() -> None:
    """Once everything else has been done at exit, end without the teardown of the interpreter.

    It would touch every page of memory, and so copy what the processes share.
    """
    if _status is not None:
        with suppress(OSError, ValueError):  # the interpreter says that its output is lost
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(_status & 0xFF)


_status: int | None = None
"""The exit code of a program that has ended, unless by an exception."""

if __name__ == "__main__":
    atexit.register(_end)
    for _name in sys.argv[2:]:
        import_module(_name)
    with socket.socket(fileno=int(sys.argv[1])) as _requests:
        _request = _forks(_requests)
    try:
        _run(*_request)
        _status = 0
    except SystemExit as _ended:
        _status = _ended.code if isinstance(_ended.code, int) else int(_ended.code is not None)
        raise
