"""What of a run that has ended is no longer as its items' records say.

A run may end while items wait for another attempt. Their records stay, as a resume continues with
that attempt; until then, they are cancelled.
"""

from __future__ import annotations

from collections.abc import Sequence

from lokki.model.status import ItemStatus
from lokki.store.connection import Reader
from lokki.store.rows import StageRow

_WAITS, _CANCELLED = ItemStatus.RETRYING, ItemStatus.CANCELLED


def has_ended(read: Reader, stage: StageRow) -> bool:
    """Whether the run of a stage has ended."""
    rows = read("SELECT 1 FROM runs WHERE id = ? AND finished IS NOT NULL", (stage.run,))
    return bool(rows)


def status_of(recorded: str, *, ended: bool) -> ItemStatus:
    """The status of an item with a record."""
    status = ItemStatus(recorded)
    return _CANCELLED if ended and status is _WAITS else status


def recorded_as(statuses: Sequence[str], *, ended: bool) -> list[str]:
    """The statuses in the records of items that have one of these."""
    if not ended:
        return [*statuses]
    others = [each for each in statuses if each != _WAITS]
    return [*others, _WAITS] if _CANCELLED in others else others
