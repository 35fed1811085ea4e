"""A stage's results for the next stage: kept in memory, or unpacked from the journal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from operator import itemgetter
from typing import Any, NamedTuple

from lokki.engine.perform import Kept, Pickled
from lokki.errors import PayloadError
from lokki.store.codec import loads_chunks, unpack
from lokki.store.items import Single
from lokki.store.references import unreadable
from lokki.store.rows import StageRow
from lokki.store.spans import Entry, Span

KEPT_BYTES = 256 * 1024 * 1024
"""How much of a stage's results stays in memory."""
_OVERHEAD = 100
"""Bytes that a small result takes in memory beyond those of its pickle."""
_FEW = 64
"""Up to this many plain results are unpacked at once, without a thread."""


class KeptResults:
    """The results of a stage that are in memory: spans, and copies of single results."""

    def __init__(self) -> None:
        self._bytes = 0
        self._spans: list[Span] = []
        self._copies: dict[int, Kept] = {}
        self._singles: list[int] = []
        self._covered = 0

    def keep(self, index: int, size: int, kept: Kept) -> None:
        """Keep what a pickle of some size is for the next stage, while there are not too many."""
        self._bytes += size + _OVERHEAD
        if self._bytes <= KEPT_BYTES:
            self._copies[index] = kept

    def report(self, spans: Iterable[Span], singles: Iterable[int]) -> None:
        """Keep spans that were recorded, and note which single results were."""
        for span in spans:
            self._bytes += len(span.results)
            if self._bytes <= KEPT_BYTES:
                self._spans.append(span._replace(times=b""))
                self._covered += span.length
        kept = [index for index in singles if index in self._copies]
        self._singles += kept
        self._covered += len(kept)

    def covers(self, count: int) -> bool:
        """Whether all of a stage's ``count`` results are in memory."""
        return self._covered == count

    def at_once(self) -> list[Any] | None:
        """All results in order, if they are few and reading them calls no code of the user's."""
        if self._singles or self._covered > _FEW:
            return None
        values = [entry for span in sorted(self._spans) for entry in span.entries()]
        return None if tuple in map(type, values) else values

    def take(self) -> Iterator[Span | Single]:
        """Give away all results in order; `copy` has the single ones."""
        spans = sorted(self._spans, reverse=True)
        self._spans = []
        singles = ((index, None, None) for index in sorted(self._singles))
        return merge(_popped(spans), singles, key=itemgetter(0))

    def copy(self, index: int) -> tuple[Any] | None:
        """The kept copy of a result, given away."""
        if index not in self._copies:
            return None
        kept = self._copies.pop(index)
        return (loads_chunks(kept.chunks) if type(kept) is Pickled else kept,)


def _popped(spans: list[Span]) -> Iterator[Span]:
    while spans:
        yield spans.pop()


class Unpacked(NamedTuple):
    """Results in order; those in the payload store are missing.

    ``apart`` has for each of these its position in ``values``, its index and its reference.
    """

    values: list[Any]
    apart: list[tuple[int, int, str]]


def unpacked(stage: StageRow, found: Iterable[Span | Single], kept: KeptResults) -> Unpacked:
    """Unpack results. Raises PayloadError, naming the item."""
    values: list[Any] = []
    apart: list[tuple[int, int, str]] = []
    index = 0
    try:
        for each in found:
            index = each[0]
            if isinstance(each, Span):
                entries = each.entries()
                if tuple not in set(map(type, entries)):
                    values += entries
                    continue
                for index, entry in zip(each.indices, entries, strict=True):
                    values.append(_value_of(index, entry, kept))
                continue
            index, packed, ref = each
            copy = kept.copy(index)
            if copy is not None:
                values += copy
            elif packed is not None:
                values.append(unpack(packed))
            elif ref is not None:
                apart.append((len(values), index, ref))
                values.append(None)
    except PayloadError as error:
        raise unreadable(stage, index, error) from error
    return Unpacked(values, apart)


def _value_of(index: int, entry: Entry, kept: KeptResults) -> Any:
    if type(entry) is not tuple:
        return entry
    copy = kept.copy(index)
    return copy[0] if copy else unpack(entry[0])
