"""The AWS of a rehearsal: a test for each behaviour that is changed, or added to what moto does."""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config as BotoConfig
from serving import until

from lokki.rehearse.moto_patches import lambdas, sandbox
from lokki.rehearse.moto_patches.platform import Image
from lokki.rehearse.moto_patches.server import PLATFORM, REGION

pytestmark = pytest.mark.timeout(120)
ROLE = "arn:aws:iam::123456789012:role/any"


@dataclass
class PatchedMoto:
    """Clients of it, and what tests ask of it."""

    endpoint: str

    def __getattr__(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.endpoint, region_name=REGION)

    def create(self, resources: Any, **outputs: Any) -> dict[str, str]:
        """A stack of these resources; its outputs, which are deleted with it never."""
        name = f"stack-{uuid.uuid4().hex[:8]}"
        template = {
            "Resources": resources,
            "Outputs": {key: {"Value": value} for key, value in outputs.items()},
        }
        self.cloudformation.create_stack(
            StackName=name, TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_IAM"]
        )
        (stack,) = self.cloudformation.describe_stacks(StackName=name)["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        told = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}
        return {**told, "stack": name}

    def machine(self, states: Any, start: str) -> str:
        name = f"machine-{uuid.uuid4().hex[:8]}"
        definition = json.dumps({"StartAt": start, "States": states})
        made = self.stepfunctions.create_state_machine(
            name=name, definition=definition, roleArn=ROLE
        )
        return made["stateMachineArn"]

    def execute(self, machine: str, given: Any = None) -> Any:
        client = self.stepfunctions
        arn = client.start_execution(stateMachineArn=machine, input=json.dumps(given or {}))
        return self.ended(arn["executionArn"])

    def redriven(self, arn: str) -> Any:
        self.stepfunctions.redrive_execution(executionArn=arn)
        return self.ended(arn)

    def ended(self, arn: str) -> Any:
        while True:
            told = self.stepfunctions.describe_execution(executionArn=arn)
            if told["status"] != "RUNNING":
                return told
            time.sleep(0.02)

    def bucket(self) -> str:
        name = f"bucket-{uuid.uuid4().hex[:8]}"
        self.s3.create_bucket(Bucket=name)
        return name

    def json_at(self, bucket: str, key: str) -> Any:
        return json.loads(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())


@pytest.fixture
def moto(rehearsal):
    return PatchedMoto(rehearsal.endpoint)


# ---- Lambda --------------------------------------------------------------------------------------

HANDLER = """
import os, subprocess, sys, time
print("loading")
count = 0

def handler(event, context):
    global count
    count += 1
    if event == "raise":
        raise LookupError("nothing here")
    if event == "exit":
        os._exit(3)
    if event == "sleep":
        time.sleep(60)
    print("handling", count)
    return {
        "event": event,
        "count": count,
        "step": os.environ.get("STEP"),
        "pid": os.getpid(),
        "function": os.environ["AWS_LAMBDA_FUNCTION_NAME"],
        "left": context.get_remaining_time_in_millis(),
        "tool": subprocess.check_output(["./tool"], text=True) if event == "tool" else None,
    }
"""


@pytest.fixture
def function(moto):
    """A function, as CloudFormation makes it."""

    def make(source=HANDLER, timeout=20, memory=512):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as package:
            package.writestr(zipfile.ZipInfo("handler.py"), source)  # the same gives the same
            tool = zipfile.ZipInfo("tool")
            tool.external_attr = 0o755 << 16
            package.writestr(tool, "#!/bin/sh\necho done")
        bucket = moto.bucket()
        moto.s3.put_object(Bucket=bucket, Key="f.zip", Body=packed.getvalue())
        properties = {
            "Code": {"S3Bucket": bucket, "S3Key": "f.zip"},
            "Handler": "handler.handler",
            "Runtime": "python3.11",
            "Role": {"Fn::GetAtt": ["R", "Arn"]},
            "Timeout": timeout,
            "MemorySize": memory,
            "Environment": {"Variables": {"STEP": "one"}},
            "LoggingConfig": {"LogGroup": f"/own/{bucket}"},
            "Tags": [{"Key": "lokki:flow", "Value": "x"}],
        }
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
        document = {"Version": "2012-10-17", "Statement": [statement]}
        role = {"AssumeRolePolicyDocument": document}
        resources = {
            "R": {"Type": "AWS::IAM::Role", "Properties": role},
            "F": {"Type": "AWS::Lambda::Function", "Properties": properties},
        }
        made = moto.create(resources, Name={"Ref": "F"})
        return made["Name"], f"/own/{bucket}"

    return make


def invoke(moto, name, event):
    answer = moto.__getattr__("lambda").invoke(FunctionName=name, Payload=json.dumps(event))
    return answer.get("FunctionError"), json.loads(answer["Payload"].read())


def test_what_is_executable_in_a_package_may_be_executed(moto, function):
    name, _ = function()
    assert invoke(moto, name, "tool")[1]["tool"] == "done\n"


def test_a_function_runs_its_code_and_stays_warm(moto, function):
    name, _ = function()
    (no_error, first), (_, second) = (invoke(moto, name, {"a": 1}) for _ in range(2))
    assert no_error is None
    assert (first["event"], first["step"], first["function"]) == ({"a": 1}, "one", name)
    assert (first["count"], second["count"]) == (1, 2)
    assert first["pid"] == second["pid"]
    assert 0 < first["left"] <= 20_000


def test_an_error_of_a_function_has_its_name_text_and_frames(moto, function):
    name, _ = function()
    error, told = invoke(moto, name, "raise")
    assert error == "Unhandled"
    assert (told["errorType"], told["errorMessage"]) == ("LookupError", "nothing here")
    assert "raise LookupError" in told["stackTrace"][-1]


def test_a_function_whose_process_ends_or_takes_too_long_is_reported_as_lambda_tells_it(
    moto, function
):
    name, _ = function(timeout=1)
    assert invoke(moto, name, "exit")[1]["errorType"] == "Runtime.ExitError"
    error, told = invoke(moto, name, "sleep")
    assert (error, told["errorType"]) == ("Unhandled", "Sandbox.Timedout")
    assert "Task timed out after 1.00 seconds" in told["errorMessage"]
    assert invoke(moto, name, "again")[1]["count"] == 1, "in a new process"


ABOUT = """
import __main__, os, random, subprocess, sys, time

def handler(event, context):
    if event:
        with open(event, "w") as file:
            print(subprocess.Popen(["sleep", "60"]).pid, file=file)
        time.sleep(60)
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "random": random.random(),
        "function": os.environ["AWS_LAMBDA_FUNCTION_NAME"],
        "argv": sys.argv[1:],
        "folders": [os.getcwd(), os.environ["LAMBDA_TASK_ROOT"], sys.path[0]],
        "main": __main__.__spec__.name,
    }
"""


def test_the_functions_of_a_package_are_forks_of_one_process(moto, function):
    names = [function(ABOUT)[0] for _ in range(2)]
    one, other = (invoke(moto, name, None)[1] for name in names)
    assert one["parent"] == other["parent"] != os.getpid()
    assert one["pid"] != other["pid"]
    assert one["random"] != other["random"]
    for told, name in zip((one, other), names, strict=True):
        assert told["function"] == name
        assert told["argv"] == ["handler.handler"]
        assert len(set(told["folders"])) == 1
        assert told["main"] == "awslambdaric.__main__"
    lambdas.end_idle()
    until(lambda: not Path(f"/proc/{one['parent']}").exists(), "it ends")
    again = invoke(moto, names[0], None)[1]
    assert again["parent"] not in (one["parent"], os.getpid())


def test_what_a_function_has_started_ends_with_it(moto, function, tmp_path):
    name, _ = function(ABOUT, timeout=1)
    assert invoke(moto, name, str(tmp_path / "pid"))[1]["errorType"] == "Sandbox.Timedout"
    started = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    until(lambda: not started.exists() or started.read_text().split()[2] == "Z", "it ends")


def test_a_module_that_is_not_in_the_package_is_reported(moto, function):
    name, _ = function("import not_there\n")
    assert invoke(moto, name, 1)[1]["errorType"] == "Runtime.ImportModuleError"


def test_what_a_function_writes_is_in_its_log_group(moto, function):
    name, group = function()
    invoke(moto, name, 1)
    events = moto.logs.filter_log_events(logGroupName=group)["events"]
    kinds = [event["message"].partition(" ")[0] for event in events]
    assert kinds == ["START", "loading", "handling", "END", "REPORT"]


def test_what_step_functions_adds_to_the_answer_of_a_function_counts(moto, function):
    """As LocalStack recorded: stepfunctions/v2/services/test_lambda_task_service::test_invoke."""
    name, _ = function()
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": name, "Payload.$": "$"},
        "End": True,
    }
    done = moto.execute(moto.machine({"T": task}, "T"), {"n": 1})
    result = json.loads(done["output"])
    assert set(result) == {
        "ExecutedVersion", "Payload", "SdkHttpMetadata", "SdkResponseMetadata", "StatusCode",
    }  # fmt: skip
    beside = len(done["output"]) - len(json.dumps(result["Payload"], separators=(",", ":")))
    assert 850 < beside < 1000


