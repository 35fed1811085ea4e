"""How the items of a map are cut into slices for a durable function. Pure.

An execution of a durable function has at most 3,000 operations, and its function runs from the top
each time some of them have ended, so that its time grows faster than their number
(https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html). A slice is an operation,
whatever number of items it has.
"""

from __future__ import annotations

import sys
from math import ceil

from lokki.errors import LokkiError

MOST_OPERATIONS = 3_000
"""Of an execution; AWS does not raise it."""
USUAL_SLICES = 190
"""Of a map that does not say how many items an invocation has: a flow with one map has at most 0.02
operations an item from 10,000 items on."""
MOST_SLICES = 1_000
"""Of a map: each attempt of a slice is two operations more."""
_SPARE_SECONDS = 3.0
_SPARE_PART = 0.1
"""To report before the process is ended: a tenth of its time, which is enough for a request or two,
but no more seconds than that. An end by the clock costs the process, and no item an attempt."""
_LONGER = 1.5
"""How much longer than the longest item so far the next one may take."""


def firsts(count: int, size: int, step: str) -> range:
    """The indexes at which the slices of ``count`` items begin; ``size`` 0: the default.

    Raises LokkiError for more slices than an execution has room for.
    """
    if size and ceil(count / size) > MOST_SLICES:
        raise LokkiError(
            f"map '{step}' has {count:,} items, {ceil(count / size):,} slices with "
            f"batch_size={size}, but a durable function has room for {MOST_SLICES:,}: leave "
            f"batch_size out, or make it at least {ceil(count / MOST_SLICES)}"
        )
    return range(0, count, size or max(1, ceil(count / USUAL_SLICES)))


def no_room(used: int, count: int, slices: int, calls: int, step: str) -> str | None:
    """Why an execution has no room for the calls of a map, of ``count`` items; None if it has.

    ``used``: the operations of all else; ``calls``: of each slice.
    """
    left = max(0, MOST_OPERATIONS - used)
    if slices * calls <= left:
        return None
    most = left // calls
    own = f"make its batch_size at least {ceil(count / most):,}, or " if most else ""
    return (
        f"map '{step}' has {count:,} items, {slices:,} slices of {calls:,} calls each, but of the "
        f"{MOST_OPERATIONS:,} operations of a durable function {left:,} are left for it: {own}make "
        "the batch_size of the other maps larger, or call fewer steps in each"
    )


def has_time(left: float, longest: float, whole: float) -> bool:
    """Whether a process with so many seconds left has time for the next item of its slice.

    ``longest``: the seconds of the longest item so far; ``whole``: those that the process had.
    """
    return left > _LONGER * longest + _spare(whole)


def items_in(seconds: float, of_item: float) -> int:
    """How many items a process does that has so many seconds; any number if they take none."""
    if not of_item:
        return sys.maxsize
    return max(1, ceil((seconds - _spare(seconds)) / of_item - _LONGER))


def _spare(whole: float) -> float:
    return min(_SPARE_SECONDS, _SPARE_PART * whole)
