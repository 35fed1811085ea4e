"""What those need who deploy, run and destroy a flow. Pure.

lokki sends requests with their credentials, and so does CloudFormation while it changes the stack
(https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/control-access-with-iam.html).
Actions and the resources that they can be restricted to are those of
https://docs.aws.amazon.com/service-authorization/latest/reference/ ; what CloudFormation needs for
a type of resource is in the schema of the type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lokki.builder.concurrency import depends_on_account
from lokki.builder.durable import FUNCTION, is_durable
from lokki.builder.encryption import kms_key
from lokki.builder.resources import (
    DIGITS,
    Function,
    JobDefinition,
    LogGroup,
    ManagedPolicy,
    Resource,
    Role,
    Statement,
    Template,
    Version,
    policy,
    ref,
)
from lokki.builder.sizes import is_batch
from lokki.builder.states import partition_of
from lokki.builder.template import needs_image, template
from lokki.config import Config
from lokki.graph import FlowGraph
from lokki.runtime.units import units
from lokki.stages import MapStage

_LETTERS = 24
"""Letters of a stack's name that begin the names of its resources: a longer one is cut."""


_Need = tuple[str, str, tuple[str, ...]]
"""Actions of a service, and resources of it; without any, they cannot be restricted to some."""
_BUCKET = (
    "ListBucket CreateBucket DeleteBucket PutBucketPublicAccessBlock PutEncryptionConfiguration "
    "GetLifecycleConfiguration PutLifecycleConfiguration"
)
_STACK = (
    "CreateChangeSet DescribeChangeSet DescribeEvents ExecuteChangeSet DeleteChangeSet "
    "DeleteStack DescribeStackEvents ListStackResources GetTemplate"
)
_EXECUTIONS = (
    "DescribeExecution DescribeStateMachineForExecution GetExecutionHistory StopExecution "
    "RedriveExecution"
)
_IMAGE = (
    "CreateRepository DescribeRepositories DescribeImages BatchCheckLayerAvailability "
    "InitiateLayerUpload UploadLayerPart CompleteLayerUpload PutImage BatchGetImage "
    "GetDownloadUrlForLayer GetRepositoryPolicy SetRepositoryPolicy"
)
"""To push (https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html), and to let
Lambda pull (https://docs.aws.amazon.com/lambda/latest/dg/images-create.html)."""
_NETWORK = "DescribeSecurityGroups DescribeSubnets DescribeVpcs DescribeNetworkInterfaces"
_ROLE = "role/{made}"
_MACHINE = "stateMachine:{flow}"
_FUNCTION = "function:{flow}"
_DURABLE = (
    "InvokeFunction GetAlias ListDurableExecutionsByFunction GetDurableExecution "
    "GetDurableExecutionHistory StopDurableExecution"
)
_OF_TYPES: Mapping[str, tuple[_Need, ...]] = {
    "AWS::Logs::LogGroup": (
        (
            "logs",
            "CreateLogGroup DeleteLogGroup PutRetentionPolicy AssociateKmsKey DisassociateKmsKey "
            "TagResource UntagResource ListTagsForResource",
            ("log-group:{own}", "log-group:{own}:*"),
        ),
        ("logs", "DescribeLogGroups", ()),
    ),
    "AWS::IAM::Role": (
        (
            "iam",
            "DeleteRole GetRole UpdateRole UpdateRoleDescription UpdateAssumeRolePolicy TagRole "
            "UntagRole GetRolePolicy ListRolePolicies ListAttachedRolePolicies",
            (_ROLE,),
        ),
    ),
    "AWS::IAM::Policy": (("iam", "GetRolePolicy", (_ROLE,)),),
    "AWS::IAM::ManagedPolicy": (
        (
            "iam",
            "CreatePolicy DeletePolicy GetPolicy CreatePolicyVersion DeletePolicyVersion "
            "GetPolicyVersion ListPolicyVersions ListEntitiesForPolicy",
            ("policy/{made}",),
        ),
    ),
    "AWS::IAM::InstanceProfile": (
        (
            "iam",
            "CreateInstanceProfile DeleteInstanceProfile GetInstanceProfile "
            "AddRoleToInstanceProfile RemoveRoleFromInstanceProfile",
            ("instance-profile/{made}",),
        ),
    ),
    "AWS::Lambda::Function": (
        (
            "lambda",
            "CreateFunction DeleteFunction GetFunction GetFunctionCodeSigningConfig "
            "GetFunctionRecursionConfig GetRuntimeManagementConfig UpdateFunctionCode "
            "UpdateFunctionConfiguration PutFunctionConcurrency DeleteFunctionConcurrency "
            "TagResource UntagResource",
            ("function:{own}",),
        ),
    ),
    "AWS::Lambda::Alias": (
        (
            "lambda",
            "CreateAlias UpdateAlias DeleteAlias GetAlias GetProvisionedConcurrencyConfig",
            (_FUNCTION, f"{_FUNCTION}:*"),
        ),
    ),
    "AWS::Lambda::Version": (
        (
            "lambda",
            "PublishVersion DeleteFunction GetFunctionConfiguration "
            "GetProvisionedConcurrencyConfig GetRuntimeManagementConfig ListVersionsByFunction",
            ("function:{own}",),
        ),
    ),
    "AWS::StepFunctions::StateMachine": (
        (
            "states",
            "CreateStateMachine UpdateStateMachine DeleteStateMachine DescribeStateMachine "
            "TagResource UntagResource ListTagsForResource",
            (_MACHINE,),
        ),
    ),
    "AWS::Scheduler::Schedule": (
        (
            "scheduler",
            "CreateSchedule UpdateSchedule DeleteSchedule GetSchedule",
            ("schedule/default/{made}",),
        ),
    ),
    "AWS::SQS::Queue": (
        (
            "sqs",
            "CreateQueue DeleteQueue GetQueueUrl GetQueueAttributes SetQueueAttributes "
            "ListQueueTags TagQueue UntagQueue",
            ("{made}",),
        ),
    ),
    "AWS::SNS::Topic": (
        (
            "sns",
            "CreateTopic DeleteTopic GetTopicAttributes SetTopicAttributes TagResource "
            "UntagResource ListTagsForResource Subscribe ListSubscriptionsByTopic "
            "GetDataProtectionPolicy",
            ("{made}",),
        ),
        ("sns", "Unsubscribe", ()),
    ),
    "AWS::SNS::TopicPolicy": (("sns", "SetTopicAttributes", ("{made}",)),),
    "AWS::Events::Rule": (
        (
            "events",
            "PutRule DeleteRule DescribeRule PutTargets RemoveTargets ListTargetsByRule "
            "TagResource UntagResource ListTagsForResource",
            ("rule/{made}",),
        ),
    ),
    "AWS::Batch::JobDefinition": (
        (
            "batch",
            "RegisterJobDefinition DeregisterJobDefinition TagResource UntagResource",
            ("job-definition/{own}*",),
        ),
        ("batch", "DescribeJobDefinitions", ()),
    ),
    "AWS::Batch::ComputeEnvironment": (
        (
            "batch",
            "CreateComputeEnvironment UpdateComputeEnvironment DeleteComputeEnvironment "
            "TagResource UntagResource",
            ("compute-environment/{own}*",),
        ),
        ("batch", "DescribeComputeEnvironments", ()),
    ),
    "AWS::Batch::JobQueue": (
        (
            "batch",
            "CreateJobQueue UpdateJobQueue DeleteJobQueue TagResource UntagResource",
            ("job-queue/{own}*", "compute-environment/*ComputeEnvironment-*"),
        ),
        ("batch", "DescribeJobQueues", ()),
    ),
}
"""What CloudFormation needs for the types of resources in templates."""
_MAKING = "CreateRole PutRolePolicy DeleteRolePolicy DetachRolePolicy PutRolePermissionsBoundary"
_PASSED_TO = {
    "AWS::Lambda::Function": "lambda",
    "AWS::StepFunctions::StateMachine": "states",
    "AWS::Scheduler::Schedule": "scheduler",
    "AWS::Batch::JobDefinition": "ecs-tasks",
    "AWS::IAM::InstanceProfile": "ec2",
}
"""Services that take a role."""


