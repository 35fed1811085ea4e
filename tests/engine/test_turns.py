"""Whose turn it is: slices, limits, short lanes and theft, told with a clock of our own."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from contextvars import copy_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokki.call import bind, capture
from lokki.chain import Step
from lokki.engine.items import Slice, StageWork
from lokki.engine.perform import SHORT_SECONDS, FailedAttempt
from lokki.engine.state import Failed, RunState
from lokki.engine.turns import SLICE_SECONDS, WORKER_SECONDS, Turns
from lokki.retry import RetryConfig
from lokki.stages import MapStage, StepCall
from lokki.store.journal import Journal
from lokki.store.texts import Texts

KINDS = ("thread", "async", "process")
PATIENCE = 0.02
LONG, SHORT = 1.0, SHORT_SECONDS / 2
LIMIT = st.none() | st.integers(1, 3)


def plain(value):
    return value


async def on_loop(value):
    return value


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """The writer of a run that has ended: it takes whatever is reported, and keeps nothing."""
    with closing(Journal(tmp_path_factory.mktemp("turns") / "lokki.db")) as journal:
        writer = journal.own("run", lambda error: None)
        journal.commits.release(writer)
        yield writer


@pytest.fixture(scope="module")
def stage(writer):
    """Makes the work of a run of one map over ``count`` items, opened."""

    def made(count, kind="thread", batch_size=None, limit=None, retries=0) -> StageWork:
        step = Step(
            on_loop if kind == "async" else plain,
            retry=RetryConfig(retries=retries, delay=5),
            executor=kind if kind in ("process", "dask") else None,
        )
        call = StepCall(step, "work")
        state = RunState([MapStage((call,), concurrency_limit=limit)])
        state.open(count)
        bound = bind(call, run_id="run", flow="f", params={}, takes_input=True, in_map=True)
        items = list(range(count))
        return StageWork(
            state,
            1,
            (bound,),
            items,
            {},
            writer,
            batch_size,
            None,
            fresh=copy_context,
            on_done=lambda: None,
        )

    return made


def turns_of(*works: StageWork, total=100, **limits) -> Turns:
    turns = Turns({kind: limits.get(kind, 100) for kind in (*KINDS, "dask")}, total)
    for work in works:
        turns.add(work)
    return turns


def begin(granted: Slice, count: int | None = None) -> None:
    """What a lane does first: run the items of its slice, all of them or ``count``."""
    works = granted.claim.works
    for _ in range(len(works) if count is None else count):
        granted.singles.append(works.popleft()[0])


def finish(turns: Turns, granted: Slice, each=LONG, now=0.0) -> bool:
    """Run all that is left of a slice, ``each`` so many seconds, and report it."""
    begin(granted)
    return turns.finish(granted, each * len(granted), now)


def size(granted: Slice) -> int:
    return len(granted.claim.works)


def grants(turns: Turns, now=0.0) -> list[Slice]:
    """All slices that lanes are given, one after the other, until there is none."""
    return list(iter(lambda: turns.next(now), None))


# ---- how many items ------------------------------------------------------------------------------


def sizes(turns: Turns, count: int, each: float) -> list[int]:
    found = []
    for _ in range(count):
        granted = turns.next(0)
        found.append(size(granted))
        finish(turns, granted, each)
    return found


def test_slices_of_short_calls_grow_from_one_to_what_fits_their_time(stage):
    fitting = int(SLICE_SECONDS * 2**17)
    assert sizes(turns_of(stage(10_000)), 7, 2**-17) == [1, 4, 16, 64, 256, fitting, fitting]


def test_slices_of_the_shortest_calls_have_4096_items(stage):
    assert sizes(turns_of(stage(20_000)), 8, 0) == [1, 4, 16, 64, 256, 1024, 4096, 4096]


def test_slices_of_long_calls_are_of_one_item(stage):
    assert sizes(turns_of(stage(10)), 5, SLICE_SECONDS) == [1] * 5


def test_slices_of_workers_are_longer_until_little_is_left(stage):
    each = SLICE_SECONDS / 2
    long = round(WORKER_SECONDS / each)
    found = sizes(turns_of(stage(500, "process"), process=2), 24, each)
    assert long == 50
    last = [45, 34, 26, 19, 14, 11, 8, 6, 5, 3, 3, 2, 2, 2, 2, 1]
    assert found == [1, 16, *[long] * 6, *last]


def test_slices_of_a_cluster_are_long_from_the_second_on(stage):
    assert sizes(turns_of(stage(10**5, kind="dask"), dask=2), 2, 10e-6) == [1, 4096]
    assert sizes(turns_of(stage(10**5, kind="dask"), dask=2), 2, 1e-3) == [1, 200]


def test_a_slice_is_no_longer_than_what_is_left(stage):
    assert sizes(turns_of(stage(8)), 3, SHORT) == [1, 4, 3]


@pytest.mark.parametrize("each", [SHORT, LONG])
def test_a_batch_size_is_the_size_of_every_slice(stage, each):
    assert sizes(turns_of(stage(12, batch_size=5)), 3, each) == [5, 5, 2]


@given(each=st.lists(st.floats(0, 0.01), min_size=1, max_size=20))
def test_a_slice_fits_its_time_as_the_last_one_tells_and_grows_fourfold_at_most(stage, each):
    turns = turns_of(stage(100_000))
    before, last = 0, LONG
    for seconds in each:
        granted = turns.next(0)
        found = size(granted)
        assert 1 <= found <= max(1, min(4 * before, 4096))
        assert found == 1 or found * last <= SLICE_SECONDS
        finish(turns, granted, seconds)
        before, last = found, seconds


@pytest.mark.parametrize("lanes", [1, 2, 4, 8, 9, 20])
def test_an_async_slice_lasts_the_turns_of_up_to_eight_lanes(stage, lanes):
    turns = turns_of(stage(1000, "async"))
    granted = [turns.next(0) for _ in range(lanes)]
    for _ in range(3):  # enough to grow
        finish(turns, granted.pop(), SLICE_SECONDS / 2)
        granted.append(turns.next(0))
    assert size(granted[-1]) == 2 * min(lanes, 8)


def test_a_slice_that_ran_nothing_leaves_the_estimate_as_it_was(stage):
    turns = turns_of(stage(100))
    finish(turns, turns.next(0), SHORT)
    turns.finish(turns.next(0), 3600, 0)
    assert size(turns.next(0)) == 4


# ---- limits and fairness -------------------------------------------------------------------------


def kinds(granted: list[Slice]) -> Counter[str]:
    return Counter(each.work.lane for each in granted)


def test_limits_are_held_for_each_kind(stage):
    turns = turns_of(*(stage(50, kind) for kind in KINDS), thread=3, **{"async": 5}, process=2)
    assert kinds(grants(turns)) == {"thread": 3, "async": 5, "process": 2}


def test_a_limit_is_held_for_all_kinds_together(stage):
    turns = turns_of(*(stage(50, kind) for kind in KINDS), total=7)
    assert kinds(grants(turns)) == {"thread": 3, "async": 2, "process": 2}


def test_a_finished_slice_gives_its_turn_back(stage):
    turns = turns_of(stage(50), total=2)
    first, _ = grants(turns)
    finish(turns, first)
    assert len(grants(turns)) == 1


def test_runs_take_turns_whatever_their_sizes(stage):
    large, small = stage(1000), stage(3)
    turns = turns_of(large, small, total=6)
    assert [each.work for each in grants(turns)] == [large, small] * 3


def test_a_run_that_has_nothing_to_do_costs_the_others_no_turn(stage):
    idle, one, two = stage(10, limit=1), stage(10), stage(10)
    turns = turns_of(idle, one, two, total=5)
    assert [each.work for each in grants(turns)] == [idle, one, two, one, two]


def test_a_call_of_an_async_lane_takes_a_turn_of_a_thread(stage):
    turns = turns_of(stage(10), thread=2)
    assert turns.enter_thread()
    assert len(grants(turns)) == 1
    assert not turns.enter_thread()
    turns.leave_thread()
    assert len(grants(turns)) == 1


# ---- short calls ---------------------------------------------------------------------------------


def short(stage, **options) -> Turns:
    """A stage whose calls are known to be short; none is at work."""
    turns = turns_of(stage(10_000, **options))
    finish(turns, turns.next(0), SHORT)
    return turns


def test_short_calls_are_run_by_two_threads(stage):
    assert len(grants(short(stage))) == 2


def test_a_slice_past_its_time_does_not_count_among_the_two(stage):
    turns = short(stage)
    grants(turns)
    assert not grants(turns, PATIENCE * 0.99)
    assert len(grants(turns, PATIENCE)) == 2


def test_a_third_thread_looks_again_when_the_two_may_be_past_their_time(stage):
    turns = short(stage)
    grants(turns, 1)
    assert turns.first_due(1) == 1 + PATIENCE


@pytest.mark.parametrize("kind", ["async", "process"])
def test_short_calls_of_other_kinds_are_run_by_many(stage, kind):
    assert len(grants(short(stage, kind=kind))) == 100


def test_calls_that_are_not_short_are_run_by_many_threads(stage):
    turns = turns_of(stage(10_000))
    finish(turns, turns.next(0), SHORT_SECONDS)
    assert len(grants(turns)) == 100


# ---- theft ---------------------------------------------------------------------------------------


def test_half_of_what_a_slice_past_its_time_has_not_begun_is_for_an_idle_lane(stage):
    turns = turns_of(stage(8, batch_size=8))
    late = turns.next(0)
    begin(late, 1)
    assert turns.next(PATIENCE * 0.99) is None
    assert turns.first_due(PATIENCE * 0.99) == pytest.approx(PATIENCE * 1.99)
    stolen = turns.next(PATIENCE)
    assert [index for index, _, _ in stolen.claim.works] == [4, 5, 6, 7]
    assert [index for index, _, _ in late.claim.works] == [1, 2, 3]


def test_nothing_is_stolen_while_there_are_fresh_items(stage):
    turns = turns_of(stage(10, batch_size=8))
    late = turns.next(0)
    assert [index for index, _, _ in turns.next(PATIENCE).claim.works] == [8, 9]
    assert size(late) == 8


def test_a_stage_is_done_when_thief_and_victim_have_both_reported(stage):
    work = stage(4, batch_size=4)
    turns = turns_of(work)
    late = turns.next(0)
    stolen = turns.next(PATIENCE)
    assert not finish(turns, late)
    assert finish(turns, stolen)
    assert work.state.counts.succeeded == 4


# ---- waiting, and the end ------------------------------------------------------------------------


def fail(turns: Turns, granted: Slice, now: float) -> bool:
    """Fail the only item of a slice, in a way that may be tried again."""
    index, position, attempt = granted.claim.works.popleft()
    failure = capture(granted.work.calls[0], index, attempt, OSError())
    failed, texts = Failed(index, position, attempt, True), Texts.of(failure.reason, "")
    granted.failed.append(FailedAttempt(failed, failure, texts, 0, 0))
    return turns.finish(granted, LONG, now)


def test_a_waiting_retry_is_looked_for_when_it_is_due_and_given_then(stage):
    turns = turns_of(stage(1, retries=1), stage(1, retries=1))
    for now, granted in enumerate(grants(turns)):
        assert not fail(turns, granted, now)
    assert turns.next(4.9) is None
    assert turns.first_due(4.9) == 5
    assert turns.next(5) is not None
    assert turns.first_due(5) == 6


def test_what_waits_for_a_limit_is_not_looked_for(stage):
    for limits in ({"total": 1}, {"thread": 1}):
        turns = turns_of(retrying := stage(1, retries=1), **limits)
        fail(turns, turns.next(0), 0)
        assert turns.first_due(0) == 5
        turns.add(stage(1))
        assert turns.next(0).work is not retrying
        assert turns.first_due(0) is None


def test_a_stage_that_is_done_is_reported_once_and_served_no_more(stage):
    work = stage(2)
    turns = turns_of(work)
    first, second = grants(turns)
    assert not finish(turns, first)
    assert finish(turns, second)
    assert not turns.remove_if_done(work)
    assert turns.next(0) is None


def test_a_cancelled_stage_is_done_when_the_last_of_its_slices_is(stage):
    work = stage(10)
    turns = turns_of(work, total=2)
    first, second = grants(turns)
    work.state.cancel()
    assert not turns.remove_if_done(work)
    assert not turns.finish(first, 0, 0)
    assert turns.next(0) is None
    assert turns.finish(second, 0, 0)


def test_a_failure_that_ends_the_run_ends_its_stage(stage):
    turns = turns_of(stage(10), total=1)
    assert fail(turns, turns.next(0), 0)


# ---- any order -----------------------------------------------------------------------------------


@given(data=st.data())
def test_in_any_order_limits_are_held_and_every_item_is_run_once(stage, data):
    draw = data.draw
    works = [
        stage(draw(st.integers(1, 30)), draw(st.sampled_from(KINDS)), limit=draw(LIMIT))
        for _ in range(draw(st.integers(1, 4)))
    ]
    limits = {kind: draw(st.integers(1, 3)) for kind in KINDS}
    total = draw(st.integers(1, 6))
    turns = turns_of(*works, total=total, **limits)
    out: list[Slice] = []
    ran: Counter[tuple[StageWork, int]] = Counter()
    done: list[StageWork] = []
    now = 0.0
    while len(done) < len(works):
        now += draw(st.sampled_from([0, PATIENCE]))
        granted = turns.next(now) if draw(st.booleans()) or not out else None
        if granted is not None:
            out.append(granted)
        elif out:
            granted = out.pop(draw(st.integers(0, len(out) - 1)))
            begin(granted, size(granted) - draw(st.integers(0, size(granted))))
            ran.update((granted.work, index) for index in granted.singles)
            if turns.finish(granted, draw(st.sampled_from([0, SHORT, LONG])), now):
                done.append(granted.work)
        else:
            pytest.fail("there is work, and no lane is given any")
        assert all(count <= limits[kind] for kind, count in kinds(out).items())
        assert len(out) <= total
    assert set(done) == set(works)
    assert ran == {(work, index): 1 for work in works for index in work.inputs}
