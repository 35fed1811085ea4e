#!/usr/bin/env bash
# moto 5.2.5: the Distributed Map of an execution that is stopped ends as SUCCEEDED, in DescribeMapRun
# and in the history, with all of its items counted as aborted; the error and the cause of the stop
# are lost. AWS has ABORTED for such a map run, and keeps both:
# https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeMapRun.html
# https://docs.aws.amazon.com/step-functions/latest/apireference/API_StopExecution.html
# Exits with 1 when that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet 'moto[stepfunctions]==5.2.5'
cat >look.py <<'PYTHON'
import json
import os
import time

import boto3
from moto import mock_aws

os.environ |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
each = {
    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
    "StartAt": "Wait",
    "States": {"Wait": {"Type": "Wait", "Seconds": 3, "End": True}},
}
map_state = {"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": each, "End": True}
definition = {"StartAt": "Map", "States": {"Map": map_state}}
with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
    client = boto3.client("stepfunctions", "us-east-1")
    machine = client.create_state_machine(
        name="one",
        definition=json.dumps(definition),
        roleArn="arn:aws:iam::123456789012:role/any",
    )["stateMachineArn"]
    given = json.dumps({"items": [1, 2, 3]})
    arn = client.start_execution(stateMachineArn=machine, input=given)["executionArn"]
    while not (runs := client.list_map_runs(executionArn=arn)["mapRuns"]):
        time.sleep(0.05)
    client.stop_execution(executionArn=arn, error="Stopped", cause="by hand")
    while (execution := client.describe_execution(executionArn=arn))["status"] == "RUNNING":
        time.sleep(0.05)
    run = client.describe_map_run(mapRunArn=runs[0]["mapRunArn"])
    counts = {name: count for name, count in run["itemCounts"].items() if count}
    events = client.get_execution_history(executionArn=arn)["events"]
    print("execution:", execution["status"], execution.get("error"), execution.get("cause"))
    print("map run:", run["status"], counts)
    print("history:", *(event["type"] for event in events[-3:]))
PYTHON
venv/bin/python look.py | tee seen

diff - seen <<'SEEN'
execution: ABORTED None None
map run: SUCCEEDED {'aborted': 3, 'total': 3}
history: MapRunSucceeded MapStateSucceeded ExecutionAborted
SEEN
