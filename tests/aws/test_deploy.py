"""Deploying and destroying: what is made on AWS, what is told, and what goes wrong."""

from __future__ import annotations

import json
import os
import re
import time

import anyio
import pytest
from past import ended_days_ago
from serving import children

from lokki.aws import stack
from lokki.aws.account import opened
from lokki.errors import AwsError, ConfigError
from lokki.rehearse.moto_patches.server import PLATFORM

pytestmark = pytest.mark.timeout(120)


def execute(cloud, machine):
    """The result of an execution, which is small enough to be in its output."""
    client = cloud.client("stepfunctions")
    arn = client.start_execution(stateMachineArn=machine, input='{"word": "hi"}')["executionArn"]
    while (told := client.describe_execution(executionArn=arn))["status"] == "RUNNING":
        time.sleep(0.05)
    assert told["status"] == "SUCCEEDED", told
    return json.loads(told["output"])["input"]


def test_a_deploy_makes_bucket_package_and_stack_which_runs(cloud):
    done = cloud.deploy()
    assert (cloud.status(), done.changed) == ("CREATE_COMPLETE", True)
    assert "Add StateMachine" in cloud.told
    assert "CREATE_COMPLETE  StateMachine" in cloud.told
    assert execute(cloud, done.machine) == "hi ann, hi bob"


@pytest.mark.parametrize(
    ("settings", "at_once"), [({}, 7), ({"lambda.concurrency": 3}, 3)], ids=["asked", "configured"]
)
def test_a_map_is_as_wide_as_the_account_unless_configured(cloud, monkeypatch, settings, at_once):
    monkeypatch.setattr(PLATFORM, "concurrency", 7)
    machine = cloud.deploy(**settings).machine
    described = cloud.client("stepfunctions").describe_state_machine(stateMachineArn=machine)
    states = json.loads(described["definition"])["States"].values()
    assert [each["MaxConcurrency"] for each in states if each["Type"] == "Map"] == [at_once]
    asked = "maps run at most 7 functions at a time, as many as the account has"
    assert (asked in cloud.told) == (not settings)


def test_the_processes_of_its_functions_end_with_a_stack(cloud):
    def functions():
        """Those that are forked from a process of their dependencies, which stays."""
        return {each for parent in children(os.getpid()) for each in children(parent)}

    before = functions()
    assert execute(cloud, cloud.deploy().machine) == "hi ann, hi bob"
    assert not functions() <= before
    cloud.destroy()
    assert functions() <= before


def test_the_package_is_where_a_stack_of_the_template_alone_looks_for_it(cloud):
    cloud.deploy()
    s3 = cloud.client("s3")
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=cloud.bucket)["Contents"]]
    default = "greeting/artifacts/lambdas/function.zip"
    (by_content,) = (key for key in keys if key.endswith(".zip") and key != default)
    deployed, found = (
        s3.get_object(Bucket=cloud.bucket, Key=key)["Body"].read() for key in (by_content, default)
    )
    assert found == deployed


def test_the_bucket_is_encrypted_not_public_and_forgets_runs_in_time(cloud):
    cloud.deploy()
    s3, bucket = cloud.client("s3"), {"Bucket": cloud.bucket}
    (rule,) = s3.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    blocked = s3.get_public_access_block(**bucket)["PublicAccessBlockConfiguration"]
    assert set(blocked.values()) == {True}
    (rule,) = s3.get_bucket_lifecycle_configuration(**bucket)["Rules"]
    assert (rule["Filter"]["Prefix"], rule["Expiration"]["Days"]) == ("greeting/runs/", 90)


def test_a_bucket_that_is_there_is_left_as_it_is(cloud):
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket=cloud.bucket)
    cloud.deploy()
    with pytest.raises(s3.exceptions.ClientError, match="NoSuchLifecycleConfiguration"):
        s3.get_bucket_lifecycle_configuration(Bucket=cloud.bucket)
    cloud.destroy()
    assert cloud.bucket in [each["Name"] for each in s3.list_buckets()["Buckets"]]


def test_a_deploy_without_changes_is_a_success_and_uploads_nothing(cloud):
    first = cloud.deploy()
    cloud.told.clear()
    again = cloud.deploy()
    assert (again.changed, again.machine) == (False, first.machine)
    concurrency = "maps run at most 1,000 functions at a time, as many as the account has"
    assert cloud.told == [
        "building",
        concurrency,
        "nothing has changed since the last build: force=True builds again",
    ]
    cloud.told.clear()
    assert cloud.deploy(force=True).changed is False
    assert cloud.told == ["building", concurrency]


