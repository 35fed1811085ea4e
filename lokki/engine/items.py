"""What a lane of any kind does with the items it has claimed.

`perform` is a generator without I/O: it yields work (a call of a step, a payload to store),
receives the result, and gathers the outcomes. Thread and async lanes drive the same generator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextvars import Context
from dataclasses import dataclass
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from lokki.call import BoundCall, ResultError, capture, unstorable
from lokki.engine.state import Claim, Failed, RunState
from lokki.errors import LokkiError, PayloadError, Picklable, described
from lokki.map_source import listed_items
from lokki.model.failure import Failure
from lokki.model.status import ItemStatus
from lokki.stages import Stage
from lokki.steps import Lane
from lokki.store.codec import (
    PROTOCOL,
    SMALL,
    Chunks,
    compress_chunks,
    compress_small,
    dumps,
    dumps_plain,
    loads,
)
from lokki.store.keys import output_key
from lokki.store.readback import Copy, written
from lokki.store.records import Outcomes
from lokki.store.references import Reference
from lokki.store.texts import Texts
from lokki.store.writer import RunWriter

if TYPE_CHECKING:
    from anyio import CancelScope

    from lokki.engine.program import Program

SHORT_SECONDS = 50e-6
"""Items that take less are short: the cost per item matters."""
INLINE_BYTES = 64 * 1024
"""Pickles up to this size are in the item's row, larger ones in the payload store."""
KEPT_BYTES = 256 * 1024 * 1024
"""How much of a stage's results stays in memory instead of being read back."""
_KEPT_OVERHEAD = 100
"""Bytes that a small result takes in memory beyond those of its pickle."""

_LOGGED_AS = {
    ItemStatus.RETRYING: ("WARNING", "failed, will be retried"),
    ItemStatus.TOLERATED: ("ERROR", "failed, tolerated"),
    ItemStatus.FAILED: ("ERROR", "failed"),
}
"""Level and text of the log line of a failed attempt."""
_UNCHANGING = frozenset({int, float, complex, str, bytes, bool, type(None)})


@dataclass(frozen=True, slots=True)
class Put:
    """A pickle to compress and store under ``key``; the answer is its reference."""

    key: str
    chunks: Chunks

    def packed(self) -> tuple[list[bytes | memoryview], str]:
        """What to store, and the reference to it."""
        data = compress_chunks(self.chunks)
        return data, str(Reference.of(self.key, data))


Call: TypeAlias = tuple[BoundCall, Any, int, int]
"""A call to make: the step, its input, the item's index, the attempt."""
Request: TypeAlias = Call | Put
Performing: TypeAlias = Generator[Request, Any, None]


@dataclass(frozen=True, slots=True)
class Pickled:
    """The pickle of a large result, kept in its place."""

    chunks: Chunks


Kept: TypeAlias = Any
"""What is kept of a result: itself if immutable, the copy from its pickle, or a Pickled."""


class CallCancelled(BaseException):
    """The call was stopped because its run was cancelled."""


