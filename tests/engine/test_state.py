"""The rules of what runs next: one by one, then under any order of events, against a model."""

from collections import deque
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from lokki.chain import Step
from lokki.engine.state import Claim, Counts, Failed, Recorded, RunState
from lokki.model.status import ItemStatus, RunStatus
from lokki.retry import RetryConfig
from lokki.stages import MapStage, StepCall, TaskStage

PENDING, RUNNING, RETRYING = ItemStatus.PENDING, ItemStatus.RUNNING, ItemStatus.RETRYING
SUCCEEDED, FAILED = ItemStatus.SUCCEEDED, ItemStatus.FAILED
TOLERATED, CANCELLED = ItemStatus.TOLERATED, ItemStatus.CANCELLED


def a_call(**retry) -> StepCall:
    def work(value=None):
        return value

    return StepCall(Step(work, retry=RetryConfig(**retry)), "work")


def a_map(inner=1, limit=None, tolerated=0, **retry) -> MapStage:
    calls = tuple(a_call(**retry) for _ in range(inner))
    return MapStage(calls, concurrency_limit=limit, tolerated_failures=tolerated)


def opened(count, *recorded, stage=None, **options) -> RunState:
    """A run of one map over ``count`` items, opened."""
    state = RunState([stage or a_map(**options)])
    state.open(count, recorded)
    return state


def begin(claim: Claim, count: int | None = None) -> list[tuple[int, int, int]]:
    """What a lane does first: take items out of its claim, all of them or ``count``."""
    return [claim.works.popleft() for _ in range(len(claim.works) if count is None else count)]


def run(state: RunState, most=100, now=0.0, failing=(), retryable=True) -> list[ItemStatus]:
    """Claim, run and report once; the items in ``failing`` fail."""
    claim = state.claim(most, now)
    works = begin(claim)
    succeeded = [index for index, _, _ in works if index not in failing]
    failed = [Failed(*work, retryable) for work in works if work[0] in failing]
    return state.report(claim, ranges(succeeded), failed, now)


def ranges(indices: Iterable[int]) -> list[range]:
    """The indices as lanes report them."""
    found: list[range] = []
    for index in indices:
        if found and found[-1].stop == index:
            found[-1] = range(found[-1].start, index + 1)
        else:
            found.append(range(index, index + 1))
    return found


def indices(claim: Claim | None) -> list[int]:
    return [] if claim is None else [index for index, _, _ in claim.works]


def seen(state: RunState):
    """All that can be seen of a state without changing it."""
    return (
        state.status,
        state.ended,
        state.halted,
        state.cancelled,
        state.complete,
        state.position,
        state.next_due,
        deepcopy(state.counts),
    )


# ---- pauses --------------------------------------------------------------------------------------


def test_a_paused_stage_hands_out_nothing_and_rests_once_what_has_begun_is_reported():
    state = opened(6, retries=1, delay=5)
    first, second = state.claim(3, 0), state.claim(1, 0)
    begun, failing = begin(first, 1), begin(second)
    state.pause()
    assert state.claim(9, 0) is None
    assert not first.works  # what it has not begun is taken back
    state.report(second, [], [Failed(*failing[0], True)], 0)
    assert (state.rests, state.next_due) == (False, None)
    state.report(first, ranges([index for index, _, _ in begun]), [], 0)
    assert (state.rests, state.complete, state.ended) == (True, False, False)
    assert state.claim(9, 9) is None
    state.unpause()
    assert state.next_due == 5
    assert indices(state.claim(9, 4)) == [1, 2, 4, 5]
    assert indices(state.claim(9, 5)) == [3]


def test_a_paused_stage_is_cancelled_at_once_when_it_rests():
    state = opened(3)
    claim = state.claim(1, 0)
    state.pause()
    state.cancel()
    assert not state.ended
    state.report(claim, ranges([0]), [], 0)
    assert state.status is RunStatus.CANCELLED


def test_a_tuned_stage_has_another_limit_until_the_next_one_opens():
    state = opened(9, limit=1)
    claims = [state.claim(1, 0)]
    assert state.claim(1, 0) is None
    state.tune(3)
    claims += [state.claim(1, 0) for _ in range(2)]
    assert state.claim(1, 0) is None
    state.tune(2)
    state.report(claims.pop(), [], [], 0)
    assert state.claim(1, 0) is None
    state.report(claims.pop(), [], [], 0)
    assert state.claim(1, 0)


# ---- claims --------------------------------------------------------------------------------------


def test_fresh_items_come_in_order_and_at_most_as_many_as_asked_for():
    state = opened(7)
    assert list(state.claim(3, 0).works) == [(0, 0, 1), (1, 0, 1), (2, 0, 1)]
    assert indices(state.claim(1, 0)) == [3]
    assert indices(state.claim(100, 0)) == [4, 5, 6]


def test_a_slice_of_fresh_items_has_no_gap():
    state = opened(6, Recorded(2, SUCCEEDED, 0, 1), Recorded(4, TOLERATED, 0, 1))
    assert [indices(state.claim(10, 0)) for _ in range(3)] == [[0, 1], [3], [5]]


def test_returned_items_and_due_retries_come_before_fresh_ones():
    state = opened(6, retries=1, delay=5)
    first, second = state.claim(2, 0), state.claim(1, 0)
    (failing,) = begin(first, 1)
    state.report(first, [], [Failed(*failing, True)], 0)  # 1 comes back, 0 waits until 5
    state.report(second, ranges([index for index, _, _ in begin(second)]), [], 0)
    assert indices(state.claim(2, 4)) == [1, 3]
    assert list(state.claim(2, 5).works) == [(0, 0, 2), (4, 0, 1)]


