"""Processes that are forked from a server, which takes a few milliseconds each; Linux only.

They are workers, or a rehearsal's environments.

The engine's process is never forked, nor one that has imported the user's modules: what libraries
have in threads, on a GPU or in a connection does not survive that, nor do locks that other threads
hold. `forkserver.py` is the server.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from lokki.engine.forkserver import NUMBER

_ANSWER_SECONDS = 60.0
"""How long the server may take to start and to answer."""


class ServerGone(Exception):
    """The fork server has ended."""


class ForkServer:
    """A process that forks workers; ``start`` starts it, with its end of the socket."""

    def __init__(self, start: Callable[[int], subprocess.Popen[bytes]]) -> None:
        self.alive = True
        self._lock = threading.Lock()
        self._workers = 0
        self._dismissed = False
        self._socket, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self._socket.settimeout(_ANSWER_SECONDS)
        with theirs:
            try:
                self._process = start(theirs.fileno())
            except BaseException:
                self._socket.close()
                raise

    def fork(self, *descriptors: int, stderr: int = 2) -> Forked:
        """Start a worker with these descriptors, which writes to ``stderr``.

        Raises ServerGone, and OSError if there can be no more processes.
        """
        with self._lock:
            worker, answered = self._ask(0, stderr, *descriptors)
            if worker <= 0:
                raise OSError(-worker, os.strerror(-worker))
            self._workers += 1
        return Forked(self, worker, answered[0])

    def exit_code(self, worker: int) -> int | None:
        """How a worker ended, once it has; None if that is lost with the server."""
        with self._lock:
            code = None
            with suppress(ServerGone, OSError):
                code, _ = self._ask(worker)
            self._workers -= 1
            self._end_if_done()
            return code

    def dismiss(self) -> None:
        """End the server as soon as all of its workers have ended."""
        with self._lock:
            self._dismissed = True
            self._end_if_done()

    def _end_if_done(self) -> None:
        if self._dismissed and self.alive and not self._workers:
            self._end()

    def _end(self) -> None:
        self.alive = False
        with suppress(OSError):  # close() would not do while a child of this process has it, too
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._process.kill()  # it has no workers, or is gone
        self._process.wait()

    def _ask(self, number: int, *descriptors: int) -> tuple[int, list[int]]:
        if not self.alive:
            raise ServerGone
        raw, received = b"", list[int]()
        try:
            socket.send_fds(self._socket, [NUMBER.pack(number)], descriptors)
            raw, received, _, _ = socket.recv_fds(
                self._socket, NUMBER.size, 1, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:
            raise ServerGone from None
        finally:
            if not raw:
                self._end()
        if not raw:
            raise ServerGone
        return NUMBER.unpack(raw)[0], received


def can_fork() -> bool:
    """Whether a process can be forked by another, watched and ended here."""
    if sys.platform != "linux":
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # Linux before 5.3, or a sandbox
        return False
    return os.path.exists("/proc/self/task")


class Forked:
    """A worker process that a server has forked; ``handle`` is a descriptor of it."""

    def __init__(self, server: ForkServer, pid: int, handle: int) -> None:
        self.pid = pid
        self._server = server
        self._handle = handle
        self._end = select.poll()
        self._end.register(handle, select.POLLIN)

    def kill(self) -> None:
        """Kill it, and what it has started."""
        if not self._server.alive and self.has_ended(0):
            return  # another process may have its number
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)  # it may lead no group yet
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def has_ended(self, seconds: float) -> bool:
        """Whether it ends within a time."""
        return bool(self._end.poll(1000 * seconds))

    def exit_code(self) -> int | None:
        """Wait for its end; None if how it ended is not known. Nothing can follow."""
        self._end.poll()
        os.close(self._handle)
        return self._server.exit_code(self.pid)
