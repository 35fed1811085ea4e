"""What the configuration lets steps do besides: in the roles of steps, and checked."""

from __future__ import annotations

import pytest
from test_documents import OPTIONS, QUEUE, everything, made, the

from lokki.errors import ConfigError

ALLOWED = {"Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:us-east-1:123456789012:birds"}


def test_policies_and_statements_are_those_of_functions_and_jobs_and_of_nobody_else():
    policies, statements = OPTIONS["aws.policies"], OPTIONS["aws.statements"]
    settings = {"aws.policies": f"{policies}, ", "aws.statements": statements}
    resources = made(everything(), **QUEUE, **settings)["Resources"]
    roles = {
        name: each["Properties"]
        for name, each in resources.items()
        if each["Type"] == "AWS::IAM::Role"
    }
    for role in ("StepRole", "JobRole"):
        properties = the(resources, role)["Properties"]
        assert properties["ManagedPolicyArns"] == [policies]
        (document,) = [each["PolicyDocument"] for each in properties["Policies"]]
        assert document["Statement"][-1] == {
            **statements[0], "Resource": [statements[0]["Resource"]]
        }  # fmt: skip
    rest = [each for name, each in roles.items() if not name.startswith(("StepRole", "JobRole"))]
    assert len(rest) == 3
    assert not [each for each in rest if "sqs:" in str(each) or "DynamoDB" in str(each)]


def test_a_statement_may_forbid_and_have_a_name():
    given = {**ALLOWED, "Sid": "NoMail", "Effect": "Deny", "Resource": "*"}
    resources = made(everything(), **QUEUE, **{"aws.statements": [given]})["Resources"]
    (policy,) = the(resources, "StepRole")["Properties"]["Policies"]
    assert policy["PolicyDocument"]["Statement"][-1] == {
        "Sid": "NoMail", "Effect": "Deny", "Action": ["sqs:SendMessage"], "Resource": ["*"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"action": "s3:*"}, "unknown 'action'; write Action"),
        ({"NotAction": "s3:*"}, "unknown 'NotAction'; a statement has Sid, Effect, Action, "
         "Resource, Condition"),
        ({"Effect": "allow"}, 'Effect must be "Allow" or "Deny"'),
        ({"Action": []}, "Action must be a text or a list of texts"),
        ({"Action": "SendMessage"}, "'SendMessage' is not an action such as dynamodb:GetItem"),
        ({"Resource": ["birds"]}, "'birds' is neither an ARN nor *"),
        ({"Condition": "x"}, 'Condition must be such as {StringEquals = {"aws:SourceVpc" = '
         '"vpc-1"}}'),
        ({"Sid": "no mail"}, "Sid must consist of letters and digits"),
    ],
)  # fmt: skip
def test_a_wrong_statement_is_refused_with_what_to_write(changes, error):
    with pytest.raises(ConfigError) as caught:
        made(everything(), **QUEUE, **{"aws.statements": [ALLOWED, ALLOWED | changes]})
    assert str(caught.value) == f"aws.statements, number 2: {error}"


def test_what_is_no_policy_is_refused():
    with pytest.raises(
        ConfigError, match=r"aws\.policies: 'S3Full' is not the ARN of a policy, such"
    ):
        made(everything(), **QUEUE, **{"aws.policies": "S3Full"})


@pytest.mark.parametrize("key", ["aws.policies", "aws.statements"])
def test_a_role_that_exists_is_not_given_more(key):
    given = {key: OPTIONS[key], "aws.roles.lambda": "arn:aws:iam::1:role/mine"}
    with pytest.raises(ConfigError, match=f"{key} is for the role that is made, but aws.roles.lam"):
        made(everything(), **QUEUE, **given)
