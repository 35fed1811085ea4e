"""What AWS tells of an execution, as the run that it is: pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from lokki.aws.execution_view import (
    Observation,
    brief,
    execution_view,
    grouped,
    machine_of,
    statuses_of,
)
from lokki.builder.comment import comment_of
from lokki.model.failure import Error, Failure
from lokki.model.run import Resume
from lokki.model.structure import of_text, text_of

BEGIN = datetime(2026, 2, 3, 10, 0, tzinfo=UTC)
CHAIN = "load → map(crunch → pair) → total"
DEFINITION = {
    "Comment": comment_of("crunching", of_text(CHAIN)),
    "StartAt": "InitFlow",
    "States": {
        "Total": {"End": True},
        "MapCrunch": {"Label": "Crunch", "Next": "Total"},
        "Load": {"Next": "MapCrunch"},
        "InitFlow": {"Next": "Load"},
    },
}
MACHINE = machine_of(json.dumps(DEFINITION))


def at(seconds):
    return BEGIN + timedelta(seconds=seconds)


def entered(seconds, name, kind="Task"):
    details = {"stateEnteredEventDetails": {"name": name}}
    return {"type": f"{kind}StateEntered", "timestamp": at(seconds), **details}


def left(seconds, name, kind="Task"):
    details = {"stateExitedEventDetails": {"name": name}}
    return {"type": f"{kind}StateExited", "timestamp": at(seconds), **details}


def happened(seconds, kind):
    return {"type": kind, "timestamp": at(seconds)}


LOADED = [
    entered(0, "InitFlow", "Pass"), left(0, "InitFlow", "Pass"), entered(0, "Load"),
    left(2, "Load"),
]  # fmt: skip


def run(events, *, status="RUNNING", stop=None, now=60, counts=None, failures=None, **told):
    execution = {
        "name": "r1", "status": status, "startDate": BEGIN, "input": '{"n": 3}', **told,
    }  # fmt: skip
    if stop is not None:
        execution["stopDate"] = at(stop)
    maps = {"Crunch": {"itemCounts": counts}} if counts else {}
    observation = Observation(execution, MACHINE, events, maps, failures or {})
    return execution_view(observation, at(now).timestamp())


def failure(index, reason="no", step="crunch"):
    return Failure(step, index, 2, "ValueError", reason, "Traceback\n")


def test_a_machine_is_read_in_the_order_of_its_states():
    assert (MACHINE.flow, text_of(MACHINE.structure)) == ("crunching", CHAIN)
    assert [(stage.state, stage.calls, stage.label) for stage in MACHINE.stages] == [
        ("Load", ["load"], None),
        ("MapCrunch", ["crunch", "pair"], "Crunch"),
        ("Total", ["total"], None),
    ]


@pytest.mark.parametrize(
    "comment", ["", "somebody else's", "crunching: load", '{"flow": "crunching"}', "[]", "7"]
)
def test_a_machine_that_lokki_has_not_made_is_none(comment):
    assert machine_of(json.dumps({**DEFINITION, "Comment": comment})) is None


def test_a_run_that_goes_on():
    told = run([*LOADED, entered(2, "MapCrunch", "Map")], counts={"total": 9, "succeeded": 4})
    assert (told.status, told.finished, told.duration) == ("running", None, 60)
    assert (told.params, told.owner) == ({"n": 3}, None)
    load, crunch = told.stages
    assert (load.succeeded, load.duration) == (1, 2)
    assert (crunch.total, crunch.succeeded, crunch.finished) == (9, 4, None)
    assert crunch.duration == 58


def test_what_has_failed_is_tolerated_as_long_as_the_map_goes_on():
    counts = {"total": 9, "succeeded": 4, "failed": 1, "timedOut": 1}
    told = run([*LOADED, entered(2, "MapCrunch", "Map")], counts=counts)
    assert (told.stages[1].failed, told.stages[1].tolerated) == (0, 2)


def test_a_batch_has_failures_that_only_its_steps_tell():
    definition = json.loads(json.dumps(DEFINITION))
    definition["States"]["MapCrunch"]["ItemBatcher"] = {}
    execution = {"name": "r1", "status": "SUCCEEDED", "startDate": BEGIN, "stopDate": at(9)}
    events = [*LOADED, entered(2, "MapCrunch", "Map"), left(9, "MapCrunch", "Map")]
    maps = {"Crunch": {"itemCounts": {"total": 9, "succeeded": 9}}}
    failures = {"crunch": [failure(3), failure(5)]}
    machine = machine_of(json.dumps(definition))
    told = execution_view(Observation(execution, machine, events, maps, failures), 0).stages[1]
    assert (told.succeeded, told.tolerated) == (7, 2)


def test_a_failed_attempt_of_a_task_is_retrying_until_the_next_begins():
    events = [entered(0, "Load"), happened(1, "TaskFailed")]
    assert run(events).stages[0].retrying == 1
    assert run([*events, happened(2, "TaskScheduled")]).stages[0].retrying == 0


def test_a_failed_run_is_reported_by_its_step():
    events = [*LOADED, entered(2, "MapCrunch", "Map"), happened(5, "ExecutionFailed")]
    told = run(
        events,
        status="FAILED",
        stop=5,
        counts={"total": 9, "succeeded": 4, "failed": 1},
        failures={"crunch": [failure(7, "cannot crunch 7")]},
        error="States.ExceedToleratedFailureThreshold",
    )
    assert told.error == Error.of(failure(7, "cannot crunch 7"))
    assert (told.stages[1].failed, told.stages[1].tolerated) == (1, 0)
    assert told.stages[1].failures[0].failed == 1


def test_a_failed_run_whose_step_reported_nothing_is_reported_by_aws():
    events = [entered(0, "Load"), happened(3, "ExecutionFailed")]
    told = run(events, status="FAILED", stop=3, error="Lambda.Unknown", cause="it ran out")
    assert (told.error.step, told.error.type, told.error.message) == (
        "load", "WorkerDied", "Lambda.Unknown: it ran out",
    )  # fmt: skip
    cause = '{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 1 Error: signal: killed"}'
    told = run(events, status="FAILED", stop=3, error="Runtime.ExitError", cause=cause)
    assert told.error.message == "Runtime.ExitError: RequestId: 1 Error: signal: killed"
    cause = json.dumps({"errorMessage": "No module named 'pandas'", "stackTrace": ["  File 1\n"]})
    told = run(events, status="FAILED", stop=3, error="Runtime.ImportModuleError", cause=cause)
    assert told.error.message.startswith("No module named 'pandas': a package has what the nearest")
    assert told.error.traceback == "  File 1\n"
    told = run([], status="TIMED_OUT", stop=3)
    assert (told.status, told.error.step, told.error.type) == (
        "failed", None, "TIMED_OUT",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("job", "kind", "text"),
    [
        (
            {"Container": {"ExitCode": 1}, "StatusReason": "Essential container in task exited"},
            "WorkerDied",
            "Batch job j-1: Essential container in task exited with exit code 1",
        ),
        (
            {
                "Container": {"Reason": "CannotInspectContainerError: timed out after 30s"},
                "StatusReason": "Essential container in task exited",
            },
            "States.TaskFailed",
            "Batch job j-1: Essential container in task exited: CannotInspectContainerError: "
            "timed out after 30s",
        ),
        (
            {"StatusReason": "Job attempt duration exceeded timeout", "Container": {}},
            "TimeoutError",
            "Batch job j-1: Job attempt duration exceeded timeout",
        ),
    ],
)
def test_a_job_that_reported_nothing_is_told_as_what_ended_it(job, kind, text):
    """The first two as recorded in ``layers/hls_lambda_layer/python/hls_lambda_layer/
    batch_test_events.py`` of https://github.com/NASA-IMPACT/hls-orchestration."""
    cause = json.dumps({"Attempts": [], "JobId": "j-1", "Status": "FAILED", **job})
    told = run(
        [entered(0, "Load")], status="FAILED", stop=3, error="States.TaskFailed", cause=cause
    )
    assert (told.error.type, told.error.message) == (kind, text)