def test_changes_that_are_not_agreed_to_leave_nothing_behind(cloud):
    cloud.agrees = False
    assert cloud.deploy() is None
    assert cloud.status() is None
    cloud.agrees = True
    cloud.deploy()
    cloud.agrees = False
    assert cloud.deploy(**{"lambda.memory": 1024}) is None
    assert cloud.status() == "CREATE_COMPLETE"


def test_an_update_changes_what_is_other(cloud):
    cloud.deploy()
    cloud.told.clear()
    assert cloud.deploy(**{"lambda.memory": 1024}).changed
    told = [re.sub(r"Version\w+", "Version", each) for each in cloud.told]
    names = "GetNames", "Greet", "Together"
    assert sorted(each for each in told if each.startswith("Modify")) == [
        *(f"Modify {name}ZipFunction" for name in names[:2]),
        "Modify StateMachine",
        "Modify TogetherZipFunction",
    ]
    added = [each for each in told if each.startswith("Add")]
    assert added == [f"Add {name}Version" for name in names]
    assert cloud.status() == "UPDATE_COMPLETE"


def functions_of(cloud):
    """The functions of a stack, with the numbers of their versions."""
    client = cloud.client("lambda")
    names = [each["FunctionName"] for each in client.list_functions()["Functions"]]
    return {
        name.removeprefix(f"{cloud.name}-").partition("ZipFunction")[0]: [
            each["Version"]
            for each in client.list_versions_by_function(FunctionName=name)["Versions"][1:]
        ]
        for name in names
        if name.startswith(cloud.name)
    }


def test_a_version_stays_as_long_as_a_run_may_need_it_and_the_last_one_before_anyway(cloud):
    machine = cloud.deploy().machine
    client = cloud.client("stepfunctions")
    failed = client.start_execution(stateMachineArn=machine, input='{"word": {}}')["executionArn"]
    client.stop_execution(executionArn=failed)
    cloud.deploy(**{"lambda.memory": 640})
    cloud.deploy(**{"lambda.memory": 768})
    cloud.deploy(**{"lambda.memory": 896})
    assert functions_of(cloud)["Greet"] == ["1", "3", "4"]
    with ended_days_ago(failed, 15):
        cloud.deploy(**{"lambda.memory": 1024})
    assert functions_of(cloud)["Greet"] == ["4", "5"]
    assert cloud.deploy(**{"lambda.memory": 1024}).changed
    assert functions_of(cloud)["Greet"] == ["5"]
    assert not cloud.deploy(**{"lambda.memory": 1024}).changed
    cloud.destroy()
    assert functions_of(cloud) == {}


def test_a_destroy_leaves_nothing_behind(cloud):
    cloud.deploy()
    what = cloud.destroy()
    assert "AWS::StepFunctions::StateMachine" in [kind for kind, _ in what.resources]
    assert what.objects == 3
    assert cloud.status() is None
    assert cloud.bucket not in [
        each["Name"] for each in cloud.client("s3").list_buckets()["Buckets"]
    ]
    assert cloud.destroy().resources == ()


def test_a_destroy_may_keep_the_data(cloud):
    cloud.deploy()
    cloud.destroy(data=False)
    assert cloud.status() is None
    assert cloud.client("s3").list_objects_v2(Bucket=cloud.bucket)["KeyCount"] == 3


def test_a_failed_creation_tells_the_first_reason_and_is_cleaned_up_by_the_next(cloud):
    logs, agree = cloud.client("logs"), cloud.agree

    def meanwhile(changes):
        logs.create_log_group(logGroupName="/lokki/greeting")
        return agree(changes)

    cloud.agree = meanwhile
    told = "ROLLBACK_COMPLETE: Logs: The specified log group already"
    try:
        with pytest.raises(AwsError, match=told):
            cloud.deploy()
    finally:
        logs.delete_log_group(logGroupName="/lokki/greeting")
    cloud.agree = agree
    assert cloud.status() == "ROLLBACK_COMPLETE"
    cloud.told.clear()
    cloud.deploy()
    assert cloud.told[0] == f"stack {cloud.name} is ROLLBACK_COMPLETE: deleting the rest of it"
    assert cloud.status() == "CREATE_COMPLETE"


