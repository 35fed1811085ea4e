"""A slice of a stage's items that a worker runs: what it is sent, and what its end means here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import time
from typing import Any

from lokki.call import BoundCall, capture
from lokki.engine.definitions import Definitions, Described
from lokki.engine.items import Slice
from lokki.engine.perform import Carried, Put, renewed
from lokki.engine.progress import Progress
from lokki.engine.sliced import Items, Ran, Sent, Traits
from lokki.engine.state import Claim, Failed, Work
from lokki.errors import PayloadError, ValueUnreadable
from lokki.model.failure import Failure
from lokki.secret import redacted
from lokki.store.codec import loads

_MOST_BYTES = 4_000_000
"""Of inputs that are sent at a time, but for one that is larger."""


class RemoteSlice:
    """A slice on its way to a worker, and back.

    Its items are the claim's for as long as the worker has not begun them: other lanes take them
    away. What was not begun in the end, or not reported, is left in the claim.
    """

    def __init__(
        self,
        done: Slice,
        definitions: Definitions,
        payloads: str | None,
        put: Callable[[Put], str],
    ) -> None:
        self.work = done.work
        self._done = done
        self._definitions = definitions
        self._payloads = payloads
        self._put = put
        self._works = _taken(done.claim)
        self._sent: Sent | None = None
        self._progress: Progress | None = None
        self._rest: list[Work] = []
        self._carried: dict[tuple[int, int], bytes] = {}
        self._started = time()

    def describe(self) -> Described:
        """What a worker is to know of the stage. Raises PayloadError."""
        work = self.work
        traits = Traits(
            work.stage_id,
            work.listed,
            tuple(each and position > 0 for position, each in enumerate(work.retried)),
            work.writer.name,
            self._payloads,
        )
        return self._definitions.describe(work.calls, traits)

    def __bool__(self) -> bool:
        """Whether other lanes have left any items."""
        return bool(self._works)

    def items(self, described: Described) -> Items:
        """The items to send. Raises PayloadError where the first cannot be pickled."""
        work, raws, size = self.work, list[bytes](), 0
        for index, position, _ in self._works:
            value = work.carried[index].value if position else work.inputs[index]
            try:
                raw = self._definitions.input(work.calls[position], value, described.way)
            except PayloadError:
                if not raws:
                    raise
                break
            size += len(raw)
            if raws and size > _MOST_BYTES:
                break
            raws.append(raw)
        self._works, self._rest = self._works[: len(raws)], self._works[len(raws) :]
        return Items(self._works, raws, work.seconds_per_item, work.large)

    def begin(self, progress: Progress, most: int) -> int:
        """Note that a worker gets the items, ``most`` at most, and count them."""
        self._works, self._rest = self._works[:most], self._works[most:] + self._rest
        self._progress = progress
        self._sent = self._done.claim.works = Sent(self._works, progress)
        return len(self._works)

    def end(self) -> None:
        """Note that the worker is at the items no more; it may be at others soon."""
        if self._sent is not None:
            self._works = self._sent.close()

    def answer(self, kind: str, content: Any) -> Any:
        """Do what the worker asks for in between: store a large result, or note an input."""
        if kind == "put":
            try:
                return self._put(Put(*content))
            except Exception as error:
                return error
        index, position, pristine = content
        self._carried[index, position] = pristine
        return None

    # ---- how it ends -----------------------------------------------------------------------------

    def take_in(self, ran: Ran) -> None:
        """Put what came of the items into the slice."""
        work, done = self.work, self._done
        done.succeeded, done.failed, done.rows = ran.succeeded, ran.failed, ran.rows
        work.large = ran.large
        for index, size, value in ran.kept:
            work.keep(index, size, value)
        if work.carried:
            for index in ran.succeeded:
                work.carried.pop(index, None)
        for index, (raw, packed, ref) in ran.carried.items():
            try:
                work.carried[index] = Carried(loads(raw), packed, ref)
            except PayloadError as error:
                done.fail_before(ValueUnreadable(str(error)))
        self.leave()

    def leave(self) -> None:
        """Leave in the claim what has not been run."""
        self._leave(self._left())

    def unloadable(self, described: Described, why: str) -> None:
        """Send the rest otherwise, if the next item's input cannot be unpickled there."""
        try:
            self._definitions.try_next(described.way, why)
        except PayloadError as error:
            self.fail(of_ours(*self.first(), error))
        else:
            self.leave()

    def first(self) -> tuple[BoundCall, int, int]:
        """The call of the first item that is left, its index and the attempt."""
        index, position, attempt = self._left()[0]
        return self.work.calls[position], index, attempt

    def fail(self, failure: Failure) -> None:
        """Have the first item fail that is left."""
        works = self._left()
        self._done.fail(works[0], failure, self._started)
        self._leave(works[1:])

    def _left(self) -> list[Work]:
        return self._works[len(self._done) :]

    def lost(self, error: BaseException) -> None:
        """Have the item fail that the worker was at when it ended; those before it run again."""
        works, at = self._begun()
        if at is None:
            self.fail(capture(*self.first(), error))
            return
        index, position, attempt = at
        failure = capture(self.work.calls[position], index, attempt, error)
        failed = self._done.fail(at, failure, self._started)
        pristine = self._carried.get((index, position))
        if failure.retryable and pristine is not None:
            self._renew(failed, pristine)
        self._leave([each for each in works if each[0] != index])

    def _renew(self, failed: Failed, pristine: bytes) -> None:
        """Keep the input of an inner step, for its retry."""
        renewing = renewed(self.work, failed, loads(pristine), pristine)
        with suppress(StopIteration):
            request = next(renewing)
            while True:
                assert isinstance(request, Put)
                try:
                    ref = self._put(request)
                except Exception as error:
                    request = renewing.throw(error)
                else:
                    request = renewing.send(ref)

    def cancelled(self) -> None:
        """Record that the item was cancelled which the worker was at."""
        works, at = self._begun()
        if at is not None and at[1:] == (0, 1):
            item = self.work.stage_id << 32 | at[0]
            row = (item, "cancelled", 0, 1, self._started, time(), None, None)
            self._done.rows.items.append(row)
        self._leave([each for each in works if at is None or each[0] != at[0]])

    def _begun(self) -> tuple[list[Work], Work | None]:
        """The items that the worker had, and the one that it was at, with its inner step."""
        works, progress = self._works, self._progress
        if progress is None or not works or not progress.begun:
            return works, None
        index, position, attempt = works[min(progress.begun, len(works)) - 1]
        if progress.position > position:
            position, attempt = progress.position, 1
        return works, (index, position, attempt)

    def _leave(self, works: list[Work]) -> None:
        self._done.claim.works = deque([*works, *self._rest])


def _taken(claim: Claim) -> list[Work]:
    """The items of a claim, which are no other lane's from now on."""
    works = list[Work]()
    with suppress(IndexError):
        while True:
            works.append(claim.works.popleft())
    return works


def of_ours(call: BoundCall, index: int, attempt: int, error: PayloadError) -> Failure:
    """A failure of ours, not the user's: it would be the same in a retry."""
    item = index if call.in_map else None
    reason = redacted(str(error), call.secrets)
    return Failure(call.name, item, attempt, "PayloadError", reason, "")
