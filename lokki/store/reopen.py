"""Discards records of a run, so that a resume runs them again."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from lokki.store.rows import RunRow, delete_items, item_range, run_range, stage_id


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

    def apply(self, connection: sqlite3.Connection, run: RunRow) -> None:
        """Discard the records; the run then has the flow's current structure."""
        stage = stage_id(run.number, self.position)
        first, last = item_range(stage)
        delete_items(connection, *self.taken_back(run.number))
        connection.execute(
            "DELETE FROM stages WHERE run = ? AND position >= ?",
            (run.id, self.position + (not self.whole)),
        )
        if not self.whole:
            connection.execute(
                "UPDATE items SET status = 'failed' WHERE id BETWEEN ? AND ?"
                " AND status = 'tolerated' AND (? IS NULL OR ? = (SELECT grp FROM failures"
                "  WHERE item = items.id ORDER BY rowid DESC LIMIT 1))",
                (first, last, self.group, self.group),
            )
            connection.execute(
                "UPDATE stages SET finished = NULL, tolerated = tolerated - changes(),"
                " failed = failed + changes() WHERE id = ?",
                (stage,),
            )
        connection.execute(
            "UPDATE runs SET fingerprint = ?, structure = ? WHERE id = ?",
            (self.fingerprint, self.structure, run.id),
        )