def test_a_name_that_is_taken_is_told_before_anything_is_made(cloud):
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/validate-stack-deployments.html"""
    logs = cloud.client("logs")
    logs.create_log_group(logGroupName="/lokki/greeting")
    told = (
        "cannot be changed: Logs: Resource of type 'AWS::Logs::LogGroup' with identifier "
        "'/lokki/greeting' already exists. Delete what is there, or give this deployment a name"
    )
    try:
        with pytest.raises(AwsError, match=re.escape(told)):
            cloud.deploy()
    finally:
        logs.delete_log_group(logGroupName="/lokki/greeting")
    assert cloud.status() == "REVIEW_IN_PROGRESS"
    cloud.deploy()
    assert cloud.status() == "CREATE_COMPLETE"


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("UPDATE_IN_PROGRESS", "another deploy or destroy is running"),
        ("DELETE_IN_PROGRESS", "another deploy or destroy is running"),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback --stack-name stack-"),
    ],
)
def test_a_stack_that_cannot_be_updated_now_is_reported(cloud, stack_status, status, told):
    cloud.deploy()
    with stack_status(cloud.name, status), pytest.raises(AwsError, match=told):
        cloud.deploy()


@pytest.mark.parametrize("status", ["CREATE_FAILED", "ROLLBACK_FAILED", "DELETE_FAILED"])
def test_a_stack_that_never_worked_is_made_anew(cloud, stack_status, status):
    cloud.deploy()
    with stack_status(cloud.name, status):
        cloud.deploy()
    assert cloud.status() == "CREATE_COMPLETE"


@pytest.mark.parametrize("status", ["UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"])
def test_a_stack_whose_last_change_is_over_is_updated(cloud, stack_status, status):
    cloud.deploy()
    with stack_status(cloud.name, status):
        cloud.deploy(**{"lambda.memory": 1024})
    assert cloud.status() == "UPDATE_COMPLETE"


def test_the_second_of_two_deploys_at_once_is_reported(cloud):
    agree, first = cloud.agree, []

    def meanwhile(changes):
        if not first:
            first.append(True)
            cloud.agree = agree
            cloud.deploy_in_thread()
        return agree(changes)

    cloud.agree = meanwhile
    with pytest.raises(AwsError, match=r"another deploy has changed stack .* meanwhile"):
        cloud.deploy()
    assert cloud.status() == "CREATE_COMPLETE"


def test_a_stack_that_another_deploy_has_made_meanwhile_is_reported(cloud):
    cloud.deploy()
    s3 = cloud.client("s3")
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=cloud.bucket)["Contents"]]
    (template,) = [key for key in keys if key.endswith(".yaml")]

    async def work():
        async with opened(cloud.config()) as account:
            url = f"https://s3.us-east-1.amazonaws.com/{cloud.bucket}/{template}"
            await stack.changes(account, None, cloud.name, url, {})

    with pytest.raises(AwsError, match=r"another deploy has changed stack .* meanwhile"):
        anyio.run(work)


def test_without_a_bucket_the_error_says_where_to_set_one(cloud):
    with pytest.raises(ConfigError, match=r"set aws\.artifact_bucket"):
        cloud.deploy(**{"aws.artifact_bucket": ""})


def test_a_bucket_in_another_region_is_reported(cloud):
    where = {"LocationConstraint": "eu-north-1"}
    cloud.client("s3").create_bucket(Bucket=cloud.bucket, CreateBucketConfiguration=where)
    with pytest.raises(AwsError, match="is in eu-north-1, but the stack in us-east-1"):
        cloud.deploy()
    cloud.client("s3").delete_bucket(Bucket=cloud.bucket)


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (("GetCallerIdentity", 403, "ExpiredToken"), "credentials have expired: log in again"),
        (("GetCallerIdentity", 403, "InvalidClientTokenId"), "does not know these credentials"),
        (
            ("CreateChangeSet", 403, "AccessDenied"),
            "these credentials have no permission for cloudformation:CreateChangeSet",
        ),
    ],
)
def test_what_aws_refuses_is_reported_in_words(refused, way, refusal, told):
    action, status, code = refusal
    way.refuses[action] = status, code
    with pytest.raises(AwsError, match=told):
        refused.deploy()


def test_throttled_requests_are_repeated(refused, way):
    way.refuses["Action="] = 400, "Throttling"
    way.every = 3
    refused.deploy()
    assert way.asked > 2 * way.every
    assert refused.status() == "CREATE_COMPLETE"


def test_aws_that_cannot_be_reached_is_reported(cloud):
    with pytest.raises(AwsError, match="AWS cannot be reached"):
        cloud.deploy(**{"aws.endpoint": "http://127.0.0.1:9"})


def test_an_answer_that_is_none_of_aws_is_reported(refused, way):
    way.refuses["GetCallerIdentity"] = 400, "& is no XML"
    with pytest.raises(AwsError, match=r"not from AWS: is aws\.endpoint right"):
        refused.deploy()
