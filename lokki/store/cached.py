"""Results that calls in any run may reuse, by the key of the call.

They are copies: nothing refers to the run that made them, and none refers to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import time
from typing import NamedTuple

from lokki.store.sql import Read

CACHED = "id, step, made, expires, output, ref"
"""The columns of a `lokki.store.outcomes.CachedRow`."""
_FEW = 400


class Cached(NamedTuple):
    """A stored result as an item's row has it: packed, or the reference to its payload."""

    packed: bytes | None
    ref: str | None


def cached(read: Read, keys: Sequence[str], seconds: float) -> dict[str, Cached]:
    """The results with these keys that have not expired and are at most ``seconds`` old."""
    now, found = time(), dict[str, Cached]()
    for start in range(0, len(keys), _FEW):
        some = keys[start : start + _FEW]
        rows = read.execute(
            f"SELECT id, output, ref FROM cached WHERE id IN ({', '.join('?' * len(some))})"  # noqa: S608
            " AND made > ? AND expires > ?",
            (*some, now - seconds, now),
        )
        found |= {key: Cached(*result) for key, *result in rows}
    return found


def outdated(read: Read, before: float | None) -> int:
    """How many results were made ``before`` then; None: how many have expired."""
    condition, values = outdated_rows(before)
    ((count,),) = read.execute(f"SELECT count(*) FROM cached WHERE {condition}", values)  # noqa: S608
    return int(count)


def outdated_rows(before: float | None) -> tuple[str, tuple[float]]:
    """A condition on rows of results that are `outdated`, and its values."""
    return ("expires <= ?", (time(),)) if before is None else ("made <= ?", (before,))
