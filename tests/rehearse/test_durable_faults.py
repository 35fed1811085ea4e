"""What goes wrong amid a durable function: nothing that is done is done again, on AWS's runner."""

from __future__ import annotations

import faulty_flows as flows
import pytest
from aws_durable_execution_sdk_python_testing.executor import Executor

from lokki import ParameterError
from lokki.rehearse.moto_patches import lambdas
from lokki.rehearse.moto_patches.server import PLATFORM

DURABLE = {"aws.target": "durable"}
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def run(rehearsal, tmp_path):
    """Runs a flow; its functions note their calls in a folder."""
    folder = tmp_path / "calls"
    folder.mkdir()

    def run(flow, settings=None, **given):
        done = rehearsal.run(flow(folder=str(folder), **given), DURABLE | (settings or {}))
        attempts = {each.name: [*map(int, each.read_text().split())] for each in folder.iterdir()}
        return done, attempts

    return run


def once(count, **others):
    """The attempts of items that were called once, except for others."""
    called = {f"item-{index}": [1] for index in range(count)}
    return {
        "counted": [1],
        **called,
        **{f"item-{index[1:]}": each for index, each in others.items()},
    }


# ---- processes that end --------------------------------------------------------------------------


def test_a_process_that_ends_costs_the_item_that_was_running_an_attempt_and_the_others_none(run):
    done, attempts = run(flows.death_retried)
    assert (done.error, done.result) == (None, ([0, 1, 2, 3, 4], []))
    assert attempts == {**once(5, _2=[1, 2]), "summary": [1]}


def test_an_item_without_retries_fails_with_its_process(run):
    done, attempts = run(flows.death)
    assert (done.status, done.error) == ("FAILED", "WorkerDied")
    assert attempts == once(3)
    (failure,) = done.failures
    assert (failure.step, failure.index, failure.attempt) == ("dies", 2, 1)


def test_a_tolerated_end_of_a_process_is_one_failed_item(run):
    done, attempts = run(flows.death_tolerated)
    assert (done.error, done.result) == (None, ([0, 1, 3, 4], [(2, "WorkerDied", 1)]))
    assert attempts == {**once(5), "summary": [1]}


def test_a_durable_function_that_is_killed_at_each_of_its_checkpoints_goes_on(run, monkeypatch):
    """Before each change of an operation is recorded, and after it."""
    killed = {False: set(), True: set()}
    monkeypatch.setattr(Executor, "MAX_CONSECUTIVE_FAILED_ATTEMPTS", 100)  # AWS has no such limit

    def on_checkpoint(execution, updates, recorded):
        changes = {(each["Name"], each["Action"]) for each in updates}
        if changes - killed[recorded]:
            killed[recorded] |= changes
            lambdas.kill(execution.partition("/")[0].rpartition(":")[0])

    monkeypatch.setattr(PLATFORM, "on_checkpoint", on_checkpoint)
    done, attempts = run(flows.whole)
    assert (done.error, done.result) == (None, ([each**2 for each in range(10, 16)], []))
    slices = [f"{step}[{part}]" for step in ("noted", "squared") for part in ("0:3", "3:6")]
    changes = {(name, "START") for name in ("flow", "counted", "noted", *slices, "summary")}
    changes |= {("flow", "SUCCEED"), ("noted", "SUCCEED")}
    assert killed == {False: changes, True: changes}
    assert {name: called for name, called in attempts.items() if called != [1]} == {}


def test_of_jobs_a_lost_host_costs_no_attempt_and_others_have_failed(run):
    done, attempts = run(flows.job_faults, {"batch.job_queue": "the-queue"})
    failed = [(1, "WorkerDied", 1), (2, "ValueError", 1)]
    assert (done.error, done.result) == (None, ([0, 30], failed))
    calls = {"item-0": [1, 1], "item-1": [1], "item-2": [1], "item-3": [1]}
    noted = {"noted-0": [1], "noted-3": [1]}
    assert attempts == {"counted": [1], **calls, **noted, "summary": [1]}
    assert done.states[1].items == {"succeeded": 2, "failed": 2}
    assert "exit code -9" in next(each.reason for each in done.failures if each.index == 1)


# ---- time ----------------------------------------------------------------------------------------