class CallFailed(Picklable, Exception):
    """The call failed in another process, which captured its error."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class FailedAttempt(NamedTuple):
    """A failed attempt to record; the state decides what becomes of the item."""

    failed: Failed
    failure: Failure
    texts: Texts
    started: float
    finished: float


class Carried(NamedTuple):
    """The input of a later inner step, kept for its retries: the value and its stored form."""

    value: Any
    packed: bytes | None
    ref: str | None


def lane_of(stage: Stage) -> Lane:
    """The kind of lane that the items of a stage need."""
    lanes = {call.step.lane for call in stage.calls}
    kinds: tuple[Lane, ...] = ("async", "process", "thread")
    return next(lane for lane in kinds if lane in lanes)


class Slice:
    """A claim of a stage, the time when its lane began, and its outcomes so far."""

    __slots__ = ("began", "claim", "failed", "rows", "succeeded", "work")

    def __init__(self, work: StageWork, claim: Claim, began: float) -> None:
        self.work = work
        self.claim = claim
        self.began = began
        self.succeeded: list[int] = []
        self.failed: list[FailedAttempt] = []
        self.rows = Outcomes(work.stage_id)

    def __len__(self) -> int:
        return len(self.succeeded) + len(self.failed)


class StageWork:
    """The open stage of one run, as the lanes need it.

    ``lane`` is the kind of lane that its items need; ``inputs`` are the items; ``carried`` holds
    the inputs of items that wait for a retry at a later inner step; ``listed`` names the map that
    iterates over the result, if any. ``fresh`` returns contexts for calls. ``program`` is what
    worker processes import, if a step needs them. ``error`` is one of lokki's own that ended the
    run. ``on_done`` is called once, in any thread, when the stage is complete or the run has ended.
    """

    def __init__(
        self,
        state: RunState,
        stage_id: int,
        calls: tuple[BoundCall, ...],
        inputs: list[Any],
        carried: dict[int, Carried],
        writer: RunWriter,
        batch_size: int | None,
        listed: str | None,
        fresh: Callable[[], Context],
        on_done: Callable[[], None],
        program: Program | None = None,
    ) -> None:
        self.state = state
        self.stage_id = stage_id
        self.calls = calls
        self.inputs = inputs
        self.carried = carried
        self.writer = writer
        self.batch_size = batch_size
        self.listed = listed
        self.fresh = fresh
        self.on_done = on_done
        self.program = program
        self.lane: Lane = lane_of(state.stage)
        self.plain = all(call.lane == self.lane and call.timeout is None for call in calls)
        """Whether its lane makes all its calls itself."""
        self.retried = [bool(call.step.retry.retries) for call in state.stage.calls]
        """For each inner step, whether a failed call of it may be tried again."""
        self.slices: dict[Slice, float] = {}
        self.scopes: set[CancelScope] = set()
        self.kept: dict[int, Kept] = {}
        self._kept_bytes = 0
        self.large = not calls[0].in_map
        """Whether to expect a large result: the last one was large, or there is only one item."""
        self.seconds_per_item = 0.0
        self.last_size = 0
        self.error: LokkiError | None = None
        self.failure: Failure | None = None
        """The failure that ended the run; of several, that of the first item."""

    def keep(self, index: int, size: int, kept: Kept) -> None:
        """Keep what a pickle of some size is for the next stage, while there are not too many."""
        self._kept_bytes += size + _KEPT_OVERHEAD
        if self._kept_bytes <= KEPT_BYTES:
            self.kept[index] = kept

    @property
    def short(self) -> bool:
        """Whether its items are short calls in threads, judged by the last slice."""
        return self.lane == "thread" and 0 < self.seconds_per_item < SHORT_SECONDS

    def end(self, error: BaseException) -> None:
        """End the run with an error that is not a call's; the caller holds the lock."""
        if not isinstance(error, LokkiError):
            wrapped = LokkiError(f"the run ends with an error outside a step: {described(error)}")
            wrapped.__cause__ = error
            error = wrapped
        self.error = error
        self.state.cancel()

    def report(self, done: Slice, now: float) -> None:
        """Pass a slice's outcomes to the state and the journal; the caller holds the lock."""
        attempts, rows = done.failed, done.rows
        verdicts = self.state.report(
            done.claim, done.succeeded, [attempt.failed for attempt in attempts], now
        )
        for attempt, verdict in zip(attempts, verdicts, strict=True):
            self._record(attempt, verdict, rows)
        counts = self.state.counts
        rows.counts = (counts.succeeded, counts.failed, counts.tolerated, counts.retrying)
        self.writer.add(rows)

    def _record(self, attempt: FailedAttempt, verdict: ItemStatus, rows: Outcomes) -> None:
        failed, failure, texts, started, finished = attempt
        item = self.stage_id << 32 | failed.index
        carried = self.carried.get(failed.index) if verdict is ItemStatus.RETRYING else None
        rows.items.append(
            (item, verdict.value, failed.position, failed.attempt, started, finished)
            + ((None, None) if carried is None else (carried.packed, carried.ref))
        )
        rows.failures.append((item, failure.step, failed.attempt, finished, failure.type, *texts))
        level, words = _LOGGED_AS[verdict]
        message = f"{words}: {failure.type}: {texts.reason}"
        self.writer.note(
            (finished, failure.step, failure.index, failed.attempt, level, "lokki", message)
        )
        if verdict is not ItemStatus.RETRYING:
            self.carried.pop(failed.index, None)
        if verdict is ItemStatus.FAILED and (
            self.failure is None or failed.index < (self.failure.index or 0)
        ):
            self.failure = failure


