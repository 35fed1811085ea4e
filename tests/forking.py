"""Starts programs of lokki, in processes of their own, which need not import it first.

They are forks of a process that has: a start then takes milliseconds, where an interpreter with all
its imports takes tenths of a second, thousands of times. A test that is about the interpreter (its
options, its variables, what it imports) starts one with `subprocess`.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import runpy
import select
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
from pkgutil import walk_packages
from types import ModuleType
from typing import Any

CLI = ("lokki.cli.main", "lokki.cli.execute", "lokki.cli.render.console", "lokki.backends.combined")
AWS = (*CLI, "lokki.aws.deploy", "lokki.backends.aws", "lokki.cli.invoking")
CHILDREN = ("lokki_server.inspector", "lokki_server.runner")
SERVER = ("lokki.cli.main", "lokki_server.server", *CHILDREN)
"""What is imported already. Of a service, its children are forks, too."""
_LATER = ("anyio._backends._asyncio", "email.message", "importlib.metadata", "lokki.store.sqlite",
    "pydantic.type_adapter", "urllib.request", "zoneinfo")  # fmt: skip
"""What most programs import only where they use it, as they do the modules of commands."""
_SERVICES = ("cloudformation", "lambda", "logs", "s3", "stepfunctions", "sts")
"""Whose descriptions, megabytes, have been read already by the parents of commands for AWS."""
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
        self.args, imported = args
        self._report = _asked(_parent(imported), self.args, *given)
        self.pid = int(self._report.recv(_DIGITS))
        self._child_created = True
        self._close_pipe_fds(*given[9:15])

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


class _Child(subprocess.Popen[str]):
    """A process of which this one, a service, is the parent; see `_with_children`."""

    parent: socket.socket

    def _execute_child(self, args: Any, *given: Any) -> None:
        if [*args[:2]] != [sys.executable, "-m"] or args[2] not in CHILDREN:
            super()._execute_child(args, *given)
            return
        _adopt(True)
        try:
            with _asked(self.parent, args[1:], *given) as report:
                self.pid = int(report.recv(_DIGITS))
                report.recv(_DIGITS)  # the process between has ended
        finally:
            _adopt(False)
        self._child_created = True
        self._close_pipe_fds(*given[9:15])


def _adopt(whether: bool) -> None:
    """Be the parent of descendants whose own parents end: prctl(PR_SET_CHILD_SUBREAPER)."""
    ctypes.CDLL(None).prctl(36, int(whether), 0, 0, 0)


def _asked(parent: socket.socket, words: Sequence[str], *given: Any) -> socket.socket:
    """Ask for a fork with what `Popen._execute_child` is ``given``; where it is reported."""
    passed, folder, environment, pipes = *given[3:6], given[9:15]
    report, theirs = socket.socketpair()
    with theirs, tempfile.TemporaryFile() as request:
        about = [os.path.abspath(folder or "."), dict(environment or os.environ)]
        request.write(json.dumps([words, *about, passed]).encode())
        request.seek(0)
        streams = zip((pipes[0], pipes[3], pipes[5]), range(3), strict=True)
        sent = [own if pipe == -1 else pipe for pipe, own in streams]
        socket.send_fds(parent, [b"!"], [request.fileno(), theirs.fileno(), *sent, *passed])
    return report


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


_Wanted = tuple[list[str], str, dict[str, str]]


def _forks(requests: socket.socket, *, adopted: bool = False) -> _Wanted:
    """Fork for each request; returns only in forks: the words, folder and environment of each.

    With ``adopted``, forks are left to another parent, by a process between that ends.
    """
    reports: dict[int, socket.socket] = {}

    def report() -> None:
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                with reports.pop(found[0]) as told, suppress(OSError):
                    told.send(b"%*d" % (_DIGITS, found[1]))

    # A handler in Python would wait for the next request if a process ended just before the wait.
    ended, end = socket.socketpair()
    end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(end.fileno(), warn_on_full_buffer=False)
    gc.freeze()
    while True:
        ready, _, _ = select.select([requests, ended], [], [])
        if ended in ready:
            ended.recv(4096)
            report()
        if requests not in ready:
            continue
        if not (sent := socket.recv_fds(requests, 1, 6)[1]):
            os._exit(0)  # nobody asks any more
        request, reporting, *streams = sent
        streams, passed = streams[:3], streams[3:]
        reporter = socket.socket(fileno=reporting)
        if pid := os.fork():
            reports[pid] = reporter
            if not adopted:
                reporter.send(b"%*d" % (_DIGITS, pid))
        else:
            if adopted:
                _leave_to_adopt(reporter)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)
            for each in (requests, reporter, ended, end, *reports.values()):
                each.close()
            for number, each in enumerate(streams):
                os.dup2(each, number)
        for each in streams:
            os.close(each)
        with open(request) as file:
            wanted = None if pid else json.load(file)
        if wanted is not None:
            words, folder, environment, numbers = wanted
            for each, number in zip(passed, numbers, strict=True):
                if each != number:
                    os.dup2(each, number)
                    os.close(each)
            return words, folder, environment
        for each in passed:
            os.close(each)


def _leave_to_adopt(reporter: socket.socket) -> None:
    """Fork, and end once that is reported; returns in the fork, when it has its new parent."""
    between = os.getpid()
    if pid := os.fork():
        reporter.send(b"%*d" % (_DIGITS, pid))
        os._exit(0)
    os.setsid()
    while os.getppid() == between:
        time.sleep(0.0005)


def _with_children(wanted: _Wanted) -> _Wanted:
    """Have this process, a service, start its children as forks of one that has imported theirs.

    It is left behind here, before the service has threads. Returns in each child, too.
    """
    _Child.parent, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        subprocess.Popen = _Child  # type: ignore[misc]
        return wanted
    _Child.parent.close()
    os.setsid()
    _rename("forks")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    os.close(nowhere)
    with theirs:
        wanted = _forks(theirs, adopted=True)
    _rename(sys.executable, *wanted[0])
    return wanted


def _rename(*words: str) -> None:
    """Show these words as the command of this process."""
    begin, end = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47]
    room = int(end) - int(begin)
    shown = "\0".join(words).encode()[: room - 1]
    ctypes.memmove(int(begin), shown.ljust(room, b"\0"), room)


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
        sys.modules.pop(words[1], None)
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


def _import(names: Sequence[str]) -> None:
    """Import modules, and what programs of lokki would import and read later."""
    for name in names:
        import_module(name)
    later = walk_packages(import_module("lokki.cli").__path__, "lokki.cli.")
    for name in (*_LATER, *(each.name for each in later)):
        import_module(name)
    if AWS[-1] in names:
        import botocore.session

        botocore.session.create_loader = cache(botocore.session.create_loader)
        for service in _SERVICES:
            botocore.session.get_session().create_client(service, "us-east-1")


_status: int | None = None
"""The exit code of a program that has ended, unless by an exception."""

if __name__ == "__main__":
    atexit.register(_end)
    _import(sys.argv[2:])
    with socket.socket(fileno=int(sys.argv[1])) as _requests:
        _request = _forks(_requests)
    if CHILDREN[0] in sys.argv[2:] and sys.platform == "linux":
        _request = _with_children(_request)
    try:
        _run(*_request)
        _status = 0
    except SystemExit as _ended:
        _status = _ended.code if isinstance(_ended.code, int) else int(_ended.code is not None)
        raise
