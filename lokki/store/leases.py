"""Who owns a run: a process, under a lease that it renews while it is at work."""

from __future__ import annotations

import os
import socket
from functools import cache
from hashlib import sha256
from math import ceil
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from lokki.errors import RunOwned

if TYPE_CHECKING:
    import sqlite3

    from lokki.store.schema import RunRow

LEASE_SECONDS = 30.0

working: set[str] = set()
"""The owners in this process whose committers are at work; the set is changed in one step."""


def new_owner() -> str:
    """A name for a journal that this process has opened: host, process id, and one more part.

    That tells the system that the process is of, when it began, and has something random.
    """
    pid = os.getpid()
    return f"{socket.gethostname()}:{pid}:{_system()}-{_began(pid)}-{token_hex(4)}"


@cache
def _system() -> str:
    """The boot of this machine, and which processes are seen in it; empty if that is not known.

    Containers may share their host's name, and each has a process of the same number.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        told = f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return ""
    return sha256(told.encode()).hexdigest()[:8]


def _began(pid: int) -> str:
    """When a process began, in ticks since the machine did; empty if that is not known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    return stat.rpartition(b")")[2].split()[19].decode()  # after the name, which may have blanks


def host_and_process(owner: str) -> tuple[str, int]:
    """Where an owner is."""
    host, pid, _ = owner.rsplit(":", 2)
    return host, int(pid)


def is_worked_on(run: RunRow, now: float) -> bool:
    """Whether a process may be at work on a run: it has an owner, and that is alive."""
    return run.owner is not None and is_alive(run.owner, run.leased_until or 0, now)


def refuse_worked_on(run: RunRow, now: float) -> None:
    """Raise RunOwned, which names the process, for a run that one may be at work on."""
    if run.owner is not None and is_worked_on(run, now):
        host, pid = host_and_process(run.owner)
        left = ceil((run.leased_until or 0) - now)
        gone = "" if _is_here(run.owner) else f"; if it is gone, in {left} s"
        raise RunOwned(
            f"run {run.id} is being run by process {pid} on {host}; wait for its end or stop it "
            f"(lokki cancel {run.id}), then resume{gone}"
        )


def bound_lease(connection: sqlite3.Connection, run_id: str, now: float) -> None:
    """See that the lease of a run does not end later than one that is made now.

    It would where the owner's clock is ahead of this one. An owner that is at work makes another
    before this one ends; of one that is gone, no clock can keep the run for hours.
    """
    connection.execute(
        "UPDATE runs SET leased_until = ? WHERE id = ? AND leased_until > ?",
        (now + LEASE_SECONDS, run_id, now + LEASE_SECONDS),
    )


def is_alive(owner: str, leased_until: float, now: float) -> bool:
    """Whether the owner of a lease may still be at work: its lease runs, and it is not known dead.

    Only processes of this machine can be known dead at once, and journals of this process that are
    closed or could not be written; others are when their lease is over.
    """
    if leased_until <= now:
        return False
    if not _is_here(owner):
        return True
    _, pid = host_and_process(owner)
    if pid == os.getpid():
        return owner in working
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    began, now_there = _named(owner)[1], _began(pid)
    return not (began and now_there) or began == now_there  # else it has another process's number


def _is_here(owner: str) -> bool:
    """Whether an owner is, or was, a process that this one would see."""
    system, _ = _named(owner)
    return host_and_process(owner)[0] == socket.gethostname() and system in ("", _system())


def _named(owner: str) -> tuple[str, str]:
    """The system of an owner, and when it began; those of 0.1.0 have not told."""
    system, _, rest = owner.rpartition(":")[2].partition("-")
    return (system, rest.partition("-")[0]) if rest else ("", "")