def test_the_tags_of_a_function_are_kept(moto, function):
    name, _ = function()
    assert moto.__getattr__("lambda").get_function(FunctionName=name)["Tags"] == {"lokki:flow": "x"}


@pytest.fixture
def one_at_a_time():
    PLATFORM.concurrency = 1
    yield
    PLATFORM.concurrency = None


WAITING = """
import os, time

def handler(event, context):
    open(f"{event}/begun", "w").close()
    while not os.path.exists(f"{event}/go-on"):
        time.sleep(0.01)
"""


def test_an_account_refuses_more_functions_at_a_time_than_its_concurrency(
    moto, function, one_at_a_time, tmp_path
):
    name, _ = function(WAITING)
    at_once = BotoConfig(retries={"total_max_attempts": 1})
    client = boto3.client("lambda", endpoint_url=moto.endpoint, region_name=REGION, config=at_once)
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == 1
    call = {"FunctionName": name, "Payload": json.dumps(str(tmp_path))}

    def accepted():
        with suppress(client.exceptions.TooManyRequestsException):
            return client.invoke(**call)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(until, accepted, "a call once those of other tests have ended")
        until((tmp_path / "begun").exists, "the first call")
        with pytest.raises(client.exceptions.TooManyRequestsException) as refused:
            client.invoke(**call)
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
        task = {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": {"FunctionName": name, "Payload": str(tmp_path)},
            "End": True,
        }
        told = moto.execute(moto.machine({"T": task}, "T"))
        assert (told["status"], told["error"]) == ("FAILED", "Lambda.TooManyRequestsException")
        (tmp_path / "go-on").touch()
        assert json.loads(first.result()["Payload"].read()) is None
    assert json.loads(client.invoke(**call)["Payload"].read()) is None


