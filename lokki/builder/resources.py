"""The CloudFormation resources in use, as values.

Their properties are those of
https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/ .
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from typing import Any, ClassVar

from lokki.builder.document import Document, to_json

DIGITS = 8
"""Digits of the content's hash at the end of a logical id (see `named`)."""


def ref(name: str) -> dict[str, Any]:
    return {"Ref": name}


def arn_of(name: str) -> dict[str, Any]:
    return {"Fn::GetAtt": [name, "Arn"]}


def sub(text: str) -> dict[str, Any]:
    return {"Fn::Sub": text}


@dataclass(frozen=True, kw_only=True)
class Statement(Document):
    """What a role may do, or never may, and on what."""

    sid: str | None = None
    effect: str = "Allow"
    action: tuple[str, ...]
    resource: tuple[Any, ...]
    condition: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Resource(Document):
    """A resource: its properties, and the members beside them."""

    TYPE: ClassVar[str]
    BESIDE: ClassVar[tuple[str, ...]] = ("depends_on", "deletion_policy", "update_replace_policy")

    depends_on: Sequence[str] | None = None
    deletion_policy: str | None = None
    update_replace_policy: str | None = None

    def to_json(self) -> dict[str, Any]:
        written = super().to_json()
        beside = [each.name for each in fields(self) if each.name in self.BESIDE]
        names = ["".join(part.capitalize() for part in name.split("_")) for name in beside]
        outer = {name: written.pop(name) for name in names if name in written}
        return {"Type": self.TYPE, **outer, "Properties": written}


def named(name: str, resource: Resource, *more: str) -> str:
    """The logical id of a resource that never changes: another content is another resource.

    ``more`` is content that the resource only refers to.
    """
    content = json.dumps([resource.to_json(), *more], sort_keys=True)
    return name + sha256(content.encode()).hexdigest()[:DIGITS]


@dataclass(frozen=True, kw_only=True)
class Role(Resource):
    """An IAM role for a service."""

    TYPE: ClassVar = "AWS::IAM::Role"

    assume_role_policy_document: Mapping[str, Any]
    policies: Sequence[Mapping[str, Any]] | None = None
    managed_policy_arns: Sequence[Any] | None = None
    permissions_boundary: str | None = None
    tags: Any = None


def role(service: str, name: str, statements: Sequence[Statement]) -> Role:
    """A role that ``service`` assumes to do what ``statements`` allow."""
    return Role(
        assume_role_policy_document={
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": service},
                    "Action": "sts:AssumeRole",
                }
            ],
        },
        policies=[{"PolicyName": name, "PolicyDocument": policy(statements)}],
    )


def managed_role(service: str, policy: str) -> Role:
    """A role that ``service`` assumes, with one of AWS's own policies."""
    managed = sub(f"arn:${{AWS::Partition}}:iam::aws:policy/{policy}")
    made = role(f"{service}.amazonaws.com", "", [])
    return replace(made, policies=None, managed_policy_arns=[managed])


def policy(statements: Sequence[Statement]) -> dict[str, Any]:
    """A policy document."""
    return {"Version": "2012-10-17", "Statement": to_json(list(statements))}


@dataclass(frozen=True, kw_only=True)
class Policy(Resource):
    """More that a role may do, on resources that are made with it."""

    TYPE: ClassVar = "AWS::IAM::Policy"

    policy_name: str
    policy_document: Mapping[str, Any]
    roles: Sequence[Any]


@dataclass(frozen=True, kw_only=True)
class ManagedPolicy(Resource):
    """The same, with its own size limit."""

    TYPE: ClassVar = "AWS::IAM::ManagedPolicy"

    policy_document: Mapping[str, Any]
    roles: Sequence[Any]


@dataclass(frozen=True, kw_only=True)
class InstanceProfile(Resource):
    """The role of an EC2 instance."""

    TYPE: ClassVar = "AWS::IAM::InstanceProfile"

    roles: Sequence[Any]


@dataclass(frozen=True, kw_only=True)
class Function(Resource):
    """A Lambda function."""

    TYPE: ClassVar = "AWS::Lambda::Function"

    function_name: Any = None
    description: str
    package_type: str
    code: Mapping[str, Any]
    handler: str | None = None
    runtime: str | None = None
    image_config: Mapping[str, Any] | None = None
    architectures: Sequence[str]
    role: Any
    memory_size: int
    timeout: int
    environment: Mapping[str, Any]
    kms_key_arn: str | None = None
    logging_config: Mapping[str, Any]
    ephemeral_storage: Mapping[str, Any] | None = None
    reserved_concurrent_executions: int | None = None
    layers: Sequence[str] | None = None
    vpc_config: Mapping[str, Any] | None = None
    tracing_config: Mapping[str, Any] | None = None
    durable_config: Mapping[str, Any] | None = None
    tags: Any = None