def test_retries_alone_can_fill_a_claim():
    state = opened(5, retries=1, delay=0)
    run(state, most=3, failing={0, 1, 2})
    assert indices(state.claim(2, 0)) == [0, 1]
    assert indices(state.claim(2, 0)) == [2, 3]


def test_due_retries_come_in_the_order_of_their_time_then_of_their_index():
    state = opened(3, retries=2, delay=4, backoff=1)
    claims = [state.claim(1, 0) for _ in range(3)]
    for index, now in ((2, 1), (1, 2), (0, 1)):
        state.report(claims[index], [], [Failed(*begin(claims[index])[0], True)], now)
    assert state.next_due == 5
    assert indices(state.claim(3, 6)) == [0, 2, 1]


def test_an_idle_lane_takes_the_later_half_of_what_the_fullest_claim_has_not_begun():
    state = opened(9)
    small, full = state.claim(3, 0), state.claim(6, 0)
    begin(full, 1)
    assert indices(state.claim(1, 0)) == [6, 7, 8]
    assert indices(full) == [4, 5]
    assert indices(state.claim(100, 0)) == [1, 2]
    assert indices(small) == [0]
    assert indices(state.claim(100, 0)) == [7, 8]
    assert indices(state.claim(100, 0)) == [5]


def test_of_equally_full_claims_the_oldest_is_taken_from():
    state = opened(40)
    claims = [state.claim(2, 0) for _ in range(20)]
    assert [indices(state.claim(2, 0)) for _ in range(20)] == [[2 * n + 1] for n in range(20)]
    assert [indices(claim) for claim in claims] == [[2 * n] for n in range(20)]


def test_the_last_item_that_is_not_begun_can_be_taken():
    state = opened(1)
    slow = state.claim(1, 0)
    quick = state.claim(1, 0)
    assert begin(quick) == [(0, 0, 1)]
    state.report(quick, ranges([0]), [], 0)
    assert not state.complete
    state.report(slow, [], [], 0)
    assert state.complete


def test_there_is_nothing_to_take_when_all_is_begun():
    state = opened(2)
    begin(state.claim(2, 0))
    assert state.claim(1, 0) is None
    assert state.claim(1, 0) is None


def test_a_lane_may_be_quicker_than_the_one_that_takes_from_it():
    class Racing(deque):
        """The lane begins its last item after its length was seen."""

        def pop(self):
            self.clear()
            return super().pop()

    state = opened(2)
    claim = state.claim(2, 0)
    claim.works = Racing(claim.works)
    assert state.claim(1, 0) is None
    state.report(claim, ranges([0, 1]), [], 0)
    assert state.complete


def test_the_concurrency_limit_is_a_limit_of_claims():
    state = opened(10, limit=2)
    first, second = state.claim(1, 0), state.claim(1, 0)
    assert state.claim(1, 0) is None
    state.report(first, ranges([index for index, _, _ in begin(first)]), [], 0)
    third = state.claim(1, 0)
    assert indices(third) == [2]
    assert state.claim(1, 0) is None
    for claim in (second, third):
        state.report(claim, ranges([index for index, _, _ in begin(claim)]), [], 0)
    assert [indices(state.claim(1, 0)) for _ in range(3)] == [[3], [4], []]


def test_a_task_is_one_item_and_has_no_limit_of_its_own():
    state = opened(1, stage=TaskStage(a_call()))
    assert run(state) == []
    assert state.complete


def test_a_stage_that_is_not_open_gives_nothing():
    assert RunState([a_map()]).claim(1, 0) is None


# ---- outcomes ------------------------------------------------------------------------------------


def test_a_success_counts_and_completes():
    state = opened(3)
    run(state, most=2)
    assert state.counts == Counts(total=3, succeeded=2)
    assert not state.complete
    run(state)
    assert state.counts == Counts(total=3, succeeded=3)
    assert state.complete
    assert state.status is RunStatus.RUNNING


def test_a_failed_call_is_tried_again_as_often_and_as_late_as_its_policy_says():
    state = opened(1, retries=3, delay=2, backoff=3, max_delay=10)
    now = 100.0
    for attempt, wait in ((1, 2), (2, 6), (3, 10)):
        claim = state.claim(1, now)
        assert begin(claim) == [(0, 0, attempt)]
        assert state.report(claim, [], [Failed(0, 0, attempt, True)], now) == [RETRYING]
        assert state.counts == Counts(total=1, retrying=1)
        assert state.next_due == now + wait
        assert state.claim(1, now + wait - 0.001) is None
        now += wait
    claim = state.claim(1, now)
    assert begin(claim) == [(0, 0, 4)]
    assert state.next_due is None
    assert state.report(claim, [], [Failed(0, 0, 4, True)], now) == [FAILED]
    assert state.counts == Counts(total=1, failed=1)
    assert state.status is RunStatus.FAILED


def test_a_retried_item_that_succeeds_is_retrying_no_more():
    state = opened(2, retries=1, delay=0)
    assert run(state, failing={0, 1}) == [RETRYING, RETRYING]
    assert state.counts == Counts(total=2, retrying=2)
    run(state, most=1)
    assert state.counts == Counts(total=2, succeeded=1, retrying=1)
    run(state)
    assert state.counts == Counts(total=2, succeeded=2)


