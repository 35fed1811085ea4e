"""What an execution would use, and which limits it comes near."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_documents import everything

from lokki import flow, step
from lokki.builder.estimate import estimate_of
from lokki.builder.variants import variants_of
from lokki.config import load
from lokki.errors import BuildError


@step
def source():
    return [1]


@step(memory_mb=1024)
def work(item):
    return item


@step
def collect(items):
    return items


@step(job_type="batch", vcpu=2, memory_mb=4096)
def heavy(item):
    return item


@flow
def mapped():
    return source().map(work).agg(collect)


@flow
def direct():
    return source().map([work, work], direct_pass=True).agg(collect)


@flow
def in_batches():
    return source().map(work, batch_size=100).agg(collect)


@step(retry={"retries": 2})
def retried(item):
    return item


@flow
def patient():
    return source().map(retried).agg(collect)


@flow
def wide():
    return source().map(work, concurrency_limit=1_200).agg(collect)


@flow
def many_jobs():
    return source().map(heavy).agg(collect)


@flow
def jobs():
    return source().map(heavy, concurrency_limit=10).agg(collect)


def amounts(graph, items, seconds=1.0):
    return {row.what: row.amount for row in estimate_of(graph, load(), items, seconds).rows}


def test_an_item_is_a_transition_an_invocation_a_write_and_a_read():
    told = amounts(mapped(), 1_000)
    # InitFlow, the source, the map, the aggregation; the start of each execution, and its state
    assert told["state transitions"] == "2,004"
    assert told["Lambda invocations"] == "1,002"
    assert told["Lambda GB-seconds"] == "1,001"  # 1,000 of 1 GB, two of half a GB
    assert told["S3 writes and lists"] == "1,005"
    assert told["S3 reads"] == "1,001"


def test_a_step_with_retries_records_each_attempt():
    writes = [amounts(graph, 1_000)["S3 writes and lists"] for graph in (mapped(), patient())]
    assert writes == ["1,005", "2,005"]


def test_one_invocation_may_have_several_calls_or_items():
    assert amounts(direct(), 1_000)["Lambda invocations"] == "1,002"
    told = amounts(in_batches(), 1_000)
    assert told["Lambda invocations"] == "12"
    assert told["state transitions"] == "24"


@flow
def alone():
    return source().next(collect)


@step(timeout_seconds=20)
def brief(item):
    return item


@flow
def express():
    return source().map(brief).next(brief).agg(collect)


def test_the_states_of_an_express_execution_are_paid_by_time():
    """https://aws.amazon.com/step-functions/pricing/ ."""
    (standard, express_ones) = (
        {row.what: row for row in estimate_of(express(), load({"aws.map": kind}), 1_000, 0.33).rows}
        for kind in ("standard", "express")
    )
    assert standard["state transitions"].amount == "3,004"
    assert express_ones["state transitions"].amount == "1,004"
    assert express_ones["express executions"].amount == "1,000"
    paid = express_ones["express GB-seconds"]
    assert paid.amount == "44"  # 1,000 of 0.7 s and 64 MB
    assert paid.dollars == pytest.approx(1_000 * 0.7 / 16 * 0.06 / 3600)
    assert express_ones["S3 reads"].amount == "4,001"  # three look for results


def test_jobs_are_paid_by_processor_and_memory():
    told = amounts(jobs(), 10, seconds=5)  # a job is charged for a minute at least
    assert told["Batch vCPU-seconds (Fargate)"] == "1,200"
    assert told["Batch GB-seconds (Fargate)"] == "2,400"
    assert told["Lambda invocations"] == "2"


def test_disk_beyond_what_is_included_is_paid():
    @step(ephemeral_storage=512 + 2048)
    def unpack(item):
        return item

    @step(job_type="batch", ephemeral_storage=(20 + 30) * 1024)
    def index(items):
        return items

    @flow
    def stored():
        return source().map(unpack).agg(index)

    told = amounts(stored(), 100, seconds=5)
    assert told["Lambda GB-seconds of disk"] == "1,000"
    assert told["Batch GB-seconds of disk"] == "1,800"  # a minute at least
    assert not [what for what in amounts(jobs(), 10) if "disk" in what]


def test_jobs_on_ec2_are_told_and_not_added():
    settings = {"batch.job_queue": "q", "batch.platform": "EC2"}
    plan = estimate_of(jobs(), load(settings), 10, 5)
    assert not [row for row in plan.rows if "Batch" in row.what]
    assert any("jobs on EC2 use 100 vCPU-seconds" in note for note in plan.notes)
    spot = estimate_of(jobs(), load({"batch.spot": True}), 10, 5)
    assert any("spot prices vary" in note for note in spot.notes)


