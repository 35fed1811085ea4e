"""Which runs to list."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunFilter:
    """A page of at most ``limit`` runs, the newest first.

    ``flow``, ``statuses`` and ``since`` (seconds since the epoch) filter them, and so do all of
    ``tags``, all of ``params`` (each ``NAME=VALUE``) and ``search``, a text in any case that is in
    their id, tags, parameters or error. ``before`` is the id of the last run of the previous page;
    ``older_than`` is a time in its place.
    """

    flow: str | None = None
    statuses: tuple[str, ...] = ()
    since: float | None = None
    tags: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    search: str | None = None
    before: str | None = None
    older_than: float | None = None
    limit: int = 20

    @property
    def searches(self) -> bool:
        """Whether it looks into tags, parameters or errors."""
        return bool(self.tags or self.params or self.search)
