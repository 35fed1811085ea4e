"""What CloudFormation and the scheduler of a rehearsal refuse and report, as AWS does.

What LocalStack recorded there is cited by the name of its test, below tests/aws/services.
"""

from __future__ import annotations

import json
import uuid

import pytest
from test_moto_patches import ROLE, change_set, log_group, moto

__all__ = ["moto"]
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def stack(moto):
    name = f"stack-{uuid.uuid4().hex[:8]}"
    yield name
    moto.cloudformation.delete_stack(StackName=name)


def refusal(call, *args, **more):
    """Code and message of a call's error."""
    with pytest.raises(Exception, match="An error occurred") as refused:
        call(*args, **more)
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_template_that_refers_to_what_it_does_not_have_is_refused(moto, stack):
    """cloudformation/engine/test_references::test_useful_error_when_invalid_ref, 2024-05-28."""
    why = (
        "Template format error: Unresolved resource dependencies [Missing, Nowhere] in the "
        "Resources block of the template"
    )
    name = {"Fn::Sub": "${Missing}-${AWS::Region}"}
    resources = log_group(name)
    resources["Logs"]["DependsOn"] = "Nowhere"
    told = refusal(change_set, moto, stack, "CREATE", resources)
    assert told == ("ValidationError", why)
    body = json.dumps({"Resources": resources})
    told = refusal(moto.cloudformation.create_stack, StackName=stack, TemplateBody=body)
    assert told[0] == "ValidationError"
    change_set(moto, stack, "CREATE", log_group(name) | {"Missing": log_group("n")["Logs"]})


def test_a_stack_that_exists_is_not_created_again(moto, stack):
    """cloudformation/api/test_changesets::test_name_conflicts, 2023-11-22."""
    made = change_set(moto, stack, "CREATE", log_group(stack))
    change_set(moto, stack, "CREATE", log_group(stack))  # it is only a name as yet
    moto.cloudformation.execute_change_set(ChangeSetName=made)
    code, message = refusal(change_set, moto, stack, "CREATE", log_group(stack))
    assert code == "ValidationError"
    assert message.startswith(
        f"Stack [{stack}] already exists and cannot be created again with the changeSet [changes-"
    )


def test_a_change_set_that_is_gone_is_not_found(moto, stack):
    """cloudformation/api/test_changesets::test_deleted_changeset, 2022-08-11."""
    client = moto.cloudformation
    gone = change_set(moto, stack, "CREATE", log_group(stack))
    client.delete_change_set(ChangeSetName=gone)
    expected = ("ChangeSetNotFound", f"ChangeSet [{gone}] does not exist")
    assert refusal(client.describe_change_set, ChangeSetName=gone) == expected
    assert refusal(client.execute_change_set, ChangeSetName=gone) == expected


def test_a_resource_that_is_made_has_three_events(moto, stack):
    """cloudformation/api/test_stacks::test_list_events_after_deployment, 2022-10-05."""
    made = change_set(moto, stack, "CREATE", log_group(stack))
    moto.cloudformation.execute_change_set(ChangeSetName=made)
    events = moto.cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    assert [
        (each["ResourceStatus"], each.get("ResourceStatusReason"))
        for each in reversed(events)
        if each["LogicalResourceId"] == "Logs"
    ] == [
        ("CREATE_IN_PROGRESS", None),
        ("CREATE_IN_PROGRESS", "Resource creation Initiated"),
        ("CREATE_COMPLETE", None),
    ]


def schedule(moto, expression):
    name = f"schedule-{uuid.uuid4().hex[:8]}"
    moto.scheduler.create_schedule(
        Name=name,
        ScheduleExpression=expression,
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": "arn:aws:states:::x", "RoleArn": ROLE},
    )
    moto.scheduler.delete_schedule(Name=name)


def test_a_schedule_that_aws_does_not_have_is_refused(moto, stack):
    """scheduler/test_scheduler, tests_create_schedule_with_invalid_schedule_expression, 2025-01-26;
    those that are taken: test_create_schedule_with_valid_cron_expressions, 2026-01-17.
    """
    for expression in (
        "cron(0 1 * * * *)", "cron(7 20 * * NOT *)", "cron(INVALID)",
        "cron(0 dummy ? * MON-FRI *)", "cron(71 8 1 * ? *)", "cron()", "rate(10 seconds)",
        "rate(10 years)", "rate()", "rate(10)", "rate(10 minutess)", "rate(foo minutes)",
        "rate(-10 minutes)", "rate( 10 minutes )", " rate(10 minutes)", "at(2021-12-31T23:59:59Z)",
        "at(2021-12-31)",
    ):  # fmt: skip
        told = refusal(schedule, moto, expression)
        assert told == ("ValidationException", f"Invalid Schedule Expression {expression}.")
    for expression in (
        "cron(0-15/1 8-8 ? * 2,3,4,5,6,7 *)", "cron(30-30 13-13 ? * 2,4,6 *)",
        "cron(1-31/30 1-1 ? * 1,7 *)", "cron(0 18 ? * MON-FRI *)", "cron(*/15 * * * ? *)",
        "cron(0-59/10 0-23/2 ? * * *)", "at(2022-12-31T23:59:59)", "rate(10 minutes)",
    ):  # fmt: skip
        schedule(moto, expression)
    properties = {
        "ScheduleExpression": "rate(10 years)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": "arn:aws:states:::x", "RoleArn": ROLE},
    }
    resources = {"S": {"Type": "AWS::Scheduler::Schedule", "Properties": properties}}
    made = change_set(moto, stack, "CREATE", resources | log_group(stack))
    moto.cloudformation.execute_change_set(ChangeSetName=made)
    (told,) = moto.cloudformation.describe_stacks(StackName=stack)["Stacks"]
    assert told["StackStatus"] == "ROLLBACK_COMPLETE"
