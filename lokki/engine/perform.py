"""What a lane or a worker does with the items it has claimed, whatever it is made of.

`perform` is a generator without I/O: it yields what is to be done (a call of a step, a payload to
store), is sent what came of it, and gathers the outcomes. A thread lane, an async lane and a worker
process drive the same generator. Where calls need not be awaited, it makes them itself: a turn of
the generator for each item would cost as much as a short call.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextvars import Context
from dataclasses import dataclass
from time import perf_counter, time
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar, cast

from lokki.call import BoundCall, capture, unstorable
from lokki.engine.reuse import Named, adopted, kept, kept_inner, looked_up, payload_key
from lokki.engine.state import Claim, Failed, Work
from lokki.engine.storing import INLINE_BYTES, Put, StoreRequest, answered
from lokki.errors import PayloadError, Picklable, ResultError
from lokki.map_source import listed_items
from lokki.model.failure import Failure
from lokki.store.codec import (
    PROTOCOL,
    SMALL,
    Chunks,
    compress_small,
    dumps,
    dumps_plain,
    loads,
)
from lokki.store.outcomes import Outcomes
from lokki.store.readback import Copy, written
from lokki.store.spans import MOST_ITEMS, Entry, Span, is_plain
from lokki.store.texts import Texts

W = TypeVar("W", bound="ItemWork")

SHORT_SECONDS = 50e-6
"""Items that take less are short: the cost per item matters."""
UNCHANGING = frozenset({int, float, complex, str, bytes, bool, type(None)})


@dataclass(frozen=True, slots=True)
class Pickled:
    """The pickle of a large result, kept in its place."""

    chunks: Chunks


Kept: TypeAlias = Any
"""What is kept of a result: itself if immutable, the copy from its pickle, or a Pickled."""

Call: TypeAlias = tuple[BoundCall, Any, int, int]
"""A call to make: the step, its input, the item's index, the attempt."""
Request: TypeAlias = Call | StoreRequest
Performing: TypeAlias = Generator[Request, Any, None]


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


class ItemWork(Protocol):
    """What `perform` knows of a stage, in the engine (`StageWork`) or in a worker.

    ``inputs`` are the items; ``carried`` has the inputs of items that wait for a retry at a later
    inner step; ``retried`` says for each inner step whether a failed call may be retried;
    ``listed`` names the map that iterates over the result, if any; ``large`` says whether to expect
    a large result.
    """

    stage_id: int
    calls: tuple[BoundCall, ...]
    carried: dict[int, Carried]
    listed: str | None
    retried: Sequence[bool]
    large: bool

    @property
    def seconds_per_item(self) -> float: ...
    @property
    def inputs(self) -> Inputs: ...
    @property
    def state(self) -> Halting: ...
    @property
    def writer(self) -> Named: ...
    def keep(self, index: int, size: int, kept: Kept) -> None: ...
    def carry(self, index: int, position: int, pristine: bytes | None) -> None:
        """Keep the input of an inner step that may be retried; called before the step is."""


class Halting(Protocol):
    """Whether to begin no more items."""

    @property
    def halted(self) -> bool: ...


class Inputs(Protocol):
    """A list or a dict of the items' inputs, by index."""

    def __getitem__(self, index: int, /) -> Any: ...
    def __setitem__(self, index: int, value: Any, /) -> None: ...


class Growing:
    """A span that grows: see `Span`."""

    __slots__ = ("ends", "first", "results", "started")

    def __init__(self, first: int, started: float) -> None:
        self.first = first
        self.started = started
        self.ends: list[float] = []
        self.results: list[Entry] = []