def test_a_retry_goes_on_with_the_inner_step_that_failed_by_the_policy_of_that_step():
    stage = MapStage((a_call(), a_call(retries=1, delay=7), a_call(retries=2, delay=1)))
    state = opened(1, stage=stage)
    now = 0.0
    for position, attempt, wait in ((1, 1, 7), (2, 1, 1), (2, 2, 2)):
        claim = state.claim(1, now)
        begin(claim)
        state.report(claim, [], [Failed(0, position, attempt, True)], now)
        now += wait
        assert state.next_due == now
        again = state.claim(1, now)
        assert list(again.works) == [(0, position, attempt + 1)]
        state.report(again, [], [], now)
    claim = state.claim(1, now)
    begin(claim)
    assert state.report(claim, [], [Failed(0, 2, 3, True)], now) == [FAILED]


def test_a_failure_that_is_not_retryable_is_final_at_once():
    state = opened(1, retries=5)
    assert run(state, failing={0}, retryable=False) == [FAILED]
    assert state.next_due is None
    assert state.status is RunStatus.FAILED


@pytest.mark.parametrize(
    ("tolerated", "count", "most"),
    [
        (0, 5, 0),
        (1, 5, 1),
        (3, 5, 3),
        (5, 5, 5),
        (0.0, 5, 0),
        (0.1, 9, 0),
        (0.1, 10, 1),
        (0.1, 19, 1),
        (0.5, 7, 3),
        (0.5, 8, 4),
        (0.34, 3, 1),
        (0.33, 3, 0),
    ],
)
def test_tolerated_failures(tolerated, count, most):
    state = opened(count, tolerated=tolerated)
    assert run(state, most=most or 1, failing=range(most)) == [TOLERATED] * most
    assert state.counts.tolerated == most
    assert state.counts.failed == 0
    assert not state.halted
    if most == 0:
        state = opened(count, tolerated=tolerated)
    if most < count:
        assert run(state, most=1, failing={most}) == [FAILED]
        assert state.counts.failed == 1
        assert state.status is RunStatus.FAILED
    else:
        assert state.complete


def test_a_stage_with_tolerated_failures_is_completed_by_the_other_items():
    state = opened(4, tolerated=0.5)
    assert run(state, failing={1, 2}) == [TOLERATED, TOLERATED]
    assert state.counts == Counts(total=4, succeeded=2, tolerated=2)
    assert state.complete


def test_recorded_tolerated_failures_use_up_what_is_tolerated():
    state = opened(4, Recorded(0, TOLERATED, 0, 1), tolerated=1)
    assert run(state, failing={2}) == [FAILED]


def test_a_task_tolerates_nothing():
    state = opened(1, stage=TaskStage(a_call()))
    assert run(state, failing={0}) == [FAILED]
    assert state.status is RunStatus.FAILED


def test_retries_come_before_tolerance():
    state = opened(2, tolerated=1, retries=1, delay=0)
    assert run(state, failing={0}) == [RETRYING]
    assert run(state, failing={0}) == [TOLERATED]
    assert state.counts == Counts(total=2, succeeded=1, tolerated=1)


# ---- what changes nothing ------------------------------------------------------------------------


def test_items_that_were_not_begun_come_back():
    state = opened(4)
    claim = state.claim(4, 0)
    begin(claim, 1)
    state.report(claim, ranges([0]), [], 0)
    assert indices(claim) == []
    assert list(state.claim(4, 0).works) == [(1, 0, 1), (2, 0, 1), (3, 0, 1)]


def test_a_claim_is_reported_once():
    state = opened(4, tolerated=4)
    claim = state.claim(2, 0)
    begin(claim)
    state.report(claim, ranges([0]), [], 0)
    before = seen(state)
    assert state.report(claim, ranges([1]), [Failed(1, 0, 1, True)], 0) == []
    assert seen(state) == before


def test_the_report_of_an_unknown_claim_changes_nothing():
    state = opened(4)
    before = seen(state)
    stranger = Claim(deque([(0, 0, 1)]))
    assert state.report(stranger, ranges([0]), [Failed(1, 0, 1, False)], 0) == []
    assert seen(state) == before
    assert indices(stranger) == [0]
    assert indices(state.claim(9, 0)) == [0, 1, 2, 3]


def test_the_second_success_of_an_item_changes_nothing():
    state = opened(3)
    claim = state.claim(2, 0)
    begin(claim)
    state.report(claim, ranges([0, 0]), [], 0)
    assert state.counts == Counts(total=3, succeeded=1)


@pytest.mark.parametrize(
    ("retryable", "tolerated", "verdict", "counts"),
    [
        (True, 0, RETRYING, Counts(total=3, retrying=1)),
        (False, 2, TOLERATED, Counts(total=3, tolerated=1)),
        (False, 0, FAILED, Counts(total=3, failed=1)),
    ],
)
def test_the_second_failure_of_an_attempt_changes_nothing(retryable, tolerated, verdict, counts):
    state = opened(3, retries=1, delay=0, tolerated=tolerated)
    claim = state.claim(1, 0)
    failed = Failed(*begin(claim)[0], retryable)
    assert state.report(claim, [], [failed, failed], 0) == [verdict, verdict]
    assert state.counts == counts
    if not state.halted:
        assert indices(state.claim(9, 0)) == [0, 1, 2][verdict is TOLERATED :]


def test_a_failure_after_a_success_changes_nothing():
    state = opened(2, retries=1, delay=0)
    claim = state.claim(1, 0)
    begin(claim)
    assert state.report(claim, ranges([0]), [Failed(0, 0, 1, True)], 0) == [SUCCEEDED]
    assert state.counts == Counts(total=2, succeeded=1)
    assert indices(state.claim(9, 0)) == [1]


