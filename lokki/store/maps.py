"""A map's items as a whole: their counts, their failures, their progress by inner step."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise
from operator import attrgetter, itemgetter

from lokki.model.run import FailureGroup, InnerStep
from lokki.store.connection import Reader
from lokki.store.ended import has_ended, status_of
from lokki.store.groups import failure_group
from lokki.store.rows import INDEX_MASK, StageRow, item_range
from lokki.store.span_rows import extents

_SAMPLES = 16
_GOLDEN = 0.618034
_TROUBLED = "status <> 'succeeded'"  # as in the index, which costs writes nothing


class Maps:
    """Queries about the items of a stage; errors are JournalErrors."""

    def __init__(self, read: Reader) -> None:
        self._read = read

    def troubled(self, stage: StageRow) -> Counter[str]:
        """How many items of a stage are failed, tolerated, retrying or cancelled."""
        return Counter(
            dict(
                self._read(
                    "SELECT status, count(*) FROM items INDEXED BY items_troubled"
                    f" WHERE id BETWEEN ? AND ? AND {_TROUBLED} GROUP BY status",
                    item_range(stage.id),
                )
            )
        )

    def strip(self, stage: StageRow, width: int) -> list[Counter[str]]:
        """The items of a stage in ``width`` cells of neighbours, or fewer for fewer items.

        Each cell counts items by status. Items that did not succeed, and those in spans, are all
        counted; in an unfinished stage, up to 16 others per cell are looked up and stand for the
        rest.
        """
        first, last = item_range(stage.id)
        width = min(width, stage.total)
        if not width:
            return []
        ended = has_ended(self._read, stage)
        bounds = [cell * stage.total // width for cell in range(width + 1)]
        cells: list[Counter[str]] = [Counter() for _ in range(width)]
        for cell, status, count in self._read(
            f"SELECT ((id - ?) * ? + ? - 1) / ?, status, count(*) FROM items"
            f" INDEXED BY items_troubled WHERE id BETWEEN ? AND ? AND {_TROUBLED} GROUP BY 1, 2",
            (first, width, width, stage.total, first, last),
        ):
            cells[cell][status_of(status, ended=ended)] += count
        whole = stage.succeeded + stage.tolerated + stage.failed >= stage.total
        inside = [] if whole else extents(self._read, stage.id)
        for cell, (start, stop) in zip(cells, pairwise(bounds), strict=True):
            rest = stop - start - cell.total()
            done = rest if whole else self._done(first, range(start, stop), rest, inside)
            cell["succeeded"], cell["pending"] = done, rest - done
        return cells

    def _done(self, first: int, cell: range, rest: int, inside: list[range]) -> int:
        """How many of ``rest`` items of a cell have succeeded.

        Those in the spans ``inside`` are counted; samples stand for the others.
        """
        from_here = bisect_right(inside, cell.start, key=attrgetter("stop"))
        to_here = bisect_left(inside, cell.stop, key=attrgetter("start"))
        here = inside[from_here:to_here]
        counted = sum(min(each.stop, cell.stop) - max(each.start, cell.start) for each in here)
        if counted == rest:
            return counted
        samples = [index for index in _samples(cell) if not any(index in each for each in here)]
        marks = ", ".join("?" * len(samples))
        rows = self._read(
            f"SELECT status FROM items WHERE id IN ({marks})",
            [first + index for index in samples],
        )
        seen = Counter(status for (status,) in rows)
        others = seen.total() - seen["succeeded"]
        known = len(samples) - others
        return counted + (round((rest - counted) * seen["succeeded"] / known) if known else 0)

    def groups(self, stage: StageRow, shown: int = 5) -> list[FailureGroup]:
        """The last failures of items without a result, in groups, the largest first."""
        rows = self._read(
            "WITH stand AS (SELECT items.id AS item, status, grp, reason, failures.rowid AS failure"
            "  FROM items INDEXED BY items_troubled JOIN failures ON failures.rowid ="
            "   (SELECT max(rowid) FROM failures WHERE item = items.id)"
            f"  WHERE items.id BETWEEN ? AND ? AND {_TROUBLED}"
            "  AND status IN ('failed', 'retrying', 'tolerated')),"
            " numbered AS (SELECT *, count(*) OVER alike AS count,"
            "  count(*) FILTER (WHERE status = 'tolerated') OVER alike AS tolerated,"
            "  count(*) FILTER (WHERE status = 'retrying') OVER alike AS retrying,"
            "  min(reason) OVER alike < max(reason) OVER alike AS varies, row_number() OVER"
            "  (PARTITION BY grp ORDER BY status, item) AS nth FROM stand"
            "  WINDOW alike AS (PARTITION BY grp))"
            " SELECT numbered.grp, numbered.item, count, step, type, numbered.reason, traceback,"
            "  tolerated, retrying, varies"
            " FROM numbered LEFT JOIN failures ON failures.rowid = failure AND nth = 1"
            " WHERE nth <= ? ORDER BY count DESC, numbered.grp, nth",
            (*item_range(stage.id), shown),
        )
        groups = []
        for grp, alike in groupby(rows, key=itemgetter(0)):
            firsts = list(alike)
            _, _, count, *failure, tolerated, retrying, varies = firsts[0]
            groups.append(
                failure_group(
                    grp,
                    *failure,
                    count=count,
                    items=[row[1] & INDEX_MASK for row in firsts],
                    tolerated=tolerated,
                    retrying=retrying,
                    varies=bool(varies),
                )
            )
        return groups

    def inner(self, stage: StageRow, steps: Sequence[str]) -> list[InnerStep]:
        """The inner steps of a stage, with the names ``steps``."""
        bounds = item_range(stage.id)
        stopped = self._read(
            "SELECT position, count(*) FROM items INDEXED BY items_troubled"
            f" WHERE id BETWEEN ? AND ? AND {_TROUBLED} GROUP BY position",
            bounds,
        )
        failed = dict(
            self._read(
                "SELECT step, count(*) FROM failures WHERE item BETWEEN ? AND ? GROUP BY step",
                bounds,
            )
        )
        rows = self._read(
            "SELECT position, seconds / nullif(calls, 0), reused FROM spent WHERE stage = ?",
            (stage.id,),
        )
        spent = {position: (mean, reused) for position, mean, reused in rows}
        return [
            InnerStep(
                step=step,
                succeeded=stage.succeeded + sum(count for at, count in stopped if at > position),
                failed_attempts=failed.get(step, 0),
                mean_seconds=spent.get(position, (None, 0))[0],
                reused=spent.get(position, (None, 0))[1],
            )
            for position, step in enumerate(steps)
        ]


def _samples(cell: range) -> list[int]:
    """Up to 16 indices, one from each part of a cell, at irregular distances.

    Failures are often regular: every hundredth item.
    """
    count = len(cell)
    if count <= _SAMPLES:
        return list(cell)
    bounds = [cell.start + part * count // _SAMPLES for part in range(_SAMPLES + 1)]
    return [
        least + int(part * _GOLDEN % 1 * (above - least))
        for part, (least, above) in enumerate(pairwise(bounds))
    ]
