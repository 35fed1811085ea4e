"""Notices of failed runs, and schedules whose times are not lost."""

from __future__ import annotations

import pytest
from test_documents import OPTIONS, QUEUE, actions, everything, made

from lokki.errors import ConfigError

TOPIC = "arn:aws:sns:us-east-1:123456789012:birds"
DEAD_LETTERS = "arn:aws:sqs:us-east-1:123456789012:birds"


def resources_with(**settings):
    settings = {name.replace("__", "."): value for name, value in settings.items()}
    return made(everything(), **QUEUE, **settings)["Resources"]


def test_a_topic_gets_the_failures_of_runs_and_not_of_items():
    rule = resources_with(aws__notify=TOPIC)["FailureRule"]["Properties"]
    assert rule["EventPattern"] == {
        "source": ["aws.states"],
        "detail-type": ["Step Functions Execution Status Change"],
        "detail": {
            "status": ["FAILED", "TIMED_OUT", "ABORTED"],
            "stateMachineArn": [{"Ref": "StateMachine"}],
        },
    }
    (target,) = rule["Targets"]
    assert target["Arn"] == TOPIC
    assert "FailureTopic" not in resources_with(aws__notify=TOPIC)


def test_a_mail_tells_which_run_has_failed_and_what_to_do():
    resources = resources_with(aws__notify="birds@example.com")
    topic = resources["FailureTopic"]["Properties"]
    assert topic["Subscription"] == [{"Protocol": "email", "Endpoint": "birds@example.com"}]
    (target,) = resources["FailureRule"]["Properties"]["Targets"]
    assert target["Arn"] == {"Ref": "FailureTopic"}
    text = target["InputTransformer"]["InputTemplate"]
    assert text == (
        '"Run <run> of everything is <status>. `lokki show <run> --on aws` says why. '
        'Error: <error>"'
    )
    (statement,) = resources["FailureTopicPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert (statement["Action"], statement["Resource"]) == ("sns:Publish", target["Arn"])


@pytest.mark.parametrize("target", ["birds", "arn:aws:sqs:us-east-1:123456789012:birds", "a@b"])
def test_what_takes_no_notice_is_refused(target):
    with pytest.raises(ConfigError, match=f"aws.notify: '{target}' is neither an e-mail address"):
        resources_with(aws__notify=target)


def test_a_schedule_retries_and_sends_what_it_could_not_start_to_a_queue():
    resources = resources_with(
        aws__schedule__retries=0,
        aws__schedule__max_age=60,
        aws__schedule__dead_letter_queue="new",
        aws__kms_key=OPTIONS["aws.kms_key"],
    )
    target = resources["Schedule"]["Properties"]["Target"]
    assert target["RetryPolicy"] == {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}
    assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["DeadLetters", "Arn"]}}
    assert resources["DeadLetters"]["Properties"]["KmsMasterKeyId"] == OPTIONS["aws.kms_key"]
    assert actions(resources, "ScheduleRole") == {
        "states:StartExecution", "sqs:SendMessage", "kms:Decrypt", "kms:GenerateDataKey"
    }  # fmt: skip


def test_a_queue_that_exists_is_used():
    resources = resources_with(aws__schedule__dead_letter_queue=DEAD_LETTERS)
    assert "DeadLetters" not in resources
    target = resources["Schedule"]["Properties"]["Target"]
    assert target["DeadLetterConfig"] == {"Arn": DEAD_LETTERS}
    assert actions(resources, "ScheduleRole") == {"states:StartExecution", "sqs:SendMessage"}
    with pytest.raises(ConfigError, match="'birds' is not the ARN of a standard SQS queue: write"):
        resources_with(aws__schedule__dead_letter_queue="birds")
