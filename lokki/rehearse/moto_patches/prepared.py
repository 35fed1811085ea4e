"""Processes of Lambda's environments: forks of one that has imported the runtime of lokki.

The functions of a flow have a package in common, and each of their environments would import the
same for most of its start. `environments.py` is the process that is forked. It has the folder of
the package, or that of dependencies which images share, and all variables but those that differ by
function, and has imported nothing of the user's.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lokki.builder.image_pkg import ENTRYPOINT
from lokki.engine import forkserver
from lokki.engine.forking import Forked, ForkServer, ServerGone, can_fork

_OF_ONE = (
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "LAMBDA_TASK_ROOT",
    "PWD",
)
"""The variables that differ by function, as do those of `_OURS`; no import reads them."""
_OURS = "LOKKI_"
_MODULES = (("-m", "awslambdaric"), ENTRYPOINT[1:])
"""What starts the runtime interface client, in a managed runtime and in an image."""
_START = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
_ENVIRONMENTS = str(Path(__file__).with_name("environments.py"))

_Key = tuple[Path, bool, str]
"""The folder that a process imports from, whether packages share it, what else it started with."""
_servers: dict[_Key, ForkServer] = {}
"""The processes to fork."""
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Where a function runs: its folder, the MiB of its /tmp, what it shares with this machine.

    Unless it is ``confined``, it has this machine as it is.
    """

    folder: Path
    megabytes: int
    shared: tuple[str, ...]
    confined: bool


def started(
    argv: Sequence[str],
    sandbox: Sandbox,
    env: Mapping[str, str],
    output: int,
    own: Mapping[str, str],
) -> Process | subprocess.Popen[bytes]:
    """A process of the command ``argv``, which writes to the descriptor ``output``.

    ``own`` are variables of this process alone. A command that starts no runtime interface client
    has this machine as it is. Where processes cannot be forked, a new interpreter is started.
    """
    if tuple(argv[1:3]) not in _MODULES:
        return _alone(argv, sandbox.folder, {**env, **own}, output)
    with tempfile.TemporaryFile() as wanted:
        there = {
            "folder": str(sandbox.folder), "megabytes": sandbox.megabytes, "shared": sandbox.shared,
        }  # fmt: skip
        confined = there if sandbox.confined else None
        described = [argv[2:], {**env, **own}, str(sandbox.folder), confined]
        wanted.write(json.dumps(described).encode())
        wanted.seek(0)
        if can_fork():
            with suppress(ServerGone, OSError):
                server = _server(argv[0], sandbox.folder, env)
                return Process(server.fork(wanted.fileno(), stderr=output))
        command = [argv[0], "-c", _START, _ENVIRONMENTS, str(wanted.fileno())]
        return _alone(command, sandbox.folder, {**env, **own}, output, wanted.fileno())


def _alone(
    argv: Sequence[str], folder: Path, env: Mapping[str, str], output: int, *descriptors: int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        cwd=folder,
        env=env,
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
    )


def end(used: Collection[Path] = ()) -> None:
    """End the processes that are forked for one package, each once its forks have ended.

    Those of packages whose folder is ``used`` stay.
    """
    _end([key for key in list(_servers) if not key[1] and key[0] not in used])


def close() -> None:
    """End every process that is forked."""
    _end(list(_servers))


def _end(keys: Sequence[_Key]) -> None:
    with _lock:
        ended = [_servers.pop(key) for key in keys if key in _servers]
    for each in ended:
        each.dismiss()


def _home(folder: Path) -> Path:
    """Where a package's environments import lokki from, without any difference to them.

    It is the folder of the dependencies unless the package has something of its own that an import
    of theirs would find instead of one of them, or of a module of Python.
    """
    home = (folder / "lokki").resolve().parent
    own = {each.stem for each in folder.iterdir() if not each.is_symlink()}
    theirs = {each.stem for each in home.iterdir()}
    return folder if own & (theirs | sys.stdlib_module_names) else home


def _server(python: str, folder: Path, env: Mapping[str, str]) -> ForkServer:
    home = _home(folder)
    shared = {
        name: text
        for name, text in env.items()
        if name not in _OF_ONE and not name.startswith(_OURS)
    }
    key = home, home != folder, json.dumps([python, shared], sort_keys=True)

    def start(connection: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [python, "-c", _START, _ENVIRONMENTS, forkserver.__file__, str(connection)],
            cwd=home,
            env=shared,
            pass_fds=[connection],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # what is wrong, a new interpreter shows
            start_new_session=True,
        )

    with _lock:
        if key not in _servers:
            _servers[key] = ForkServer(start)
        return _servers[key]


class Process:
    """A forked process, as `subprocess.Popen` has it."""

    def __init__(self, forked: Forked) -> None:
        self.pid = forked.pid
        self.returncode: int | None = None
        self._forked = forked
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """How it has ended, if it has."""
        with self._lock:
            if self.returncode is None and self._forked.has_ended(0):
                self._end()
            return self.returncode

    def kill(self) -> None:
        """Kill it, and what it has started."""
        with self._lock:
            if self.returncode is None:
                self._forked.kill()

    def wait(self) -> int:
        """How it ends."""
        with self._lock:
            return self._end() if self.returncode is None else self.returncode

    def _end(self) -> int:
        code = self._forked.exit_code()
        self.returncode = -signal.SIGKILL if code is None else code
        return self.returncode