def test_the_outcome_of_an_item_that_no_claim_holds_changes_nothing():
    state = opened(5, retries=1, delay=0, tolerated=5)
    run(state, most=1, failing={0})
    claim = state.claim(3, 0)
    assert indices(claim) == [0, 1, 2]
    begin(claim, 2)
    report = [Failed(index, 0, 1, False) for index in (2, 3, 4)]
    assert state.report(claim, ranges([2, 3, 4]), report, 0) == [RETRYING, PENDING, PENDING]
    assert state.counts == Counts(total=5, retrying=1)
    assert indices(state.claim(1, 0)) == [2]
    assert indices(state.claim(9, 0)) == [3, 4]


def test_the_outcome_of_a_resumed_item_that_no_claim_holds_changes_nothing():
    state = opened(2, *(Recorded(index, RETRYING, 0, 1) for index in (0, 1)), tolerated=2)
    claim = state.claim(1, 0)
    assert state.report(claim, ranges([1]), [Failed(1, 0, 2, False)], 0) == [RETRYING]
    assert state.counts == Counts(total=2, retrying=2)


# ---- the end -------------------------------------------------------------------------------------


def test_an_empty_stage_is_complete_at_once():
    state = opened(0)
    assert state.complete
    assert state.claim(1, 0) is None
    state.advance()
    assert state.status is RunStatus.SUCCEEDED


def test_stages_follow_one_another_to_success():
    stages = [TaskStage(a_call()), a_map(tolerated=1), TaskStage(a_call())]
    state = RunState(stages)
    for position, count in enumerate((1, 5, 1)):
        assert state.position == position
        assert state.stage is stages[position]
        assert not state.ended
        assert not state.complete
        assert state.claim(1, 0) is None
        state.open(count)
        assert state.counts == Counts(total=count)
        assert not state.complete
        run(state, failing={4})
        assert state.complete
        assert state.claim(1, 0) is None
        state.advance()
    assert state.status is RunStatus.SUCCEEDED
    assert state.ended
    assert not state.complete
    assert state.next_due is None
    assert state.claim(1, 0) is None
    state.cancel()
    assert state.status is RunStatus.SUCCEEDED
    assert not state.cancelled


def test_a_stage_begins_with_nothing_of_the_one_before():
    state = RunState([a_map(tolerated=3, retries=1, delay=9), a_map(tolerated=0)])
    state.open(3)
    run(state, failing={0, 1})
    run(state, now=9, failing={0, 1})
    state.advance()
    state.open(2)
    assert state.counts == Counts(total=2)
    assert state.next_due is None
    assert indices(state.claim(5, 0)) == [0, 1]


def test_a_run_can_start_at_a_later_stage():
    stages = [a_map(), a_map(limit=1), TaskStage(a_call())]
    state = RunState(stages, 1)
    assert state.stage is stages[1]
    state.open(2)
    run(state)
    state.advance()
    assert state.position == 2
    assert not state.ended


@pytest.mark.parametrize("stages", [[], [a_map()], [a_map(), a_map()]])
def test_a_run_that_starts_after_its_last_stage_has_succeeded(stages):
    state = RunState(stages, len(stages))
    assert state.status is RunStatus.SUCCEEDED
    assert state.claim(1, 0) is None


def test_only_a_complete_stage_is_left_and_none_is_opened_twice():
    state = opened(1)
    with pytest.raises(AssertionError):
        state.open(1)
    with pytest.raises(AssertionError):
        state.advance()
    state.cancel()
    with pytest.raises(AssertionError):
        state.advance()


def test_a_run_that_was_cancelled_before_a_stage_opens_stays_as_it_is():
    cancelled = RunState([a_map()])
    cancelled.cancel()
    cancelled.open(1)
    assert cancelled.claim(1, 0) is None
    assert cancelled.counts.total == 0
    assert cancelled.status is RunStatus.CANCELLED


def test_a_failure_halts_the_run_which_ends_with_its_last_claim():
    state = opened(9, retries=1, delay=0)
    first, second, third = (state.claim(2, 0) for _ in range(3))
    begin(first), begin(second), begin(third, 1)
    assert state.report(first, ranges([1]), [Failed(0, 0, 1, False)], 0) == [FAILED]
    assert state.halted
    assert state.status is RunStatus.RUNNING
    assert not state.cancelled
    assert state.claim(1, 0) is None

    verdicts = state.report(second, ranges([2]), [Failed(3, 0, 1, True)], 0)
    assert verdicts == [RETRYING]
    assert state.counts == Counts(total=9, succeeded=2, failed=1, retrying=1)
    assert state.next_due is None
    assert state.claim(1, 0) is None
    assert not state.ended

    assert state.report(third, [], [Failed(4, 0, 2, True)], 0) == [FAILED]
    assert state.counts == Counts(total=9, succeeded=2, failed=2, retrying=1)
    assert state.status is RunStatus.FAILED
    assert state.ended
    assert not state.complete
    assert state.claim(1, 100) is None


def test_a_failure_at_the_very_last_item_is_not_completion():
    state = opened(2)
    assert run(state, failing={1}) == [FAILED]
    assert not state.complete
    assert state.status is RunStatus.FAILED


def test_a_cancelled_run_ends_with_its_last_claim():
    state = opened(9, retries=1, delay=0)
    first, second = state.claim(2, 0), state.claim(2, 0)
    begin(first), begin(second, 1)
    state.cancel()
    assert state.cancelled
    assert state.halted
    assert state.status is RunStatus.RUNNING
    assert state.claim(1, 0) is None
    assert state.report(first, ranges([0]), [Failed(1, 0, 1, True)], 0) == [RETRYING]
    assert state.counts == Counts(total=9, succeeded=1, retrying=1)
    assert state.next_due is None
    assert state.status is RunStatus.RUNNING
    state.report(second, [], [], 0)  # its call was stopped, so it has no outcome
    assert state.status is RunStatus.CANCELLED
    assert state.claim(1, 0) is None


