"""Durable functions: deployed, started, shown, cancelled and resumed like state machines."""

from __future__ import annotations

import sys
from functools import partial

import deployed_flows
import pytest
from clouds import NAMES, Cloud, begin, ended, off
from test_home import Here

from lokki.backends.blocking import opened
from lokki.errors import AwsError, KeyReused, NotTunable
from lokki.model.run_filter import RunFilter
from lokki.resumption import ResumeOptions

BESIDE = {"aws.deployment": "durable"}
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.version_info < (3, 13), reason="Lambda has them from 3.13 on"),
]


@pytest.fixture(scope="module")
def durable(rehearsal, build_dir):
    """Flows, each deployed once for all tests in here."""
    clouds = {}
    for flow in (deployed_flows.crunching, deployed_flows.tolerant):
        cloud = clouds[flow.name] = Cloud(rehearsal.endpoint, f"{build_dir}/durable", [])
        cloud.bucket = next(iter(clouds.values())).bucket
        cloud.deploy(flow, **BESIDE, **{"aws.target": "durable"})
    yield clouds["crunching"]
    for cloud in clouds.values():
        cloud.destroy(data=False)


@pytest.fixture
def place(durable):
    with opened(durable.config(**BESIDE)) as place:
        yield place


@pytest.fixture(scope="module")
def mixed(deployed, rehearsal, build_dir):
    """State machines, and `sliced` as a durable function beside them; a backend for both."""
    cloud = Cloud(rehearsal.endpoint, f"{build_dir}/durable", [])
    cloud.bucket = deployed.bucket
    cloud.deploy(deployed_flows.sliced)
    with opened(deployed.config()) as place:
        yield place
    cloud.destroy(data=False)


def test_a_run_is_shown_with_its_stages_and_its_result(place):
    run = ended(place, begin(place, count=5))
    assert (run.status, run.chain) == ("succeeded", "numbers → map(crunch → pair) → total")
    assert [(each.name, each.total, each.succeeded, each.failed) for each in run.stages] == [
        ("numbers", 1, 1, 0), ("crunch", 5, 5, 0), ("total", 1, 1, 0),
    ]  # fmt: skip
    assert all(each.finished for each in run.stages)
    assert place.result(run.id) == [20, []]
    assert place.find("last", "crunching").id == run.id
    observed = place.wait(place.executions.observe, "crunching", run.id)
    assert observed.machine.build == place.wait(place.executions.deployed, "crunching").build == "1"
    items = place.items(run.id, 1)
    assert [(each.index, each.status) for each in items] == [(n, "succeeded") for n in range(5)]


def test_a_failed_run_says_why_and_is_resumed_with_what_it_has(place, switch):
    run = ended(place, begin(place, count=4, switch=str(switch)))
    assert (run.status, run.error.type) == ("failed", "ValueError")
    assert run.error.message == "cannot crunch 1"
    crunch = run.stages[1]
    assert (crunch.finished, crunch.failures[0].count) == (None, 1)
    with off(switch):
        planned = place.plan(run.id, ResumeOptions())
        assert planned.new
        again = place.resume(planned, f"run-{next(NAMES)}")
        done = ended(place, again.id)
        assert (done.status, place.result(done.id)) == ("succeeded", [12, []])


def test_tolerated_failures_are_counted(place, switch):
    run = ended(place, begin(place, "tolerant", count=5, switch=str(switch)))
    assert run.status == "succeeded"
    crunch = run.stages[1]
    assert (crunch.total, crunch.succeeded, crunch.tolerated) == (5, 3, 2)
    assert place.result(run.id) == [10, [1, 4]]


def test_a_slice_that_has_failed_is_counted_runs_here_and_is_given_back(mixed, switch, tmp_path):
    run = ended(mixed, begin(mixed, "sliced", count=4, switch=str(switch)))
    assert (run.status, run.error.step, run.error.type) == ("failed", "crunch", "ValueError")
    crunch = run.stages[1]
    assert (crunch.total, crunch.succeeded, crunch.failed) == (4, 0, 1)
    (group,) = crunch.failures
    assert (group.count, group.items, group.tolerated) == (1, [1], False)
    here = Here(tmp_path / "lokki.db", mixed)
    assert here.pull(run.id).failed == 1
    with off(switch):
        assert here.resume(run.id, deployed_flows.sliced) == [12, []]
    assert here.push(run.id, "sliced") >= 3
    again = mixed.resume(mixed.plan(run.id, ResumeOptions()), f"run-{next(NAMES)}")
    assert ended(mixed, again.id).status == "succeeded"  # though item 1 would fail there
    assert mixed.result(again.id) == [12, []]


def test_a_run_uses_cached_results_unless_it_is_started_or_resumed_without(mixed):
    def reused(run_id):
        assert ended(mixed, run_id).status == "succeeded"
        assert mixed.result(run_id) == [6, []]
        lines = mixed.lines(run_id, step="counted")
        return any("the result of an earlier call was reused" in line.message for line in lines)

    def started(**options):
        return mixed.start("sliced", f"run-{next(NAMES)}", {"count": 3}, **options).id

    assert not reused(started())
    run_id = started()
    assert reused(run_id)
    without = started(no_cache=True)
    assert (reused(without), mixed.run(without).no_cache) == (False, True)
    planned = mixed.plan(run_id, ResumeOptions(from_stage="counted", no_cache=True))
    resumed = mixed.resume(planned, f"run-{next(NAMES)}")
    assert (reused(resumed.id), mixed.run(resumed.id).no_cache) == (False, True)


def test_an_id_that_is_too_long_for_a_durable_execution_is_refused(place):
    with pytest.raises(AwsError, match="1 to 64 letters"):
        place.start("crunching", "x" * 65, {"count": 1})


@pytest.mark.parametrize("flow", ["crunching", "sliced"])
def test_each_flow_is_started_listed_cancelled_and_resumed_as_it_is_deployed(mixed, hold, flow):
    run_id = begin(mixed, flow, count=2, hold=str(hold))
    assert mixed.find("last", flow).id == run_id
    assert run_id in [run.id for run in mixed.runs(RunFilter(limit=50)).runs]
    mixed.request_cancel(run_id)
    hold.unlink()
    assert ended(mixed, run_id).status == "cancelled"
    planned = mixed.plan(run_id, ResumeOptions())
    assert planned.new == (flow == "sliced")
    again = mixed.resume(planned, f"run-{next(NAMES)}")
    assert ended(mixed, again.id).status == "succeeded"
    assert mixed.result(again.id) == [2, []]


def test_a_run_is_cancelled(place, hold):
    run_id = begin(place, count=2, hold=str(hold))
    place.request_cancel(run_id)
    hold.unlink()
    assert ended(place, run_id).status == "cancelled"


def test_an_id_and_a_key_start_one_run(place):
    run_id = begin(place, count=1)
    with pytest.raises(AwsError, match="already a run"):
        place.start("crunching", run_id, {"count": 1})
    key = f"key-{next(NAMES)}"
    once = partial(place.wait, place.executions.start_once, "crunching", key)
    assert once({"count": 1}) == once({"count": 1})
    with pytest.raises(KeyReused):
        once({"count": 2})
    with pytest.raises(NotTunable, match="durable function"):
        place.tune(run_id, 3)
    for each in (run_id, once({"count": 1})):
        assert ended(place, each).status == "succeeded"
