"""The runs of the service's journal, which threads read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Any, Protocol

import anyio.to_thread

from lokki.backends.journal_items import JournalItems
from lokki.backends.local import LocalBackend
from lokki.backends.outputs import Output
from lokki.model.attachment import Attachment
from lokki.model.base import fields_of
from lokki.model.item import Item, ItemDetail, Strip
from lokki.model.log import LogLine
from lokki.model.run import Plan, Run, RunList, Tuned
from lokki.model.run_filter import RunFilter
from lokki.resumption import ResumeOptions
from lokki.store.connection import Reader
from lokki.store.history import History
from lokki.store.items import Items
from lokki.store.lines import Wanted
from lokki.store.parameters import with_params
from lokki.store.protocol import PayloadStore
from lokki.store.rows import StageRow
from lokki.store.runs import RunRecord
from lokki_server.hub import Hub

in_thread = anyio.to_thread.run_sync


class Operations(Protocol):
    """What a service does with a run of its journal. Methods raise RunNotFound and Problem."""

    async def run(self, run_id: str) -> RunRecord: ...
    async def cancel(self, run_id: str) -> RunRecord: ...
    async def pause(self, run_id: str) -> RunRecord: ...
    async def unpause(self, run_id: str) -> RunRecord: ...
    async def tune(self, run_id: str, concurrency: int) -> Tuned: ...
    async def plan(self, run_id: str, again: ResumeOptions) -> tuple[RunRecord, dict[str, Any]]: ...
    async def resume(self, run_id: str, again: ResumeOptions) -> RunRecord: ...


class JournalRuns:
    """An `OperatedBackend` over the journal of a service."""

    def __init__(
        self, operations: Operations, read: Reader, payloads: PayloadStore, hub: Hub
    ) -> None:
        self._operations = operations
        self._read = read
        self._payloads = payloads
        self._hub = hub
        self._history = History(read)
        self._items = Items(read)
        self._detailed = JournalItems(read, payloads)
        self._local = LocalBackend(read)

    # ---- runs ------------------------------------------------------------------------------------

    async def find(self, name: str, flow: str | None = None) -> Run:
        return await in_thread(self._local.find, name, flow)

    async def run(self, run_id: str) -> Run:
        return await in_thread(self._local.run, run_id)

    async def runs(self, wanted: RunFilter) -> RunList:
        return await in_thread(self._local.runs, wanted)

    async def params_json(self, run_id: str) -> str:
        run = await with_params(await self._operations.run(run_id), self._payloads)
        return run.params_json

    async def watched(self, run_id: str) -> Run:
        look = partial(self._local.find, run_id)
        return await self._hub.look(run_id, look)

    def changes(self) -> AsyncIterator[None]:
        return self._hub.changes()

    # ---- items -----------------------------------------------------------------------------------

    async def strip(self, run_id: str, position: int, width: int) -> Strip:
        stage = await self._stage(run_id, position)
        cells = await in_thread(self._history.strip, stage, width)
        return Strip(total=stage.total, cells=[dict(+cell) for cell in cells])

    async def _stage(self, run_id: str, position: int) -> StageRow:
        run = await self._operations.run(run_id)
        return await in_thread(self._history.stage, run.id, position)

    async def items(
        self,
        run_id: str,
        position: int,
        *,
        statuses: Sequence[str] = (),
        error: str | None = None,
        after: int = -1,
        limit: int,
    ) -> list[Item]:
        stage = await self._stage(run_id, position)
        ask = partial(
            self._items.page, stage, statuses=statuses, group=error, after=after, limit=limit
        )
        return await in_thread(ask)

    async def item(self, run_id: str, position: int, index: int) -> ItemDetail | None:
        return await self._detailed.item(await self._stage(run_id, position), index)

    async def inputs(self, run_id: str, position: int, indices: Iterable[int]) -> dict[int, str]:
        return await self._detailed.inputs(await self._stage(run_id, position), indices)

    # ---- lines -----------------------------------------------------------------------------------

    async def lines(
        self, run_id: str, wanted: Wanted, *, after: int = 0, limit: int | None = None
    ) -> list[LogLine]:
        def read() -> list[LogLine]:
            run = self._history.find(run_id)
            return list(
                islice(self._history.lines(run.id, after=after, **fields_of(wanted)), limit)
            )

        return await in_thread(read)

    async def last_lines(
        self, run_id: str, wanted: Wanted, *, before: int | None = None, limit: int
    ) -> list[LogLine]:
        def read() -> list[LogLine]:
            run = self._history.find(run_id)
            return self._history.last_lines(run.id, limit, before=before, **fields_of(wanted))

        return await in_thread(read)

    async def last_line(self, run_id: str) -> int:
        run = await self._operations.run(run_id)
        return await in_thread(self._history.last_line, run.id)

    # ---- what steps have shown -------------------------------------------------------------------

    async def attachments(
        self,
        run_id: str,
        *,
        step: str | None = None,
        item: int | None = None,
        after: str | None = None,
        limit: int,
    ) -> list[Attachment]:
        run = await self._operations.run(run_id)
        ask = partial(
            self._local.attachments, run.id, step=step, item=item, after=after, limit=limit
        )
        return await in_thread(ask)

    async def attachment(self, run_id: str, name: str) -> tuple[Attachment, bytes]:
        run = await self._operations.run(run_id)
        return await in_thread(self._local.attachment, run.id, name)

    # ---- results ---------------------------------------------------------------------------------

    async def outputs(self, run_id: str) -> list[Output]:
        (last,) = (await in_thread(self._history.stages, run_id))[-1:]
        return await self._detailed.outputs(last)

    # ---- what is done ----------------------------------------------------------------------------

    async def cancel(self, run_id: str) -> Run:
        return await self.find((await self._operations.cancel(run_id)).id)

    async def pause(self, run_id: str) -> Run:
        return await self.find((await self._operations.pause(run_id)).id)

    async def unpause(self, run_id: str) -> Run:
        return await self.find((await self._operations.unpause(run_id)).id)

    async def tune(self, run_id: str, concurrency: int) -> Tuned:
        return await self._operations.tune(run_id, concurrency)

    async def plan(self, run_id: str, again: ResumeOptions) -> Plan:
        _, planned = await self._operations.plan(run_id, again)
        summary = planned["summary"]
        return Plan(summary=summary, anything=planned["anything"], told=summary)

    async def resume(self, run_id: str, again: ResumeOptions) -> Run:
        return await self.find((await self._operations.resume(run_id, again)).id)