def test_a_run_without_claims_is_cancelled_at_once():
    state = RunState([a_map()])
    state.cancel()
    assert state.status is RunStatus.CANCELLED
    assert state.claim(1, 0) is None


def test_a_complete_stage_of_a_cancelled_run_is_not_left():
    state = opened(1)
    run(state)
    assert state.complete
    state.cancel()
    assert not state.complete
    assert state.status is RunStatus.CANCELLED


def test_the_first_reason_to_end_stands():
    failed, cancelled = opened(4), opened(4)
    for state in (failed, cancelled):
        claim, other = state.claim(1, 0), state.claim(1, 0)
        begin(claim), begin(other)
        if state is cancelled:
            state.cancel()
        state.report(claim, [], [Failed(0, 0, 1, False)], 0)
        state.cancel()
        assert state.status is RunStatus.RUNNING
        state.report(other, ranges([1]), [], 0)
        state.cancel()
    assert failed.status is RunStatus.FAILED
    assert not failed.cancelled
    assert cancelled.status is RunStatus.CANCELLED
    assert cancelled.counts == Counts(total=4, succeeded=1, failed=1)


def test_a_retry_that_no_limit_lets_run_is_not_waited_for():
    state = opened(3, limit=1, retries=1, delay=5)
    run(state, most=1, failing={0})
    assert state.next_due == 5
    claim = state.claim(1, 0)
    assert state.next_due is None
    state.report(claim, ranges([index for index, _, _ in begin(claim)]), [], 0)
    assert state.next_due == 5


# ---- resume --------------------------------------------------------------------------------------


def test_recorded_outcomes_stand_and_the_rest_runs_again():
    state = opened(
        8,
        Recorded(1, SUCCEEDED, 1, 3),
        Recorded(2, RETRYING, 1, 2),
        Recorded(3, TOLERATED, 0, 1),
        Recorded(4, FAILED, 1, 1),
        Recorded(5, CANCELLED, 1, 1),
        Recorded(6, RETRYING, 0, 1),
        inner=2,
        tolerated=1,
    )
    assert state.counts == Counts(total=8, succeeded=1, tolerated=1, retrying=2)
    assert list(state.claim(3, 0).works) == [(2, 1, 3), (6, 0, 2), (0, 0, 1)]
    assert list(state.claim(9, 0).works) == [(4, 0, 1), (5, 0, 1)]
    assert list(state.claim(9, 0).works) == [(7, 0, 1)]


def test_a_stage_whose_outcomes_are_all_recorded_is_complete():
    state = opened(2, Recorded(1, TOLERATED, 0, 1), Recorded(0, SUCCEEDED, 0, 1), tolerated=1)
    assert state.complete
    assert state.claim(1, 0) is None


def histories(inner: int):
    """Recorded outcomes in some order, as a run that goes well writes them."""
    kinds = st.sampled_from((SUCCEEDED, TOLERATED, RETRYING, RETRYING))
    events = st.tuples(st.integers(0, 7), kinds, st.integers(0, inner - 1))
    return st.lists(events, max_size=30)


def last(records: list[Recorded]) -> list[Recorded]:
    """The last outcome of each item, which is what a journal keeps."""
    return list({record.index: record for record in records}.values())


@settings(deadline=None, derandomize=True, max_examples=150)
@given(events=histories(3), at=st.integers(0, 30), most=st.integers(1, 9))
def test_folding_a_prefix_and_then_the_rest_equals_folding_all(events, at, most):
    """A run that resumed part of the way is the run that resumed with all of its outcomes."""
    stage = a_map(inner=3, tolerated=8, retries=30, delay=0)
    records: list[Recorded] = []
    attempts: dict[int, tuple[int, int]] = {}
    final: set[int] = set()
    for index, status, inner in events:
        if index in final:
            continue
        position, attempt = attempts.get(index, (0, 0))
        position, attempt = (position, attempt + 1) if inner <= position else (inner, 1)
        attempts[index] = position, attempt
        if status is not RETRYING:
            final.add(index)
        records.append(Recorded(index, status, position, attempt))

    whole = opened(8, *last(records), stage=stage)
    folded = opened(8, *last(records[:at]), stage=stage)
    held: dict[int, Claim] = {}
    for record in records[at:]:
        index, status = record.index, record.status
        while index not in held:
            claim = folded.claim(1, 0)
            held[claim.works[0][0]] = claim
        claim = held.pop(index)
        begin(claim)
        failed = Failed(index, record.position, record.attempt, status is RETRYING)
        if status is SUCCEEDED:
            assert folded.report(claim, ranges([index]), [], 0) == []
        else:
            assert folded.report(claim, [], [failed], 0) == [status]
    for claim in held.values():  # handed out and not begun: as if never handed out
        folded.report(claim, [], [], 0)

    assert folded.counts == whole.counts
    assert folded.complete == whole.complete
    assert folded.status is whole.status is RunStatus.RUNNING
    assert claimable(folded, most) == claimable(whole, most)


def claimable(state: RunState, most: int) -> list[tuple[int, int, int]]:
    works = []
    while (claim := state.claim(most, 0)) is not None:
        assert len(claim.works) <= most
        works += begin(claim)
    return sorted(works)


# ---- any order of events -------------------------------------------------------------------------

OK, RETRYABLE, FATAL = "succeeds", "fails", "fails for good"