# ---- state machines ------------------------------------------------------------------------------


def test_a_machine_that_a_stack_makes_of_an_object_is_executed(moto):
    definition = {
        "StartAt": "Told",
        "States": {"Told": {"Type": "Pass", "Parameters": {"who": "${Who}"}, "End": True}},
    }
    properties = {
        "Definition": definition,
        "DefinitionSubstitutions": {"Who": "somebody"},
        "RoleArn": ROLE,
    }
    resource = {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}
    made = moto.create({"M": resource}, Arn={"Ref": "M"})
    assert json.loads(moto.execute(made["Arn"])["output"]) == {"who": "somebody"}


def mapped(bucket, inner, **more):
    """A map over ``items.json`` whose children are in one state."""
    return {
        "M": {
            "Type": "Map",
            "Label": "M",
            "ItemReader": {
                "Resource": "arn:aws:states:::s3:getObject",
                "ReaderConfig": {"InputType": "JSON"},
                "Parameters": {"Bucket": bucket, "Key": "items.json"},
            },
            "ItemSelector": {
                "index.$": "$$.Map.Item.Index",
                "value.$": "$$.Map.Item.Value.input",
                "run.$": "$$.Execution.Name",
            },
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": "I",
                "States": {"I": inner, "F": {"Type": "Fail", "Error": "Odd", "Cause": "it is odd"}},
            },
            "ResultWriter": {
                "Resource": "arn:aws:states:::s3:putObject",
                "Parameters": {"Bucket": bucket, "Prefix": "written"},
            },
            "End": True,
            **more,
        }
    }


ODD_FAILS = {
    "Type": "Choice",
    "Choices": [{"Variable": "$.value", "NumericEquals": 1, "Next": "F"}],
    "Default": "S",
}


