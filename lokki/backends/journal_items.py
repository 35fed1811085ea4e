"""The items of a journal's runs, with what is read from the store of large results."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import anyio.to_thread

from lokki.backends.outputs import Output
from lokki.model.base import fields_of
from lokki.model.item import ItemDetail
from lokki.store.attachments import Attachments
from lokki.store.connection import Reader
from lokki.store.history import History
from lokki.store.items import Items, outputs
from lokki.store.protocol import PayloadStore
from lokki.store.references import Reference, stored
from lokki.store.rows import StageRow

in_thread = anyio.to_thread.run_sync


class JournalItems:
    """Reads items and results; methods raise what the journal and the store raise."""

    def __init__(self, read: Reader, payloads: PayloadStore) -> None:
        self._read = read
        self._payloads = payloads
        self._items = Items(read)
        self._attachments = Attachments(read)

    async def item(self, stage: StageRow, index: int) -> ItemDetail | None:
        """An item with its failed attempts, its input and its output; None without an outcome."""
        found = await in_thread(self._items.find, stage, index)
        if found is None:
            return None
        output = await self._output_of(stage, index)
        return ItemDetail(
            **fields_of(found),
            step=stage.name,
            failures=await in_thread(self._items.attempts, stage, index),
            output=None if output is None else await output.shown(),
            input=await self._input(stage, index),
        )

    async def outputs(self, stage: StageRow) -> list[Output]:
        """The results of a stage, in order."""
        found = await in_thread(lambda: list(outputs(self._read, stage.id)))
        return [self._output(stage, *row) for row in found]

    async def inputs(self, stage: StageRow, indices: Iterable[int]) -> dict[int, str]:
        """The beginnings of what items of a map got, as far as they can be shown."""
        found = await self._before(stage) if stage.kind == "map" else None
        return {} if found is None else await found.item_texts(indices)

    async def _input(self, stage: StageRow, index: int) -> dict[str, Any] | None:
        found = await self._before(stage)
        if found is None:
            return None
        return await (found.shown_item(index) if stage.kind == "map" else found.shown())

    async def _before(self, stage: StageRow) -> Output | None:
        """The result of the stage before: what this one, or each of its items, got; not a map's."""
        if not stage.position:
            return None
        history = History(self._read)
        before = await in_thread(history.stage, stage.run, stage.position - 1)
        return None if before.kind == "map" else await self._output_of(before, 0)

    async def _output_of(self, stage: StageRow, index: int) -> Output | None:
        found = await in_thread(self._items.output, stage, index)
        if found is None or found == (None, None):
            return None
        return self._output(stage, index, *found)

    def _output(self, stage: StageRow, index: int, data: bytes | None, ref: str | None) -> Output:
        item = index if stage.kind == "map" else None
        preview = partial(self._attachments.preview, stage.run, stage.name, item)
        previewed = partial(in_thread, preview)
        if ref is None:
            return Output.of(data or b"", previewed)
        used = partial(stored, self._payloads, stage, index, ref)
        return Output(used, Reference.parse(ref).length, previewed)
