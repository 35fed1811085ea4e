"""A flow as a durable function of Lambda, which calls the functions of its steps. Pure.

https://docs.aws.amazon.com/lambda/latest/dg/durable-functions.html . What it does is in
`lokki.runtime.orchestrator`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from lokki.builder.children import maps_of
from lokki.builder.concurrency import most_at_once
from lokki.builder.durable_jobs import StepJob, job_statements
from lokki.builder.encryption import key_statements
from lokki.builder.permissions import invocations, tracing_statements
from lokki.builder.resources import (
    Alias,
    Function,
    Resource,
    Role,
    Statement,
    Version,
    arn_of,
    named,
    ref,
    role,
    sub,
)
from lokki.config import Config
from lokki.errors import BuildError
from lokki.graph import FlowGraph
from lokki.runtime.event import BUCKET, FLOW, MODULE, ORCHESTRATION

ALIAS = "live"
"""The alias of the version that was deployed last."""
FUNCTION = "Orchestrator"
PYTHONS = ("3.13", "3.14")
"""Managed runtimes with durable functions
(https://docs.aws.amazon.com/lambda/latest/dg/durable-supported-runtimes.html)."""
HANDLER = "orchestrator.handler"
_TIMEOUT = 900
"""Seconds that an invocation of it may take: it waits for nothing while it runs."""
_MOST_NAME = 64
_OWN = "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:${FlowName}:*"


def is_durable(graph: FlowGraph[Any], config: Config) -> bool:
    """Whether a durable function is to run a flow: as its `@flow` says, else as configured."""
    own = graph.flow and graph.flow.target
    return (own or config.aws.target) == "durable"


def check_durable(graph: FlowGraph[Any], config: Config, python: str) -> None:
    """Raise BuildError for what a durable function cannot do, with what to change."""
    if len(graph.name) > _MOST_NAME:
        raise BuildError(
            f"'{graph.name}' has {len(graph.name)} characters, but a durable function has the name "
            f"of its flow, at most {_MOST_NAME}: shorten it, or aws.deployment"
        )
    if config.lambda_.package_type == "zip" and python not in PYTHONS:
        raise BuildError(
            f"Lambda has durable functions for Python {' and '.join(PYTHONS)}, not {python}: build "
            'with one of them, or set lambda.package_type to "image"'
        )


def orchestrator_source(flow: str, structure: str) -> str:
    """The module of the durable function."""
    return (
        '"""Made by `lokki build`: LOKKI_MODULE_NAME says where the flow is."""\n\n'
        "from aws_durable_execution_sdk_python import durable_execution\n\n"
        "from lokki.runtime.orchestrator import Orchestrator\n\n"
        f"_orchestrator = Orchestrator({flow!r}, {structure!r})\n\n\n"
        "@durable_execution\n"
        "def handler(event, context):\n"
        "    return _orchestrator(event, context)\n"
    )


def orchestrator_statements(
    flow: str, functions: list[str], jobs: Mapping[str, StepJob], config: Config
) -> list[Statement]:
    """For the durable function: call the steps, submit jobs, keep its own record, log.

    https://docs.aws.amazon.com/lambda/latest/dg/durable-security.html
    """
    record = ("lambda:CheckpointDurableExecution", "lambda:GetDurableExecutionState")
    return [
        *([invocations(functions)] if functions else []),
        *job_statements(flow, jobs),
        Statement(action=record, resource=(sub(_OWN),)),
        Statement(action=("logs:CreateLogStream", "logs:PutLogEvents"), resource=(arn_of("Logs"),)),
        *key_statements(config),
        *tracing_statements(config),
    ]


def orchestrator_role(
    flow: str, functions: list[str], jobs: Mapping[str, StepJob], config: Config
) -> Role:
    may = orchestrator_statements(flow, functions, jobs, config)
    return role("lambda.amazonaws.com", "orchestrator", may)


def durable_resources(
    graph: FlowGraph[Any],
    config: Config,
    like: Function,
    versions: Mapping[str, str],
    jobs: Mapping[str, StepJob],
    roles: Mapping[str, Role],
) -> Iterator[tuple[str, Resource]]:
    """The durable function, its version and the alias that runs are started by.

    It has the code and settings of the function ``like``; ``versions`` are the logical ids of the
    versions that it calls, by step, and ``jobs`` what it submits.
    """
    environment = {
        **config.lambda_.env,
        FLOW: graph.name,
        MODULE: like.environment["Variables"][MODULE],
        **({BUCKET: ref("S3Bucket")} if jobs else {}),
        ORCHESTRATION: sub(_settings(graph, config, versions, jobs)),
    }
    zipped = like.package_type == "Zip"
    made = replace(
        like,
        function_name=ref("FlowName"),
        description=f"{graph.name}: the flow{_code_in(like.description)}",
        handler=HANDLER if zipped else None,
        image_config=None if zipped else {"Command": [HANDLER]},
        role=config.aws.roles.pipeline or arn_of(*roles),
        memory_size=config.lambda_.memory,
        timeout=_TIMEOUT,
        environment={"Variables": environment},
        ephemeral_storage=None,
        reserved_concurrent_executions=None,
        vpc_config=None,  # what it calls is Lambda itself
        durable_config={
            "ExecutionTimeout": config.aws.execution_timeout,
            "RetentionPeriodInDays": config.aws.execution_retention,
        },
    )
    yield from roles.items()
    yield FUNCTION, made
    version = named(f"{FUNCTION}Version", replace(made, tags=None), str(config.aws.artifact_bucket))
    submitted = [name for each in jobs.values() for name in each.logical_ids]
    needs = list(dict.fromkeys((*roles, *versions.values(), *submitted)))  # what its runs call
    yield version, Version(function_name=ref(FUNCTION), depends_on=needs)
    number = {"Fn::GetAtt": [version, "Version"]}
    yield "Live", Alias(name=ALIAS, function_name=ref(FUNCTION), function_version=number)


def _settings(
    graph: FlowGraph[Any],
    config: Config,
    versions: Mapping[str, str],
    jobs: Mapping[str, StepJob],
) -> str:
    concurrency = {
        stage.name: most_at_once(stage, inside, config) for stage, inside in maps_of(graph)
    }
    functions = {step: f"${{{version}}}" for step, version in versions.items()}
    settings: dict[str, Any] = {"functions": functions, "concurrency": concurrency}
    if jobs:
        settings["jobs"] = {step: each.settings() for step, each in jobs.items()}
    return json.dumps(settings, separators=(",", ":"))


def _code_in(description: str) -> str:
    """The end of a function's description that names its code."""
    return f" ({description.rpartition(' (')[2]}" if description.endswith(")") else ""