def run_map(moto, count, inner=None, kind="STANDARD", **more):
    """Execute a map over so many items; what is told of it, and its files."""
    bucket = moto.bucket()
    items = [{"input": number} for number in range(count)]
    moto.s3.put_object(Bucket=bucket, Key="items.json", Body=json.dumps(items))
    states = mapped(bucket, inner or {"Type": "Pass", "End": True}, **more)
    processor = states["M"]["ItemProcessor"]
    processor["States"]["S"] = {"Type": "Succeed"}
    processor["ProcessorConfig"]["ExecutionType"] = kind
    done = moto.execute(moto.machine(states, "M"))
    files: dict[str, Any] = {"SUCCEEDED": [], "FAILED": []}
    if done["status"] == "SUCCEEDED":
        details = json.loads(done["output"])["ResultWriterDetails"]
        manifest = moto.json_at(bucket, details["Key"])
        for status, told in manifest["ResultFiles"].items():
            files[status] = [row for each in told for row in moto.json_at(bucket, each["Key"])]
    return done, files


@pytest.mark.parametrize("count", [0, 1, 50])
def test_every_item_has_an_execution_whose_output_is_written(moto, count):
    done, files = run_map(moto, count)
    assert done["status"] == "SUCCEEDED"
    outputs = [json.loads(each["Output"]) for each in files["SUCCEEDED"]]
    assert sorted(each["index"] for each in outputs) == list(range(count))
    assert {each["run"] for each in outputs} <= {done["name"]}
    assert files["FAILED"] == []


def test_a_child_knows_its_own_input_and_name(moto):
    told = {"own.$": "$$.Execution.Input", "name.$": "$$.Execution.Name"}
    done, files = run_map(moto, 1, {"Type": "Pass", "Parameters": told, "End": True})
    (child,) = files["SUCCEEDED"]
    output = json.loads(child["Output"])
    assert output["own"] == {"index": 0, "value": 0, "run": done["name"]}
    assert output["name"] == child["Name"] != done["name"]


def test_a_failed_item_fails_the_map_unless_it_is_tolerated(moto):
    done, _ = run_map(moto, 4, ODD_FAILS)
    assert (done["status"], done["error"]) == (
        "FAILED", "States.ExceedToleratedFailureThreshold",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("tolerated", "status"),
    [
        ({"ToleratedFailureCount": 1}, "SUCCEEDED"),
        ({"ToleratedFailurePercentage": 25}, "SUCCEEDED"),
        ({"ToleratedFailurePercentage": 24}, "FAILED"),
    ],
)
def test_failures_within_a_threshold_are_written_and_left_out(moto, tolerated, status):
    done, files = run_map(moto, 4, ODD_FAILS, **tolerated)
    assert done["status"] == status
    if status == "SUCCEEDED":
        (failed,) = files["FAILED"]
        assert (failed["Error"], failed["Cause"]) == ("Odd", "it is odd")
        assert json.loads(failed["Input"])["index"] == 1
        assert len(files["SUCCEEDED"]) == 3


def test_items_come_in_batches(moto):
    batcher = {"MaxItemsPerBatch": 3, "BatchInput": {"run.$": "$$.Execution.Name", "a": [1]}}
    done, files = run_map(moto, 7, ItemBatcher=batcher)
    inputs = [json.loads(each["Input"]) for each in files["SUCCEEDED"]]
    assert sorted(len(each["Items"]) for each in inputs) == [1, 3, 3]
    assert all(each["BatchInput"] == {"run": done["name"], "a": [1]} for each in inputs)
    indexes = [item["index"] for each in inputs for item in each["Items"]]
    assert sorted(indexes) == list(range(7))


def test_a_batch_has_as_many_items_as_its_bytes_allow(moto):
    """https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itembatcher.html ."""
    _, files = run_map(moto, 7, ItemBatcher={"MaxItemsPerBatch": 5, "MaxInputBytesPerBatch": 250})
    inputs = [json.loads(each["Input"]) for each in files["SUCCEEDED"]]
    assert all(len(json.dumps(each["Items"], separators=(",", ":"))) <= 251 for each in inputs)
    assert sorted(len(each["Items"]) for each in inputs) == [1, 3, 3]


def test_a_child_whose_input_is_too_large_fails(moto):
    """https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html ."""
    given = {"MaxItemsPerBatch": 2, "BatchInput": {"text": "x" * 256 * 1024}}
    _, files = run_map(moto, 2, ItemBatcher=given, ToleratedFailurePercentage=100)
    (failed,) = files["FAILED"]
    assert failed["Error"] == "States.DataLimitExceeded"


@pytest.fixture
def one_second():
    before, PLATFORM.express_seconds = PLATFORM.express_seconds, 1
    yield
    PLATFORM.express_seconds = before