def test_a_slice_that_runs_out_of_time_leaves_the_rest_to_another_process(run):
    done, attempts = run(flows.out_of_time, {"lambda.timeout": 3})
    assert (done.error, done.result) == (None, ([0, 1, 2, 3, 4, 5], []))
    assert attempts == {**once(6), "summary": [1]}
    assert [row.retries for row in done.states] == [0, 0, 0]  # no process was ended


# ---- calls that are made later -------------------------------------------------------------------


def test_calls_that_are_refused_are_made_later(run, monkeypatch):
    monkeypatch.setattr(PLATFORM, "concurrency", 2)
    done, attempts = run(flows.narrow)
    assert (done.error, done.result) == (None, ([*range(10, 16)], []))
    assert attempts == {**once(6), "summary": [1]}
    assert done.states[1].retries > 0


def test_a_steps_own_error_that_is_named_like_a_refusal_is_an_error(run):
    done, attempts = run(flows.refused_elsewhere)
    assert (done.error, done.cause) == ("TooManyRequestsException", "of another service")
    assert attempts == {"refused": [1]}


def test_items_that_ask_for_a_later_try_keep_their_attempts_whatever_else_happens(run):
    done, attempts = run(flows.put_off)
    assert (done.error, done.result) == (None, ([(0, 1), (1, 1), (2, 2), (3, 2), (4, 1)], []))
    assert attempts == {**once(5, _0=[1, 1, 1], _2=[1, 2], _3=[1, 2]), "summary": [1]}


def test_a_step_waits_for_retries_and_for_later_tries(run):
    done, attempts = run(flows.later_alone)
    assert (done.error, done.result) == (None, [4, 2])
    assert attempts == {"later": [1, 1, 2, 2]}
    assert done.states[0].seconds > 60 + 10 + 10  # the longest delay, and two short ones


# ---- errors --------------------------------------------------------------------------------------


def test_a_map_ends_with_more_failures_than_it_tolerates_and_says_how_many(run):
    done, attempts = run(flows.too_many)
    assert (done.status, done.error) == ("FAILED", "MapFailed")
    assert done.cause == "4 of 40 items failed"
    assert len(attempts) < 30


def test_the_next_step_of_an_item_skips_those_that_have_failed(run):
    done, attempts = run(flows.skipping)
    failed = [(index, "ValueError", 1) for index in (1, 3, 5)]
    assert (done.error, done.result) == (None, ([10, 14, 26], failed))
    second = {name for name in attempts if name.startswith("second")}
    assert second == {"second-0", "second-2", "second-4"}


def test_an_error_of_any_name_and_text_is_reported(run):
    done, _ = run(flows.oddly_named)
    assert (done.status, done.error) == ("FAILED", "Ünicode error")
    assert done.cause.startswith("caf\\udcff \0 üxxx")


def test_a_map_for_which_an_execution_has_no_operations_left_is_refused_before_it_begins(run):
    done, attempts = run(flows.crowded)
    assert (done.status, done.error) == ("FAILED", "LokkiError")
    assert "1,000 slices of 3 calls each" in done.cause
    assert "2,995 are left for it: make its batch_size at least 2, or" in done.cause
    assert attempts == {"counted": [1]}


def test_an_error_of_the_flow_itself_ends_its_run(run):
    done, _ = run(flows.raising)
    assert (done.status, done.error) == ("FAILED", "LookupError")
    assert done.cause == "this flow is not for these parameters"


def test_parameters_that_each_call_records_are_refused_if_they_are_large(run):
    with pytest.raises(ParameterError, match=r"of a durable function at most 32,768: store"):
        run(flows.echo, text="x" * 33_000)
    done, _ = run(flows.echo, text="x" * 32_000)
    assert (done.error, done.result) == (None, ([0], []))


# ---- what items have, say and show ---------------------------------------------------------------


def test_a_slice_of_items_over_4_kib_says_and_shows_what_its_items_do(run):
    done, _ = run(flows.large)
    assert (done.error, done.result) == (None, ([6_000] * 5, []))
    lines = [line for line in done.lines if '"step": "length"' in line]
    for index in range(5):
        (shown,) = [each for each in lines if f'"length.{index}.1.0"' in each]
        assert '"type": "text/markdown"' in shown
    assert sum("there are 6000" in each for each in lines) == 5