def deployer_policy(graph: FlowGraph[Any], config: Config, stack: str) -> dict[str, Any]:
    """The IAM policy for those who deploy, run and destroy a flow, with a stack of this name.

    It allows what they need on the flow's own resources, in the configured region (default: in
    any) of the account where they have the policy. Raises ConfigError like `template`.
    """
    graph = replace(graph, name=config.aws.deployed_name(graph.name))
    made = template(graph, config, module="", python="")
    return policy(list(_Access(graph, config, made, stack).statements()))


@dataclass(frozen=True, slots=True)
class _Access:
    graph: FlowGraph[Any]
    config: Config
    made: Template
    stack: str

    def statements(self) -> Iterator[Statement]:
        found: dict[tuple[str, ...], dict[str, None]] = {}
        for service, actions, resources in (
            *self._of_lokki(),
            *self._of_image(),
            *self._of_stack(),
        ):
            arns = tuple(self._arn(service, each) for each in resources) or ("*",)
            found.setdefault(arns, {}).update(dict.fromkeys(_named(service, actions)))
        for arns, allowed in found.items():
            yield Statement(action=tuple(allowed), resource=arns)
        yield from self._roles()

    def _of_lokki(self) -> Iterator[_Need]:
        """For the requests of lokki itself.

        Nobody needs a permission to ask who they are
        (https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html).
        """
        bucket = self.config.aws.artifact_bucket
        key = kms_key(self.config)
        yield "s3", _BUCKET, (f"{bucket}",)
        if key is not None:
            yield "s3", "GetEncryptionConfiguration", (f"{bucket}",)
            yield "kms", "Decrypt GenerateDataKey Encrypt DescribeKey", (key,)
        objects = "GetObject PutObject DeleteObject AbortMultipartUpload"
        yield "s3", objects, (f"{bucket}/{{flow}}/*",)
        yield "cloudformation", _STACK, (f"stack/{self.stack}/*",)
        # https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html
        yield "cloudformation", "DescribeStacks ListStacks", ()
        yield from self._of_runs()
        group = "log-group:/lokki/{flow}"
        yield "logs", "FilterLogEvents", (group, f"{group}:*")
        if depends_on_account(self.graph, self.config):
            yield "lambda", "GetAccountSettings", ()

    def _of_runs(self) -> Iterator[_Need]:
        """To start, look at, cancel and resume runs."""
        if is_durable(self.graph, self.config):
            # https://docs.aws.amazon.com/lambda/latest/dg/durable-security.html
            yield "lambda", _DURABLE, (_FUNCTION, f"{_FUNCTION}:*")
            if any(map(is_batch, units(self.graph))):
                yield "batch", "TerminateJob", ("job/*",)
            return
        yield "states", "DescribeStateMachine StartExecution ListExecutions", (_MACHINE,)
        yield "states", _EXECUTIONS, ("execution:{flow}:*",)
        if any(isinstance(stage, MapStage) for stage in self.graph.stages):
            yield "states", "ListMapRuns", ("execution:{flow}:*",)
            yield "states", "DescribeMapRun UpdateMapRun ListExecutions", ("mapRun:{flow}/*",)
            yield "states", "DescribeExecution", ("execution:{flow}/*",)

    def _of_image(self) -> Iterator[_Need]:
        if needs_image(self.graph, self.config):
            prefix = self.config.aws.ecr_repo_prefix.partition("/")[2]
            yield "ecr", _IMAGE, (f"repository/{prefix}/lokki" if prefix else "repository/lokki",)
            yield "ecr", "GetAuthorizationToken", ()

    def _of_stack(self) -> Iterator[_Need]:
        """For CloudFormation."""
        for name, resource in self.made.resources.items():
            own = self._own(name, resource)
            for service, actions, resources in _OF_TYPES[resource.TYPE]:
                yield service, actions, tuple(each.replace("{own}", own) for each in resources)
            if isinstance(resource, Function) and resource.vpc_config is not None:
                yield "ec2", _NETWORK, ()
            if isinstance(resource, Function) and resource.layers is not None:
                yield "lambda", "GetLayerVersion", tuple(resource.layers)

    def _roles(self) -> Iterator[Statement]:
        """To make the roles of the stack, bounded if a boundary is configured, and to pass roles.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
        """
        types = {resource.TYPE for resource in self.made.resources.values()}
        role, boundary = self._arn("iam", _ROLE), self.config.aws.permissions_boundary
        if "AWS::IAM::Role" in types:
            bounded = {"StringEquals": {"iam:PermissionsBoundary": boundary}} if boundary else {}
            making = _MAKING if boundary else f"{_MAKING} DeleteRolePermissionsBoundary"
            yield Statement(
                action=_named("iam", making), resource=(role,), condition=bounded or None
            )
            if attached := list(dict.fromkeys(self._attached())):
                yield Statement(
                    action=("iam:AttachRolePolicy",),
                    resource=(role,),
                    condition={**bounded, "ArnLike": {"iam:PolicyARN": attached}},
                )
        if "AWS::Batch::ComputeEnvironment" in types:
            yield Statement(
                action=("iam:CreateServiceLinkedRole",),
                resource=(self._arn("iam", "role/aws-service-role/batch.amazonaws.com/*"),),
                condition={"StringEquals": {"iam:AWSServiceName": "batch.amazonaws.com"}},
            )
        if key := kms_key(self.config):
            # https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars-encryption.html
            yield Statement(
                action=("kms:CreateGrant",),
                resource=(key,),
                condition={"Bool": {"kms:GrantIsForAWSResource": "true"}},
            )
        services = [f"{_PASSED_TO[each]}.amazonaws.com" for each in sorted(types & {*_PASSED_TO})]
        own = role if "AWS::IAM::Role" in types else None
        roles = (own, self.config.aws.roles.pipeline, self.config.aws.roles.lambda_)
        yield Statement(
            action=("iam:PassRole",),
            resource=tuple(arn for arn in roles if arn),
            condition={"StringEquals": {"iam:PassedToService": services}},
        )

    def _attached(self) -> Iterator[str]:
        """The managed policies of roles."""
        for resource in self.made.resources.values():
            if isinstance(resource, ManagedPolicy):
                yield self._arn("iam", "policy/{made}")
            elif isinstance(resource, Role):
                for arn in resource.managed_policy_arns or ():
                    text = arn if isinstance(arn, str) else arn["Fn::Sub"]
                    yield text.replace("${AWS::Partition}", partition_of(self.config))

    def _own(self, name: str, resource: Resource) -> str:
        """The name of a log group, or how one in Batch begins, which does not name the stack."""
        match resource:
            case LogGroup(log_group_name={"Fn::Sub": str(text)}):
                return text.replace("${FlowName}", self.graph.name)
            case JobDefinition():
                return str(resource.job_definition_name or name)[:-DIGITS]
            case Function(function_name={"Ref": "FlowName"}):
                return "{flow}"
            case Version() if resource.function_name == ref(FUNCTION):
                return "{flow}"
            case Function() | Version():
                return "{made}"
        return f"{name}-"

    def _arn(self, service: str, resource: str) -> str:
        """The ARN of a resource; an account's number is not known here, and need not be."""
        if resource.startswith("arn:"):
            return resource
        region = "" if service in ("iam", "s3") else self.config.aws.region or "*"
        account = "" if service == "s3" else "*"
        cut = self.stack[:_LETTERS]
        made = f"{cut}-*" if cut == self.stack else f"{cut}*"
        named = resource.replace("{flow}", self.graph.name).replace("{made}", made)
        return f"arn:{partition_of(self.config)}:{service}:{region}:{account}:{named}"


def _named(service: str, actions: str) -> tuple[str, ...]:
    return tuple(f"{service}:{each}" for each in actions.split())