def test_an_express_child_has_five_minutes(moto, one_second):
    """https://docs.aws.amazon.com/step-functions/latest/dg/choosing-workflow-type.html ."""
    longer = {"Type": "Wait", "Seconds": 2, "End": True}
    done, _ = run_map(moto, 1, longer, "EXPRESS")
    assert (done["status"], done["error"]) == ("FAILED", "States.ExceedToleratedFailureThreshold")
    client = moto.stepfunctions
    (run,) = client.list_map_runs(executionArn=done["executionArn"])["mapRuns"]
    counts = client.describe_map_run(mapRunArn=run["mapRunArn"])["itemCounts"]
    assert (counts["timedOut"], counts["failed"]) == (1, 0)
    (child,) = client.list_executions(mapRunArn=run["mapRunArn"], statusFilter="TIMED_OUT")[
        "executions"
    ]
    assert "error" not in client.describe_execution(executionArn=child["executionArn"])
    done, files = run_map(moto, 1, longer, "EXPRESS", ToleratedFailureCount=1)
    assert done["status"] == "SUCCEEDED"
    assert [each["Status"] for each in files["FAILED"]] == ["TIMED_OUT"]
    assert run_map(moto, 1, longer)[0]["status"] == "SUCCEEDED", "a standard one has a year"


def test_an_express_child_begins_again_when_it_is_redriven(moto, function):
    """https://docs.aws.amazon.com/step-functions/latest/dg/redrive-map-run.html ."""
    name, _ = function()
    count = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": name, "Payload.$": "$"},
        "ResultSelector": {"count.$": "$.Payload.count", "value": 1},
        "Next": "Odd",
    }
    bucket = moto.bucket()
    moto.s3.put_object(Bucket=bucket, Key="items.json", Body='[{"input": 1}]')
    counts = {}
    for kind in ("STANDARD", "EXPRESS"):
        states = mapped(bucket, count)
        processor = states["M"]["ItemProcessor"]
        processor["States"] |= {"Odd": ODD_FAILS, "S": {"Type": "Succeed"}}
        processor["ProcessorConfig"]["ExecutionType"] = kind
        done = moto.execute(moto.machine(states, "M"))
        assert done["status"] == "FAILED"
        moto.redriven(done["executionArn"])
        counts[kind] = invoke(moto, name, None)[1]["count"]
    assert counts == {"STANDARD": 2, "EXPRESS": 5}


def test_an_express_child_has_no_count_of_redrives(moto):
    told = {"Type": "Pass", "Parameters": {"redriven.$": "$$.Execution.RedriveCount"}, "End": True}
    assert run_map(moto, 1, told)[0]["status"] == "SUCCEEDED"
    assert run_map(moto, 1, told, "EXPRESS")[0]["status"] == "FAILED"


def test_the_children_of_a_map_can_be_listed_and_described(moto):
    done, _ = run_map(moto, 5, ODD_FAILS, ToleratedFailureCount=1)
    client = moto.stepfunctions
    (run,) = client.list_map_runs(executionArn=done["executionArn"])["mapRuns"]
    counts = client.describe_map_run(mapRunArn=run["mapRunArn"])["itemCounts"]
    assert (counts["total"], counts["succeeded"], counts["failed"]) == (5, 4, 1)
    pages = client.get_paginator("list_executions").paginate(
        mapRunArn=run["mapRunArn"], PaginationConfig={"PageSize": 2}
    )
    children = [each for page in pages for each in page["executions"]]
    assert len(children) == 5
    (failed,) = client.list_executions(mapRunArn=run["mapRunArn"], statusFilter="FAILED")[
        "executions"
    ]
    told = client.describe_execution(executionArn=failed["executionArn"])
    assert (told["error"], told["mapRunArn"]) == ("Odd", run["mapRunArn"])


def test_a_history_comes_in_pages_and_backwards(moto):
    states = {f"S{number}": {"Type": "Pass", "Next": f"S{number + 1}"} for number in range(9)}
    states["S9"] = {"Type": "Pass", "End": True}
    done = moto.execute(moto.machine(states, "S0"))
    pages = moto.stepfunctions.get_paginator("get_execution_history")
    arn = done["executionArn"]

    def ids(**more):
        found = pages.paginate(executionArn=arn, PaginationConfig={"PageSize": 4}, **more)
        return [event["id"] for page in found for event in page["events"]]

    assert ids() == sorted(ids(reverseOrder=True))
    assert len(ids()) == 22
    assert ids(reverseOrder=True) == ids()[::-1]


