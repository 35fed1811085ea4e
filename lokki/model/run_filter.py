"""Which runs to list."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunFilter:
    """A page of at most ``limit`` runs, the newest first.

    ``flow``, ``statuses`` and ``since`` (seconds since the epoch) filter them. ``before`` is the id
    of the last run of the previous page; ``older_than`` is a time in its place.
    """

    flow: str | None = None
    statuses: tuple[str, ...] = ()
    since: float | None = None
    before: str | None = None
    older_than: float | None = None
    limit: int = 20
