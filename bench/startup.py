"""Whole processes, by the wall clock: an import and a run of the smallest flow, beside a start."""

from __future__ import annotations

import sys
from itertools import count
from statistics import median

from timing import (
    NO_BOUND,
    ROOT,
    START,
    Bound,
    alternate,
    arguments,
    column,
    directory,
    process_seconds,
    ratios,
    seconds,
    spread,
    start_seconds,
    table,
    times,
)

IMPORT = Bound(1.0, None, times)
RUN = Bound(5.0, 3.0, times)
BIRDS = [sys.executable, ROOT / "examples" / "birds.py", "run"]


def main() -> None:
    options = arguments(__doc__, repeat=20)
    with directory() as place:
        numbers = count()

        def importing() -> float:
            return process_seconds([sys.executable, "-c", "import lokki"], cwd=place)

        def birds(journal: str) -> float:
            return process_seconds(
                BIRDS, cwd=place, LOKKI_LOCAL_JOURNAL=str(place / journal / "lokki.db")
            )

        turns = alternate(
            options.repeat,
            lambda: start_seconds(place),
            importing,
            lambda: birds(f"new-{next(numbers)}"),
            lambda: birds("one"),
        )
    rows = [(START, seconds(column(turns, 0)), "", *NO_BOUND)]
    for index, name, bound in (
        (1, "python -c 'import lokki'", IMPORT),
        (2, "birds.py run, a new journal", RUN),
        (3, "birds.py run, its journal exists", RUN),
    ):
        ratio = ratios(turns, index, 0)
        rows.append(
            (name, seconds(column(turns, index)), spread(ratio), *bound.cells(median(ratio)))
        )
    table(
        f"Whole processes; medians of {options.repeat}",
        ("", "time", "ratio, turn by turn", "bound", ""),
        rows,
    )


if __name__ == "__main__":
    main()
