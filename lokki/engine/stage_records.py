"""Reads back what a run has recorded of its stages: outcomes, results, inputs for retries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import anyio
import anyio.to_thread

from lokki.engine.kept import KeptResults, unpacked
from lokki.engine.perform import Carried
from lokki.engine.state import Recorded, RunState
from lokki.engine.threads import in_thread
from lokki.model.failure import Failure
from lokki.model.status import ItemStatus
from lokki.store.codec import unpack
from lokki.store.items import Single
from lokki.store.journal import Journal
from lokki.store.protocol import PayloadStore
from lokki.store.references import stored
from lokki.store.rows import StageRow
from lokki.store.spans import Span

_FETCHES = 16


class StageRecords:
    """What the journal and the store of large results have of stages.

    Raises JournalError and PayloadError where something cannot be read.
    """

    def __init__(self, journal: Journal, payloads: PayloadStore) -> None:
        self._journal = journal
        self._payloads = payloads

    async def reopen(
        self, state: RunState, row: StageRow, count: int, carried: dict[int, Carried]
    ) -> None:
        """Open the current stage with its outcomes so far."""
        await anyio.to_thread.run_sync(self._reopen, state, row, count, carried)

    def _reopen(
        self, state: RunState, row: StageRow, count: int, carried: dict[int, Carried]
    ) -> None:
        state.open(count, self._outcomes(row, carried), self._journal.extents(row.id))

    def _outcomes(self, row: StageRow, carried: dict[int, Carried]) -> Iterable[Recorded]:
        """The outcomes to continue from; an item whose carried input is lost starts over."""
        for index, status, position, attempt in self._journal.recorded(row.id):
            if status == ItemStatus.RETRYING and position > 0 and index not in carried:
                continue
            yield Recorded(index, ItemStatus(status), position, attempt)

    async def carried(self, row: StageRow) -> dict[int, Carried]:
        """The inputs of items that wait for a retry at a later inner step."""
        rows = list(self._journal.carried(row.id))
        values = await self._loaded(row, rows)
        return {
            index: Carried(value, packed, ref)
            for (index, packed, ref), value in zip(rows, values, strict=True)
        }

    async def tolerated(self, row: StageRow | None) -> tuple[Failure, ...]:
        """The failures in a stage, if it is a map, that did not end the run."""
        if row is None or row.kind != "map":
            return ()
        rows = await anyio.to_thread.run_sync(self._journal.failures, row.id, "tolerated")
        return tuple(
            Failure(step, index, attempt, kind, reason, trace)
            for index, step, attempt, kind, reason, trace in rows
        )

    async def value(
        self, row: StageRow, kept: KeptResults | None = None, count: int | None = None
    ) -> Any:
        """The result of a finished stage; for a map, the list of its items' results in order.

        ``kept`` are results that need not be read; ``count`` is the number of all.
        """
        if kept is not None and count is not None and kept.covers(count):
            values = kept.at_once()
            if values is None:
                values = await self._loaded(row, kept.take(), kept)
        else:
            values = await self._loaded(row, self._journal.results(row.id), kept)
        return values if row.kind == "map" else values[0]

    async def _loaded(
        self, row: StageRow, found: Iterable[Single | Span], kept: KeptResults | None = None
    ) -> list[Any]:
        """Unpack results, in order; payloads a few at a time."""
        loaded = await in_thread(unpacked, row, found, kept or KeptResults())

        async def fetch() -> None:
            for position, index, ref in waiting:
                value = await stored(self._payloads, row, index, ref, unpack)
                loaded.values[position] = value

        waiting = iter(loaded.apart)
        try:
            async with anyio.create_task_group() as group:
                for _ in range(min(_FETCHES, len(loaded.apart))):
                    group.start_soon(fetch)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return loaded.values
