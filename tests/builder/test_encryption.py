"""A key of one's own, and logs of the state machine: where they are, and who may use them."""

from __future__ import annotations

import pytest
from test_documents import OPTIONS, QUEUE, actions, everything, made, the

from lokki.errors import ConfigError

KEY = OPTIONS["aws.kms_key"]


def of_type(resources, kind):
    return [each["Properties"] for each in resources.values() if each["Type"] == kind]


def test_a_key_encrypts_logs_and_variables_and_those_who_read_results_may_use_it():
    resources = made(everything(), **QUEUE, **{"aws.kms_key": KEY})["Resources"]
    assert {each["KmsKeyId"] for each in of_type(resources, "AWS::Logs::LogGroup")} == {KEY}
    assert {each["KmsKeyArn"] for each in of_type(resources, "AWS::Lambda::Function")} == {KEY}
    for role in ("StepRole", "JobRole", "MachineRole"):
        (policy,) = the(resources, role)["Properties"]["Policies"]
        (statement,) = (
            each
            for each in policy["PolicyDocument"]["Statement"]
            if each["Action"][0].startswith("kms:")
        )
        assert statement["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
        assert statement["Resource"] == [KEY]


@pytest.mark.parametrize("key", ["alias/mine", KEY.replace("key/", "alias/"), "0a1b2c3d"])
def test_only_the_arn_of_a_key_is_taken(key):
    with pytest.raises(ConfigError, match=f"aws.kms_key: '{key}' is not the ARN of a key: write"):
        made(everything(), **QUEUE, **{"aws.kms_key": key})


def test_the_state_machine_logs_what_it_should_without_data():
    resources = made(everything(), **QUEUE, **{"aws.state_machine_logs": "ALL"})["Resources"]
    assert resources["StateMachine"]["Properties"]["LoggingConfiguration"] == {
        "Level": "ALL",
        "IncludeExecutionData": False,
        "Destinations": [
            {"CloudWatchLogsLogGroup": {"LogGroupArn": {"Fn::GetAtt": ["MachineLogs", "Arn"]}}}
        ],
    }
    group = resources["MachineLogs"]["Properties"]["LogGroupName"]
    assert group == {"Fn::Sub": "/aws/vendedlogs/states/${FlowName}"}
    assert "logs:CreateLogDelivery" in actions(resources, "MachineRole")
    resources = made(everything(), **QUEUE)["Resources"]
    assert "LoggingConfiguration" not in resources["StateMachine"]["Properties"]
    assert "logs:CreateLogDelivery" not in actions(resources, "MachineRole")


def test_logs_are_kept_as_long_as_cloudwatch_can():
    resources = made(everything(), **QUEUE, **{"aws.log_retention": 365})["Resources"]
    assert {each["RetentionInDays"] for each in of_type(resources, "AWS::Logs::LogGroup")} == {365}
    with pytest.raises(ConfigError, match="CloudWatch keeps no logs for 31 days: 1, 3, 5, 7"):
        made(everything(), **QUEUE, **{"aws.log_retention": 31})
