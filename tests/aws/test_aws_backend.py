"""Runs on AWS: started, looked at, cancelled and resumed, as commands and the service do it."""

from __future__ import annotations

import pickle
import time

import pytest
from clouds import NAMES, begin, ended, off

from lokki.backends.blocking import opened
from lokki.errors import AwsError, DefinitionError, FingerprintError, PayloadError, RunNotFound
from lokki.model.run_filter import RunFilter
from lokki.resumption import ResumeOptions
from lokki.store.codec import pickle_in

pytestmark = pytest.mark.timeout(120)


def resumed(place, run_id, **again):
    planned = place.plan(run_id, ResumeOptions(**again))
    return planned, ended(place, place.resume(planned, f"run-{next(NAMES)}").id)


def counts(stage):
    names = ("name", "total", "succeeded", "failed", "tolerated")
    return tuple(getattr(stage, name) for name in names)


# ---- looking -------------------------------------------------------------------------------------


def test_a_run_has_stages_counts_times_and_a_result(place):
    run = ended(place, begin(place, count=4))
    assert (run.status, run.where, run.flow) == ("succeeded", "aws", "crunching")
    assert run.params == {"count": 4}
    assert run.chain == "numbers → map(crunch → pair) → total"
    assert [counts(stage) for stage in run.stages] == [
        ("numbers", 1, 1, 0, 0),
        ("crunch", 4, 4, 0, 0),
        ("total", 1, 1, 0, 0),
    ]
    assert [stage.kind for stage in run.stages] == ["task", "map", "task"]
    spent = sum(stage.duration for stage in run.stages)
    assert 0 < spent <= run.duration + 0.01
    assert run.stages[0].started <= run.stages[1].started <= run.finished
    assert place.result(run.id) == [12, []]


def test_a_failed_run_says_which_item_and_why(place, switch):
    run = ended(place, begin(place, count=3, switch=str(switch)))
    assert run.status == "failed"
    error = run.error
    assert (error.step, error.index, error.type, error.message) == (
        "crunch", 1, "ValueError", "cannot crunch 1",
    )  # fmt: skip
    assert error.traceback.endswith("ValueError: cannot crunch 1\n")
    (group,) = run.stages[1].failures
    assert (group.count, group.failed, group.items) == (1, 1, [1])
    assert group.place.function == "crunch"
    with pytest.raises(PayloadError, match="has no result: it is failed"):
        place.result(run.id)


def test_tolerated_failures_are_reported_as_such(place, switch):
    run = ended(place, begin(place, "tolerant", count=5, switch=str(switch)))
    assert run.status == "succeeded"
    assert counts(run.stages[1]) == ("crunch", 5, 3, 0, 2)
    (group,) = run.stages[1].failures
    assert (group.count, group.tolerated, group.items) == (2, True, [1, 4])
    assert place.result(run.id) == [0 + 4 + 6, [1, 4]]
    cells = place.strip(run.id, 1, 5)
    assert [next(name for name, number in cell.items() if number) for cell in cells] == [
        "succeeded", "tolerated", "succeeded", "succeeded", "tolerated",
    ]  # fmt: skip


def test_a_map_that_ends_a_flow_gives_its_results_in_order(place):
    run = ended(place, begin(place, "doubles", count=12))
    assert place.result(run.id) == [2 * number for number in range(12)]
    assert pickle.loads(place.pickled_result(run.id)) == place.result(run.id)


def test_runs_are_listed_the_newest_first_and_in_pages(place):
    some = [begin(place, "doubles", count=1) for _ in range(3)]
    for run_id in some:
        ended(place, run_id)
    page = place.runs(RunFilter(flow="doubles", limit=2))
    assert [run.id for run in page.runs] == some[:0:-1]
    rest = place.runs(RunFilter(flow="doubles", before=page.next, limit=20))
    assert rest.runs[0].id == some[0]
    assert place.runs(RunFilter(flow="doubles", statuses=("failed",), limit=9)).runs == []
    assert place.runs(RunFilter(flow="doubles", since=time.time() + 60, limit=9)).runs == []
    ended(place, other := begin(place, "tolerant", count=1))
    newest = place.runs(RunFilter(limit=2)).runs
    assert [(run.flow, run.id) for run in newest] == [
        ("tolerant", other), ("doubles", some[-1]),
    ]  # fmt: skip
    assert {"crunching", "doubles", "tolerant"} <= set(place.flows())


