"""Starts worker processes: their command, their environment and their resources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_START = "import sys; sys.path[:] = sys.argv[1:-2]; from lokki.engine.worker import main; main()"
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


def command(*descriptors: int) -> list[str]:
    """A worker's command: an interpreter with this one's path and options (-O, -W)."""
    options = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    path = [each for each in sys.path if isinstance(each, str) and each]
    return [sys.executable, *options, "-c", _START, *path, *map(str, descriptors)]


def environment(threads: int) -> dict[str, str]:
    """The environment of this process, with the number of threads for numerical libraries.

    By default, each library starts one for every core, in each of the workers.
    """
    given = dict(os.environ)
    names = _OF_OTHERS if _OF_OPENMP[0] in given else _OF_OPENMP + _OF_OTHERS
    return dict.fromkeys(names, str(threads)) | given


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