class Performed(Generic[W]):
    """Items that are run one after the other, and what has come of them so far.

    ``singles`` are the items that succeeded and are in no span. ``keys`` are those of the items
    whose first call has been looked up, without a result to reuse.
    """

    __slots__ = ("claim", "failed", "growing", "keys", "rows", "singles", "work")

    def __init__(self, work: W, claim: Claim) -> None:
        self.work = work
        self.claim = claim
        self.growing: list[Growing] = []
        self.singles: list[int] = []
        self.failed: list[FailedAttempt] = []
        self.keys: dict[int, str | None] = {}
        self.rows = Outcomes(work.stage_id)

    def __len__(self) -> int:
        growing = sum(len(each.ends) for each in self.growing)
        recorded = sum(span.length for span in self.rows.spans)
        return growing + recorded + len(self.singles) + len(self.failed)

    def close(self) -> None:
        """Add the spans to the rows."""
        self.rows.spans += [
            Span.of(each.first, each.started, each.ends, each.results)
            for each in self.growing
            if each.ends
        ]
        self.growing.clear()

    @property
    def succeeded(self) -> Iterator[range]:
        """The indices of the items that succeeded, once closed."""
        yield from (span.indices for span in self.rows.spans)
        yield from (range(index, index + 1) for index in self.singles)

    def fail(self, work: Work, failure: Failure, started: float) -> Failed:
        """Note a failed attempt: of an item, at an inner step."""
        failed = Failed(*work, failure.retryable, failure.later)
        texts = Texts.of(failure.reason, failure.traceback)
        self.failed.append(FailedAttempt(failed, failure, texts, started, time()))
        return failed

    def fail_before(self, error: PayloadError) -> None:
        """Replace the last failure by one of the previous inner step: its result is unusable."""
        last = self.failed.pop()
        index, position = last.failed.index, last.failed.position - 1
        call = self.work.calls[position]
        failure = capture(call, index, 1, unstorable(call, error))
        self.fail((index, position, 1), failure, last.started)


def drive(
    done: Performed[Any],
    fresh: Callable[[], Context],
    call: Callable[[BoundCall, Any, int, int], Any],
    answer: Callable[[StoreRequest], Any],
) -> None:
    """Perform a slice in this thread: ``call`` makes its calls, each in a context of its own."""
    answered(cast(Generator[StoreRequest, Any, None], perform(done, fresh, call)), answer)


def perform(
    done: Performed[Any],
    fresh: Callable[[], Context] | None = None,
    make: Callable[[BoundCall, Any, int, int], Any] | None = None,
) -> Performing:
    """Run the items of a slice one after the other, each through the whole inner chain.

    ``make`` makes the calls, each in one of ``fresh`` contexts; without them, calls are yielded. A
    failed attempt ends the slice, so that the state learns of it at once: it may end the run. The
    calls of an inner chain are timed; for short items, only those of the first item in a slice.
    """
    work: ItemWork = done.work
    rows, singles = done.rows, done.singles
    state, calls, inputs, carried = work.state, work.calls, work.inputs, work.carried
    works, last, base = done.claim.works, len(work.calls) - 1, work.stage_id << 32
    listed, retried, keys = work.listed, work.retried, done.keys
    timed = last > 0
    all_timed = timed and work.seconds_per_item >= SHORT_SECONDS
    entry: Entry = None
    span = Growing(-1, 0.0)  # none of the slice's
    following = full = -1
    within: Within = _here
    finished = time()
    while not state.halted:
        try:
            index, position, attempt = works.popleft()
        except IndexError:
            return
        started = finished
        first_try = position == 0 and attempt == 1
        value = inputs[index] if position == 0 else carried[index].value
        packed: bytes | None = None
        ref: str | None = None
        pristine: bytes | None = None
        try:
            while True:
                call, key, reused = calls[position], None, None
                if call.caching is not None:
                    known = keys if position == 0 else {}
                    key, reused = yield from looked_up(known, call, value, index, within)
                if reused is not None:
                    result = reused.value
                    rows.reused.append(position)
                else:
                    if retried[position]:
                        pristine = within(_pristine, value)
                        if position and attempt == 1:
                            work.carry(index, position, pristine)
                    began = perf_counter() if timed else 0.0
                    if make is None or fresh is None:
                        result = yield call, value, index, attempt
                    else:
                        within = fresh().run
                        result = within(make, call, value, index, attempt)
                    if timed:
                        rows.spent.append((position, perf_counter() - began))
                if position == last:
                    break
                if key is not None and reused is None:
                    rows.cached += yield from kept_inner(call, key, result, within)
                value, position, attempt = result, position + 1, 1
            if reused is not None:
                plain, first_try, attempt = False, False, 0
                packed, ref = yield from adopted(work, position, index, reused.found)
            else:
                if listed and type(result) is not list:
                    result = within(listed_items, call, result, listed)
                chunks: Chunks = []
                if plain := is_plain(result):
                    entry = result
                else:
                    packed, ref, chunks = yield from _packed(work, position, index, result, within)
                    entry = (packed,)
                if key is not None:
                    small = dumps_plain(result, PROTOCOL) if plain else packed
                    rows.cached += yield from kept(call, key, small, chunks)
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
            if first_try and (plain or (packed is not None and len(packed) <= SMALL)):
                if index != following or following == full:
                    span = Growing(index, started)
                    done.growing.append(span)
                    full = index + MOST_ITEMS
                span.ends.append(finished)
                span.results.append(entry)
                following = index + 1
            else:
                if plain:
                    packed = dumps_plain(result, PROTOCOL)
                carried.pop(index, None)
                singles.append(index)
                rows.items.append(
                    (base | index, "succeeded", position, attempt, started, finished, packed, ref)
                )
            continue
        failure = within(_failure, calls[position], index, attempt, error)
        failed = done.fail((index, position, attempt), failure, started)
        if failure.later or (retried[position] and failure.retryable):
            yield from renewed(work, failed, value, pristine)
        return


