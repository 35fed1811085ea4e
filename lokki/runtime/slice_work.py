"""What a durable function requests for a slice of a map's items, one after the other.

A process that ends amid a slice has stored what it did: the next one goes on with the item that was
running, which has used up an attempt, and the items after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from itertools import chain
from time import monotonic, time
from typing import Any

from lokki import logging
from lokki.graph import FlowGraph
from lokki.model.attachment import Shown
from lokki.model.failure import Failure
from lokki.runtime.deaths import as_here, is_retried
from lokki.runtime.event import MOST_LATER, LambdaEvent, Slice
from lokki.runtime.keeper import Keeper
from lokki.runtime.payloads import Payloads
from lokki.runtime.slices import has_time
from lokki.runtime.units import TaskUnit
from lokki.runtime.work import Input, StepFailed, Work, report
from lokki.stages import StepCall
from lokki.store.codec import unpack
from lokki.store.keys import failure_key


class SliceWork(Work):
    """The items of a slice; a process that has no time for the next one leaves the rest."""

    def __init__(
        self,
        payloads: Payloads,
        loop: asyncio.Runner,
        graph: FlowGraph[Any],
        unit: TaskUnit,
        event: LambdaEvent,
        keeper: Keeper,
        results: list[Shown],
        seconds_left: Callable[[], float] | None,
    ) -> None:
        super().__init__(payloads, loop, graph, unit, event, keeper, results)
        assert event.slice is not None
        self._slice: Slice = event.slice
        self._seconds_left = seconds_left
        self._seconds = seconds_left() if seconds_left else 0.0
        self._longest = 0.0
        self._at = self._slice.first
        self._failed: list[int] = []
        self._retried_at: dict[int, int] = {}

    def done(self) -> dict[str, Any]:
        """Do the slice; which of its items have failed, and how many are left."""
        wanted = range(self._slice.first, self._slice.first + self._slice.count)
        if self._slice.died is not None and not self._blamed(wanted, *self._slice.died):
            return self._answer(left=wanted.stop - self._at)
        inputs = self._slice_inputs()
        put_off: StepFailed | None = None
        for done, index in enumerate(wanted):
            if done and not self._has_time:
                if put_off is not None:
                    raise put_off
                return self._answer(left=len(wanted) - done)
            if index in self._slice.without or self._has_failed(index):
                continue
            self._at, self._attempts = index, self._used(index)
            began = monotonic()
            try:
                self._make(index, inputs)
            except StepFailed as failed:
                if failed.failure.later is not None and not self._is_put_off_last:
                    put_off = failed  # the other items first
                elif not self._tolerates:
                    raise
                else:
                    self._failed.append(index)
            self._longest = max(self._longest, monotonic() - began)
        if put_off is not None:
            raise put_off
        return self._answer(left=0)

    def _answer(self, *, left: int) -> dict[str, Any]:
        failed = sorted({*self._slice.without, *self._failed})
        return {"failed": failed, "left": left}

    @property
    def _has_time(self) -> bool:
        """Whether the next item has time, if it takes as long as the others."""
        if self._seconds_left is None:
            return True
        return has_time(self._seconds_left(), self._longest, self._seconds)

    # ---- items that are put off ------------------------------------------------------------------

    @property
    def _is_put_off_last(self) -> bool:
        return self._slice.put_off >= MOST_LATER

    def _keep_put_off(self, used: int) -> None:
        step, number = self._unit.calls[0].name, self._event.retried
        asked = self._payloads.keep_put_off(self._run_id, step, self._at, used, number)
        self._loop.run(asked)

    def _put_off(self, index: int) -> tuple[int, int] | None:
        if not self._slice.put_off and not self._slice.died:
            return None
        step = self._unit.calls[0].name
        return self._loop.run(self._payloads.put_off(self._run_id, step, index))

    def _used(self, index: int) -> int:
        """How many attempts of an item are used."""
        if index in self._retried_at:
            return self._retried_at[index]
        used, _ = self._put_off(index) or (0, 0)
        return used

    @property
    def _first(self) -> tuple[str, int | None]:
        """The step and index that name the attempts: those of the item."""
        return self._unit.calls[0].name, self._at

    # ---- inputs ----------------------------------------------------------------------------------

    def _slice_inputs(self) -> list[Any] | None:
        """The inputs in the manifest, from index ``base`` on; None: the call before stored them."""
        part = self._slice
        if part.manifest is None:
            return None
        return self._loop.run(self._payloads.manifest_part(part.manifest, part.start, part.end))

    def _given(self, index: int, inputs: list[Any] | None) -> Input:
        if inputs is None:
            calls = self._unit.stage.calls
            key: str | None = self._key(calls[calls.index(self._unit.calls[0]) - 1], index)
        else:
            value = inputs[index - self._slice.base]
            key = self._payloads.key_of(value)
            if key is None:
                return partial(deepcopy, value)
        assert key is not None
        return partial(unpack, self._loop.run(self._payloads.store.get(key)))

    # ---- items -----------------------------------------------------------------------------------

    def _make(self, index: int, inputs: list[Any] | None) -> None:
        """Make the calls of an item, or find their results."""
        if not self._ends_stage and self._has_end(index):
            return
        given: Input | None = None
        for call in self._unit.calls:
            data = self._found(self._key(call, index))
            if data is None:
                before = given or self._given(index, inputs)
                data = self._called(call, index, before, self._key(call, index))
            given = partial(unpack, data)

    def _has_failed(self, index: int) -> bool:
        """Whether an item is known to have failed for good, in this run."""
        if index in self._failed:
            return True
        if self._event.retried == 0 or not self._tolerates or not self._recorded_failure(index):
            return False
        self._failed.append(index)
        return True

    def _recorded_failure(self, index: int) -> bool:
        return any(
            self._exists(failure_key(self._payloads.flow, self._run_id, call.name, index))
            for call in self._unit.calls
        )

    def _exists(self, key: str) -> bool:
        return self._loop.run(self._payloads.store.exists(key))

    # ---- deaths ----------------------------------------------------------------------------------

    def _blamed(self, wanted: range, name: str, text: str, attempt: int) -> bool:
        """Give the item that was running when the process ended its next attempt, or its failure.

        Items are done in order: it is the first without a result or failure that was not put off.
        False if the process ran out of time after other items: then the rest gets the whole time of
        another one first, from the item at which this is now.
        """
        left = (each for each in wanted if each not in self._slice.without)
        unfinished = (each for each in left if not self._is_over(each))
        first = next(unfinished, None)
        if first is None:
            return True
        kind, reason = as_here(name, text)
        if kind == TimeoutError.__name__ and first != wanted.start:
            self._at = first
            for each in range(wanted.start, first):
                self._has_failed(each)
            return False
        running = (each for each in chain((first,), unfinished) if not self._waited(each, attempt))
        if (found := next(running, None)) is not None:
            self._blame(found, kind, reason, name)
        return True

    def _waited(self, index: int, attempt: int) -> bool:
        """Whether an item had been put off by the process that ended in this attempt."""
        put_off = self._put_off(index)
        return put_off is not None and put_off[1] == attempt

    def _blame(self, index: int, kind: str, reason: str, name: str) -> None:
        self._at = index
        call = self._unfinished_call(index)
        used = max(1, self._loop.run(self._payloads.attempts(self._run_id, *self._first)))
        failure = Failure(call.name, index, used, kind, reason, "")
        again = used <= call.step.retry.retries and is_retried(name, call.step.retry.exceptions)
        said = f"{kind}: {reason}"
        record = logging.step_failed(call.name, time(), 0.0, said, again=again)
        report(self._run_id, index, used, record, failure)
        if again:
            self._retried_at[index] = used
            self._keep_attempts(used + 1)
            return
        self._loop.run(self._payloads.keep_failure(self._run_id, failure))
        if not self._tolerates:
            raise StepFailed(failure, kind, None)
        self._failed.append(index)

    def _is_over(self, index: int) -> bool:
        return self._exists(self._key(self._unit.calls[-1], index)) or self._recorded_failure(index)

    def _unfinished_call(self, index: int) -> StepCall:
        calls = (each for each in self._unit.calls if not self._exists(self._key(each, index)))
        return next(calls, self._unit.calls[-1])
