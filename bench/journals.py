"""A map of 10,000 trivial items with its journal in a file, and on a PostgreSQL server here.

Each commit is synced to the disk of the repository.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from time import perf_counter

from process_pools import in_threads
from timing import (
    NO_BOUND,
    ROOT,
    WORK,
    Bound,
    alternate,
    arguments,
    check,
    column,
    directory,
    ratios,
    seconds,
    spread,
    table,
    times,
)

from lokki import Engine

sys.path.insert(0, str(ROOT / "tests"))
from postgres_server import PostgresServer

OF_SQLITE = Bound(1.5, 1.0, times)


async def took(journal: str | Path, count: int) -> float:
    """Seconds of a run; the engine has had another one before."""
    async with Engine(journal=journal, concurrency=4) as engine:
        await engine.run(in_threads, {"count": 10})
        began = perf_counter()
        result = await engine.run(in_threads, {"count": count})
        ended = perf_counter() - began
    check(result, count * (count + 1) // 2)
    return ended


def main() -> None:
    options = arguments(__doc__, repeat=15)
    count = 1_000 if options.quick else 10_000
    WORK.mkdir(exist_ok=True)
    with ExitStack() as opened:
        place = opened.enter_context(directory())
        server = opened.enter_context(closing(PostgresServer(fsync=True, place=WORK)))
        url = server.journal().url
        turns = alternate(
            options.repeat,
            lambda: asyncio.run(took(place / "lokki.db", count)),
            lambda: asyncio.run(took(url, count)),
        )
    ratio = ratios(turns, 1, 0)
    bound = OF_SQLITE.cells(column([(each,) for each in ratio], 0))
    table(
        f"{count:,} trivial items",
        ("journal", "a run", "of SQLite", "bound", ""),
        [
            ("SQLite", seconds(column(turns, 0)), "", *NO_BOUND),
            ("PostgreSQL", seconds(column(turns, 1)), spread(ratio), *bound),
        ],
    )


if __name__ == "__main__":
    main()