@dataclass(frozen=True)
class Script:
    """What each call of a run comes to, whoever makes it and whenever."""

    stages: tuple[TaskStage | MapStage, ...]
    counts: tuple[int, ...]
    pattern: tuple[str, ...]

    def outcome(self, stage: int, index: int, position: int, attempt: int) -> str:
        place = stage * 101 + index * 13 + position * 5 + attempt
        return self.pattern[place % len(self.pattern)]

    def perform(self, stage: int, work: tuple[int, int, int]) -> tuple[str, int, int]:
        """Run an item through the inner chain as a lane does: outcome, inner step, attempt."""
        index, position, attempt = work
        last = len(self.stages[stage].calls) - 1
        while (outcome := self.outcome(stage, index, position, attempt)) == OK and position < last:
            position, attempt = position + 1, 1
        return outcome, position, attempt

    def sequential(self, stage: int) -> list[bool]:
        """Whether each item of a stage succeeds, when they run one after the other."""
        results = []
        for index in range(self.counts[stage]):
            work, calls = (index, 0, 1), self.stages[stage].calls
            while True:
                outcome, position, attempt = self.perform(stage, work)
                left = calls[position].step.retry.retries - attempt
                if outcome != RETRYABLE or left < 0:
                    break
                work = index, position, attempt + 1
            results.append(outcome == OK)
        return results

    def tolerates(self, stage: int, lost: int) -> bool:
        if isinstance(self.stages[stage], TaskStage):
            return lost == 0
        tolerated = self.stages[stage].tolerated_failures
        return lost <= (tolerated if isinstance(tolerated, int) else tolerated * self.counts[stage])


def scripts():
    retry = {
        "retries": st.integers(0, 3),
        "delay": st.sampled_from((0, 1, 3)),
        "backoff": st.sampled_from((2, 1, 0.5)),
        "max_delay": st.sampled_from((60, 2)),
    }
    call = st.builds(a_call, **retry)
    task = st.tuples(st.builds(TaskStage, call), st.just(1))
    block = st.builds(
        MapStage,
        st.lists(call, min_size=1, max_size=3).map(tuple),
        concurrency_limit=st.none() | st.integers(1, 3),
        tolerated_failures=st.sampled_from((0, 1, 3, 6, 0.1, 0.5, 0.9)),
    )
    blocks = st.tuples(block, st.integers(0, 12))
    stages = st.lists(st.one_of(task, blocks, blocks), min_size=1, max_size=4)
    outcomes = st.sampled_from((OK, OK, OK, OK, OK, OK, RETRYABLE, RETRYABLE, RETRYABLE, FATAL))
    pattern = st.lists(outcomes, min_size=12, max_size=40).map(tuple)
    return st.builds(
        lambda stages, pattern: Script(*zip(*stages, strict=True), pattern), stages, pattern
    )


TURNS = st.tuples(
    st.integers(0, 3),
    st.sampled_from(("perform", "report", "report twice", "stop")),
    st.integers(1, 6),
)
"""A lane's next move, if it has a claim, and its size; a lane without one claims."""

HAPPENINGS = st.sampled_from(
    ("time", "time", "time", "time", "stranger", "stranger", "pause", "cancel", "crash")
)


@dataclass
class Lane:
    """A lane with its claim, the item that it has begun, and the outcomes it has not reported."""

    claim: Claim
    begun: tuple[int, int, int] | None = None
    succeeded: list[Recorded] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    stopped: list[Recorded] = field(default_factory=list)

    @property
    def unreported(self) -> list[int]:
        begun = [] if self.begun is None else [self.begun[0]]
        return begun + [each.index for each in (*self.succeeded, *self.failed, *self.stopped)]