@given(st.integers(0, 10_000), st.floats(0, 100))
def test_more_items_or_longer_ones_cost_no_less(items, seconds):
    config = load({"batch.job_queue": "a-queue"})
    cost = estimate_of(everything(), config, items, seconds).dollars
    assert estimate_of(everything(), config, items + 1, seconds).dollars >= cost
    assert estimate_of(everything(), config, items, seconds + 1).dollars >= cost


def test_there_is_a_date_to_the_prices():
    plan = estimate_of(mapped(), load(), 1, 1)
    assert plan.prices_region == "us-east-1"
    assert plan.prices_date.startswith("20")
    assert plan.dollars == pytest.approx(sum(row.dollars for row in plan.rows))


@pytest.mark.parametrize(
    ("graph", "items", "seconds", "told"),
    [
        (wide(), 10, 1, "map 'work': concurrency_limit=1200 is more than the 1,000 functions"),
        (mapped(), 10, 800, "step 'work': an invocation takes 800 s of 890 s: give it job_type"),
        (direct(), 10, 400, "step 'work': an invocation takes 800 s of 890 s: lower batch_size"),
        (in_batches(), 10, 9, "step 'work': an invocation takes 900 s"),
        (jobs(), 10, 9, "step 'heavy': a Batch job takes an event of 8 KiB"),
    ],
)
def test_limits_that_come_near_are_reported_with_what_to_change(graph, items, seconds, told):
    assert any(
        limit.startswith(told) for limit in estimate_of(graph, load(), items, seconds).limits
    )


@pytest.mark.parametrize(
    ("graph", "reserved", "told"),
    [
        (wide(), 1_100, "concurrency_limit=1200 is more than the 1,100 functions at a time that"),
        (mapped(), 901, "901 functions are reserved for 1 steps, but of 1,000 the account has to"),
    ],
)
def test_what_is_reserved_is_a_limit_too(graph, reserved, told):
    limits = estimate_of(graph, load({"lambda.reserved_concurrency": reserved}), 10, 1).limits
    assert any(told in limit for limit in limits), limits


def test_a_small_flow_comes_near_to_no_limit():
    assert estimate_of(mapped(), load(), 100, 1).limits == ()


@pytest.mark.parametrize(
    ("graph", "settings", "items", "seconds", "told"),
    [
        (mapped(), {}, 20_000, 60, "1,000 of 20,000 invocations at a time, at least 1,200 s"),
        (mapped(), {"lambda.concurrency": 10}, 100, 6, "10 of 100 invocations at a time, at least"),
        (mapped(), {"lambda.reserved_concurrency": 20}, 100, 6, "20 of 100 invocations at a time"),
        (
            mapped(),
            {"lambda.concurrency": 1},
            53,
            0.5,
            "1 of 53 invocations at a time, at least 27 s",
        ),
        (in_batches(), {}, 200_000, 1, "1,000 of 2,000 invocations at a time, at least 200 s"),
        (jobs(), {}, 100, 60, "10 of 100 jobs at a time, at least 600 s"),
        (many_jobs(), {"batch.max_vcpus": 8}, 80, 60, "8 of 80 jobs at a time, at least 600 s"),
        (
            many_jobs(),
            {"batch.job_queue": "q"},
            6_000,
            1,
            "1,000 of 6,000 jobs at a time, at least",
        ),
        (many_jobs(), {"batch.job_queue": "q"}, 6_000, 1, "Batch takes 50 jobs a second"),
        (mapped(), {}, 20_000, 1, "1,000 of 20,000 invocations at a time, at least 200 s"),
        (mapped(), {}, 20_000, 1, "Step Functions starts 100 executions of this kind a second"),
        (express(), {"aws.map": "express"}, 20_000, 0.1, "starts 1,000 executions of this kind"),
    ],
)
def test_how_long_a_map_takes_that_cannot_run_at_once(graph, settings, items, seconds, told):
    notes = estimate_of(graph, load(settings), items, seconds).notes
    assert any(told in note for note in notes), notes


def test_a_rate_limit_that_nothing_holds_there_is_noted():
    @step
    def numbers():
        return [1]

    @step(limit="openai")
    def fetch(number):
        return number

    @flow
    def limited():
        return numbers().map(fetch, rate_limit="50/s")

    notes = estimate_of(limited(), load(), 100, 0.1).notes
    for what in ("map 'fetch': rate_limit='50/s'", "step 'fetch': limit='openai'"):
        assert any(f"{what} is not held on AWS" in note for note in notes)