# ---- Batch and schedules -------------------------------------------------------------------------


@pytest.fixture
def job_machine(moto, tmp_path):
    """A state machine that runs a job with this command and strategy."""
    role = moto.iam.create_role(
        RoleName=f"role-{uuid.uuid4().hex[:8]}", AssumeRolePolicyDocument="{}"
    )
    name = f"queue-{uuid.uuid4().hex[:8]}"
    environment = moto.batch.create_compute_environment(
        computeEnvironmentName=name,
        type="UNMANAGED",
        state="ENABLED",
        serviceRole=role["Role"]["Arn"],
    )
    order = [{"order": 1, "computeEnvironment": environment["computeEnvironmentArn"]}]
    moto.batch.create_job_queue(
        jobQueueName=name, state="ENABLED", priority=1, computeEnvironmentOrder=order
    )
    image = tempfile.TemporaryDirectory(dir="/var/tmp")  # a job may write to all of /dev/shm
    PLATFORM.images[name] = Image(Path(image.name), env={"TOLD": str(tmp_path / "told")})

    def make(script, attempts=1, conditions=(), seconds=60):
        moto.batch.register_job_definition(
            jobDefinitionName=name,
            type="container",
            containerProperties={
                "image": name,
                "command": ["sh", "-c", script],
                "resourceRequirements": [
                    {"type": "VCPU", "value": "1"},
                    {"type": "MEMORY", "value": "64"},
                ],
            },
            retryStrategy={"attempts": attempts, "evaluateOnExit": list(conditions)},
            timeout={"attemptDurationSeconds": seconds},
        )
        state = {
            "Type": "Task",
            "Resource": "arn:aws:states:::batch:submitJob.sync",
            "Parameters": {
                "JobName": "job",
                "JobQueue": name,
                "JobDefinition": name,
                "ContainerOverrides": {"Environment": [{"Name": "GIVEN", "Value.$": "$.given"}]},
            },
            "End": True,
        }
        return moto.machine({"J": state}, "J")

    with image:
        yield make


@pytest.fixture
def job(moto, job_machine):
    """What is told of an execution of such a machine."""
    return lambda *about, **more: moto.execute(job_machine(*about, **more), {"given": "a value"})


def test_the_job_of_an_execution_that_is_stopped_is_terminated(moto, job_machine, tmp_path):
    """https://docs.aws.amazon.com/step-functions/latest/dg/connect-to-resource.html#connect-sync"""
    machine = job_machine("echo $AWS_BATCH_JOB_ID > $TOLD; exec sleep 60", 3)
    given = json.dumps({"given": "a value"})
    client = moto.stepfunctions
    arn = client.start_execution(stateMachineArn=machine, input=given)["executionArn"]
    told = tmp_path / "told"
    job_id = until(lambda: told.exists() and told.read_text().strip(), "the job")
    client.stop_execution(executionArn=arn)

    def ended():
        (job,) = moto.batch.describe_jobs(jobs=[job_id])["jobs"]
        return job["status"] in ("SUCCEEDED", "FAILED") and job

    job = until(ended, "the end of the job")
    assert (job["status"], len(job["attempts"])) == ("FAILED", 1)
    assert job["statusReason"] == "its execution was stopped"


def test_a_job_runs_its_command_with_what_the_state_gives_it(job, tmp_path):
    done = job("echo $GIVEN > $TOLD")
    assert done["status"] == "SUCCEEDED"
    assert json.loads(done["output"])["Status"] == "SUCCEEDED"
    assert (tmp_path / "told").read_text() == "a value\n"


@pytest.mark.skipif(not sandbox.is_permitted(), reason="this machine permits no user namespaces")
def test_a_job_is_not_root_and_writes_to_its_own_tmp_alone(job, tmp_path):
    """As a container whose user has only a number, for which Docker's HOME is /
    (https://docs.docker.com/engine/containers/run/#environment-variables)."""
    own = Path(f"/tmp/{uuid.uuid4().hex}")
    places = f"beside /etc/x {own} /dev/shm/x"
    writes = f"for each in {places}; do (echo x > $each) 2> /dev/null && echo $each >> $TOLD; done"
    job(f"id -u >> $TOLD; echo $HOME >> $TOLD; {writes}; true")
    assert (tmp_path / "told").read_text().split() == ["1000", "/", str(own), "/dev/shm/x"]
    assert not own.exists()