class AnyOrder(RuleBasedStateMachine):
    """Any order of outcomes, failures, retries, cancels and crashes gives the same result.

    The model knows where each item is: ``fresh``, ``ready`` (returned or due), ``delayed``, with
    a lane, stopped by a cancel, or in ``final``. ``journal`` has a batch of records a report.
    """

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.lanes: dict[int, Lane] = {}
        self.strangers: list[Claim] = []  # reported before, or lost in a crash
        self.finished: list[dict[int, ItemStatus]] = []
        self.opened = False
        self.cancelled = False

    @initialize(script=scripts())
    def start(self, script):
        self.script = script
        self.state = RunState(script.stages)
        self.reset([])
        self.open_stage([])

    # ---- the model ----

    def reset(self, journal):
        self.journal = journal
        self.strangers += [lane.claim for lane in self.lanes.values()]
        self.lanes.clear()
        self.ready: dict[int, tuple[int, int, int]] = {}
        self.delayed: dict[int, tuple[float, tuple[int, int, int]]] = {}
        self.retrying: set[int] = set()
        self.final: dict[int, ItemStatus] = {}
        self.stopped: set[int] = set()
        self.fresh: list[int] = []

    @property
    def stage(self):
        return self.state.position

    @property
    def count(self):
        return self.script.counts[self.stage]

    @property
    def full(self):
        limit = getattr(self.script.stages[self.stage], "concurrency_limit", None)
        return limit is not None and len(self.lanes) >= limit

    def many(self, status):
        return sum(each is status for each in self.final.values())

    def open_stage(self, recorded):
        self.opened = True
        for record in recorded:
            if record.status in (SUCCEEDED, TOLERATED):
                self.final[record.index] = record.status
            elif record.status is RETRYING:
                self.ready[record.index] = record.index, record.position, record.attempt + 1
                self.retrying.add(record.index)
        self.fresh = [n for n in range(self.count) if n not in self.final and n not in self.ready]
        at_once = [each for each in recorded if (each.status, each.attempt) == (SUCCEEDED, 1)]
        others = [each for each in recorded if each not in at_once]
        self.state.open(self.count, others, ranges(sorted(each.index for each in at_once)))

    # ---- rules ----

    @precondition(lambda self: self.opened and not self.state.ended)
    @rule(turns=st.lists(TURNS, min_size=1, max_size=12))
    def lanes_work(self, turns):
        for number, action, size in turns:
            if number not in self.lanes:
                self.claim(number, size)
            elif action == "perform":
                self.perform(self.lanes[number], size)
            elif action == "stop":
                self.finish_call(self.lanes[number], stopped=self.state.cancelled)
            else:
                self.report(number, twice=action == "report twice")
            self.check()

    def claim(self, number, most):
        before = [lane.claim for lane in self.lanes.values()]
        held = {claim: list(claim.works) for claim in before}
        claim = self.state.claim(most, self.now)
        if not self.opened or self.state.halted or self.state.paused or self.full:
            assert claim is None
            return
        for due, work in sorted(self.delayed.values()):
            if due <= self.now:
                self.ready[work[0]] = work
                del self.delayed[work[0]]
        if self.ready or self.fresh:
            again = list(self.ready.values())[:most]
            more = self.fresh[: most - len(again)]
            more = [index for n, index in enumerate(more) if index == more[0] + n]
            assert list(claim.works) == again + [(index, 0, 1) for index in more]
            for index, _, _ in again:
                del self.ready[index]
            del self.fresh[: len(more)]
        else:
            most_held = max(map(len, held.values()), default=0)
            if most_held == 0:
                assert claim is None
                return
            (victim,) = (each for each in before if list(each.works) != held[each])
            works = held[victim]
            assert len(works) == most_held
            half = len(works) // 2
            assert list(victim.works) == works[:half]
            assert list(claim.works) == works[half:]
        assert not {index for index, _, _ in claim.works} & self.final.keys()
        self.lanes[number] = Lane(claim)

    def perform(self, lane, calls):
        for _ in range(calls):
            self.finish_call(lane)
            if self.state.halted or not lane.claim.works:
                return
            lane.begun = lane.claim.works.popleft()

    def finish_call(self, lane, stopped=False):
        if lane.begun is None:
            return
        index = lane.begun[0]
        outcome, position, attempt = self.script.perform(self.stage, lane.begun)
        lane.begun = None
        if stopped:
            lane.stopped.append(Recorded(index, CANCELLED, position, attempt))
        elif outcome == OK:
            lane.succeeded.append(Recorded(index, SUCCEEDED, position, attempt))
        else:
            lane.failed.append(Failed(index, position, attempt, outcome == RETRYABLE))

    def report(self, number, twice=False):
        lane = self.lanes.pop(number)
        self.finish_call(lane)
        succeeded, failed = [each.index for each in lane.succeeded], lane.failed
        for work in lane.claim.works:
            self.ready[work[0]] = work
        verdicts = self.state.report(
            lane.claim, ranges(succeeded * (1 + twice)), failed * (1 + twice), self.now
        )
        assert verdicts[len(failed) :] == verdicts[: len(failed)] * twice
        for index in succeeded:
            self.retrying.discard(index)
            self.final[index] = SUCCEEDED
        batch = lane.succeeded + lane.stopped
        for each, verdict in zip(failed, verdicts, strict=False):
            assert verdict is self.expected(each)
            batch.append(Recorded(each.index, verdict, each.position, each.attempt))
            if verdict is not RETRYING:
                self.retrying.discard(each.index)
                self.final[each.index] = verdict
        self.stopped.update(each.index for each in lane.stopped)
        self.journal.append(batch)
        self.strangers.append(lane.claim)

    def expected(self, failed: Failed) -> ItemStatus:
        policy = self.script.stages[self.stage].calls[failed.position].step.retry
        if failed.retryable and failed.attempt <= policy.retries:
            due = self.now + min(
                policy.max_delay, policy.delay * policy.backoff ** (failed.attempt - 1)
            )
            self.delayed[failed.index] = due, (failed.index, failed.position, failed.attempt + 1)
            self.retrying.add(failed.index)
            return RETRYING
        lost = self.many(TOLERATED) + self.many(FAILED) + 1
        return TOLERATED if self.script.tolerates(self.stage, lost) else FAILED

    @rule(what=HAPPENINGS, data=st.data())
    def something_happens(self, what, data):
        if what == "time":
            self.now += data.draw(st.sampled_from((0.5, 1, 2, 8)), "seconds")
        elif what == "stranger" and self.strangers:
            claim = data.draw(st.sampled_from(self.strangers), "claim")
            index = data.draw(st.integers(0, 11), "index")
            failed = [Failed(index, 0, 1, retryable) for retryable in (True, False)]
            assert self.state.report(claim, ranges([index]), failed, self.now) == []
        elif what == "cancel" and not self.state.ended:
            self.cancelled = self.cancelled or not self.state.halted
            self.state.cancel()
        elif what == "pause":
            self.pause()
        elif what == "crash" and self.state.status is not RunStatus.SUCCEEDED:
            lost = data.draw(st.integers(0, min(2, len(self.journal))), "lost batches")
            forgets = data.draw(st.booleans(), "inputs of later inner steps are lost")
            self.resume(len(self.journal) - lost, forgets)

    def pause(self):
        """Pause, or continue after a pause."""
        if self.state.paused:
            self.state.unpause()
            return
        for lane in self.lanes.values():
            self.ready |= {work[0]: work for work in lane.claim.works}
        self.state.pause()
        assert not any(lane.claim.works for lane in self.lanes.values())

    @precondition(lambda self: self.state.complete)
    @rule()
    def advance(self):
        assert self.final.keys() == set(range(self.count))
        self.finished.append(self.final)
        self.state.advance()
        self.opened = False
        self.reset([])

    @precondition(lambda self: not self.opened and not self.state.ended)
    @rule()
    def open_next(self):
        self.open_stage([])

    def resume(self, batches, forgets=False):
        """Go on in a new state, from the first ``batches`` of the journal."""
        journal = self.journal[:batches]
        records = last([record for batch in journal for record in batch])
        self.reset(journal)
        self.cancelled = False
        self.state = RunState(self.script.stages, self.stage)
        self.open_stage(
            [
                record
                for record in sorted(records, key=lambda record: record.index)
                if not (forgets and record.status is RETRYING and record.position > 0)
            ]
        )

    # ---- invariants ----

    @invariant()
    def check(self):
        self.counts_match()
        self.every_item_is_in_one_place()
        self.a_limit_is_kept()
        self.status_and_time_match()
        self.nothing_happens_after_the_end()

    def counts_match(self):
        if self.opened:
            assert self.state.counts == Counts(
                total=self.count,
                succeeded=self.many(SUCCEEDED),
                failed=self.many(FAILED),
                tolerated=self.many(TOLERATED),
                retrying=len(self.retrying),
            )

    def every_item_is_in_one_place(self):
        places = [*self.fresh, *self.ready, *self.delayed, *self.stopped, *self.final]
        for lane in self.lanes.values():
            places += [index for index, _, _ in lane.claim.works] + lane.unreported
        assert sorted(places) == list(range(self.count if self.opened else 0))

    def a_limit_is_kept(self):
        if self.opened:
            limit = getattr(self.script.stages[self.stage], "concurrency_limit", None)
            assert len(self.lanes) <= (limit or 4)

    def status_and_time_match(self):
        state = self.state
        halted = self.cancelled or FAILED in self.final.values()
        assert (state.halted, state.cancelled) == (halted, self.cancelled)
        if self.stage == len(self.script.stages):
            assert state.status is RunStatus.SUCCEEDED
        elif not halted or self.lanes:
            assert state.status is RunStatus.RUNNING
        else:
            assert state.status is (RunStatus.CANCELLED if self.cancelled else RunStatus.FAILED)
        done = {index for index, status in self.final.items() if status is not FAILED}
        assert state.complete == (
            self.opened and not halted and not self.lanes and len(done) == self.count
        )
        assert state.rests == (state.paused and not self.lanes)
        if not self.opened or halted or state.paused or self.full or not self.delayed:
            assert state.next_due is None
        else:
            assert state.next_due == min(due for due, _ in self.delayed.values())

    def nothing_happens_after_the_end(self):
        if self.state.ended:
            before = seen(self.state)
            assert self.state.claim(5, self.now + 1000) is None
            assert seen(self.state) == before
            self.state.cancel()
            assert seen(self.state) == before

    # ---- the result ----

    def teardown(self):
        if not hasattr(self, "script"):
            return
        self.drive()
        if self.state.status is RunStatus.CANCELLED:
            self.resume(len(self.journal))
            self.drive()
        self.compare()

    def drive(self):
        self.state.unpause()
        while not self.state.ended:
            for number in tuple(self.lanes):
                self.perform(self.lanes[number], 12)
                self.report(number)
            if self.state.complete:
                self.advance()
            elif not self.opened:
                self.open_next()
            elif not self.state.ended:
                if not (self.ready or self.fresh):
                    self.now = max(self.now, self.state.next_due)
                self.claim(0, 3)
                assert self.lanes
            self.check()

    def compare(self):
        sequential = [self.script.sequential(n) for n in range(len(self.script.stages))]
        for position, final in enumerate(self.finished):
            expected = [SUCCEEDED if well else TOLERATED for well in sequential[position]]
            assert [final[index] for index in range(len(expected))] == expected
        fails = [
            not self.script.tolerates(n, each.count(False)) for n, each in enumerate(sequential)
        ]
        if True in fails:
            assert self.state.status is RunStatus.FAILED
            assert self.stage == fails.index(True)
            for index, status in self.final.items():
                assert sequential[self.stage][index] == (status is SUCCEEDED)
        else:
            assert self.state.status is RunStatus.SUCCEEDED
            assert len(self.finished) == len(self.script.stages)