def test_what_lists_of_executions_lack_is_not_searched(place):
    for search in ({"tags": ("a",)}, {"params": ("a=1",)}, {"search": "a"}):
        with pytest.raises(AwsError, match="found by flow, status and time, not by tag"):
            place.runs(RunFilter(**search))


def test_a_run_is_found_by_its_id_its_beginning_or_as_the_last(place):
    run_id = place.start("doubles", "found-first", {"count": 1}).id
    ended(place, run_id)
    assert place.find("found-f").id == run_id
    assert place.find("found-first", "doubles").id == run_id
    assert place.find("last", "doubles").id == run_id
    with pytest.raises(RunNotFound, match="AWS account 123456789012, us-east-1: no run 'nosuch'"):
        place.find("nosuch")
    ended(place, place.start("doubles", "found-second", {"count": 1}).id)
    with pytest.raises(RunNotFound, match="several runs begin with 'found-'"):
        place.find("found-", "doubles")
    with pytest.raises(RunNotFound, match=r"no run '\.\./x'"):
        place.find("../x")


def test_a_flow_that_is_not_deployed_and_an_id_that_is_taken_or_wrong_are_reported(place):
    with pytest.raises(AwsError, match=r"flow 'other' is not deployed in AWS account 123"):
        place.start("other", "x", {})
    with pytest.raises(AwsError, match="run id 'a b' cannot name an execution"):
        place.start("doubles", "a b", {})
    run_id = begin(place, "doubles", count=1)
    ended(place, run_id)
    with pytest.raises(AwsError, match=f"there is already a run {run_id} of doubles on AWS"):
        place.start("doubles", run_id, {"count": 2})


def test_what_steps_print_is_read_once_by_step_and_item_and_merged_by_time(place):
    run_id = begin(place, count=3)
    ended(place, run_id)
    lines = list(place.lines(run_id))
    assert sorted((line.step, line.item, line.message) for line in lines) == [
        ("crunch", number, f"crunching {number}") for number in range(3)
    ]
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    assert [line.item for line in place.lines(run_id, item=2)] == [2]
    assert list(place.lines(run_id, step="pair")) == []
    assert list(place.lines(run_id, until=time.time() - 3600)) == []
    last = place.last_line(run_id)
    assert (last, list(place.lines(run_id, after=last))) == (3, [])


# ---- cancelling and resuming ---------------------------------------------------------------------


def test_a_run_is_cancelled_and_goes_on_when_it_is_resumed(place, hold):
    run_id = begin(place, count=2, hold=str(hold))
    while len(place.run(run_id).stages) < 3:
        time.sleep(0.02)
    for _ in place.cancel(run_id):
        pass
    hold.unlink()
    run = place.run(run_id)
    assert (run.status, run.error) == ("cancelled", None)
    assert counts(run.stages[-1]) == ("total", 1, 0, 0, 0)
    planned, run = resumed(place, run_id)
    assert (planned.redrives, planned.summary[0]) == (True, "total: its call that has no result")
    assert (run.id, run.status, len(run.resumes)) == (run_id, "succeeded", 1)


def test_a_resume_runs_what_failed_and_keeps_the_rest(place, switch):
    run_id = begin(place, count=6, switch=str(switch))
    failed = ended(place, run_id)
    without = place.plan(run_id, ResumeOptions(no_cache=True))
    assert (without.redrives, without.new, without.no_cache) == (False, True, True)
    assert without.summary[-1].endswith("only as it was, which uses the cache")
    with off(switch):
        planned, run = resumed(place, run_id)
    assert planned.summary[0].startswith("crunch: ")
    assert planned.summary[1] == "total: runs after that"
    assert (run.status, run.error) == ("succeeded", None)
    assert counts(run.stages[1]) == ("crunch", 6, 6, 0, 0)
    assert run.stages[1].failures == []
    assert place.result(run_id) == [30, []]
    once = [line.item for line in place.lines(run_id, step="crunch")]
    assert once.count(0) == 1
    assert run.stages[0] == failed.stages[0]
    assert place.plan(run_id, ResumeOptions()).summary == (
        f"run {run_id} has succeeded: nothing runs again",
    )


