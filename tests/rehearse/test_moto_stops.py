"""The AWS of a rehearsal when an execution is stopped, and what may be redriven.

https://docs.aws.amazon.com/step-functions/latest/apireference/API_StopExecution.html: at once,
whatever its functions are doing.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from past import ended_days_ago
from serving import until
from test_moto_patches import function, mapped, moto

__all__ = ["function", "moto"]
pytestmark = pytest.mark.timeout(120)

WAITING = """
import os, time

def handler(event, context):
    open(f"{event}/{context.aws_request_id}", "w").close()
    while not os.path.exists(f"{event}.go-on"):
        time.sleep(0.01)
    return event
"""


@pytest.fixture
def held(moto, function, tmp_path):
    """A task whose function waits for a file; its calls; what ends them."""
    calls = tmp_path / "calls"
    calls.mkdir()
    name, _ = function(WAITING)
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": name, "Payload": str(calls)},
        "OutputPath": "$.Payload",
        "End": True,
    }
    go_on = tmp_path / "calls.go-on"
    yield task, lambda: len(list(calls.iterdir())), go_on.touch
    go_on.touch()


def history(moto, arn):
    events = moto.stepfunctions.get_execution_history(executionArn=arn)["events"]
    assert [each["id"] for each in events] == list(range(1, len(events) + 1))
    return [each["type"] for each in events], events


def until_ended(moto, arn):
    def ended():
        told = moto.stepfunctions.describe_execution(executionArn=arn)
        return told["status"] != "RUNNING" and told

    return until(ended, "the end of the execution")


def test_an_execution_that_is_stopped_waits_for_no_function(moto, held):
    task, calls, go_on = held
    client = moto.stepfunctions
    arn = client.start_execution(stateMachineArn=moto.machine({"T": task}, "T"))["executionArn"]
    until(lambda: calls() == 1, "the call")
    stopped = client.stop_execution(executionArn=arn, error="Cancelled", cause="by a test")
    told = client.describe_execution(executionArn=arn)
    assert (told["status"], told["error"], told["cause"]) == ("ABORTED", "Cancelled", "by a test")
    assert told["stopDate"] == stopped["stopDate"] <= datetime.now(UTC)
    types, events = history(moto, arn)
    begun = ["ExecutionStarted", "TaskStateEntered", "TaskScheduled", "TaskStarted"]
    assert types == [*begun, "ExecutionAborted"]
    details = {"error": "Cancelled", "cause": "by a test"}
    assert events[-1]["executionAbortedEventDetails"] == details
    assert client.stop_execution(executionArn=arn)["stopDate"] == stopped["stopDate"]

    client.redrive_execution(executionArn=arn)
    until(lambda: calls() == 2, "the call of the redrive, beside the first")
    go_on()
    assert until_ended(moto, arn)["status"] == "SUCCEEDED"
    types, _ = history(moto, arn)
    assert types[5:] == [
        "ExecutionRedriven", *begun[1:], "TaskSucceeded", "TaskStateExited", "ExecutionSucceeded",
    ]  # fmt: skip


def test_without_a_reason_the_event_of_a_stop_has_none(moto):
    """As LocalStack recorded: stepfunctions/v2/test_sfn_api::test_stop_execution, 2024-05-06."""
    machine = moto.machine({"W": {"Type": "Wait", "Seconds": 60, "End": True}}, "W")
    arn = moto.stepfunctions.start_execution(stateMachineArn=machine)["executionArn"]
    moto.stepfunctions.stop_execution(executionArn=arn)
    told = moto.stepfunctions.describe_execution(executionArn=arn)
    assert (told["status"], "error" in told, "cause" in told) == ("ABORTED", False, False)
    types, events = history(moto, arn)
    assert types[-1] == "ExecutionAborted"
    assert events[-1]["executionAbortedEventDetails"] == {}


def test_a_map_is_stopped_with_its_children_and_redriven_beside_what_they_still_do(moto, held):
    task, calls, go_on = held
    bucket = moto.bucket()
    moto.s3.put_object(Bucket=bucket, Key="items.json", Body='[{"input": 0}, {"input": 1}]')
    client = moto.stepfunctions
    machine = moto.machine(mapped(bucket, task, MaxConcurrency=1), "M")
    arn = client.start_execution(stateMachineArn=machine)["executionArn"]
    until(lambda: calls() == 1, "the call of a child")
    begun = ["ExecutionStarted", "MapStateEntered", "MapStateStarted", "MapRunStarted"]
    assert history(moto, arn)[0] == begun
    (run,) = client.list_map_runs(executionArn=arn)["mapRuns"]

    def counts():
        told = client.describe_map_run(mapRunArn=run["mapRunArn"])
        items = {name: count for name, count in told["itemCounts"].items() if count}
        return told["status"], items, told.get("stopDate")

    assert counts() == ("RUNNING", {"total": 2, "running": 1, "pending": 1}, None)
    stopped = client.stop_execution(executionArn=arn)["stopDate"]
    assert counts() == ("ABORTED", {"total": 2, "aborted": 1, "pending": 1}, stopped)
    (child,) = client.list_executions(mapRunArn=run["mapRunArn"])["executions"]
    assert (child["status"], child["stopDate"]) == ("ABORTED", stopped)
    assert history(moto, arn)[0] == [*begun, "ExecutionAborted"]

    client.redrive_execution(executionArn=arn)
    until(lambda: calls() == 2, "the call of the redriven child, beside the first")
    assert counts() == ("RUNNING", {"total": 2, "running": 1, "pending": 1}, None)
    go_on()
    assert until_ended(moto, arn)["status"] == "SUCCEEDED"
    assert calls() == 3
    status, items, _ = counts()
    assert (status, items) == ("SUCCEEDED", {"total": 2, "succeeded": 2})
    children = client.list_executions(mapRunArn=run["mapRunArn"])["executions"]
    assert [each["status"] for each in children] == ["SUCCEEDED", "SUCCEEDED"]


def test_an_execution_that_cannot_be_redriven_says_why(moto):
    """As LocalStack recorded: stepfunctions/v2/test_sfn_api::test_describe_execution, 2024-08-21.

    The period is of
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html .
    """
    client = moto.stepfunctions
    states = {
        "C": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.wait", "BooleanEquals": True, "Next": "W"}],
            "Default": "S",
        },
        "W": {"Type": "Wait", "Seconds": 60, "Next": "S"},
        "S": {"Type": "Succeed"},
    }
    machine = moto.machine(states, "C")
    running = client.start_execution(stateMachineArn=machine, input='{"wait": true}')
    running = running["executionArn"]
    done = moto.execute(machine, {"wait": False})["executionArn"]

    def refused(arn):
        told = client.describe_execution(executionArn=arn)
        assert told["redriveStatus"] == "NOT_REDRIVABLE"
        with pytest.raises(client.exceptions.ExecutionNotRedrivable) as error:
            client.redrive_execution(executionArn=arn)
        assert error.value.response["Error"]["Message"] == told["redriveStatusReason"]
        return told["redriveStatusReason"]

    assert refused(running) == "Execution is RUNNING and cannot be redriven"
    assert refused(done) == "Execution is SUCCEEDED and cannot be redriven"
    client.stop_execution(executionArn=running)
    told = client.describe_execution(executionArn=running)
    assert (told["redriveStatus"], "redriveStatusReason" in told) == ("REDRIVABLE", False)
    with ended_days_ago(running, 15):
        assert refused(running) == "Execution redrivable period exceeded"
    with ended_days_ago(running, 13):
        told = client.describe_execution(executionArn=running)
    assert told["redriveStatus"] == "REDRIVABLE"
