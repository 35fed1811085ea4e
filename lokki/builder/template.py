"""A flow's graph and configuration as a CloudFormation template. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from lokki.builder.durable import (
    durable_resources,
    is_durable,
    orchestrator_role,
    orchestrator_statements,
)
from lokki.builder.durable_jobs import StepJob
from lokki.builder.encryption import kms_key
from lokki.builder.granted import granted_policies, granted_statements
from lokki.builder.notices import notice_resources
from lokki.builder.permissions import (
    invocations,
    machine_statements,
    own_statements,
    service_statements,
    step_statements,
)
from lokki.builder.queues import listed, made_queues, named_queue, queue_id, queue_of
from lokki.builder.references import filled_in
from lokki.builder.resources import (
    DIGITS,
    Function,
    JobDefinition,
    LogGroup,
    Machine,
    ManagedPolicy,
    Policy,
    Resource,
    Role,
    Statement,
    Template,
    Version,
    arn_of,
    managed_role,
    named,
    policy,
    ref,
    role,
    sub,
)
from lokki.builder.retries import job_attempts
from lokki.builder.scheduled import schedule_resources
from lokki.builder.sizes import Sizes, is_batch, platform_of, sizes_of
from lokki.builder.states import Names, names_of, state_machine
from lokki.config import Config
from lokki.errors import ConfigError
from lokki.graph import FlowGraph
from lokki.model.structure import dumped
from lokki.runtime.event import BUCKET, FLOW, MODULE, PREVIEWS, STEP
from lokki.runtime.units import TaskUnit, units
from lokki.stages import MapStage
from lokki.store.keys import zip_key

_RETENTIONS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
)  # fmt: skip
"""https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html"""
_IN_A_POLICY = 40
"""Functions that a role's own policy names: it has at most 10,240 characters, another one 6,144
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html)."""
_NOBODY = "1000"
"""The user of jobs, which need not be root; Lambda has its own."""
_EXECUTION_POLICY = "service-role/AmazonECSTaskExecutionRolePolicy"
"""What starts a job: pulls its image and writes its logs."""
_HAS_PREFIX = "HasImagePrefix"
_FLOW_TAG = "lokki:flow"
DURABLE_FUNCTION = "DurableFunctionArn"
"""The output with the alias of a durable function."""
DEPLOYMENT = "Deployment"
"""The output with the deployment, if it has a name."""
_LAMBDA = "lambda"
_PARAMETERS: Mapping[str, str] = {
    "FlowName": "Name of the flow, and of its state machine.",
    "S3Bucket": "Bucket of results and packages.",
    "ECRRepoPrefix": "ECR registry of the image lokki; empty for an image of just this name.",
    "ImageTag": "Tag of the image.",
    "PackageKey": "Key of the package in the bucket, for functions without an image.",
}


def template(
    graph: FlowGraph[Any], config: Config, *, module: str, python: str, code: str = ""
) -> Template:
    """The template of a flow that ``module`` defines, for a version of ``python`` ("3.13").

    ``code`` names the content of the package or image. What an execution uses has a logical id
    that says what is in it: a deploy adds new resources, and can keep the old ones. Raises
    ConfigError for a missing setting, or a step that needs too much.
    """
    return _TemplateMaker(graph, config, names_of(graph), module, python, code).template()


def literal(document: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """The resources of a template with the values of its parameters in their place.

    A resource that a later deploy keeps then stays as it is, whatever that deploy gives.
    """
    defaults = {
        name: about["Default"]
        for name, about in document.get("Parameters", {}).items()
        if "Default" in about
    }
    values = {**defaults, **given}
    conditions = {_HAS_PREFIX: bool(values.get("ECRRepoPrefix"))}
    return {
        name: filled_in(each, values, conditions) for name, each in document["Resources"].items()
    }


def needs_image(graph: FlowGraph[Any], config: Config) -> bool:
    """Whether a function or a job of the flow runs from its image."""
    every = list(units(graph))
    functions = config.lambda_.package_type == "image" and has_functions(graph, config)
    return functions or (config.batch.image is None and any(map(is_batch, every)))


def has_functions(graph: FlowGraph[Any], config: Config) -> bool:
    """Whether a flow has functions in Lambda: a durable one, or those of its steps."""
    return is_durable(graph, config) or not all(map(is_batch, units(graph)))


def permissions(graph: FlowGraph[Any], config: Config) -> Iterator[tuple[str, Statement]]:
    """What the new roles may do, for people to read."""
    names = names_of(graph)
    functions = [
        _function_id(names.calls[each.name], config) for each in units(graph) if not is_batch(each)
    ]
    if config.aws.roles.lambda_ is None:
        may = step_statements(graph, config)
        for statement in [*may, *service_statements(config), *granted_statements(config)]:
            yield "steps", statement
    if is_durable(graph, config):
        jobs = _TemplateMaker(graph, config, names, "", "", "").step_jobs()
        for statement in orchestrator_statements(graph.name, functions, jobs, config):
            yield "durable function", statement
    elif config.aws.roles.pipeline is None:
        maps = any(isinstance(stage, MapStage) for stage in graph.stages)
        own = own_statements() if maps else []
        for statement in [*machine_statements(graph, functions, config), *own]:
            yield "state machine", statement


@dataclass(frozen=True, slots=True)
class _TemplateMaker:
    graph: FlowGraph[Any]
    config: Config
    names: Names
    module: str
    python: str
    code: str

    def template(self) -> Template:
        resources, deployment = dict(self._resources()), self.config.aws.deployment
        return Template(
            description=f"{self.graph.name}, a flow of lokki",
            metadata={"lokki": {"structure": dumped(self.graph.structure)}}
            if self._is_durable
            else None,
            parameters=self._parameters(),
            conditions={_HAS_PREFIX: {"Fn::Not": [{"Fn::Equals": [ref("ECRRepoPrefix"), ""]}]}}
            if "ECRRepoPrefix" in self._used()
            else None,
            resources=resources,
            outputs={
                **self._target(),
                "LogGroup": {"Value": ref("Logs")},
                **({DEPLOYMENT: {"Value": deployment}} if deployment else {}),
            },
        )

    @property
    def _is_durable(self) -> bool:
        return is_durable(self.graph, self.config)

    def _target(self) -> dict[str, Any]:
        """The output with what runs the flow."""
        if self._is_durable:
            return {DURABLE_FUNCTION: {"Value": ref("Live")}}
        return {"StateMachineArn": {"Value": ref("StateMachine")}}

    def _used(self) -> list[str]:
        """The parameters that the template uses."""
        is_zip = self.config.lambda_.package_type == "zip"
        zipped = is_zip and has_functions(self.graph, self.config)
        image = needs_image(self.graph, self.config)
        return [
            "FlowName",
            "S3Bucket",
            *(["ECRRepoPrefix", "ImageTag"] if image else []),
            *(["PackageKey"] if zipped else []),
        ]

    def _parameters(self) -> dict[str, Any]:
        aws = self.config.aws
        defaults = {
            "FlowName": self.graph.name,
            "S3Bucket": aws.artifact_bucket,
            "ECRRepoPrefix": aws.ecr_repo_prefix,
            "ImageTag": self.config.lambda_.image_tag,
            "PackageKey": zip_key(self.graph.name),
        }
        return {
            name: {"Type": "String", "Description": _PARAMETERS[name]}
            | ({} if defaults[name] is None else {"Default": defaults[name]})
            for name in self._used()
        }

    def _units(self) -> list[TaskUnit]:
        return list(units(self.graph))

    def _functions(self) -> list[TaskUnit]:
        return [unit for unit in self._units() if not is_batch(unit)]

    def _jobs(self) -> list[TaskUnit]:
        return [unit for unit in self._units() if is_batch(unit)]

    def _state(self, unit: TaskUnit) -> str:
        return self.names.calls[unit.name]

    # ---- resources -------------------------------------------------------------------------------

    def _resources(self) -> Iterator[tuple[str, Resource]]:
        yield "Logs", self._logs("/lokki/${FlowName}")
        if self._functions():
            yield from self._versions()
        if self._jobs():
            yield from self._batch()
        yield from self._orchestrator() if self._is_durable else self._machine()
        yield from notice_resources(self.graph, self.config, self._tags)
        for name, made in schedule_resources(self.graph, self.config, self._tags):
            yield name, self._completed(made) if isinstance(made, Role) else made

    def _logs(self, name: str) -> LogGroup:
        days = self.config.aws.log_retention
        if days not in _RETENTIONS:
            known = ", ".join(map(str, _RETENTIONS))
            raise ConfigError(
                f"aws.log_retention: CloudWatch keeps no logs for {days} days: {known}"
            )
        return LogGroup(
            log_group_name=sub(name),
            retention_in_days=days,
            kms_key_id=kms_key(self.config),
            tags=self._tags,
            deletion_policy="Delete",
            update_replace_policy="Retain",
        )

    @property
    def _tags_by_name(self) -> dict[str, Any]:
        return {**self.config.aws.tags, _FLOW_TAG: ref("FlowName")}

    @property
    def _tags(self) -> list[dict[str, Any]]:
        return [{"Key": name, "Value": value} for name, value in self._tags_by_name.items()]

    def _completed(self, made: Role) -> Role:
        """A role with what is not in its logical id, since it may change while it is in use."""
        boundary = self.config.aws.permissions_boundary
        return replace(made, permissions_boundary=boundary, tags=self._tags)

    def _environment(self, unit: TaskUnit) -> dict[str, Any]:
        flow = {FLOW: self.graph.name, STEP: unit.name}
        previews = {} if self.config.local.previews else {PREVIEWS: "false"}
        return {**flow, MODULE: self.module, BUCKET: ref("S3Bucket"), **previews}

    def _function_id(self, unit: TaskUnit) -> str:
        return _function_id(self._state(unit), self.config)

    def _step_role(self, name: str, service: str) -> dict[str, Role]:
        """The role of steps in a service by its logical id, unless one is configured."""
        statements, policies = granted_statements(self.config), granted_policies(self.config)
        if self.config.aws.roles.lambda_ is not None:
            return {}
        may = step_statements(self.graph, self.config)
        if service == _LAMBDA:
            may += service_statements(self.config)
        made = role(f"{service}.amazonaws.com", "step", may + statements)
        made = replace(made, managed_policy_arns=policies or None)
        return {named(name, made): self._completed(made)}

    def _role_arn(self, roles: Mapping[str, Role]) -> Any:
        return self.config.aws.roles.lambda_ or arn_of(*roles)

    def _versions(self) -> Iterator[tuple[str, Resource]]:
        """The functions, and the versions of them that the state machine invokes.

        A version has its role as long as it exists, whichever role its function has by then.
        """
        roles = self._step_role("StepRole", _LAMBDA)
        yield from roles.items()
        for unit in self._functions():
            yield self._function_id(unit), self._function(unit)
            function = ref(self._function_id(unit))
            version = Version(function_name=function, depends_on=list(roles) or None)
            yield self._version_id(unit), version

    def _version_id(self, unit: TaskUnit) -> str:
        """Named by what a version has, which tags and reservations are not part of."""
        made = replace(self._function(unit), tags=None, reserved_concurrent_executions=None)
        return named(f"{self._state(unit)}Version", made, *self._parameter_values())

    def _parameter_values(self) -> list[str]:
        """What resources take from parameters, besides their code."""
        aws = self.config.aws
        return [str(aws.artifact_bucket), str(aws.ecr_repo_prefix)]

    def _function(self, unit: TaskUnit) -> Function:
        settings, sizes = self.config.lambda_, sizes_of(unit, self.config)
        zipped, storage = settings.package_type == "zip", sizes.storage_mb
        calls = " → ".join(call.name for call in unit.calls)
        return Function(
            # AWS publishes no second version of the same, and a tag may be new for an old image
            description=f"{self.graph.name}: {calls}"[:180] + f" ({self.code})" * bool(self.code),
            package_type="Zip" if zipped else "Image",
            code={"S3Bucket": ref("S3Bucket"), "S3Key": ref("PackageKey")}
            if zipped
            else {"ImageUri": _image()},
            handler="handler.handler" if zipped else None,
            runtime=f"python{self.python}" if zipped else None,
            image_config=None if zipped else {"Command": ["handler.handler"]},
            architectures=[settings.architecture],
            role=self._role_arn(self._step_role("StepRole", _LAMBDA)),
            memory_size=sizes.memory_mb,
            timeout=sizes.timeout_seconds,
            environment={"Variables": {**settings.env, **self._environment(unit)}},
            kms_key_arn=kms_key(self.config),
            logging_config={"LogFormat": "Text", "LogGroup": ref("Logs")},
            ephemeral_storage={"Size": storage} if storage else None,
            reserved_concurrent_executions=settings.reserved_concurrency if unit.in_map else None,
            layers=listed(settings.layers) if settings.layers and zipped else None,
            vpc_config=self._network(),
            tracing_config={"Mode": "Active"} if self.config.aws.tracing else None,
            tags=self._tags,
        )

    def _network(self) -> dict[str, Any] | None:
        network = self.config.aws.network
        if network.subnets is None and network.security_groups is None:
            return None
        if network.subnets is None or network.security_groups is None:
            raise ConfigError(
                "functions in a network need both aws.network.subnets and "
                "aws.network.security_groups"
            )
        return {
            "SubnetIds": listed(network.subnets),
            "SecurityGroupIds": listed(network.security_groups),
        }

    def _machine(self) -> Iterator[tuple[str, Resource]]:
        given = self.config.aws.roles.pipeline
        functions = [self._function_id(unit) for unit in self._functions()]
        may = machine_statements(self.graph, functions[:_IN_A_POLICY], self.config)
        made = role("states.amazonaws.com", "machine", may)
        machine_role = named("MachineRole", made)
        if given is None:
            yield machine_role, self._completed(made)
            for first in range(_IN_A_POLICY, len(functions), _IN_A_POLICY):
                more = policy([invocations(functions[first : first + _IN_A_POLICY])])
                attached = ManagedPolicy(policy_document=more, roles=[ref(machine_role)])
                yield named("MachinePolicy", attached), attached
            if any(isinstance(stage, MapStage) for stage in self.graph.stages):
                own = Policy(
                    policy_name="own-executions",
                    policy_document=policy(own_statements()),
                    roles=[ref(machine_role)],
                )
                yield named("MachineOwnPolicy", own), own
        level = self.config.aws.state_machine_logs
        if level != "OFF":
            yield "MachineLogs", self._logs("/aws/vendedlogs/states/${FlowName}")
        yield (
            "StateMachine",
            Machine(
                state_machine_name=ref("FlowName"),
                definition=state_machine(self.graph, self.config).to_json(),
                definition_substitutions=self._substitutions(),
                role_arn=given or arn_of(machine_role),
                logging_configuration=_logged(level) if level != "OFF" else None,
                tracing_configuration={"Enabled": True} if self.config.aws.tracing else None,
                tags=self._tags,
            ),
        )

    def _orchestrator(self) -> Iterator[tuple[str, Resource]]:
        functions, jobs = self._functions(), self.step_jobs()
        versions = {unit.name: self._version_id(unit) for unit in functions}
        roles = {}
        if self.config.aws.roles.pipeline is None:
            ids = [self._function_id(unit) for unit in functions]
            made = orchestrator_role(self.graph.name, ids, jobs, self.config)
            roles = {named("OrchestratorRole", made): self._completed(made)}
        like = self._function(self._units()[0])
        yield from durable_resources(self.graph, self.config, like, versions, jobs, roles)

    def step_jobs(self) -> dict[str, StepJob]:
        """What a durable function submits, by step."""
        found = {}
        for unit in self._jobs():
            queue = queue_of(unit, self.config)
            name = named_queue(queue, self.config)
            made = name is None
            where = queue_id(queue, self.config) if name is None else name
            found[unit.name] = StepJob(self._job_id(unit), where, made)
        return found

    def _substitutions(self) -> dict[str, Any]:
        arns = {
            f"{self._state(unit)}Arn": ref(self._version_id(unit)) for unit in self._functions()
        }
        jobs = {f"{self._state(unit)}Job": ref(self._job_id(unit)) for unit in self._jobs()}
        queues: dict[str, Any] = {
            each: named_queue(each, self.config) or ref(queue_id(each, self.config))
            for each in sorted({queue_of(unit, self.config) for unit in self._jobs()})
        }
        maps = any(isinstance(stage, MapStage) for stage in self.graph.stages)
        bucket = {"S3Bucket": ref("S3Bucket")} if maps or jobs else {}
        return {**bucket, **arns, **jobs, **queues}

    # ---- Batch -----------------------------------------------------------------------------------

    def _batch(self) -> Iterator[tuple[str, Resource]]:
        yield from self._step_role("JobRole", "ecs-tasks").items()
        execution = managed_role("ecs-tasks", _EXECUTION_POLICY)
        yield "JobExecutionRole", self._completed(execution)
        for logical, each in made_queues(self._jobs(), self.config, self._tags_by_name):
            yield logical, self._completed(each) if isinstance(each, Role) else each
        for unit in self._jobs():
            made, job_id = self._job(unit), self._job_id(unit)
            name = self.config.batch.job_definition_name
            unique = name and f"{name}-{unit.name}-{job_id[-DIGITS:]}"
            yield job_id, replace(made, job_definition_name=unique)

    def _job_id(self, unit: TaskUnit) -> str:
        return named(
            f"{self._state(unit)}Job", self._job(unit), self.code, *self._parameter_values()
        )

    def _fargate(self, sizes: Sizes) -> dict[str, Any]:
        """The additional settings of a job on Fargate; the address is for pulling the image."""
        architecture = self.config.lambda_.architecture.upper()
        storage = {"SizeInGiB": ceil((sizes.storage_mb or 0) / 1024)}
        return {
            **({"EphemeralStorage": storage} if sizes.paid_storage_mb else {}),
            "NetworkConfiguration": {"AssignPublicIp": "ENABLED"},
            "RuntimePlatform": {
                "OperatingSystemFamily": "LINUX",
                "CpuArchitecture": architecture,
            },
        }

    def _job(self, unit: TaskUnit) -> JobDefinition:
        batch, sizes = self.config.batch, sizes_of(unit, self.config)
        platform = platform_of(unit, self.config)
        variables = {**batch.env, **self._environment(unit)}
        vcpu = f"{sizes.vcpu:g}"
        return JobDefinition(
            platform_capabilities=[platform],
            container_properties={
                "Image": batch.image or _image(),
                "Command": ["python", "-m", "lokki.runtime.batch_main"],
                "User": _NOBODY,
                **(self._fargate(sizes) if platform == "FARGATE" else {}),
                "Environment": [
                    {"Name": name, "Value": value} for name, value in variables.items()
                ],
                "ResourceRequirements": [
                    {"Type": "VCPU", "Value": vcpu},
                    {"Type": "MEMORY", "Value": str(sizes.memory_mb)},
                    *([{"Type": "GPU", "Value": str(sizes.gpu)}] if sizes.gpu else []),
                ],
                "JobRoleArn": self._role_arn(self._step_role("JobRole", "ecs-tasks")),
                "ExecutionRoleArn": arn_of("JobExecutionRole"),
                "LogConfiguration": {
                    "LogDriver": "awslogs",
                    "Options": {
                        "awslogs-group": ref("Logs"),
                        "awslogs-region": ref("AWS::Region"),
                        "awslogs-stream-prefix": unit.name,
                    },
                },
            },
            retry_strategy=job_attempts(unit, spot=batch.spot),
            timeout={"AttemptDurationSeconds": sizes.timeout_seconds},
            tags=self._tags_by_name,
        )


def _logged(level: str) -> dict[str, Any]:
    """Without the inputs and results of states, which may be confidential."""
    destination = {"CloudWatchLogsLogGroup": {"LogGroupArn": arn_of("MachineLogs")}}
    return {"Level": level, "IncludeExecutionData": False, "Destinations": [destination]}


def _function_id(state: str, config: Config) -> str:
    """The logical id of a function; another kind of package is another function on AWS, too.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-lambda-function.html
    """
    return f"{state}{config.lambda_.package_type.capitalize()}Function"


def _image() -> dict[str, Any]:
    """The one image of all steps."""
    there, here = sub("${ECRRepoPrefix}/lokki:${ImageTag}"), sub("lokki:${ImageTag}")
    return {"Fn::If": [_HAS_PREFIX, there, here]}
