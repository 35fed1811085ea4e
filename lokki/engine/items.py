"""What a lane does with the items it has claimed, whatever the lane is made of.

`perform` is a generator without I/O: it yields what is to be done (a call of a step, a payload to
store), is sent what came of it, and gathers the outcomes. A thread lane and an async lane drive
the same generator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from lokki.call import BoundCall, Failure, capture
from lokki.chain import Lane
from lokki.engine.state import Claim, Failed, ItemStatus, RunState
from lokki.errors import PayloadError
from lokki.store.codec import SMALL, Parts, compress_small, dumps, dumps_parts
from lokki.store.commits import Outcomes, RunWriter
from lokki.store.keys import output_key

if TYPE_CHECKING:
    from anyio import CancelScope

SHORT_SECONDS = 50e-6
INLINE_BYTES = 64 * 1024
"""Pickles up to this size live in the item's row, larger ones in the payload store."""
KEPT_BYTES = 256 * 1024 * 1024
"""So much of a stage's large results is kept in memory, rather than read back from the store."""


@dataclass(frozen=True, slots=True)
class Put:
    """A pickle to compress and store under ``key``."""

    key: str
    parts: Parts


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


class Lost(NamedTuple):
    """A failed attempt as it is to be recorded; ``packed`` or ``ref`` holds a later step's input.

    What becomes of the item, the state decides when the slice is reported.
    """

    failed: Failed
    failure: Failure
    started: float
    finished: float
    packed: bytes | None
    ref: str | None


class Slice:
    """A claim of a stage, and what has come of it so far."""

    __slots__ = ("claim", "failed", "rows", "succeeded", "work")

    def __init__(self, work: StageWork, claim: Claim) -> None:
        self.work = work
        self.claim = claim
        self.succeeded: list[int] = []
        self.failed: list[Lost] = []
        self.rows = Outcomes(work.stage_id)

    def __len__(self) -> int:
        return len(self.succeeded) + len(self.failed)


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
        kinds: tuple[Lane, ...] = ("async", "process", "thread")
        self.lane: Lane = next(lane for lane in kinds if lane in lanes)
        self.slices: dict[Slice, float] = {}
        self.scopes: set[CancelScope] = set()
        self.kept: dict[int, Parts] = {}
        self._kept_bytes = 0
        self.large = not calls[0].in_map
        """Whether a large result is to be expected: the last one was, or there is just one."""
        self.seconds_per_item = 0.0
        self.last_size = 0
        self.failure: Failure | None = None
        """The failure that ended the run: of those that did, the one of the first item."""

    def keep(self, index: int, parts: Parts) -> None:
        """Keep a stored result's pickle for the next stage, while there are not too many."""
        self._kept_bytes += sum(map(len, parts))
        if self._kept_bytes <= KEPT_BYTES:
            self.kept[index] = parts

    @property
    def short(self) -> bool:
        """Whether its items are short calls in threads, judging by the last slice."""
        return self.lane == "thread" and 0 < self.seconds_per_item < SHORT_SECONDS

    def report(self, done: Slice, now: float) -> None:
        """Give a slice's outcomes to the state and to the journal; the caller holds the lock."""
        lost, rows = done.failed, done.rows
        verdicts = self.state.report(
            done.claim, done.succeeded, [each.failed for each in lost], now
        )
        for each, verdict in zip(lost, verdicts, strict=True):
            self._record(each, verdict, rows)
        counts = self.state.counts
        rows.counts = (counts.succeeded, counts.failed, counts.tolerated, counts.retrying)
        self.writer.add(rows)

    def _record(self, lost: Lost, verdict: ItemStatus, rows: Outcomes) -> None:
        failed, failure = lost.failed, lost.failure
        item = self.stage_id << 32 | failed.index
        retrying = verdict is ItemStatus.RETRYING
        rows.items.append(
            (item, verdict.value, failed.position, failed.attempt, lost.started, lost.finished)
            + ((lost.packed, lost.ref) if retrying else (None, None))
        )
        rows.failures.append(
            (item, failure.step, failed.attempt, lost.finished)
            + (failure.type, failure.reason, failure.traceback)
        )
        if not retrying:
            self.carried.pop(failed.index, None)
        if verdict is ItemStatus.FAILED and (
            self.failure is None or failed.index < (self.failure.index or 0)
        ):
            self.failure = failure


def perform(done: Slice) -> Generator[Request, Any, None]:
    """Run the items of a slice one after the other, each through the whole inner chain."""
    work, succeeded, rows = done.work, done.succeeded, done.rows
    state, calls, inputs, carried = work.state, work.calls, work.inputs, work.carried
    works, last, base = done.claim.works, len(work.calls) - 1, work.stage_id << 32
    simple = rows.succeeded
    finished = time()
    while not state.halted:
        try:
            index, position, attempt = works.popleft()
        except IndexError:
            return
        started = finished
        first_try = position == 0 and attempt == 1
        value = inputs[index] if position == 0 else carried[index]
        packed: bytes | None
        ref = None
        try:
            while True:
                value = yield calls[position], value, index, attempt
                if position == last:
                    break
                position, attempt = position + 1, 1
            raw = dumps_parts(value) if work.large else dumps(value)
            if isinstance(raw, bytes) and len(raw) <= SMALL:
                packed = raw
            else:
                parts = raw if isinstance(raw, list) else [raw]
                packed, ref = yield from _stored(calls[position], index, parts)
                work.large = ref is not None
                if ref is not None:
                    work.keep(index, parts)
        except CallCancelled:
            finished = time()
            rows.items.append(
                (base | index, "cancelled", position, attempt, started, finished, None, None)
            )
        except BaseException as error:
            finished = time()
            failure = _failure(calls[position], index, attempt, error)
            failed = Failed(index, position, attempt, failure.retryable)
            packed = None
            if position > 0:
                carried[index] = value
                packed, ref = yield from _carried(calls[position - 1], index, value)
            done.failed.append(Lost(failed, failure, started, finished, packed, ref))
            return  # the state is to know at once: it may end the run
        else:
            finished = time()
            succeeded.append(index)
            if first_try and ref is None:
                simple += (base | index, started, finished, packed)
            else:
                carried.pop(index, None)
                rows.items.append(
                    (base | index, "succeeded", position, attempt, started, finished, packed, ref)
                )


def _stored(
    call: BoundCall, index: int, parts: Parts
) -> Generator[Request, Any, tuple[bytes | None, str | None]]:
    """A result as its row keeps it: packed, or the key it is stored under."""
    if sum(map(len, parts)) <= INLINE_BYTES:
        return compress_small(b"".join(parts)), None
    key = output_key(call.flow, call.run_id, call.name, index if call.in_map else None)
    yield Put(key, parts)
    return None, key


def _carried(
    call: BoundCall, index: int, value: Any
) -> Generator[Request, Any, tuple[bytes | None, str | None]]:
    """Keep the result of an inner step, so that the step after it can be tried again alone.

    A value that cannot be stored is carried in memory alone: after a crash the item starts over.
    """
    try:
        return (yield from _stored(call, index, [dumps(value)]))
    except PayloadError:
        return None, None


def _failure(call: BoundCall, index: int, attempt: int, error: BaseException) -> Failure:
    if isinstance(error, CallFailed):
        return error.failure
    failure = capture(call, index, attempt, error)
    if isinstance(error, PayloadError):  # ours, not the user's: its traceback shows nothing
        reason = f"the result of step '{call.name}' cannot be stored: {error}"
        return replace(failure, reason=reason, traceback="", retryable=False)
    return failure
