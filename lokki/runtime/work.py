"""What one event requests: reads the inputs, calls, stores, reports."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from time import monotonic, sleep, time
from types import FrameType
from typing import Any, TypeAlias, cast

from lokki import logging
from lokki.caching import caching_of, key_of
from lokki.call import (
    BoundCall,
    Caching,
    await_step,
    bind,
    call_step,
    capture,
    retried_as,
    unstorable,
)
from lokki.context import fresh_contexts
from lokki.errors import PayloadError, Picklable, ResultError
from lokki.graph import FlowGraph
from lokki.map_source import listed_items
from lokki.model.attachment import Shown
from lokki.model.failure import Failure
from lokki.retry import RetryLater
from lokki.runtime import shown
from lokki.runtime.event import INLINE_BYTES, MOST_LATER, PREVIEWS, Item, LambdaEvent, inline
from lokki.runtime.keeper import Keeper
from lokki.runtime.payloads import MapFailed, Payloads
from lokki.runtime.slices import firsts
from lokki.runtime.units import TaskUnit
from lokki.showing.previews import preview
from lokki.stages import MapStage, StepCall
from lokki.store.codec import Chunks, compress_chunks, unpack
from lokki.store.readback import written
from lokki.telemetry import on_aws

Input: TypeAlias = Callable[[], Any]
"""Returns a new input for each attempt: a call may change its input."""


class StepFailed(Picklable, Exception):
    """A call has failed: for good, or until Step Functions retries it.

    ``name`` is the class name from which Step Functions decides.
    """

    def __init__(self, failure: Failure, name: str, error: BaseException | None) -> None:
        super().__init__(failure.reason)
        self.failure = failure
        self.name = name
        self.error = error


class Work:
    """What one event requests."""

    def __init__(
        self,
        payloads: Payloads,
        loop: asyncio.Runner,
        graph: FlowGraph[Any],
        unit: TaskUnit,
        event: LambdaEvent,
        keeper: Keeper,
        results: list[Shown],
        *,
        holds: bool = False,
    ) -> None:
        self._payloads = payloads
        self._loop = loop
        self._graph = graph
        self._unit = unit
        self._fresh = on_aws(fresh_contexts(), event.flow.trace)
        self._keeper = keeper
        self._results = results
        self._event = event
        self._run_id = event.flow.run_id
        self._failures: tuple[Failure, ...] = ()
        stage = unit.stage
        self._tolerates = (
            event.several and isinstance(stage, MapStage) and bool(stage.tolerated_failures)
        )
        self._is_job = holds
        self._holds = holds or event.several or len(unit.calls) > 1
        self._attempts = 0
        self._put_off_since: float | None = None

    def done(self) -> dict[str, Any]:
        items = [replace(each, index=self._index(each)) for each in self._event.items]
        self._attempts = self._begun()
        outputs = []
        put_off: StepFailed | None = None
        for item, given in zip(items, self._inputs(items), strict=True):
            try:
                outputs.append(self._chain(item.index, given))
            except StepFailed as failed:
                if failed.failure.later is not None:
                    put_off = failed  # the other items first
                elif not self._tolerates:
                    raise
        if put_off is not None:
            raise put_off
        if self._event.several and self._ends_stage:
            outputs = []  # which nobody reads
        return self._event.returning(outputs).to_json()

    @property
    def _ends_stage(self) -> bool:
        return self._unit.calls[-1] is self._unit.stage.calls[-1]

    def _index(self, item: Item) -> int | None:
        """The item's index in the map; 0 if invoked by hand."""
        return (item.index or 0) if self._unit.in_map else None

    # ---- attempts --------------------------------------------------------------------------------

    def _begun(self) -> int:
        """How many attempts of these calls were made before; in Lambda, records this one.

        A state is also entered again for calls that the service refused, and a job for a lost host:
        neither is an attempt. What ends a process cannot be told from a lost host in Batch, where
        only failed calls are recorded.
        """
        if not any(call.step.retry.retries for call in self._unit.calls):
            return 0
        before = 0
        if self._event.retried:
            before = self._loop.run(self._payloads.attempts(self._run_id, *self._first))
        if not self._is_job:
            self._keep_attempts(before + 1)
        return before

    def _keep_attempts(self, used: int) -> None:
        if self._event.direct:  # nothing enters its state again
            return
        self._loop.run(self._payloads.keep_attempts(self._run_id, *self._first, used))

    @property
    def _first(self) -> tuple[str, int | None]:
        """The step and the index that an invocation begins with, which name its attempts."""
        at = self._index(self._event.items[0]) if self._event.items else None
        return self._unit.calls[0].name, at

    # ---- inputs ----------------------------------------------------------------------------------

    def _inputs(self, items: list[Item]) -> list[Input]:
        source = self._unit.source
        if source is None:
            return [lambda: None]
        if isinstance(source, MapStage) and not self._unit.in_map and not self._is_given:
            return [self._aggregated(source)]
        keys = [self._input_key(each) for each in items]
        stored = iter(self._loop.run(self._payloads.read([key for key in keys if key])))
        return [
            partial(unpack, next(stored)) if key else partial(deepcopy, each.input)
            for each, key in zip(items, keys, strict=True)
        ]

    @property
    def _is_given(self) -> bool:
        """Whether an aggregation gets its list from who calls it, not from a map that has run."""
        given = self._event.input
        return self._event.direct and not (isinstance(given, dict) and given.keys() == {"map"})

    def _input_key(self, item: Item) -> str | None:
        """The key of an input; None for a value, and for an item that is done without it."""
        if not item.stored:
            return self._payloads.key_of(item.input)
        calls = self._unit.stage.calls
        before = calls[calls.index(self._unit.calls[0]) - 1]
        return None if self._has_end(item.index) else self._key(before, item.index)

    def _aggregated(self, stage: MapStage) -> Input:
        asked = self._payloads.map_results(self._run_id, stage, self._source_of(stage))
        try:
            results, self._failures = self._loop.run(asked)
        except MapFailed as failed:
            first = failed.failures[0]
            raise StepFailed(first, first.type, None) from None
        return lambda: [unpack(each) for each in results]

    def _source_of(self, stage: MapStage) -> str:
        stages = self._graph.stages
        return stages[stages.index(stage) - 1].name

    # ---- calls -----------------------------------------------------------------------------------

    def _chain(self, index: int | None, given: Input) -> Item:
        """Make the calls of one item, or find their results; what the next state gets."""
        *before, last = self._unit.calls
        if not self._ends_stage and self._has_end(index):
            return Item(index)
        for call in before:
            given = partial(unpack, self._result(call, index, given))
        return self._output(last, index, self._result(last, index, given))

    def _has_end(self, index: int | None) -> bool:
        """Whether the whole inner chain already has a result."""
        end = self._key(self._unit.stage.calls[-1], index)
        return self._event.is_of_resumed and self._loop.run(self._payloads.store.exists(end))

    def _key(self, call: StepCall, index: int | None) -> str:
        return self._payloads.output_key(self._run_id, call.name, index)

    def _result(self, call: StepCall, index: int | None, given: Input) -> bytes:
        """The stored result of a call that is made now, or was made before."""
        key = self._key(call, index)
        return self._found(key) or self._called(call, index, given, key)

    def _found(self, key: str) -> bytes | None:
        """The result of an earlier call; looked up only where there may be one."""
        if not self._event.may_be_done or not self._loop.run(self._payloads.store.exists(key)):
            return None
        return self._loop.run(self._payloads.store.get(key))

    def _bound(self, call: StepCall, index: int | None) -> BoundCall:
        return bind(
            call,
            run_id=self._run_id,
            flow=self._graph.name,
            params=self._graph.params,
            takes_input=self._unit.source is not None,
            in_map=index is not None,
            failures=self._failures,
            previewed=self._previewed(call),
        )

    def _previewed(self, call: StepCall) -> Callable[[Any], None] | None:
        stage = self._unit.stage
        if call is not stage.calls[-1] or os.environ.get(PREVIEWS) == "false":
            return None
        return partial(preview, stage.name)

    def _caching(self, call: StepCall) -> Caching | None:
        return caching_of(
            call,
            self._graph.params,
            takes_input=self._unit.source is not None,
            listed=self._unit.mapped is not None,
            looks=not self._event.flow.no_cache,
            failures=self._failures,
        )

    def _called(self, call: StepCall, index: int | None, given: Input, key: str) -> bytes:
        """Call a step until it has a result, within the retries made here; the stored result.

        If it has a cache, the result may be that of an earlier call, unless the run looks for none.
        """
        bound = self._bound(call, index)
        caching = self._caching(call)
        digest = None if caching is None else key_of(caching, given())
        if caching is not None and caching.looks and digest is not None:
            data = self._loop.run(self._payloads.cached(digest, caching.seconds))
            if data is not None:
                report(self._run_id, index, 0, logging.step_reused(call.name, time(), 1, 1))
                return self._kept(key, data)
        attempt = self._attempts + 1
        while True:
            say = partial(report, self._run_id, index, attempt)
            began = monotonic()
            say(logging.step_start(call.name, time()))
            try:
                data = self._stored(bound, index, given(), attempt, key)
            except Exception as error:
                failure = capture(bound, index or 0, attempt, error)
                if failure.later is not None and self._puts_off(failure, say, began):
                    continue
                left = attempt <= call.step.retry.retries
                again = left and failure.retryable
                text = f"{failure.type}: {failure.reason}"
                seconds = monotonic() - began
                record = logging.step_failed(call.name, time(), seconds, text, again=again)
                say(record, failure)
                if not again:
                    self._loop.run(self._payloads.keep_failure(self._run_id, failure))
                elif self._holds:
                    self._keep_attempts(attempt if self._is_job else attempt + 1)
                    sleep(call.step.retry.wait(attempt))
                    attempt += 1
                    continue
                name = retried_as(bound, error, failure, left=left)
                raise StepFailed(failure, name, error) from None
            say(logging.step_complete(call.name, time(), monotonic() - began))
            if digest is not None:
                self._loop.run(self._payloads.keep_cached(digest, data))
            return data

    def _puts_off(self, failure: Failure, say: Callable[..., None], began: float) -> bool:
        """Whether a call that asks for a later try is made again here; it uses up no attempt.

        A job waits itself, for as long as the call says. In Lambda, Step Functions waits: raises
        StepFailed.
        """
        assert failure.later is not None
        seconds, most = failure.later
        self._put_off_since = self._put_off_since or monotonic()
        if self._is_job and monotonic() + seconds - self._put_off_since > most:
            return False
        text = f"{failure.type}: {failure.reason}"
        took = monotonic() - began
        say(logging.step_failed(failure.step, time(), took, text, again=True), failure)
        if self._is_job:
            sleep(seconds)
            return True
        self._keep_put_off(failure.attempt - 1)
        if self._is_put_off_last:
            self._loop.run(self._payloads.keep_failure(self._run_id, failure))
        raise StepFailed(failure, RetryLater.__name__, None)

    def _keep_put_off(self, used: int) -> None:
        if any(call.step.retry.retries for call in self._unit.calls):
            self._keep_attempts(used)

    @property
    def _is_put_off_last(self) -> bool:
        """Whether a call that asks for a later try now is not made again."""
        return self._event.retried >= MOST_LATER

    def _stored(
        self, bound: BoundCall, index: int | None, value: Any, attempt: int, key: str
    ) -> bytes:
        try:
            result = self._made(bound, value, index or 0, attempt)
            if self._unit.mapped is not None and type(result) is not list:
                result = listed_items(bound, result, self._unit.mapped)
            data = _packed(bound, result)
        except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
            why = f"step '{bound.name}' tried to end its process: {error}"
            raise ResultError(type(error).__name__, why) from error
        return self._kept(key, data)

    def _kept(self, key: str, data: bytes) -> bytes:
        """Store a result; what is stored now."""
        if self._event.direct:
            self._loop.run(self._payloads.store.put(key, data))
            return data
        return self._loop.run(self._payloads.keep(key, data))

    def _made(self, bound: BoundCall, value: Any, index: int, attempt: int) -> Any:
        context = self._fresh()
        try:
            if bound.is_async:
                made = _awaited(bound, value, index, attempt)
                return self._loop.run(made, context=context)
            with _limited(bound.timeout):
                return context.run(call_step, bound, value, index, attempt)
        finally:
            self._keep_shown()

    def _keep_shown(self) -> None:
        """Store what a call has shown, if that is possible: its result does not depend on it."""
        try:
            self._keeper.settle()
            if self._results:
                self._loop.run(shown.keep(self._payloads, self._run_id, self._results))
        except PayloadError as error:
            print(f"what the step has shown cannot be stored: {error}", file=sys.stderr, flush=True)
        self._results.clear()

    # ---- outputs ---------------------------------------------------------------------------------

    def _output(self, call: StepCall, index: int | None, data: bytes) -> Item:
        """A result as the next state gets it: itself, or the location of it or its items."""
        if self._unit.mapped is not None:
            items = self._items(self._bound(call, None), unpack(data))
            made = self._loop.run(self._payloads.keep_manifest(self._run_id, call.name, items))
            about: dict[str, Any] = {"manifest": made.key, "count": len(items)}
            if self._event.cut is not None:
                starts = firsts(len(items), self._event.cut, self._unit.mapped)
                about["cuts"] = made.cuts(starts)
            return Item(index, about)
        if len(data) <= INLINE_BYTES and inline(value := unpack(data)):
            return Item(index, value)
        if self._event.several:
            return Item(index, stored=True)
        return Item(index, self._payloads.store.url(self._key(call, index)))

    def _items(self, bound: BoundCall, result: Any) -> list[Any]:
        """The items of a map's source; its result may be from a run without a map here."""
        if type(result) is list:
            return result
        try:
            return listed_items(bound, result, self._unit.mapped or "")
        except Exception as error:
            failure = capture(bound, 0, 1, error)
            raise StepFailed(failure, failure.type, error) from None