AnyOrder.TestCase.settings = settings(
    deadline=None, derandomize=True, max_examples=100, stateful_step_count=50
)
TestAnyOrder = AnyOrder.TestCase


# ---- paused items --------------------------------------------------------------------------------


def test_paused_items_are_left_and_the_run_is_cancelled_after_all_others():
    state = opened(4, Recorded(1, ItemStatus.PAUSED, 0, 1), Recorded(3, ItemStatus.PAUSED, 0, 1))
    first, second = state.claim(1, 0), state.claim(5, 0)
    assert (indices(first), indices(second)) == ([0], [2])
    for claim in (first, second):
        assert not state.cancelled
        state.report(claim, ranges([index for index, _, _ in begin(claim)]), [], 0)
    assert (state.status, state.cancelled, state.complete) == (RunStatus.CANCELLED, True, False)
    assert (state.counts.total, state.counts.succeeded) == (4, 2)


def test_a_retry_of_another_item_is_waited_for_before_paused_items_end_the_run():
    state = opened(2, Recorded(1, ItemStatus.PAUSED, 0, 1), retries=1, delay=5)
    run(state, failing={0})
    assert (state.status, state.next_due) == (RunStatus.RUNNING, 5)
    run(state, now=5)
    assert state.status is RunStatus.CANCELLED


def test_a_stage_with_nothing_but_paused_items_is_cancelled_at_once():
    state = opened(2, Recorded(0, SUCCEEDED, 0, 1), Recorded(1, ItemStatus.PAUSED, 0, 1))
    assert (state.status, state.claim(5, 0)) == (RunStatus.CANCELLED, None)
