"""Discards records of a run, so that a resume runs them again."""

from __future__ import annotations

from dataclasses import dataclass

from lokki.store.rows import RunRow, delete_items, item_range, run_range, stage_id
from lokki.store.sql import Connection


@dataclass(frozen=True, slots=True)
class Reopening:
    """What to run again: the stage at ``position``, and everything after it.

    ``whole``: every item of the stage; otherwise its tolerated failures, with ``group`` only those
    of that group. ``fingerprint`` and ``structure`` (JSON) are the flow's now, ``seen`` is the
    fingerprint that the run had when this was planned.
    """

    position: int
    whole: bool
    group: str | None
    fingerprint: str
    structure: str
    seen: str

    def taken_back(self, run_number: int) -> tuple[int, int]:
        """The first and last possible keys of the items that are discarded completely."""
        first, last = item_range(stage_id(run_number, self.position))
        return first if self.whole else last + 1, run_range(run_number)[1]

    def apply(self, connection: Connection, run: RunRow) -> None:
        """Discard the records; the run then has the flow's current structure."""
        stage = stage_id(run.number, self.position)
        delete_items(connection, *self.taken_back(run.number))
        connection.execute(
            "DELETE FROM stages WHERE run = ? AND position >= ?",
            (run.id, self.position + (not self.whole)),
        )
        if not self.whole:
            alike = ""
            values: list[int | str] = [*item_range(stage)]
            if self.group is not None:
                alike = (
                    " AND ? = (SELECT grp FROM failures"
                    " WHERE item = items.id ORDER BY rowid DESC LIMIT 1)"
                )
                values.append(self.group)
            taken_back = connection.execute(
                "UPDATE items SET status = 'failed' WHERE id BETWEEN ? AND ?"
                f" AND status = 'tolerated'{alike}",
                values,
            ).rowcount
            connection.execute(
                "UPDATE stages SET finished = NULL, tolerated = tolerated - ?,"
                " failed = failed + ? WHERE id = ?",
                (taken_back, taken_back, stage),
            )
        connection.execute(
            "UPDATE runs SET fingerprint = ?, structure = ? WHERE id = ?",
            (self.fingerprint, self.structure, run.id),
        )