def _packed(bound: BoundCall, result: Any) -> bytes:
    """A result as it is stored."""
    try:
        chunks, _ = written(result, large=True)
    except PayloadError as error:
        raise unstorable(bound, error) from error.__cause__
    return b"".join(compress_chunks(cast("Chunks", chunks)))


async def _awaited(bound: BoundCall, value: Any, index: int, attempt: int) -> Any:
    late = _late(bound.timeout)
    limit = asyncio.timeout(bound.timeout)
    try:
        async with limit:
            return await await_step(bound, value, index, attempt)
    except TimeoutError as error:
        if limit.expired():
            raise late from error
        raise


@contextmanager
def _limited(seconds: float | None) -> Iterator[None]:
    """Raise TimeoutError inside this context after ``seconds``.

    Also at its end, if the error was caught. Code that cannot be interrupted ends with the
    function's own timeout.
    """
    if seconds is None:
        yield
        return
    late = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal late
        late = True
        raise _late(seconds)

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if late:
        raise _late(seconds)


def _late(seconds: float | None) -> TimeoutError:
    return TimeoutError(f"the call took longer than {seconds} s")


def report(
    run_id: str,
    index: int | None,
    attempt: int,
    record: logging.Record,
    failure: Failure | None = None,
) -> None:
    """A JSON line in the log of the function or job."""
    more: dict[str, Any] = {"item": index, "attempt": attempt}
    if failure is not None:
        more["traceback"] = failure.traceback
    record = replace(record, fields=record.fields | more)
    print(logging.as_json(logging.of_run(run_id, record)), flush=True)
