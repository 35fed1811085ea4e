"""Owners: the processes that have a journal open for writing, their names and signs of life.

Each locks a byte of a file beside the journal while it can write. The system releases the lock only
when the process ends, so it also holds while a step in C keeps the interpreter's lock and no thread
can run.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import threading
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import ClassVar

working: set[str] = set()
"""The owners in this process with working committers; the set is changed in one step."""


def new_owner() -> str:
    """A name for a journal that this process has opened: host, process id, and a third part.

    That names the system of the process and its start, and is partly random.
    """
    pid = os.getpid()
    return f"{socket.gethostname()}:{pid}:{_system()}-{_began(pid)}-{token_hex(4)}"


def host_and_process(owner: str) -> tuple[str, int]:
    """Where an owner is."""
    host, pid, _ = owner.rsplit(":", 2)
    return host, int(pid)


def is_here(owner: str) -> bool:
    """Whether an owner is, or was, a process that this one can see."""
    system, _ = _named(owner)
    return host_and_process(owner)[0] == socket.gethostname() and system in ("", _system())


def is_known_alive(owner: str) -> bool:
    """Whether an owner in another process is known to work, even if its work blocks it.

    A process known to be stopped (SIGSTOP) is not working: it may never continue.
    """
    held = any(locks.is_held(owner) for locks in tuple(Locks.opened.values()))
    return held and not (is_here(owner) and _state(host_and_process(owner)[1]) == "T")


def is_known_dead(owner: str) -> bool:
    """Whether an owner is known to be gone.

    This can be known only of processes on this machine, and of journals in this process that are
    closed or could not be written.
    """
    if not is_here(owner):
        return False
    _, pid = host_and_process(owner)
    if pid == os.getpid():
        return owner not in working
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    began, now_there = _named(owner)[1], _began(pid)
    return bool(began and now_there) and began != now_there  # another process has its number now


# ---- what the system knows of a process ----------------------------------------------------


@cache
def _system() -> str:
    """The boot of this machine and its process namespace; empty if unknown.

    Containers may share their host's name, and have processes with the same numbers.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return ""
    return sha256(namespace.encode()).hexdigest()[:8]


def _began(pid: int) -> str:
    """When a process began, in ticks since the boot; empty if unknown."""
    return _stat(pid)[19]


def _state(pid: int) -> str:
    """The state of a process, as a letter; empty if unknown."""
    return _stat(pid)[0]


def _stat(pid: int) -> list[str]:
    """The fields of a process after its name (proc_pid_stat(5)); empty texts if unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return [""] * 50
    return stat.rpartition(b")")[2].decode().split()  # the name may contain spaces


def _named(owner: str) -> tuple[str, str]:
    """The system of an owner, and its start; owners of 0.1.0 name neither."""
    system, _, rest = owner.rpartition(":")[2].partition("-")
    return (system, rest.partition("-")[0]) if rest else ("", "")


# ---- locks ---------------------------------------------------------------------------------------


class Locks:
    """The file beside a journal in which owners lock their bytes, shared by this process.

    The locks are those of fcntl(2): children do not inherit them, and a process releases them when
    it closes any descriptor of the file. So a process has one descriptor per file, open as long as
    a journal is. Where such a file or lock is impossible, leases alone decide.
    """

    opened: ClassVar[dict[str, Locks]] = {}
    _changing = threading.Lock()

    def __init__(self, journal: str) -> None:
        self._journal = journal
        self._users = 0
        self._descriptor: int | None = None
        with suppress(OSError):
            mode = os.stat(journal).st_mode & 0o666  # same permissions as the journal
            self._descriptor = os.open(f"{journal}-owners", os.O_RDWR | os.O_CREAT, mode)

    @classmethod
    def of(cls, path: Path) -> Locks:
        """The locks beside an existing journal, until `close` was called as often as this."""
        journal = os.path.realpath(path)
        with cls._changing:
            locks = cls.opened.get(journal) or cls.opened.setdefault(journal, cls(journal))
            locks._users += 1
        return locks

    def close(self) -> None:
        with self._changing:
            self._users -= 1
            if self._users == 0:
                del self.opened[self._journal]
                if self._descriptor is not None:
                    os.close(self._descriptor)

    def hold(self, owner: str) -> None:
        """Lock the byte of an owner in this process until it ends, or `let_go`; may be repeated."""
        with suppress(OSError):
            self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB, owner)

    def let_go(self, owner: str) -> None:
        with suppress(OSError):
            self._lock(fcntl.LOCK_UN, owner)

    def is_held(self, owner: str) -> bool:
        """Whether another process has the byte of an owner locked."""
        if owner in working:  # looking would release our own lock
            return False
        try:
            self._lock(fcntl.LOCK_SH | fcntl.LOCK_NB, owner)
            self._lock(fcntl.LOCK_UN, owner)
        except OSError as error:
            return error.errno in (errno.EAGAIN, errno.EACCES)
        return False

    def _lock(self, kind: int, owner: str) -> None:
        if self._descriptor is not None:
            offset = int.from_bytes(sha256(owner.encode()).digest()[:7])
            fcntl.lockf(self._descriptor, kind, 1, offset)
