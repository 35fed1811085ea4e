"""Maps under the quotas of an AWS account, simulated: those generated now, and those of 0.1.0.

No speed of this machine: the seconds are simulated. The retries are read from a generated state
machine; what 0.1.0 generated is written down here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from timing import ROOT, arguments, table, times

from lokki import step

sys.path.insert(0, str(ROOT / "tests"))
from quotas import STARTED_A_SECOND, Batch, Lambda, Outcome, Service, generated, simulate

BEFORE = {"IntervalSeconds": 1, "BackoffRate": 2.0, "MaxAttempts": 6, "MaxDelaySeconds": 60}
CONCURRENCIES, ITEMS, SECONDS = (10, 100, 1_000), (100, 1_000, 10_000, 100_000), (1, 10, 60)
MOST_SECONDS = 24 * 3600
"""Longer maps are left out."""


@step
def called(item: int) -> int:
    return item


@step(job_type="batch")
def submitted(item: int) -> int:
    return item


def row(
    items: int, seconds: int, ideal: float, service: Callable[[], Service], now: tuple[Any, int]
) -> list[str]:
    before, after = (
        simulate(items, seconds, service(), BEFORE),
        simulate(items, seconds, service(), *now),
    )
    return [f"{items:,}", f"{seconds} s", f"{before.failed:,}", *shown(after, ideal)]


def shown(done: Outcome, ideal: float) -> list[str]:
    return [f"{done.failed:,}", f"{done.refused:,}", times(done.seconds / ideal)]


def _ideal(items: int, seconds: int, concurrency: int) -> float:
    """The seconds of a map that waits for nothing but quotas."""
    started = items / STARTED_A_SECOND
    return max(seconds, items * seconds / concurrency, started + seconds)


def main() -> None:
    quick = arguments(__doc__).quick
    columns = ["items", "of", "lost by 0.1.0", "lost now", "refused now", "time, of the ideal"]
    for concurrency in CONCURRENCIES:
        now = generated(
            called, "Lambda.TooManyRequestsException", **{"lambda.concurrency": concurrency}
        )
        rows = [
            row(items, seconds, ideal, partial(Lambda, concurrency), now)
            for items in ITEMS
            for seconds in SECONDS
            if (ideal := _ideal(items, seconds, concurrency)) <= MOST_SECONDS
            and not (quick and items > 1_000)
        ]
        table(f"Lambda, account concurrency {concurrency:,}", columns, rows)
    assumed = generated(called, "Lambda.TooManyRequestsException")
    rows = [
        [f"{left:,}", *row(10_000, 60, _ideal(10_000, 60, left), partial(Lambda, left), assumed)]
        for left in (CONCURRENCIES if not quick else (1_000,))
    ]
    table("A build that assumes 1,000, in an account with less", ["left", *columns], rows)
    now = generated(submitted, "Batch.AWSBatchException", **{"batch.job_queue": "queue"})
    rows = [
        row(items, 60, max(60, items / Batch.A_SECOND, items * 60 / now[1]), Batch, now)
        for items in (100, 2_000, 10_000)
    ]
    table("Batch, 50 submissions a second, a queue with room for every job", columns, rows)


if __name__ == "__main__":
    main()