def test_a_cancelled_run_has_failed_nowhere():
    told = run([entered(0, "Load"), happened(3, "ExecutionAborted")], status="ABORTED", stop=3)
    assert (told.status, told.error, told.stages[0].failed) == ("cancelled", None, 0)


def test_the_time_between_an_end_and_a_redrive_does_not_count():
    events = [
        *LOADED,
        entered(2, "MapCrunch", "Map"),
        happened(5, "ExecutionFailed"),
        happened(105, "ExecutionRedriven"),
        left(109, "MapCrunch", "Map"),
        entered(109, "Total"),
        left(110, "Total"),
    ]
    told = run(events, status="SUCCEEDED", stop=110, counts={"total": 1, "succeeded": 1})
    assert told.duration == 10
    assert [stage.duration for stage in told.stages] == [2, 7, 1]
    assert told.resumes == [Resume(at="2026-02-03T10:01:45.000Z", by=None, again=[])]


def test_failures_that_are_alike_are_together_the_largest_group_first():
    failures = [failure(1, "other"), failure(2, "no item 2"), failure(3, "no item 3")]
    first, second = grouped(failures, tolerated=True)
    assert (first.count, first.items, first.varies) == (2, [2, 3], True)
    assert (second.count, second.varies, second.tolerated) == (1, False, True)


def test_the_resume_key_is_no_parameter():
    assert run([], input='{"n": 1, "lokki:resumed": "r0"}').params == {"n": 1}


@pytest.mark.parametrize("levels", [99, 100, 500, 5_000])
def test_parameters_are_reported_to_a_hundred_levels(levels):
    told = run([], input='{"n": ' + "[" * levels + "]" * levels + "}").params
    text = json.dumps(told)
    assert ("nested too deeply" in text) == (levels >= 100)
    assert text.count("[") <= 99


def test_long_parameters_are_reported_by_their_beginning():
    told = run([], input=json.dumps({"n": "x" * 100_000, "m": 1}))
    assert told.params_cut
    assert told.params == {"n": "x" * 200 + "… (cut: it has 100,000 characters)", "m": 1}
    assert not run([]).params_cut


def test_statuses_have_their_names():
    assert statuses_of("failed") == ["FAILED", "TIMED_OUT"]
    assert statuses_of("paused") == []
    told = {"name": "r1", "status": "ABORTED", "startDate": BEGIN, "stopDate": at(4)}
    assert brief(told, "crunching", 0.0).duration == 4
