"""What an execution of a durable function would use, beside one of a state machine."""

from __future__ import annotations

import pytest
from test_documents import made
from test_estimate import alone, mapped, work

from lokki import flow, step
from lokki.builder.estimate import estimate_of
from lokki.builder.variants import Refused, variants_of
from lokki.config import load
from lokki.errors import LokkiError

DURABLE, MACHINE = 'aws.target = "durable"', 'aws.target = "stepfunctions"'
ON_DURABLE = {"aws.target": "durable"}


@step
def source():
    return [1]


@step
def collect(items):
    return items


@flow
def chained():
    return source().map(work).next(work).agg(collect)


def batched(size):
    @flow
    def by_slices():
        return source().map(work, batch_size=size).agg(collect)

    return by_slices()


@step(job_type="batch")
def work_hard(item):
    return item


def jobs(limit=None):
    @flow
    def by_jobs():
        return source().map(work_hard, concurrency_limit=limit).agg(collect)

    return by_jobs()


def planned(graph, items, seconds=1.0, **settings):
    return estimate_of(graph, load({**ON_DURABLE, **settings}), items, seconds)


def amounts(graph, items, seconds=1.0, **settings):
    return {row.what: row.amount for row in planned(graph, items, seconds, **settings).rows}


@pytest.mark.parametrize(("items", "seconds"), [(10_000, 1), (1_000_000, 0.1)])
def test_a_durable_function_orchestrates_for_less_than_a_third(items, seconds):
    durable = planned(mapped(), items, seconds)
    machine = estimate_of(mapped(), load(), items, seconds)
    assert 0 < durable.orchestration <= 0.3 * machine.orchestration
    assert durable.charged <= 0.02 * items
    assert durable.dollars < machine.dollars
    assert (durable.second_hand is None, machine.second_hand) == (False, None)


def test_a_slice_is_an_operation_and_an_invocation_whatever_items_it_has():
    # the start, the structure, the source, the map, the aggregation; and the slices
    assert [planned(mapped(), count).charged for count in (0, 1, 190, 19_000)] == [5, 6, 195, 195]
    assert planned(batched(100), 10_000).charged == 105
    assert planned(chained(), 190).charged == 385
    assert planned(alone(), 300).charged == 4
    told = amounts(mapped(), 19_000, 0.1)
    assert told["Lambda invocations"] == "192"
    assert told["S3 writes and lists"] == "19,022"
    assert told["S3 reads"] == "19,191"


def test_a_slice_without_the_time_for_all_its_items_takes_several_invocations():
    plan = planned(mapped(), 190_000, 1)  # 190 slices of 1,000 s
    assert (plan.charged, plan.seconds) == (385, 1_000)
    told = "map 'work': one invocation has not the time for all items of a slice, which takes 2"
    assert any(note.startswith(told) for note in plan.notes)


def test_slices_beyond_the_functions_of_the_account_wait():
    plan = planned(mapped(), 19_000, 1, **{"lambda.concurrency": 100})
    assert plan.seconds == 200
    told = "map 'work': 100 of 190 slices at a time, at least 200 s; concurrency_limit changes it"
    assert told in plan.notes


def test_large_parameters_are_written_with_each_call():
    @flow
    def given(text=""):
        return source().map(work).agg(collect)

    small, large = (planned(given(text), 190).rows for text in ("", "x" * 100_000))
    written = [next(r for r in rows if r.what == "durable MB written") for rows in (small, large)]
    assert float(written[1].amount) - float(written[0].amount) == pytest.approx(19, abs=1)


@pytest.mark.parametrize(
    ("graph", "items", "why"),
    [
        (batched(5), 10_000, "2,000 slices with batch_size=5, but a durable function has room for"),
        (batched(1), 2_000, "2,000 slices with batch_size=1, but a durable function has room for"),
    ],
)
def test_what_has_no_room_is_refused_with_the_reason(graph, items, why):
    with pytest.raises(LokkiError, match=why):
        planned(graph, items)
    (refused,) = (
        each for each in variants_of(graph, load(), items, 1) if isinstance(each, Refused)
    )
    assert refused.settings == DURABLE
    assert why in refused.why


def test_more_invocations_than_operations_are_refused_with_what_makes_them_fewer():
    with pytest.raises(LokkiError, match=r"operations .* that many invocations; give their step"):
        planned(mapped(), 1_000_000, 60)


def test_jobs_cost_what_they_cost_in_a_state_machine_and_looks_at_them_are_operations():
    queue = {"batch.job_queue": "a-queue"}
    rows = [
        {row.what: row.amount for row in estimate_of(jobs(), load(settings), 600, 3_600).rows}
        for settings in (queue, {**queue, **ON_DURABLE})
    ]
    of_jobs = [{w: a for w, a in each.items() if w.startswith("Batch")} for each in rows]
    assert of_jobs[0] == of_jobs[1] != {}
    hour, day = (planned(jobs(), 600, each, **queue).charged for each in (3_600, 86_400))
    assert 100 < hour < 350 < day < 750  # and a week is less than twice a day
    limited = planned(jobs(limit=10), 600, 60, **queue)
    told = "map 'work_hard': 10 of 600 jobs at a time, at least 3,600 s; concurrency_limit"
    assert any(note.startswith(told) for note in limited.notes)


def test_more_operations_than_an_execution_has_are_refused():
    @flow
    def deep():
        return source().map(work, batch_size=1).next(work).next(work).agg(collect)

    graph = deep()
    assert any("operations of 3,000" in limit for limit in planned(graph, 900).limits)
    with pytest.raises(LokkiError, match=r"has 3,005 operations with 1,000 items in each map"):
        planned(graph, 1_000)


def test_each_target_is_compared_with_the_other():
    found = [each.settings for each in variants_of(mapped(), load(), 100, 40)]
    assert found == ['aws.map = "express", lambda.timeout = 240', DURABLE]
    found = [each.settings for each in variants_of(mapped(), load(ON_DURABLE), 100, 40)]
    assert found == [MACHINE, f'{MACHINE}, aws.map = "express", lambda.timeout = 240']


@pytest.mark.parametrize("target", ["stepfunctions", "durable"])
def test_the_target_of_a_flow_wins_over_the_configured_one(target):
    often = {"schedule": "rate(1 hour)", "overlap": "allow"}
    graph, alike = flow(target=target, **often)(mapped.fn)(), flow(**often)(mapped.fn)()
    notified = {"aws.notify": "birds@example.com"}
    chosen = {**notified, "aws.target": target}
    by_config = estimate_of(alike, load(chosen), 10, 1)
    for settings in (notified, {**notified, **ON_DURABLE}):
        assert estimate_of(graph, load(settings), 10, 1) == by_config
        assert made(graph, **settings) == made(alike, **chosen)
    written = {each.settings.partition(",")[0] for each in variants_of(graph, load(), 100, 40)}
    other = "stepfunctions" if target == "durable" else "durable"
    assert f'@flow(target="{other}")' in written