def test_a_failed_run_can_continue_in_a_new_one_with_the_code_that_is_deployed(place, switch):
    run_id = begin(place, count=6, switch=str(switch))
    ended(place, run_id)
    with off(switch):
        planned, run = resumed(place, run_id, deployed=True)
    assert (planned.redrives, run.id != run_id, run.status) == (False, True, "succeeded")
    note = f"a new run begins with the stored results of {run_id}, and has the deployed code"
    assert planned.summary[-1] == note
    assert place.result(run.id) == [30, []]
    again = {line.item for line in place.lines(run.id, step="crunch")}
    assert {1, 4} <= again < set(range(6)), "those that have results do not run again"


def test_tolerated_failures_are_run_again_by_a_new_run_that_keeps_all_other_results(place, switch):
    run_id = begin(place, "tolerant", count=5, switch=str(switch))
    ended(place, run_id)
    with off(switch):
        planned, run = resumed(place, run_id, failed=True)
    assert planned.summary == (
        "crunch: 2 of 5 items that failed and were tolerated",
        "total: runs after that",
        f"a new run begins with the stored results of {run_id}, and has the deployed code",
    )
    assert run.id != run_id
    assert run.params == {"count": 5, "switch": str(switch)}
    assert place.result(run.id) == [20, []]
    assert sorted(line.item for line in place.lines(run.id)) == [1, 4]


def test_a_run_can_begin_again_from_a_stage(place):
    run_id = begin(place, count=2)
    ended(place, run_id)
    planned, run = resumed(place, run_id, from_stage="total")
    assert planned.summary[0] == "total: all of it, as requested"
    assert place.result(run.id) == [2, []]
    assert list(place.lines(run.id)) == []


def test_items_and_results_need_no_look_before(place, deployed):
    run_id = begin(place, "doubles", count=3)
    ended(place, run_id)
    with opened(deployed.config()) as fresh:
        about = ("doubles", run_id, 1)
        assert fresh.wait(fresh.executions.done_items, *about) == {0, 1, 2}
    with opened(deployed.config()) as fresh:
        cells = fresh.strip(run_id, 1, 3)
        assert [dict(cell) for cell in cells] == 3 * [{"succeeded": 1}]
    with opened(deployed.config()) as fresh:
        packed = fresh.wait(fresh.executions.packed_output, *about, 2)
        assert pickle.loads(pickle_in(packed)) == 4


def test_what_cannot_be_resumed_is_reported(place, deployed, hold):
    run_id = begin(place, count=1, hold=str(hold))
    with pytest.raises(AwsError, match=f"run {run_id} is running: cancel it, or wait"):
        place.plan(run_id, ResumeOptions())
    hold.unlink()
    ended(place, run_id)
    for again, told in (
        ({"failed": True}, "has no failed items"),
        ({"error": "abc"}, "give failed=True instead of error"),
        ({"from_stage": "nosuch"}, "has no stage 'nosuch'; it has numbers, crunch, total"),
        ({"force": True}, "name the stage to start from"),
    ):
        with pytest.raises(DefinitionError, match=told):
            place.plan(run_id, ResumeOptions(**again))
    machines = deployed.client("stepfunctions")
    arn = place.executions.machine_arn("crunching")
    before = machines.describe_state_machine(stateMachineArn=arn)["definition"]
    changed = before.replace(r"\"crunch\"", r"\"crash\"")
    machines.update_state_machine(stateMachineArn=arn, definition=changed)
    try:
        with pytest.raises(FingerprintError, match="force=True, from_stage='crash'"):
            place.plan(run_id, ResumeOptions())
        planned = place.plan(run_id, ResumeOptions(from_stage="crash", force=True))
        assert [stage.name for stage in planned.kept] == ["numbers"]
        assert planned.summary[:2] == (
            "crash: all of its 1 items, as requested",
            "total: runs after that",
        )
        with pytest.raises(DefinitionError, match="no results for stage 'crash' as it is now"):
            place.plan(run_id, ResumeOptions(from_stage="total", force=True))
    finally:
        machines.update_state_machine(stateMachineArn=arn, definition=before)
