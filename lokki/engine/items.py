"""The open stage of a run, as the lanes have it: its items, and what has come of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import Context
from time import time
from typing import TYPE_CHECKING, Any

from lokki.call import BoundCall
from lokki.engine.kept import KeptResults
from lokki.engine.perform import SHORT_SECONDS, Carried, FailedAttempt, Kept, Performed
from lokki.engine.placement import ELSEWHERE, lane_of
from lokki.engine.state import Claim, RunState
from lokki.errors import LokkiError, described
from lokki.model.failure import Failure
from lokki.model.status import ItemStatus
from lokki.steps import Lane
from lokki.store.outcomes import Outcomes
from lokki.store.rows import INDEX_MASK
from lokki.store.writer import RunWriter
from lokki.telemetry import TracedStage

if TYPE_CHECKING:
    from anyio import CancelScope

    from lokki.engine.program import Program

_LOGGED_AS = {
    ItemStatus.PENDING: ("INFO", "put off"),
    ItemStatus.RETRYING: ("WARNING", "failed, will be retried"),
    ItemStatus.TOLERATED: ("ERROR", "failed, tolerated"),
    ItemStatus.FAILED: ("ERROR", "failed"),
}
"""Level and text of the log line of a failed attempt."""


class StageWork:
    """The open stage of one run, as the lanes need it: an `ItemWork`.

    ``lane`` is the kind of lane that its items need. ``fresh`` gives contexts to make calls in.
    ``program`` is what worker processes import, if a step needs them, ``traced`` the span of the
    stage, if the program has OpenTelemetry. ``error`` is one of ours that ended the run.
    ``on_done`` is called in any thread when the stage is complete or the run has ended or, paused,
    rests: once for each `Lanes.add`.
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
        traced: TracedStage | None = None,
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
        self.traced = traced
        self.lane: Lane = lane_of(call.lane for call in calls)
        self.remote = self.lane in ELSEWHERE and all(call.lane == self.lane for call in calls)
        """Whether a worker can run its items from their first call to the last."""
        self.plain = all(call.lane == self.lane and call.timeout is None for call in calls)
        """Whether its lane makes all its calls itself."""
        self.retried: Sequence[bool] = [bool(call.step.retry.retries) for call in state.stage.calls]
        """For each inner step, whether a failed call of it may be tried again."""
        self.slices: dict[Slice, float] = {}
        self.scopes: set[CancelScope] = set()
        self.kept = KeptResults()
        self.large = not calls[0].in_map
        """Whether to expect a large result: the last one was large, or there is only one item."""
        self.seconds_per_item = 0.0
        self._slowed_to: float | None = None
        self.last_size = 0
        self.alone: set[int] = set()
        """Items to send to a worker one at a time: one of them may have ended another worker."""
        self.error: LokkiError | None = None
        self.failure: Failure | None = None
        """The failure that ended the run; of several, that of the first item."""

    def keep(self, index: int, size: int, kept: Kept) -> None:
        """Keep what the pickle of a result is for the next stage."""
        self.kept.keep(index, size, kept)

    def carry(self, index: int, position: int, pristine: bytes | None) -> None:
        """Not needed here: `perform` still has the input when the call has failed."""

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
        self.state.give_back(done.served)
        verdicts = self.state.report(
            done.claim, done.succeeded, [attempt.failed for attempt in attempts], now
        )
        if self.state.slowed_to != self._slowed_to:
            self._tell_pace()
        self.kept.report(rows.spans, done.singles)
        for attempt, verdict in zip(attempts, verdicts, strict=True):
            self._record(attempt, verdict, rows)
        counts = self.state.counts
        counts.reused += rows.reused.count(len(self.calls) - 1)
        rows.counts = (counts.succeeded, counts.failed, counts.tolerated, counts.retrying)
        rows.reused_items = counts.reused
        self.writer.add(rows)

    def _tell_pace(self) -> None:
        """Log that the map slows down, or is as fast as usual again."""
        before, pace = self._slowed_to, self.state.slowed_to
        self._slowed_to = pace
        if pace is not None and before is not None and pace > before:
            return
        slow = "" if pace is None else f"slows down to {pace:.3g} items a second: "
        message = slow + "many items ask for a later try" if slow else "is as fast as usual again"
        name = self.calls[0].name
        self.writer.note((time(), name, None, 1, "INFO", "lokki", message))

    def _record(self, attempt: FailedAttempt, verdict: ItemStatus, rows: Outcomes) -> None:
        failed, failure, texts, started, finished = attempt
        item = self.stage_id << 32 | failed.index
        waits = verdict in (ItemStatus.RETRYING, ItemStatus.PENDING)
        carried = self.carried.get(failed.index) if waits else None
        used = failed.attempt - (verdict is ItemStatus.PENDING)
        if verdict is not ItemStatus.PENDING or carried is not None:  # or its record stands
            rows.items.append(
                (item, "retrying" if waits else verdict.value, failed.position, used)
                + (started, finished)
                + ((None, None) if carried is None else (carried.packed, carried.ref))
            )
        if verdict is not ItemStatus.PENDING:
            record = (item, failure.step, failed.attempt, finished, failure.type, *texts)
            rows.failures.append(record)
        level, words = _LOGGED_AS[verdict]
        message = f"{words}: {failure.type}: {texts.reason}"
        self.writer.note(
            (finished, failure.step, failure.index, failed.attempt, level, "lokki", message)
        )
        if not waits:
            self.carried.pop(failed.index, None)
        if verdict is ItemStatus.FAILED and (
            self.failure is None or failed.index < (self.failure.index or 0)
        ):
            self.failure = failure


class Slice(Performed[StageWork]):
    """A claim of a stage, and since when a lane has been at it; ``worked``: a worker's seconds."""

    __slots__ = ("_served", "began", "worked")

    def __init__(self, work: StageWork, claim: Claim, began: float) -> None:
        super().__init__(work, claim)
        self.began = began
        self.worked: float | None = None
        self._served = Outcomes(work.stage_id)

    def reuse(
        self, index: int, value: Any, began: float, packed: bytes | None, ref: str | None
    ) -> None:
        """Note an item that has the result of an earlier call, and its row's content."""
        work, served = self.work, self._served
        work.carried.pop(index, None)
        work.keep(index, len(packed or b""), value)
        served.reused.append(0)
        item = work.stage_id << 32 | index
        served.items.append((item, "succeeded", 0, 0, began, time(), packed, ref))

    def reuse_first(self, index: int, value: Any) -> None:
        """Note an item whose first inner step has the result of an earlier call."""
        self.work.carried[index] = Carried(value, None, None)
        self._served.reused.append(0)

    @property
    def served(self) -> int:
        """How many items needed no call."""
        return len(self._served.items)

    def close(self) -> None:
        """Add the spans and the items that needed no call to the rows."""
        super().close()
        self.singles += [row[0] & INDEX_MASK for row in self._served.items]
        self.rows.add(self._served)
