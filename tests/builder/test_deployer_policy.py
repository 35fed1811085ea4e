"""The policy that ``deploy --policy`` prints: all that CloudFormation needs for the resources."""

from __future__ import annotations

import json
import re

import pytest
from registry import needs
from test_documents import FLOWS, OPTIONS, QUEUE, everything

from lokki.builder.access import deployer_policy
from lokki.builder.template import template
from lokki.config import load

UNUSED = re.compile(
    r"kms:.*|eks:.*|codedeploy:.*|firehose:.*|elasticfilesystem:.*|s3files:.*"
    r"|iam:(Attach|Detach|Put|Delete|Get)(User|Group)Policy"
    r"|iam:(AttachRolePolicy|DeleteRolePermissionsBoundary)"  # only for some settings, see below
    r"|logs:(.*(DataProtection|Index|Resource)Polic.*|.*LogDelivery|DeleteRetentionPolicy"
    r"|PutLogGroupDeletionProtection|PutBearerTokenAuthentication)"
    r"|lambda:(.*CodeSigningConfig|Put.*Config|GetFunctionScalingConfig"
    r"|PassCapacityProvider|DeleteProvisionedConcurrencyConfig|AssociateRuntimeAlias|GetLayerVersion)"
    r"|sns:PutDataProtectionPolicy|batch:(SetCapacityTags|unTagResource)|ec2:.*|s3:(GetObjectVersion|REST.PUT.OBJECT)",
    re.IGNORECASE,
)
"""What is needed for properties that the templates do not have."""


def policy_of(graph, stack="a-stack", **settings):
    config = load({"aws.artifact_bucket": "a-bucket", **settings})
    return deployer_policy(graph, config, stack)["Statement"]


def those(statements, action):
    return [each for each in statements if action in each["Action"]]


@pytest.mark.parametrize("name", FLOWS)
def test_it_has_what_cloudformation_needs_for_each_resource_of_a_template(name):
    make, settings = FLOWS[name]
    statements = policy_of(make(), **settings)
    actions = {action for each in statements for action in each["Action"]}
    config = load({"aws.artifact_bucket": "a-bucket", **settings})
    made = template(make(), config, module="flows", python="3.13").resources
    for kind in {each.TYPE for each in made.values()}:
        missing = {action for action in needs(kind) - actions if not UNUSED.fullmatch(action)}
        assert missing == set(), f"add to lokki/builder/access.py what {kind} needs"


@pytest.mark.parametrize("name", FLOWS)
def test_it_is_small_enough_for_one_policy(name):
    """A managed policy; with every option at once, that of a role.

    docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: without whitespace.
    """
    make, settings = FLOWS[name]
    text = json.dumps(policy_of(make(), **settings), separators=(",", ":"))
    assert len(text) < (10_240 if name == "options" else 6_144)


def test_it_names_nothing_but_what_is_the_flows_own():
    reads = ("Describe", "Get", "List", "Unsubscribe")  # of which each is, or has no resource
    for each in policy_of(everything(), **QUEUE):
        if each["Resource"] == ["*"]:
            assert all(action.partition(":")[2].startswith(reads) for action in each["Action"])
        else:
            own = "everything|a-stack|a-bucket|/lokki$|/TrainJob|batch.amazonaws.com"
            assert all(re.search(own, resource) for resource in each["Resource"])


def test_with_a_boundary_roles_are_made_and_changed_only_within_it():
    statements = policy_of(everything(), **QUEUE, **OPTIONS)
    for action in ("iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy"):
        (statement,) = those(statements, action)
        assert statement["Condition"]["StringEquals"] == {
            "iam:PermissionsBoundary": OPTIONS["aws.permissions_boundary"]
        }
    assert those(statements, "iam:DeleteRolePermissionsBoundary") == []
    assert those(policy_of(everything(), **QUEUE), "iam:DeleteRolePermissionsBoundary")


def test_roles_may_be_given_the_policies_that_the_template_gives_them_and_no_others():
    (attaching,) = those(policy_of(everything(), **QUEUE), "iam:AttachRolePolicy")
    assert attaching["Condition"] == {
        "ArnLike": {
            "iam:PolicyARN": [
                "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
            ]
        }
    }
    assert those(policy_of(FLOWS["birds"][0]()), "iam:AttachRolePolicy") == []


def test_roles_that_are_given_are_passed_and_none_are_made():
    pipeline, functions = "arn:aws:iam::1:role/pipeline", "arn:aws:iam::1:role/functions"
    given = {"aws.roles.pipeline": pipeline, "aws.roles.lambda": functions}
    statements = policy_of(FLOWS["birds"][0](), **given)
    assert those(statements, "iam:CreateRole") == []
    (passing,) = those(statements, "iam:PassRole")
    assert passing["Resource"] == [pipeline, functions]


def test_a_long_name_of_a_stack_is_cut_as_in_the_names_of_resources():
    (making,) = those(
        policy_of(everything(), "a-stack-with-a-very-long-name", **QUEUE), "iam:CreateRole"
    )
    assert making["Resource"] == ["arn:aws:iam::*:role/a-stack-with-a-very-long*"]


def test_a_second_deployment_has_a_policy_of_its_own():
    statements = policy_of(everything(), **QUEUE, **{"aws.deployment": "test"})
    (starting,) = those(statements, "states:StartExecution")
    assert starting["Resource"] == ["arn:aws:states:*:*:stateMachine:everything-test"]


def test_it_is_of_the_configured_region_and_its_partition():
    statements = policy_of(everything(), **QUEUE, **{"aws.region": "cn-north-1"})
    arns = {arn for each in statements for arn in each["Resource"]} - {"*"}
    assert {tuple(arn.split(":")[1:4:2]) for arn in arns} == {
        ("aws-cn", ""),
        ("aws-cn", "cn-north-1"),
    }
