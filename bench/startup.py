"""Whole processes, by the wall clock: a run of the smallest flow, and what an import costs."""

from __future__ import annotations

import sys
from itertools import count
from statistics import median

from timing import (
    NO_BOUND,
    ROOT,
    Bound,
    alternate,
    arguments,
    column,
    directory,
    process_seconds,
    seconds,
    spread,
    table,
)

RUN = Bound(0.30, 0.15, seconds)
IMPORT = Bound(0.040, None, seconds)
BIRDS = [sys.executable, ROOT / "examples" / "birds.py", "run"]


def main() -> None:
    options = arguments(__doc__, repeat=20)
    with directory() as place:
        numbers = count()

        def python(code: str) -> float:
            return process_seconds([sys.executable, "-c", code], cwd=place)

        def birds(journal: str) -> float:
            return process_seconds(
                BIRDS, cwd=place, LOKKI_LOCAL_JOURNAL=str(place / journal / "lokki.db")
            )

        turns = alternate(
            options.repeat,
            lambda: python("pass"),
            lambda: python("import lokki"),
            lambda: birds(f"new-{next(numbers)}"),
            lambda: birds("one"),
        )
    bare, importing, first, later = (column(turns, index) for index in range(4))
    extra = [turn[1] - turn[0] for turn in turns]
    table(
        f"Whole processes; medians of {options.repeat}",
        ("", "time", "bound", ""),
        (
            ("python -c pass", seconds(bare), *NO_BOUND),
            ("python -c 'import lokki'", seconds(importing), *NO_BOUND),
            ("  the difference, turn by turn", spread(extra, seconds))
            + IMPORT.cells(median(extra)),
            ("birds.py run, a new journal", seconds(first), *RUN.cells(first)),
            ("birds.py run, its journal exists", seconds(later), *RUN.cells(later)),
        ),
    )


if __name__ == "__main__":
    main()
