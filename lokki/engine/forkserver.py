"""The process that workers are forked from; `forking.py` starts it: ``python … PATH… FD``.

It has imported what a worker needs and nothing of the user's, and has one thread. A message on the
socket FD is a number. For 0, which comes with descriptors (of a worker's stderr, and of what else
it is given: its memory and socket), it forks a worker and answers with its process id and a
descriptor of the process; or with an error number, negated. For the process id of a worker that has
ended, it answers with the exit code, as `subprocess` has it: until then, no other process gets that
id. It ends when the engine is gone.
"""

from __future__ import annotations

import gc
import os
import pathlib  # noqa: F401 - which most programs import: once here, instead of in each worker
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

NUMBER = struct.Struct("q")


def main(work: Callable[..., None]) -> None:
    """Serve on the socket that the command line names; in a worker, ``work``."""
    worker = None
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it loses exit codes
    with socket.socket(fileno=int(sys.argv[-1])) as engine:
        gc.freeze()  # a collection in a worker would copy the memory that all of them share
        with suppress(ConnectionError):
            worker = _serve(engine) if _is_alone() else None
    if worker is None:
        os._exit(0)
    signal.signal(signal.SIGCHLD, handler)
    work(*_settled(*worker))


def _is_alone() -> bool:
    """Whether this thread is the only one: others, of a ``sitecustomize``, would not be forked."""
    return len(os.listdir("/proc/self/task")) == 1


def _serve(engine: socket.socket) -> list[int] | None:
    """Fork workers; returns in each with its descriptors, and with None when the engine is gone."""
    while True:
        raw, descriptors, _, _ = socket.recv_fds(engine, NUMBER.size, 3, socket.MSG_CMSG_CLOEXEC)
        if not raw:
            return None
        (ended,) = NUMBER.unpack(raw)
        if ended:
            _, status = os.waitpid(ended, 0)
            _answer(engine, os.waitstatus_to_exitcode(status))
            continue
        try:
            worker = os.fork()
        except OSError as error:
            _answer(engine, -(error.errno or 0))
        else:
            if not worker:
                return descriptors
            _answer(engine, worker, os.pidfd_open(worker))
        _close(descriptors)


def _answer(engine: socket.socket, number: int, *descriptors: int) -> None:
    try:
        socket.send_fds(engine, [NUMBER.pack(number)], descriptors)
    finally:
        _close(descriptors)


def _close(descriptors: Sequence[int]) -> None:
    for each in descriptors:
        os.close(each)


def _settled(stderr: int, *others: int) -> tuple[int, ...]:
    """Make this process what a new one would be; its other descriptors."""
    os.setsid()
    os.dup2(stderr, 1)
    os.dup2(stderr, 2)
    os.close(stderr)
    return others
