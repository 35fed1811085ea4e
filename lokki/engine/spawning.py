"""Starts processes for workers: their command, their surroundings and their resources."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

FORK_SERVER = "from lokki.engine import forkserver, worker; forkserver.main(worker.main)"
_WORKER = "from lokki.engine import worker; worker.main(*map(int, sys.argv[-2:]))"
_PATH = "import gc, sys; gc.disable(); sys.path[:] = sys.argv[1:-{}]; "
"""The path is passed as arguments: all programs that a step starts would inherit PYTHONPATH."""

_OF_OPENMP = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""The first one also applies to the others where they are not set."""
_OF_OTHERS = ("NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")


_OF_LIBC = 1 << 31 | 1 << 32
"""Bits of signals 32 and 33 in a mask."""
_IN_STATUS = (
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "SigBlk",
    "SigIgn",
    "Cap",
    "NoNewPrivs",
    "Cpus_allowed",
)


class Surroundings(NamedTuple):
    """What a process is started with, and on Linux what else it has from the one that starts it."""

    options: list[str]
    path: list[str]
    environment: dict[str, str]
    inherited: tuple[object, ...]


def surroundings(threads: int) -> Surroundings:
    """The surroundings for a process now, with this number of threads for numerical libraries.

    By default, each library starts one for every core, in each of the workers.
    """
    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    path = [each for each in sys.path if isinstance(each, str) and each]
    given = dict(os.environ)
    names = _OF_OTHERS if _OF_OPENMP[0] in given else _OF_OPENMP + _OF_OTHERS
    environment = dict.fromkeys(names, str(threads)) | given
    return Surroundings([sys.executable, *options], path, environment, _inherited())


def _inherited() -> tuple[object, ...]:
    try:
        status = Path("/proc/thread-self/status").read_text().splitlines()
        limits = Path("/proc/self/limits").read_text()
        folder = os.stat(".")
    except OSError:
        return ()
    of_thread = tuple(map(_of_users, (line for line in status if line.startswith(_IN_STATUS))))
    priority = os.getpriority(os.PRIO_PROCESS, 0)
    return of_thread, limits, priority, folder.st_dev, folder.st_ino, os.isatty(2)


def _of_users(line: str) -> str:
    """A line of the status, without the signals that the C library keeps for itself.

    It handles them from a process's second thread on, whatever they were before (nptl(7)).
    """
    name, _, value = line.partition(":")
    return f"{name}: {int(value, 16) & ~_OF_LIBC:x}" if name.startswith("Sig") else line


def spawn(start: str, here: Surroundings, *descriptors: int) -> subprocess.Popen[bytes]:
    """Start a new interpreter in these surroundings, in a session of its own.

    Ctrl-C at the terminal reaches the engine alone. The process writes on this one's stderr.
    """
    code = _PATH.format(len(descriptors)) + start
    return subprocess.Popen(
        [*here.options, "-c", code, *here.path, *map(str, descriptors)],
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        stdout=2,
        start_new_session=True,
        env=here.environment,
    )


class Spawned:
    """A worker process that is a new interpreter."""

    def __init__(self, here: Surroundings, *descriptors: int) -> None:
        self._process = spawn(_WORKER, here, *descriptors)
        self.pid = self._process.pid

    def kill(self) -> None:
        """Kill it, and what it has started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def has_ended(self, seconds: float) -> bool:
        """Whether it ends within a time."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def exit_code(self) -> int:
        """Wait for its end: its exit code, negative for a signal."""
        return self._process.wait()


def cores() -> int:
    """How many cores this process may use, perhaps fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def megabytes(process: int) -> float:
    """The resident memory of a process, in megabytes."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_bytes().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:  # macOS has no /proc, but ps
        listed = subprocess.run(
            ["/bin/ps", "-o", "rss=", "-p", str(process)], capture_output=True, check=False
        )
        return int(listed.stdout or 0) * 1024 / 1e6
