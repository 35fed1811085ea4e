"""What a lane does with the items it has claimed, whatever the lane is made of.

`perform` is a generator without I/O: it yields what is to be done (a call of a step, a payload to
store), is sent what came of it, and gathers the outcomes. A thread lane and an async lane drive
the same generator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from lokki.call import BoundCall, Failure, capture
from lokki.engine.state import Claim, Failed, ItemStatus, RunState
from lokki.errors import PayloadError
from lokki.store.codec import compress_small, dumps
from lokki.store.journal import RunWriter, item_id
from lokki.store.keys import output_key

if TYPE_CHECKING:
    from anyio import CancelScope

INLINE_BYTES = 64 * 1024
"""Pickles up to this size live in the item's row, larger ones in the payload store."""


class Put(NamedTuple):
    """A pickle to compress and store under ``key``."""

    key: str
    raw: bytes


Call: TypeAlias = tuple[BoundCall, Any, int, int]
"""A call to make: the step, its input, the item's index, the attempt."""
Request: TypeAlias = Call | Put


class CallCancelled(BaseException):
    """The call was stopped because its run is cancelled."""


class CallFailed(Exception):
    """The call failed in another process, where its error was captured."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class _Lost(NamedTuple):
    failed: Failed
    failure: Failure
    started: float
    finished: float
    packed: bytes | None
    ref: str | None


@dataclass(slots=True)
class Outcomes:
    """What came of a claim."""

    succeeded: list[int] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)
    items: list[tuple[Any, ...]] = field(default_factory=list)
    lost: list[_Lost] = field(default_factory=list)


class StageWork:
    """The open stage of one run, as the lanes need it.

    ``lane`` is the kind of lane that its items need; ``inputs`` are the items; ``carried`` holds
    the inputs of items that wait for a retry at a later inner step. ``on_done`` is called once,
    in any thread, when the stage is complete or the run has ended.
    """

    def __init__(
        self,
        state: RunState,
        stage_id: int,
        calls: tuple[BoundCall, ...],
        inputs: list[Any],
        carried: dict[int, Any],
        writer: RunWriter,
        batch_size: int | None,
        on_done: Callable[[], None],
    ) -> None:
        self.state = state
        self.stage_id = stage_id
        self.calls = calls
        self.inputs = inputs
        self.carried = carried
        self.writer = writer
        self.batch_size = batch_size
        self.on_done = on_done
        lanes = {call.lane for call in calls}
        self.lane = next(lane for lane in ("async", "process", "thread") if lane in lanes)
        self.scopes: set[CancelScope] = set()
        self.seconds_per_item = 0.0
        self.last_size = 0
        self.failure: Failure | None = None
        """The failure that ended the run: of those that did, the one of the first item."""

    def report(self, claim: Claim, outcomes: Outcomes, now: float) -> None:
        """Give a claim's outcomes to the state and to the journal; the caller holds the lock."""
        lost = outcomes.lost
        verdicts = self.state.report(claim, outcomes.succeeded, [each.failed for each in lost], now)
        failures = []
        for each, verdict in zip(lost, verdicts, strict=True):
            index, position, attempt = each.failed.index, each.failed.position, each.failed.attempt
            item = item_id(self.stage_id, index)
            failure = each.failure
            retrying = verdict is ItemStatus.RETRYING
            outcomes.items.append(
                (item, verdict.value, position, attempt, each.started, each.finished)
                + ((each.packed, each.ref) if retrying else (None, None))
            )
            failures.append(
                (item, failure.step, attempt, each.finished)
                + (failure.type, failure.reason, failure.traceback)
            )
            if not retrying:
                self.carried.pop(index, None)
            if verdict is ItemStatus.FAILED and (
                self.failure is None or index < (self.failure.index or 0)
            ):
                self.failure = failure
        counts = self.state.counts
        self.writer.add(
            self.stage_id,
            (counts.succeeded, counts.failed, counts.tolerated, counts.retrying),
            outcomes.rows,
            outcomes.items,
            failures,
        )


def perform(work: StageWork, claim: Claim, out: Outcomes) -> Generator[Request, Any, None]:
    """Run the items of ``claim`` one after the other, each through the whole inner chain."""
    state, calls, inputs = work.state, work.calls, work.inputs
    works, last = claim.works, len(work.calls) - 1
    base = work.stage_id << 32
    succeeded, rows = out.succeeded, out.rows
    finished = time()
    while not state.halted:
        try:
            index, position, attempt = works.popleft()
        except IndexError:
            return
        started = finished
        retried = position > 0 or attempt > 1
        value = inputs[index] if position == 0 else work.carried[index]
        ref = None
        try:
            while True:
                value = yield calls[position], value, index, attempt
                if position == last:
                    break
                position, attempt = position + 1, 1
            raw = dumps(value)
            if len(raw) > INLINE_BYTES:
                ref = _key(calls[position], index)
                yield Put(ref, raw)
        except CallCancelled:
            finished = time()
            out.items.append(
                (base | index, "cancelled", position, attempt, started, finished, None, None)
            )
        except BaseException as error:
            finished = time()
            failure = _failure(calls[position], index, attempt, error)
            failed = Failed(index, position, attempt, failure.retryable)
            packed = key = None
            if position > 0:
                work.carried[index] = value
                packed, key = yield from _carry(calls[position - 1], index, value)
            out.lost.append(_Lost(failed, failure, started, finished, packed, key))
        else:
            finished = time()
            succeeded.append(index)
            if retried or ref is not None:
                work.carried.pop(index, None)
                packed = None if ref else compress_small(raw)
                out.items.append(
                    (base | index, "succeeded", position, attempt, started, finished, packed, ref)
                )
            else:
                rows += (base | index, started, finished, compress_small(raw))


def _key(call: BoundCall, index: int) -> str:
    return output_key(call.flow, call.run_id, call.name, index if call.in_map else None)


def _carry(
    call: BoundCall, index: int, value: Any
) -> Generator[Request, Any, tuple[bytes | None, str | None]]:
    """Store the result of an inner step, so that the step after it can be tried again alone.

    A value that cannot be stored is carried in memory alone: after a crash the item starts over.
    """
    try:
        raw = dumps(value)
        if len(raw) <= INLINE_BYTES:
            return compress_small(raw), None
        key = _key(call, index)
        yield Put(key, raw)
        return None, key
    except PayloadError:
        return None, None


def _failure(call: BoundCall, index: int, attempt: int, error: BaseException) -> Failure:
    if isinstance(error, CallFailed):
        return error.failure
    failure = capture(call, index, attempt, error)
    if isinstance(error, PayloadError):
        reason = f"the result of step '{call.name}' cannot be stored: {error}"
        return Failure(
            failure.step, failure.index, attempt, failure.type, reason, failure.traceback
        )
    return failure
