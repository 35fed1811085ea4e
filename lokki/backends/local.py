"""The runs of this machine's journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from time import time
from typing import TYPE_CHECKING, Any, TypeVar

from lokki.backends import recorded
from lokki.config import journal_path, load
from lokki.model.attachment import Attachment
from lokki.model.log import LogLine
from lokki.model.run import Run, RunList, Tuned
from lokki.model.run_filter import RunFilter
from lokki.store.attachments import Attachments
from lokki.store.connection import Reader
from lokki.store.history import History
from lokki.store.rows import StageRow
from lokki.store.runs import refuse_removing
from lokki.synchronous import blocking

if TYPE_CHECKING:
    from lokki.model.item import Item, ItemDetail
    from lokki.store.controls import Controls
    from lokki.store.protocol import PayloadStore

T = TypeVar("T")
_PAGE = 5_000


class LocalBackend:
    """A `Backend` over a journal."""

    poll_interval = 0.0
    settling_time = 0.0

    def __init__(self, read: Reader) -> None:
        self.name = str(read.path)
        self._read = read
        self._history = History(read)
        self._attachments = Attachments(read)

    def find(self, name: str, flow: str | None = None) -> Run:
        (shape,) = recorded.runs(self._history, [self._history.find(name, flow)])
        return shape

    def run(self, run_id: str) -> Run:
        return recorded.run(self._history, self._history.find(run_id))

    def runs(self, wanted: RunFilter) -> RunList:
        return recorded.page(self._history, wanted)

    def flows(self) -> list[str]:
        return self._history.flows()

    def strip(self, run_id: str, position: int, width: int) -> list[Counter[str]]:
        return self._history.strip(self._history.stage(run_id, position), width)

    def item(self, run_id: str, position: int, index: int) -> ItemDetail | None:
        stage = self._history.stage(run_id, position)
        return self._with_payloads(lambda store: self._item(store, stage, index))

    async def _item(self, store: PayloadStore, stage: StageRow, index: int) -> ItemDetail | None:
        from lokki.backends.journal_items import JournalItems

        return await JournalItems(self._read, store).item(stage, index)

    def items(self, run_id: str, position: int, statuses: Sequence[str] = ()) -> Iterator[Item]:
        from lokki.store.items import Items

        stage, after = self._history.stage(run_id, position), -1
        items = Items(self._read)
        while page := items.page(stage, statuses=statuses, after=after, limit=_PAGE):
            yield from page
            after = page[-1].index

    def _with_payloads(self, use: Callable[[PayloadStore], Awaitable[T]]) -> T:
        """What ``use`` makes of the store of large results, which is closed then."""
        from lokki.engine.payloads import payload_store

        async def used() -> T:
            store = payload_store(self._read.path, load())
            try:
                return await use(store)
            finally:
                await store.close()

        return blocking(used())

    def lines(self, run_id: str, **wanted: Any) -> Iterator[LogLine]:
        return self._history.lines(run_id, **wanted)

    def last_line(self, run_id: str) -> int:
        return self._history.last_line(run_id)

    def attachments(self, run_id: str, **wanted: Any) -> list[Attachment]:
        return self._attachments.page(run_id, **wanted)

    def attachment(self, run_id: str, name: str) -> tuple[Attachment, bytes]:
        return self._attachments.content(run_id, name)

    def pickled_result(self, run_id: str) -> bytes:
        from lokki.store.codec import dumps_list, pickle_in

        run = self._history.find(run_id)
        refuse_removing(run)
        last = self._history.stages(run.id)[-1]
        packed = self._with_payloads(lambda store: self._fetched(store, last))
        return dumps_list(packed) if last.kind == "map" else pickle_in(packed[0])

    async def _fetched(self, store: PayloadStore, stage: StageRow) -> list[bytes]:
        """The results of a stage's items, packed; large ones come from their store."""
        from lokki.store.items import outputs
        from lokki.store.references import stored

        packed: list[bytes] = []
        for index, data, ref in outputs(self._read, stage.id):
            if ref is not None:
                data = await stored(store, stage, index, ref, bytes)
            packed.append(data or b"")
        return packed

    def cancel(self, run_id: str) -> Iterator[None]:
        """If the run's process dies meanwhile, cancels the run here, unless another has it."""
        from lokki.store.journal import Journal

        run = self._history.find(run_id)
        with closing(Journal(self._read.path)) as journal:
            while journal.request_cancel(run.id, time(), run.owner).result():
                yield

    def pause(self, run_id: str) -> Iterator[None]:
        with self._controls() as controls:
            waits = controls.pause(self._history.find(run_id).id, time()).result()
            while waits and recorded.is_pausing(self._history.find(run_id)):
                yield

    def unpause(self, run_id: str) -> Run:
        run = self._history.find(run_id)
        with self._controls() as controls:
            controls.unpause(run.id, time()).result()
        return self.run(run.id)

    def tune(self, run_id: str, concurrency: int) -> Tuned:
        run = self._history.find(run_id)
        with self._controls() as controls:
            stage, before = controls.tune(run.id, concurrency, time()).result()
        return Tuned(stage=stage, concurrency=concurrency, before=before)

    @contextmanager
    def _controls(self) -> Iterator[Controls]:
        from lokki.store.controls import Controls
        from lokki.store.journal import Journal

        with closing(Journal(self._read.path)) as journal:
            yield Controls(journal)


@contextmanager
def opened() -> Iterator[LocalBackend]:
    """The configured journal, for reading; a missing one has no runs and is not created."""
    with closing(Reader(journal_path(load()), create=False)) as read:
        yield LocalBackend(read)
