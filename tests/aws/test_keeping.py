"""What of an earlier deploy stays in a template: what executions name, and all that it needs."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from lokki.aws.keeping import InUse, chosen
from lokki.errors import AwsError

ARN = "arn:aws:lambda:us-east-1:123456789012:function"


def at(day):
    return datetime(2026, 11, day, tzinfo=UTC)


def in_use(day, *named, must=False):
    definition = {"States": {name: {"Resource": name} for name in named}}
    return InUse(json.dumps(definition), f"arn:aws:iam::1:role/machine-{day}", at(day), must)


def version(function, role):
    properties = {"FunctionName": {"Ref": function}}
    return {"Type": "AWS::Lambda::Version", "DependsOn": [role], "Properties": properties}


ROLE = {"Type": "AWS::IAM::Role", "Properties": {}}
OLD = {
    "RoleOne": ROLE,
    "RoleTwo": ROLE,
    "MachineOne": ROLE,
    "MachineTwo": ROLE,
    "More": {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {"Roles": [{"Ref": "MachineOne"}], "PolicyDocument": {}},
    },
    "Function": {
        "Type": "AWS::Lambda::Function",
        "Properties": {"Role": {"Fn::GetAtt": ["RoleTwo", "Arn"]}},
    },
    "VersionOne": version("Function", "RoleOne"),
    "VersionTwo": version("Function", "RoleTwo"),
}
PHYSICAL = {
    "MachineOne": "machine-1",
    "MachineTwo": "machine-2",
    "Function": "f",
    "VersionOne": f"{ARN}:f:1",
    "VersionTwo": f"{ARN}:f:10",
}


def test_what_an_execution_names_stays_with_its_roles_and_their_policies():
    found, dropped = chosen(OLD, {"New": {}}, PHYSICAL, [in_use(1, f"{ARN}:f:1")])
    assert set(found) == {"VersionOne", "Function", "RoleOne", "RoleTwo", "MachineOne", "More"}
    assert found["VersionOne"] == OLD["VersionOne"]
    assert dropped == []


def test_what_no_execution_names_does_not_stay_nor_what_is_new():
    found, _ = chosen(OLD, {"Function": {}}, PHYSICAL, [in_use(2, f"{ARN}:f:10")])
    assert set(found) == {"VersionTwo", "RoleTwo", "MachineTwo"}
    assert chosen(OLD, {}, PHYSICAL, []) == ({}, [])


def test_a_function_that_is_named_without_a_version_stays():
    found, _ = chosen(OLD, {}, PHYSICAL, [in_use(3, f"{ARN}:f")])
    assert set(found) == {"Function", "RoleTwo"}


def test_what_runs_comes_first_where_there_is_not_room_for_all():
    new = {str(number): {} for number in range(494)}
    older, newer = in_use(1, f"{ARN}:f:1", must=True), in_use(2, f"{ARN}:f:10")
    found, dropped = chosen(OLD, new, PHYSICAL, [newer, older])
    assert "VersionOne" in found
    assert "VersionTwo" not in found
    assert dropped == [newer]
    with pytest.raises(AwsError, match=r"more than 500 resources.*wait for their end, or cancel"):
        chosen(OLD, {**new, "one more": {}}, PHYSICAL, [older])
