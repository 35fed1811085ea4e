"""Who owns a run: a process, under a lease that it renews while it works."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from lokki.errors import RunOwned
from lokki.store.owners import host_and_process, is_here, is_known_alive, is_known_dead

if TYPE_CHECKING:
    from lokki.store.rows import RunRow
    from lokki.store.sql import Connection, Read

LEASE_SECONDS = 30.0


def is_worked_on(run: RunRow, now: float) -> bool:
    """Whether a process may be working on a run: it has an owner that is alive."""
    return run.owner is not None and is_alive(run.owner, run.leased_until or 0, now)


def refuse_worked_on(run: RunRow, now: float) -> None:
    """Raise RunOwned, naming the process, for a run that one may be working on."""
    if run.owner is not None and is_worked_on(run, now):
        host, pid = host_and_process(run.owner)
        if run.status == "paused":
            raise RunOwned(
                f"run {run.id} is paused in process {pid} on {host}: lokki unpause {run.id} has it "
                "continue there"
            )
        left = ceil((run.leased_until or 0) - now)
        known = is_here(run.owner) or is_known_alive(run.owner)
        gone = "" if known else f"; if it is gone, in {left} s"
        raise RunOwned(
            f"run {run.id} is being run by process {pid} on {host}; wait for its end or stop it "
            f"(lokki cancel {run.id}), then resume{gone}"
        )


def lease_end(read: Read, now: float) -> float:
    """When a lease ends that is made now, on the journal's clock: the one that all hosts share."""
    return now + read.ahead + LEASE_SECONDS


def bound_lease(connection: Connection, run_id: str, now: float) -> None:
    """Make sure that the lease of a run does not end later than one made now.

    It would if the owner's clock is ahead. A working owner renews the lease before it ends; once
    the owner is gone, no clock can keep the run for hours.
    """
    end = lease_end(connection, now)
    connection.execute(
        "UPDATE runs SET leased_until = ? WHERE id = ? AND leased_until > ?", (end, run_id, end)
    )


def is_alive(owner: str, leased_until: float, now: float) -> bool:
    """Whether the owner of a lease may still work: known, or else until the lease ends."""
    if is_known_alive(owner):
        return True
    return leased_until > now and not is_known_dead(owner)
