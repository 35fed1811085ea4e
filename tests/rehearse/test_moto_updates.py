"""The AWS of a rehearsal when a stack is updated: what executions in flight go on with."""

from __future__ import annotations

import io
import json
import uuid
import zipfile

import pytest
from test_moto_patches import ROLE, PatchedMoto, invoke

pytestmark = pytest.mark.timeout(120)
HANDLER = "import os\ndef handler(event, context): return [CODE, os.environ['STEP'], {}]\n".format(
    "context.function_version"
)


@pytest.fixture
def moto(rehearsal):
    return PatchedMoto(rehearsal.endpoint)


@pytest.fixture
def stack(moto):
    """A stack that is made of resources, and changed to others; its outputs."""
    name = f"stack-{uuid.uuid4().hex[:8]}"

    def change(resources, **outputs):
        body = {
            "Resources": resources,
            "Outputs": {key: {"Value": value} for key, value in outputs.items()},
        }
        there = change.made
        made = moto.cloudformation.create_change_set(
            StackName=name,
            ChangeSetName=f"changes-{uuid.uuid4().hex[:8]}",
            ChangeSetType="UPDATE" if there else "CREATE",
            TemplateBody=json.dumps(body),
            Capabilities=["CAPABILITY_IAM"],
        )
        change.made = True
        moto.cloudformation.execute_change_set(ChangeSetName=made["Id"])
        (told,) = moto.cloudformation.describe_stacks(StackName=name)["Stacks"]
        status = told["StackStatus"]
        assert status == ("UPDATE_COMPLETE" if there else "CREATE_COMPLETE"), status
        return {each["OutputKey"]: each["OutputValue"] for each in told.get("Outputs", ())}

    change.made = False
    yield change
    moto.cloudformation.delete_stack(StackName=name)


@pytest.fixture
def function(moto):
    """A function with this code and variable, and its role."""
    bucket = moto.bucket()

    def made(code, variable):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as package:
            package.writestr("handler.py", HANDLER.replace("CODE", repr(code)))
        moto.s3.put_object(Bucket=bucket, Key=code, Body=packed.getvalue())
        document = {"Version": "2012-10-17", "Statement": []}
        properties = {
            "Code": {"S3Bucket": bucket, "S3Key": code},
            "Handler": "handler.handler",
            "Runtime": "python3.11",
            "Role": {"Fn::GetAtt": ["R", "Arn"]},
            "Timeout": 20,
            "Environment": {"Variables": {"STEP": variable}},
        }
        return {
            "R": {
                "Type": "AWS::IAM::Role",
                "Properties": {"AssumeRolePolicyDocument": document},
            },
            "F": {"Type": "AWS::Lambda::Function", "Properties": properties},
        }

    return made


VERSION = {"Type": "AWS::Lambda::Version", "Properties": {"FunctionName": {"Ref": "F"}}}


def test_a_version_keeps_the_code_and_configuration_that_its_function_had(moto, stack, function):
    first = stack({"V1": VERSION, **function("one", "a")}, V1={"Ref": "V1"})
    assert invoke(moto, first["V1"], 0) == (None, ["one", "a", "1"])
    both = {"V1": VERSION, "V2": VERSION}
    told = stack({**both, **function("two", "b")}, V2={"Ref": "V2"}, F={"Ref": "F"})
    assert told["V2"].endswith(":2")
    assert invoke(moto, told["V2"], 0) == (None, ["two", "b", "2"]), "made after its function"
    assert invoke(moto, told["F"], 0) == (None, ["two", "b", "$LATEST"])
    assert invoke(moto, first["V1"], 0) == (None, ["one", "a", "1"])


def test_a_version_that_is_removed_is_gone_and_its_number_is_not_used_again(moto, stack, function):
    first = stack({"V1": VERSION, **function("one", "a")}, V1={"Ref": "V1"})
    second = stack({"V2": VERSION, **function("two", "a")}, V2={"Ref": "V2"})
    with pytest.raises(Exception, match="Function not found"):
        invoke(moto, first["V1"], 0)
    third = stack({"V3": VERSION, **function("three", "a")}, V3={"Ref": "V3"})
    assert [each.rpartition(":")[2] for each in (second["V2"], third["V3"])] == ["2", "3"]


def test_a_second_version_of_an_unchanged_function_is_refused(moto, stack, function):
    same = function("one", "a")
    stack({"V1": VERSION, **same})
    with pytest.raises(AssertionError, match="UPDATE_ROLLBACK_COMPLETE"):
        stack({"V1": VERSION, "V2": VERSION, **same})


# ---- Batch ---------------------------------------------------------------------------------------


def job_definition(image, **more):
    container = {
        "Image": image,
        "ResourceRequirements": [
            {"Type": "VCPU", "Value": "1"},
            {"Type": "MEMORY", "Value": "64"},
        ],
    }
    properties = {
        "Type": "container",
        "ContainerProperties": container,
        "RetryStrategy": {"Attempts": 1},
        **more,
    }
    return {"J": {"Type": "AWS::Batch::JobDefinition", "Properties": properties}}


@pytest.mark.parametrize(("kept", "status"), [(False, "INACTIVE"), (True, "ACTIVE")])
def test_an_update_deregisters_the_job_definition_before_it_unless_it_is_kept(
    moto, stack, kept, status
):
    policy = {"ResourceRetentionPolicy": {"SkipDeregisterOnUpdate": kept}}
    before = stack(job_definition("one", **policy), J={"Ref": "J"})["J"]
    after = stack(job_definition("two", **policy), J={"Ref": "J"})["J"]
    assert (before[-2:], after[-2:]) == (":1", ":2")
    found = moto.batch.describe_job_definitions(jobDefinitions=[before, after])["jobDefinitions"]
    assert {each["revision"]: each["status"] for each in found} == {1: status, 2: "ACTIVE"}


def test_a_job_definition_that_is_deregistered_takes_no_jobs(moto):
    arn = moto.batch.register_job_definition(
        jobDefinitionName=f"job-{uuid.uuid4().hex[:8]}",
        type="container",
        containerProperties={"image": "any", "vcpus": 1, "memory": 64},
    )["jobDefinitionArn"]
    moto.batch.deregister_job_definition(jobDefinition=arn)
    with pytest.raises(Exception, match="does not exist or is not in ACTIVE status"):
        moto.batch.submit_job(jobName="job", jobQueue="any", jobDefinition=arn)


# ---- state machines ------------------------------------------------------------------------------


def test_an_execution_has_the_definition_and_role_that_it_started_with(moto):
    states = {"W": {"Type": "Wait", "Seconds": 60, "End": True}}
    machine = moto.machine(states, "W")
    execution = moto.stepfunctions.start_execution(stateMachineArn=machine)["executionArn"]
    told = moto.stepfunctions.describe_state_machine_for_execution(executionArn=execution)
    definition = json.dumps({"StartAt": "S", "States": {"S": {"Type": "Succeed"}}})
    moto.stepfunctions.update_state_machine(
        stateMachineArn=machine, definition=definition, roleArn=f"{ROLE}-new"
    )
    again = moto.stepfunctions.describe_state_machine_for_execution(executionArn=execution)
    moto.stepfunctions.stop_execution(executionArn=execution)
    assert json.loads(again["definition"])["States"] == states
    assert (again["roleArn"], again["updateDate"]) == (ROLE, told["updateDate"])
