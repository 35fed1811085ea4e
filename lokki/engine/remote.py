"""The engine's side of a slice that a worker runs: what to send, and how to take the outcomes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from time import time
from typing import Any, cast

from lokki.call import BoundCall, capture
from lokki.engine.definitions import Definitions, Described
from lokki.engine.items import Slice
from lokki.engine.perform import Carried, renewed
from lokki.engine.progress import Begun
from lokki.engine.sliced import Items, Ran, Sent, Traits
from lokki.engine.state import Failed, Work
from lokki.engine.storing import Lookup, Put, StoreRequest, answered
from lokki.errors import PayloadError, ValueUnreadable, text_of
from lokki.model.failure import Failure
from lokki.secret import redacted
from lokki.store.codec import loads
from lokki.store.spans import Entry, are_plain, is_plain

_MOST_BYTES = 4_000_000
"""Limit for the inputs of one message; a single larger input is sent alone."""


class RemoteSlice:
    """A slice while a worker runs it.

    Other lanes may take items that the worker has not begun. Items that the worker did not begin or
    did not report return to the claim.
    """

    def __init__(
        self,
        done: Slice,
        definitions: Definitions,
        payloads: str | None,
        answer: Callable[[StoreRequest], Any],
    ) -> None:
        self.work = done.work
        self._done = done
        self._definitions = definitions
        self._payloads = payloads
        self._answer = answer
        self._works = done.claim.taken()
        self._sent: Sent | None = None
        self._progress: Begun | None = None
        self._rest: list[Work] = []
        self._carried: dict[tuple[int, int], bytes] = {}
        self._started = time()

    def describe(self) -> Described:
        """The description of the stage for a worker. Raises PayloadError."""
        work = self.work
        traits = Traits(
            work.stage_id,
            work.listed,
            tuple(each and position > 0 for position, each in enumerate(work.retried)),
            work.writer.name,
            self._payloads,
            None if work.traced is None else work.traced.carrier(),
        )
        return self._definitions.describe(work.calls, traits)

    def __bool__(self) -> bool:
        """Whether there are items to send: other lanes may have taken all."""
        return bool(self._works)

    def items(self, described: Described) -> Items:
        """The items to send. Raises PayloadError if the first cannot be pickled."""
        work = self.work
        if work.alone:
            at = (each for each, (index, _, _) in enumerate(self._works) if index in work.alone)
            most = max(1, next(at, len(self._works)))
            self._works, self._rest = self._works[:most], self._works[most:]
        values = [
            work.carried[index].value if position else work.inputs[index]
            for index, position, _ in self._works
        ]
        inputs = values if are_plain(values) else self._packed(values, described)
        self._works, left = self._works[: len(inputs)], self._works[len(inputs) :]
        self._rest = left + self._rest
        known = self._done.keys
        keys = {i: known[i] for i, *_ in self._works if i in known} if known else {}
        return Items(self._works, inputs, work.seconds_per_item, work.large, keys)

    def _packed(self, values: list[Any], described: Described) -> list[Entry]:
        """The inputs of the first items, as many as one message takes."""
        inputs, size = list[Entry](), 0
        for (_, position, _), value in zip(self._works, values, strict=True):
            if is_plain(value):
                inputs.append(value)
                continue
            call = self.work.calls[position]
            try:
                raw = self._definitions.input(call, value, described.way)
            except PayloadError:
                if not inputs:
                    raise
                break
            size += len(raw)
            if inputs and size > _MOST_BYTES:
                break
            inputs.append((raw,))
        return inputs

    def begin(self, progress: Begun, most: int) -> int:
        """Give a worker at most ``most`` of the items, and return how many."""
        self._works, self._rest = self._works[:most], self._works[most:] + self._rest
        self._progress = progress
        self._sent = self._done.claim.works = Sent(self._works, progress)
        return len(self._works)

    def end(self) -> None:
        """Close the slice to other lanes, before the worker serves another one."""
        if self._sent is not None:
            self._works = self._sent.close()

    def answer(self, kind: str, content: Any) -> Any:
        """Serve a request of the worker, or keep an input for a retry."""
        if kind == "find":
            return self._answer(Lookup(*content))
        if kind == "put":
            try:
                return self._answer(content if isinstance(content, Put) else Put(*content))
            except Exception as error:  # perhaps of a store's own type, which no pickle holds
                return PayloadError(text_of(error))
        index, position, pristine = content
        self._carried[index, position] = pristine
        return None

    # ---- how it ends -----------------------------------------------------------------------------

    def take_in(self, ran: Ran) -> None:
        """Add the outcomes to the slice."""
        work, done = self.work, self._done
        done.singles, done.failed, done.rows = ran.singles, ran.failed, ran.rows
        work.large = ran.large
        done.worked = ran.seconds
        if work.carried:
            for index in ran.singles:
                work.carried.pop(index, None)
        for index, (raw, packed, ref) in ran.carried.items():
            try:
                work.carried[index] = Carried(loads(raw), packed, ref)
            except PayloadError as error:
                done.fail_before(ValueUnreadable(str(error)))
        self.leave()

    def leave(self) -> None:
        """Return the items that have not run to the claim."""
        self._leave(self._left())

    def unloadable(self, described: Described, why: str) -> None:
        """Send the rest in another way, since the worker could not unpickle an input."""
        try:
            self._definitions.try_next(described.way, why)
        except PayloadError as error:
            self.fail(of_ours(*self.first(), error))
        else:
            self.leave()

    def first(self) -> tuple[BoundCall, int, int]:
        """The call of the first remaining item, its index and the attempt."""
        index, position, attempt = self._left()[0]
        return self.work.calls[position], index, attempt

    def fail(self, failure: Failure) -> None:
        """Fail the first remaining item."""
        works = self._left()
        self._done.fail(works[0], failure, self._started)
        self._leave(works[1:])

    def _left(self) -> list[Work]:
        return self._works[len(self._done) :]

    def lost(self, error: BaseException, *, at_unknown: bool = False) -> None:
        """Fail the item that the worker was running when it ended; unreported ones run again.

        If it is not known which of several it was, each runs again alone.
        """
        works, at = self._begun()
        if at is None and at_unknown and len(works) > 1:
            self.work.alone.update(index for index, _, _ in works)
            self._leave(works)
            return
        if at is None:
            self.fail(capture(*self.first(), error))
            return
        index, position, attempt = at
        work = self.work
        failure = capture(work.calls[position], index, attempt, error)
        failed = self._done.fail(at, failure, self._started)
        if position and attempt == 1 and failure.retryable and work.retried[position]:
            try:
                self._renew(failed)
            except PayloadError as problem:
                self._done.fail_before(problem)
        self._leave([each for each in works if each[0] != index])

    def _renew(self, failed: Failed) -> None:
        """Keep the input of an inner step for its retry. Raises PayloadError if there is none."""
        pristine = self._carried.get((failed.index, failed.position))
        if pristine is None:
            name = self.work.calls[failed.position].name
            raise PayloadError(f"it cannot be pickled for a retry of step '{name}'")
        renewing = renewed(self.work, failed, loads(pristine), pristine)
        answered(cast(Generator[StoreRequest, Any, None], renewing), self._answer)

    def cancelled(self) -> None:
        """Record that the item that the worker was running was cancelled."""
        works, at = self._begun()
        if at is not None and at[1:] == (0, 1):
            item = self.work.stage_id << 32 | at[0]
            row = (item, "cancelled", 0, 1, self._started, time(), None, None)
            self._done.rows.items.append(row)
        self._leave([each for each in works if at is None or each[0] != at[0]])

    def _begun(self) -> tuple[list[Work], Work | None]:
        """The items of the worker, and the one that it was running, with its inner step."""
        works, progress = self._works, self._progress
        if progress is None or not works or not progress.begun:
            return works, None
        index, position, attempt = works[min(progress.begun, len(works)) - 1]
        if progress.position > position:
            position, attempt = progress.position, 1
        return works, (index, position, attempt)

    def _leave(self, works: list[Work]) -> None:
        self._done.claim.works = deque([*works, *self._rest])


def of_ours(call: BoundCall, index: int, attempt: int, error: PayloadError) -> Failure:
    """A failure of lokki's, not the user's: a retry would not help."""
    item = index if call.in_map else None
    reason = redacted(str(error), call.secrets)
    return Failure(call.name, item, attempt, "PayloadError", reason, "")
