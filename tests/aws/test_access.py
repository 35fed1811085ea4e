"""The policy that ``deploy --policy`` prints: it allows what is asked of AWS, and no more."""

from __future__ import annotations

import re

import deployed_flows
import pytest
from aiobotocore.client import AioBaseClient
from clouds import begin, ended, off
from registry import needs

from lokki.aws.account import permission_for
from lokki.backends.blocking import opened
from lokki.builder.access import deployer_policy
from lokki.builder.template import template
from lokki.model.run_filter import RunFilter
from lokki.resumption import ResumeOptions

pytestmark = pytest.mark.timeout(120)

ACCOUNT = "us-east-1:123456789012"


@pytest.fixture
def asked(monkeypatch):
    """The requests of lokki, each as an action and a resource."""
    found, stacks, ask = {}, {}, AioBaseClient._make_api_call

    async def asked(self, operation, given):
        service = self.meta.service_model.service_name
        action = permission_for(service, operation)
        answer = await ask(self, operation, given)
        if operation == "CreateChangeSet":
            stacks[answer["Id"]] = given["StackName"]
        for resource in resources(service, operation, given, stacks):
            found[action, resource] = None
        return answer

    monkeypatch.setattr(AioBaseClient, "_make_api_call", asked)
    return found


def resources(service, operation, given, stacks):
    """What a request is about; ``stacks`` has the names of stacks by their change sets."""
    match service, given:
        case "s3", {"Delete": {"Objects": objects}}:
            return [f"arn:aws:s3:::{given['Bucket']}/{each['Key']}" for each in objects]
        case "s3", {"Key": key}:
            return [f"arn:aws:s3:::{given['Bucket']}/{key}"]
        case "s3", _:
            return [f"arn:aws:s3:::{given['Bucket']}"]
        case "cloudformation", {"StackName": name} if operation != "DescribeStacks":
            return [f"arn:aws:cloudformation:{ACCOUNT}:stack/{name}/0a1b2c3d"]
        case "cloudformation", {"ChangeSetName": arn}:
            return [f"arn:aws:cloudformation:{ACCOUNT}:stack/{stacks[arn]}/0a1b2c3d"]
        case "stepfunctions", _:
            return [value for name, value in given.items() if name.endswith("Arn")]
        case "logs", _:
            return [f"arn:aws:logs:{ACCOUNT}:log-group:{given['logGroupName']}:log-stream:"]
    return ["*"]


def allowed(policy, action, resource):
    """Whether statements without conditions allow it."""

    def matches(pattern, text):
        return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text)

    return any(
        any(matches(each, action) for each in statement["Action"])
        and any(matches(each, resource) for each in statement["Resource"])
        for statement in policy["Statement"]
        if "Condition" not in statement
    )


def actions_of(policy):
    return {action for statement in policy["Statement"] for action in statement["Action"]}


def of_stack(graph, config):
    """What CloudFormation needs for the resources of a flow's template."""
    made = template(graph, config, module="", python="3.13").to_json()["Resources"]
    return set().union(*(needs(each["Type"]) for each in made.values()))


AT_TIMES = {
    "s3:AbortMultipartUpload",  # of a package over 16 MiB whose upload fails
    "cloudformation:DescribeEvents",  # of a change set that AWS refuses
    "cloudformation:ListStacks",  # DescribeStacks without a name needs it, too
    "states:UpdateMapRun",  # by tune, while a map runs
    "logs:DescribeLogGroups", "iam:PutRolePermissionsBoundary", "iam:DeleteRolePermissionsBoundary",
}  # fmt: skip


SETTINGS = {
    "lambda.memory": 600,
    "aws.kms_key": "arn:aws:kms:us-east-1:123456789012:key/0a1b2c3d-0000",
    "aws.policies": "arn:aws:iam::aws:policy/ReadOnlyAccess",
    "aws.state_machine_logs": "ERROR",
    "aws.notify": "birds@example.com",
}


def test_it_allows_all_that_a_flow_is_deployed_run_and_destroyed_with(cloud, asked, switch):
    cloud.agrees = False
    cloud.deploy(deployed_flows.falling)
    cloud.agrees = True
    cloud.deploy(deployed_flows.falling)
    cloud.deploy(deployed_flows.falling, **SETTINGS)
    assert (
        "Note: steps may also do what arn:aws:iam::aws:policy/ReadOnlyAccess allows" in cloud.told
    )
    assert any("its default encryption is not aws.kms_key" in each for each in cloud.told)
    with opened(cloud.config()) as place:
        run_id = begin(place, "falling", count=2, switch=str(switch))
        assert ended(place, run_id).status == "failed"
        with off(switch):
            planned = place.plan(run_id, ResumeOptions())
            assert planned.redrives
            assert ended(place, place.resume(planned, run_id).id).status == "succeeded"
        assert place.result(run_id) == 1
        assert [line.message for line in place.lines(run_id) if "fall" in line.message]
        planned = place.plan(run_id, ResumeOptions(from_stage="heaviest"))
        assert ended(place, place.resume(planned, f"{run_id}-again").id).status == "succeeded"
        stopped = begin(place, "falling", count=9)
        place.request_cancel(stopped)
        assert ended(place, stopped).status == "cancelled"
        assert place.find("last", "falling").id == stopped
        assert len(place.runs(RunFilter(flow="falling", limit=9)).runs) == 3
        assert "falling" in place.flows()
    cloud.destroy()
    config, graph = cloud.config(**SETTINGS), deployed_flows.falling.outline()
    policy = deployer_policy(graph, config, cloud.name)
    asked.pop(("sts:GetCallerIdentity", "*"))  # needs no permission
    assert [each for each in asked if not allowed(policy, *each)] == []
    used = {action for action, _ in asked}
    assert actions_of(policy) - used - AT_TIMES - of_stack(graph, config) == set()