def perform(done: Slice) -> Performing:
    """Run the items of a slice one after the other, each through the whole inner chain.

    A failed attempt ends the slice, so that the state learns of it at once: it may end the run. The
    calls of an inner chain are timed; for short items, only those of the first item in a slice.
    """
    work, succeeded, rows = done.work, done.succeeded, done.rows
    state, calls, inputs, carried = work.state, work.calls, work.inputs, work.carried
    works, last, base = done.claim.works, len(work.calls) - 1, work.stage_id << 32
    simple, listed, retried = rows.succeeded, work.listed, work.retried
    timed = last > 0
    all_timed = timed and work.seconds_per_item >= SHORT_SECONDS
    finished = time()
    while not state.halted:
        try:
            index, position, attempt = works.popleft()
        except IndexError:
            return
        started = finished
        first_try = position == 0 and attempt == 1
        value = inputs[index] if position == 0 else carried[index].value
        raw: bytes | Chunks
        packed: bytes | None
        ref = pristine = None
        try:
            while True:
                if retried[position]:
                    pristine = _pristine(value)
                if timed:
                    call = (calls[position], value, index, attempt)
                    result = yield from _timed(call, position, rows)
                else:
                    result = yield calls[position], value, index, attempt
                if position == last:
                    break
                value, position, attempt = result, position + 1, 1
            if listed and type(result) is not list:
                result = listed_items(calls[position], result, listed)
            if unchanging := result.__class__ in _UNCHANGING and not work.large:
                raw, copy = dumps_plain(result, PROTOCOL), None
            else:
                raw, copy = _pickled(calls[position], result, work.large)
            if len(raw) <= SMALL and isinstance(raw, bytes):
                packed = raw
                if unchanging:
                    work.keep(index, len(raw), result)
                elif copy is not None:
                    work.keep(index, len(raw), copy[0])
            else:
                chunks = raw if isinstance(raw, list) else [raw]
                packed, ref = yield from _stored(work, position, index, chunks)
                work.large = ref is not None
                if work.large or copy is not None:
                    kept = Pickled(chunks) if copy is None else copy[0]
                    work.keep(index, sum(map(len, chunks)), kept)
        except CallCancelled:
            if first_try:  # otherwise the record of the previous attempt stands
                rows.items.append(
                    (base | index, "cancelled", position, attempt, started, time(), None, None)
                )
            return
        except BaseException as caught:
            error = caught
        else:
            finished = time()
            timed = all_timed
            succeeded.append(index)
            if first_try and ref is None:
                simple += (base | index, started, finished, packed)
            else:
                carried.pop(index, None)
                rows.items.append(
                    (base | index, "succeeded", position, attempt, started, finished, packed, ref)
                )
            continue
        failure = _failure(calls[position], index, attempt, error)
        failed = Failed(index, position, attempt, failure.retryable)
        texts = Texts.of(failure.reason, failure.traceback)
        done.failed.append(FailedAttempt(failed, failure, texts, started, time()))
        if retried[position] and failure.retryable:
            yield from _renew(work, failed, value, pristine)
        return


def _timed(call: Call, position: int, rows: Outcomes) -> Generator[Call, Any, Any]:
    """Have a call of an inner step made, and record its duration."""
    began = perf_counter()
    result = yield call
    rows.spent.append((position, perf_counter() - began))
    return result


def _pristine(value: Any) -> bytes | None:
    """The pickle of an input that a call may change before it fails; None if not needed."""
    if value.__class__ in _UNCHANGING:
        return None
    try:
        return dumps(value)
    except PayloadError:  # an inner step's result that cannot be stored
        return None


def _renew(
    work: StageWork, failed: Failed, value: Any, pristine: bytes | None
) -> Generator[Request, Any, None]:
    """Make sure that the next attempt gets the input that this one got."""
    index, position = failed.index, failed.position
    if pristine is not None:
        try:
            value = loads(pristine)
        except PayloadError:
            if position == 0:  # it could be read back before
                raise
            pristine = None  # an inner step's result need not be storable
    if position == 0:
        work.inputs[index] = value
    elif failed.attempt == 1:
        yield from _carry(work, index, position, value, pristine)
    else:
        work.carried[index] = work.carried[index]._replace(value=value)


def _pickled(call: BoundCall, result: Any, large: bool) -> tuple[bytes | Chunks, Copy | None]:
    """The pickle of a result, and the copy read back from it, if any."""
    try:
        return written(result, large=large)
    except PayloadError as error:
        raise unstorable(call, error) from error.__cause__


def _stored(
    work: StageWork, position: int, index: int, chunks: Chunks
) -> Generator[Request, Any, tuple[bytes | None, str | None]]:
    """A result as its row has it: packed, or a reference to its payload."""
    if sum(map(len, chunks)) <= INLINE_BYTES:
        return compress_small(b"".join(chunks)), None
    call, writer = work.calls[position], work.writer
    if writer.closed:  # another process has the run now: nothing can be recorded
        raise CallCancelled
    item = index if call.in_map else None
    key = output_key(call.flow, call.run_id, call.name, item, writer.name)
    try:
        ref = yield Put(key, chunks)
    except Exception as error:
        raise unstorable(call, error) from error
    return None, ref


def _carry(
    work: StageWork, index: int, position: int, value: Any, pristine: bytes | None
) -> Generator[Request, Any, None]:
    """Keep the result of an inner step, so that the next step can be retried alone.

    A value that cannot be stored is carried only in memory: after a crash, the item starts over.
    """
    work.carried[index] = Carried(value, None, None)
    if pristine is None:
        if value.__class__ not in _UNCHANGING:
            return
        pristine = dumps(value)
    try:
        stored = yield from _stored(work, position - 1, index, [pristine])
    except (CallCancelled, ResultError):
        return
    work.carried[index] = Carried(value, *stored)


def _failure(call: BoundCall, index: int, attempt: int, error: BaseException) -> Failure:
    if type(error) is CallFailed:
        return error.failure
    return capture(call, index, attempt, error)
