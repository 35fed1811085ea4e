"""Generated maps under the quotas of Lambda and Batch, simulated."""

from __future__ import annotations

import pytest
from quotas import Batch, Lambda, generated, simulate

from lokki import step


@step
def work(item):
    return item


@step(job_type="batch")
def heavy(item):
    return item


@pytest.mark.parametrize(
    ("items", "seconds", "concurrency"),
    [(10_000, 60, 1_000), (10_000, 10, 1_000), (2_000, 60, 1_000), (100, 10, 10)],
)
def test_a_map_with_the_accounts_concurrency_is_as_fast_as_it_can_be(items, seconds, concurrency):
    retrier, at_once = generated(
        work, "Lambda.TooManyRequestsException", **{"lambda.concurrency": concurrency}
    )
    done = simulate(items, seconds, Lambda(concurrency), retrier, at_once)
    assert done.failed == 0
    assert done.seconds <= 1.1 * items * seconds / concurrency


@pytest.mark.parametrize(("items", "seconds", "left"), [(10_000, 60, 500), (100, 10, 10)])
def test_no_call_is_lost_where_others_use_the_account(items, seconds, left):
    retrier, at_once = generated(work, "Lambda.TooManyRequestsException")
    done = simulate(items, seconds, Lambda(left), retrier, at_once)
    assert done.failed == 0
    assert done.seconds <= 1.5 * items * seconds / left


@pytest.mark.parametrize("name", ["Batch.AWSBatchException", "Batch.BatchException"])
@pytest.mark.parametrize("items", [2_000, 10_000])
def test_no_job_is_lost_that_batch_refuses_for_now(name, items):
    retrier, at_once = generated(heavy, name, **{"batch.job_queue": "a-queue"})
    assert simulate(items, 60, Batch(), retrier, at_once).failed == 0
    assert simulate(items, 60, Batch(), retrier).failed == 0, "with a concurrency_limit of 10,000"


def test_the_retries_of_before_lose_items():
    """What the simulation is for: it fails where a run on an account would."""
    before = {"IntervalSeconds": 1, "BackoffRate": 2.0, "MaxAttempts": 6, "MaxDelaySeconds": 60}
    assert simulate(10_000, 60, Lambda(1_000), before).failed > 6_000
    assert simulate(100, 10, Lambda(10), before).failed > 40
    assert simulate(10_000, 60, Batch(), before).failed > 3_000