def test_a_failed_job_fails_its_state(job):
    done = job("exit 1")
    assert (done["status"], done["error"]) == ("FAILED", "States.TaskFailed")
    assert json.loads(done["cause"])["Attempts"][-1]["Container"]["ExitCode"] == 1


@pytest.mark.parametrize(
    ("code", "attempts"),
    [(64, 1), (9, 3)],
)
def test_a_job_is_run_again_as_its_strategy_says(job, tmp_path, code, attempts):
    conditions = [
        {"onExitCode": "64", "action": "EXIT"},
        {"onReason": "*", "action": "RETRY"},
    ]
    job(f"echo $AWS_BATCH_JOB_ATTEMPT >> $TOLD; exit {code}", 3, conditions)
    told = (tmp_path / "told").read_text().split()
    assert told == [str(number) for number in range(1, attempts + 1)]


def test_a_job_that_takes_too_long_is_ended_and_not_run_again(job, tmp_path):
    done = job("echo $AWS_BATCH_JOB_ATTEMPT >> $TOLD; exec sleep 60", 3, seconds=1)
    assert (done["status"], done["error"]) == ("FAILED", "States.TaskFailed")
    assert "Job attempt duration exceeded timeout" in done["cause"]
    assert (tmp_path / "told").read_text() == "1\n"


def test_a_job_definition_of_a_stack_has_its_timeout(moto):
    properties = {
        "Type": "container",
        "ContainerProperties": {
            "Image": "any",
            "ResourceRequirements": [
                {"Type": "VCPU", "Value": "1"},
                {"Type": "MEMORY", "Value": "64"},
            ],
        },
        "RetryStrategy": {"Attempts": 1},
        "Timeout": {"AttemptDurationSeconds": 90},
    }
    made = moto.create(
        {"J": {"Type": "AWS::Batch::JobDefinition", "Properties": properties}}, Arn={"Ref": "J"}
    )
    (described,) = moto.batch.describe_job_definitions(jobDefinitions=[made["Arn"]])[
        "jobDefinitions"
    ]
    assert described["timeout"] == {"attemptDurationSeconds": 90}


def test_a_schedule_comes_and_goes_with_its_stack(moto):
    properties = {
        "ScheduleExpression": "cron(0 9 * * ? *)",
        "ScheduleExpressionTimezone": "Europe/Helsinki",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": "arn:aws:states:::x", "RoleArn": ROLE, "Input": "{}"},
        "Name": f"schedule-{uuid.uuid4().hex[:8]}",
    }
    made = moto.create({"S": {"Type": "AWS::Scheduler::Schedule", "Properties": properties}})

    def names():
        return [each["Name"] for each in moto.scheduler.list_schedules()["Schedules"]]

    assert properties["Name"] in names()
    told = moto.scheduler.get_schedule(Name=properties["Name"])
    assert told["ScheduleExpressionTimezone"] == "Europe/Helsinki"
    moto.cloudformation.delete_stack(StackName=made["stack"])
    assert properties["Name"] not in names()


def change_set(moto, stack, kind, resources, **parameters):
    template = {
        "Parameters": {name: {"Type": "String"} for name in parameters},
        "Resources": resources,
        "Outputs": {"Name": {"Value": {"Ref": "Logs"}}},
    }
    return moto.cloudformation.create_change_set(
        StackName=stack,
        ChangeSetName=f"changes-{uuid.uuid4().hex[:8]}",
        ChangeSetType=kind,
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
    )["Id"]