@dataclass(frozen=True, kw_only=True)
class Alias(Resource):
    """A name for a version of a function."""

    TYPE: ClassVar = "AWS::Lambda::Alias"

    name: str
    function_name: Any
    function_version: Any


@dataclass(frozen=True, kw_only=True)
class Version(Resource):
    """A published version of a function: its code and configuration, which never change."""

    TYPE: ClassVar = "AWS::Lambda::Version"

    function_name: Any


@dataclass(frozen=True, kw_only=True)
class LogGroup(Resource):
    """Where functions and jobs write to."""

    TYPE: ClassVar = "AWS::Logs::LogGroup"

    log_group_name: Any
    retention_in_days: int
    kms_key_id: str | None = None
    tags: Any = None


@dataclass(frozen=True, kw_only=True)
class Machine(Resource):
    """A Step Functions state machine."""

    TYPE: ClassVar = "AWS::StepFunctions::StateMachine"

    state_machine_name: Any
    state_machine_type: str = "STANDARD"
    definition: Mapping[str, Any]
    definition_substitutions: Mapping[str, Any]
    role_arn: Any
    logging_configuration: Mapping[str, Any] | None = None
    tracing_configuration: Mapping[str, Any] | None = None
    tags: Any = None


@dataclass(frozen=True, kw_only=True)
class Schedule(Resource):
    """An EventBridge Scheduler schedule."""

    TYPE: ClassVar = "AWS::Scheduler::Schedule"

    description: str
    schedule_expression: str
    schedule_expression_timezone: str | None = None
    flexible_time_window: Mapping[str, Any]
    target: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Queue(Resource):
    """An SQS queue."""

    TYPE: ClassVar = "AWS::SQS::Queue"

    message_retention_period: int
    kms_master_key_id: str | None = None
    tags: Any = None


@dataclass(frozen=True, kw_only=True)
class Topic(Resource):
    """An SNS topic and its subscriptions."""

    TYPE: ClassVar = "AWS::SNS::Topic"

    subscription: Sequence[Mapping[str, Any]]
    kms_master_key_id: str | None = None
    tags: Any = None


@dataclass(frozen=True, kw_only=True)
class TopicPolicy(Resource):
    """Who may publish to topics."""

    TYPE: ClassVar = "AWS::SNS::TopicPolicy"

    topics: Sequence[Any]
    policy_document: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Rule(Resource):
    """A rule of EventBridge: where it sends which events."""

    TYPE: ClassVar = "AWS::Events::Rule"

    description: str
    event_pattern: Mapping[str, Any]
    targets: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class JobDefinition(Resource):
    """What a Batch job runs, with which resources."""

    TYPE: ClassVar = "AWS::Batch::JobDefinition"

    job_definition_name: Any = None
    type: str = "container"
    platform_capabilities: Sequence[str]
    container_properties: Mapping[str, Any]
    retry_strategy: Mapping[str, Any]
    timeout: Mapping[str, Any]
    propagate_tags: bool = True
    tags: Any = None


@dataclass(frozen=True, kw_only=True)
class ComputeEnvironment(Resource):
    """The hosts of Batch jobs, when no queue is configured."""

    TYPE: ClassVar = "AWS::Batch::ComputeEnvironment"

    type: str = "MANAGED"
    state: str = "ENABLED"
    compute_resources: Mapping[str, Any]
    tags: Any = None


@dataclass(frozen=True, kw_only=True)
class JobQueue(Resource):
    """The queue of Batch jobs."""

    TYPE: ClassVar = "AWS::Batch::JobQueue"

    priority: int = 1
    state: str = "ENABLED"
    compute_environment_order: Sequence[Mapping[str, Any]]
    tags: Any = None


@dataclass(frozen=True, kw_only=True)
class Template(Document):
    """A whole template."""

    RENAMED: ClassVar = {"version": "AWSTemplateFormatVersion"}

    version: str = "2010-09-09"
    description: str
    metadata: Mapping[str, Any] | None = None
    parameters: Mapping[str, Any]
    conditions: Mapping[str, Any] | None = None
    resources: Mapping[str, Resource]
    outputs: Mapping[str, Any]