@pytest.mark.parametrize(
    ("options", "notes"),
    [
        ({}, 0),
        ({"schedule": "rate(1 day)"}, 1),
        ({"schedule": "rate(1 day)", "overlap": "allow"}, 0),
    ],
)
def test_what_a_schedule_does_elsewhere_is_noted(options, notes):
    plan = estimate_of(flow(**options)(mapped.fn)(), load(), 10, 1)
    assert ["AWS starts a run at each time" in note for note in plan.notes] == [True] * notes


@pytest.mark.parametrize(
    ("schedule", "notes"),
    [
        ("at(2020-01-31T09:00:00)", 1),
        ("cron(0 9 * * ? 2020-2021)", 1),
        ("at(2190-01-31T09:00:00)", 0),
        ("cron(0 9 * * ? *)", 0),
    ],
)
def test_a_schedule_without_a_time_to_come_is_noted(schedule, notes):
    """AWS makes it: ``tests_create_schedule_with_valid_schedule_expression``, validated in 2025, in
    tests/aws/services/scheduler/test_scheduler.py of https://github.com/localstack/localstack."""
    plan = estimate_of(flow(schedule=schedule, overlap="allow")(mapped.fn)(), load(), 10, 1)
    assert ["it starts no run any more: write a later one" in n for n in plan.notes] == [
        True
    ] * notes


def test_what_settings_need_from_others_is_noted():
    key = "arn:aws:kms:us-east-1:123456789012:key/0a1b2c3d"
    notes = estimate_of(
        mapped(), load({"aws.kms_key": key, "aws.notify": "a@example.org"}), 1, 1
    ).notes
    assert any("whoever has the address confirms it" in note for note in notes)
    assert any(
        "the policy of aws.kms_key must let CloudWatch Logs use it" in note for note in notes
    )
    assert any("calls of KMS are not in the sum" in note for note in notes)


def test_no_plan_is_made_of_what_aws_has_not():
    skipping = flow(schedule="rate(1 day)", overlap="skip")(mapped.fn)
    with pytest.raises(BuildError, match="overlap='skip' is not possible on AWS"):
        estimate_of(skipping(), load(), 10, 1)


@pytest.mark.parametrize(
    ("memory", "remedy"),
    [(512, "give it memory_mb=1769 for a whole CPU, or job_type='batch'"), (1769, None)],
)
def test_an_aggregation_needs_the_time_to_read_all_results(memory, remedy):
    plan = estimate_of(mapped(), load({"lambda.memory": memory}), 200_000, 0.1)
    told = [limit for limit in plan.limits if "step 'collect': reading 200,000 results" in limit]
    assert [remedy in each for each in told] == ([True] if remedy else [])


# ---- other settings ------------------------------------------------------------------------------


def compared(graph, items, seconds, **settings):
    """Transitions, dollars and seconds of a flow, and of it with other settings, by these."""
    asked = graph, load(settings), items, seconds
    others = (each for each in variants_of(*asked) if "aws.target" not in each.settings)
    found = {each.settings: each.estimate for each in others}
    return {
        name: (each.charged, round(each.dollars, 2), each.seconds)
        for name, each in {"": estimate_of(*asked), **found}.items()
    }


def test_a_million_short_items_are_compared_with_batches_and_express_executions():
    express_ones, batches = 'aws.map = "express", lambda.timeout = 240', "batch_size=600"
    assert compared(mapped(), 1_000_000, 0.1) == {
        "": (2_000_004, 57.27, 10_000),
        express_ones: (1_000_004, 33.78, 1_000),
        batches: (3_338, 7.16, 120),
        f"{express_ones}, {batches}": (1_671, 7.62, 120),
    }


@pytest.mark.parametrize(
    ("graph", "items", "seconds", "settings"),
    [
        (express(), 100, 1, ['aws.map = "express"', "batch_size=10"]),
        (mapped(), 100, 40, ['aws.map = "express", lambda.timeout = 240']),
        (mapped(), 100, 400, []),
        (in_batches(), 1_000, 1, ['aws.map = "express", lambda.timeout = 240']),
        (jobs(), 100, 1, []),
        (alone(), 100, 1, []),
    ],
)
def test_other_settings_are_those_that_a_map_can_have(graph, items, seconds, settings):
    assert sorted(compared(graph, items, seconds)) == ["", *settings]


def test_settings_that_a_flow_has_are_not_offered():
    assert list(compared(express(), 100, 60, **{"aws.map": "express"})) == [""]