def log_group(name):
    return {"Logs": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": name}}}


def test_a_change_set_tells_each_resource_and_what_parameters_change(moto):
    stack = f"stack-{uuid.uuid4().hex[:8]}"
    resources = log_group({"Ref": "Group"})
    first = change_set(moto, stack, "CREATE", resources, Group=f"{stack}-1")
    moto.cloudformation.execute_change_set(ChangeSetName=first)
    (told,) = moto.cloudformation.describe_stacks(StackName=stack)["Stacks"]
    assert told["Outputs"][0]["OutputValue"] == f"{stack}-1"
    events = moto.cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    assert ("Logs", "CREATE_COMPLETE") in [
        (each["LogicalResourceId"], each["ResourceStatus"]) for each in events
    ]
    second = change_set(moto, stack, "UPDATE", resources, Group=f"{stack}-2")
    changes = moto.cloudformation.describe_change_set(ChangeSetName=second)["Changes"]
    assert [each["ResourceChange"]["LogicalResourceId"] for each in changes] == ["Logs"]
    moto.cloudformation.delete_stack(StackName=stack)


def test_a_creation_that_fails_is_rolled_back_and_says_why(moto):
    stack = f"stack-{uuid.uuid4().hex[:8]}"
    moto.logs.create_log_group(logGroupName=stack)
    made = change_set(moto, stack, "CREATE", log_group(stack))
    moto.cloudformation.execute_change_set(ChangeSetName=made)
    (told,) = moto.cloudformation.describe_stacks(StackName=stack)["Stacks"]
    assert told["StackStatus"] == "ROLLBACK_COMPLETE"
    events = moto.cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    (failed,) = [each for each in events if each["ResourceStatus"] == "CREATE_FAILED"]
    assert failed["LogicalResourceId"] == "Logs"
    assert "already exists" in failed["ResourceStatusReason"]
    moto.cloudformation.delete_stack(StackName=stack)


def test_of_two_change_sets_of_a_new_stack_the_first_executed_wins(moto):
    stack = f"stack-{uuid.uuid4().hex[:8]}"
    first, second = (change_set(moto, stack, "CREATE", log_group(stack)) for _ in range(2))
    moto.cloudformation.execute_change_set(ChangeSetName=second)
    with pytest.raises(Exception, match="InvalidChangeSetStatus"):
        moto.cloudformation.execute_change_set(ChangeSetName=first)
    moto.cloudformation.delete_stack(StackName=stack)


# ---- redrives ------------------------------------------------------------------------------------

FIRST_FAILS = """
def handler(event, context):
    if event["value"] == 1 and not event["redriven"]:
        raise LookupError("not yet")
    return event
"""


def test_a_redrive_goes_on_where_it_failed_with_the_items_that_have_not_succeeded(moto, function):
    name, _ = function(FIRST_FAILS)
    call = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {
            "FunctionName": name,
            "Payload": {"value.$": "$.value", "redriven.$": "$$.Execution.RedriveCount"},
        },
        "OutputPath": "$.Payload",
        "End": True,
    }
    before = {"Type": "Pass", "Next": "M"}
    bucket = moto.bucket()
    moto.s3.put_object(Bucket=bucket, Key="items.json", Body='[{"input": 0}, {"input": 1}]')
    client = moto.stepfunctions
    done = moto.execute(moto.machine({"B": before, **mapped(bucket, call)}, "B"))
    arn = done["executionArn"]
    assert (done["status"], done["redriveStatus"], done["redriveCount"]) == (
        "FAILED", "REDRIVABLE", 0,
    )  # fmt: skip
    (first,) = client.list_map_runs(executionArn=arn)["mapRuns"]
    client.redrive_execution(executionArn=arn)
    while (done := client.describe_execution(executionArn=arn))["status"] == "RUNNING":
        time.sleep(0.02)
    assert (done["status"], done["redriveCount"]) == ("SUCCEEDED", 1)
    (run,) = client.list_map_runs(executionArn=arn)["mapRuns"]
    assert run["mapRunArn"] == first["mapRunArn"]
    told = client.describe_map_run(mapRunArn=run["mapRunArn"])
    assert (told["status"], told["itemCounts"]["succeeded"]) == ("SUCCEEDED", 2)
    children = client.list_executions(mapRunArn=run["mapRunArn"])["executions"]
    outputs = [
        json.loads(client.describe_execution(executionArn=each["executionArn"])["output"])
        for each in children
    ]
    assert sorted((each["value"], each["redriven"]) for each in outputs) == [(0, 0), (1, 1)]
    events = client.get_execution_history(executionArn=arn)["events"]
    types = [each["type"] for each in events]
    assert types.count("ExecutionRedriven") == 1
    assert types.count("PassStateEntered") == 1
    begun = [
        each["mapRunStartedEventDetails"] for each in events if "MapRunStarted" in each["type"]
    ]
    assert {each["mapRunArn"] for each in begun} == {first["mapRunArn"]}
    with pytest.raises(client.exceptions.ClientError, match="ExecutionNotRedrivable"):
        client.redrive_execution(executionArn=arn)