Within: TypeAlias = Callable[..., Any]
"""Calls a function in the context of the last call."""


def _here(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _packed(
    work: ItemWork, position: int, index: int, result: Any, within: Within
) -> Generator[Request, Any, tuple[bytes | None, str | None, Chunks]]:
    """A result as its row has it: packed, or a reference to its payload; and its pickle.

    Keeps it for the next stage where reading it back would take long.
    """
    raw, copy = within(_pickled, work.calls[position], result, work.large)
    if len(raw) <= SMALL and isinstance(raw, bytes):
        if copy is not None:
            work.keep(index, len(raw), copy[0])
        return raw, None, []
    chunks = raw if isinstance(raw, list) else [raw]
    packed, ref = yield from _stored(work, position, index, chunks)
    work.large = ref is not None
    if work.large or copy is not None:
        if copy is None:
            copied = result if type(result) in UNCHANGING else Pickled(chunks)
        else:
            copied = copy[0]
        work.keep(index, sum(map(len, chunks)), copied)
    return packed, ref, chunks


def _pristine(value: Any) -> bytes | None:
    """The pickle of an input that a call may change before it fails; None if not needed."""
    if value.__class__ in UNCHANGING:
        return None
    try:
        return dumps(value)
    except PayloadError:  # an inner step's result that cannot be stored
        return None


def renewed(
    work: ItemWork, failed: Failed, value: Any, pristine: bytes | None
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
    work: ItemWork, position: int, index: int, chunks: Chunks
) -> Generator[Request, Any, tuple[bytes | None, str | None]]:
    """A result as its row has it: packed, or a reference to its payload."""
    if sum(map(len, chunks)) <= INLINE_BYTES:
        return compress_small(b"".join(chunks)), None
    if work.writer.closed:  # another process has the run now: nothing can be recorded
        raise CallCancelled
    try:
        ref = yield Put(payload_key(work, position, index), chunks)
    except Exception as error:
        raise unstorable(work.calls[position], error) from error
    return None, ref


def _carry(
    work: ItemWork, index: int, position: int, value: Any, pristine: bytes | None
) -> Generator[Request, Any, None]:
    """Keep the result of an inner step, so that the next step can be retried alone.

    A value that cannot be stored is carried only in memory: after a crash, the item starts over.
    """
    work.carried[index] = Carried(value, None, None)
    if pristine is None:
        if value.__class__ not in UNCHANGING:
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
