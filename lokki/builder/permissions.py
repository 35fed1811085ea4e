"""The permissions of a flow's roles: what its graph needs, and nothing more. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lokki.builder.encryption import key_statements
from lokki.builder.resources import Statement, arn_of, ref, sub
from lokki.builder.sizes import is_batch
from lokki.config import Config
from lokki.graph import FlowGraph
from lokki.runtime.event import is_secret
from lokki.runtime.units import units
from lokki.s3_url import SOURCES, bucket_and_key
from lokki.stages import MapStage

_BUCKET = "arn:${AWS::Partition}:s3:::${S3Bucket}"


def step_statements(graph: FlowGraph[Any], config: Config) -> list[Statement]:
    """For steps: read and write the flow's runs, list a map's results, log, read secrets."""
    secrets = sorted(secret_arns(config).values())
    return [
        *runs_statements(graph.name),
        Statement(action=("logs:CreateLogStream", "logs:PutLogEvents"), resource=(arn_of("Logs"),)),
        *_sources(graph),
        *_secrets(secrets),
        *key_statements(config),
    ]


def runs_statements(flow: str) -> list[Statement]:
    """To read and write the runs of a flow."""
    runs = f"{flow}/runs/*"
    return [
        Statement(action=("s3:GetObject", "s3:PutObject"), resource=(sub(f"{_BUCKET}/{runs}"),)),
        Statement(
            action=("s3:ListBucket",),  # without it, a missing object is reported as forbidden
            resource=(sub(_BUCKET),),
            condition={"StringLike": {"s3:prefix": [runs]}},
        ),
    ]


def _sources(graph: FlowGraph[Any]) -> Iterator[Statement]:
    """To list and read what the flow begins with in S3."""
    for url in filter(None, _source_urls(graph)):
        bucket, prefix = bucket_and_key(url)
        arn = f"arn:${{AWS::Partition}}:s3:::{bucket}"
        yield Statement(action=("s3:GetObject",), resource=(sub(f"{arn}/{prefix}*"),))
        yield Statement(
            action=("s3:ListBucket",),
            resource=(sub(arn),),
            condition={"StringLike": {"s3:prefix": [f"{prefix}*"]}},
        )


def source_notes(graph: FlowGraph[Any], config: Config) -> Iterator[str]:
    """A note on URLs that the steps' role may not read, since only a run names them."""
    ours = config.aws.roles.lambda_ is None and not config.aws.statements
    if ours and None in _source_urls(graph):
        yield (
            "a run may name a URL of S3 that its steps may not read: write the URL in the flow, or "
            "allow it in aws.statements"
        )


def _source_urls(graph: FlowGraph[Any]) -> Iterator[str | None]:
    """The URLs of what a flow reads from S3; None for one that is known only in a run."""
    for call in graph.calls:
        if call.step.fn.__module__ == SOURCES:
            given = {**graph.params, **call.kwargs, **dict(zip(("url",), call.args, strict=False))}
            url = given.get("url")
            yield url if type(url) is str else None


def service_statements(config: Config) -> list[Statement]:
    """For Lambda and Step Functions themselves: networks and tracing, where configured."""
    made = []
    if config.aws.network.subnets is not None:
        # https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
        interfaces = (
            "ec2:CreateNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:DeleteNetworkInterface",
            "ec2:AssignPrivateIpAddresses",
            "ec2:UnassignPrivateIpAddresses",
        )
        made.append(Statement(action=interfaces, resource=("*",)))
    return [*made, *tracing_statements(config)]


def tracing_statements(config: Config) -> list[Statement]:
    """To send traces (https://docs.aws.amazon.com/step-functions/latest/dg/xray-iam.html)."""
    if not config.aws.tracing:
        return []
    actions = (
        "xray:PutTraceSegments",
        "xray:PutTelemetryRecords",
        "xray:GetSamplingRules",
        "xray:GetSamplingTargets",
    )
    return [Statement(action=actions, resource=("*",))]


def log_statements(config: Config) -> list[Statement]:
    """For Step Functions to log what happens in runs.

    https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
    """
    if config.aws.state_machine_logs == "OFF":
        return []
    actions = (
        "logs:CreateLogDelivery",
        "logs:GetLogDelivery",
        "logs:UpdateLogDelivery",
        "logs:DeleteLogDelivery",
        "logs:ListLogDeliveries",
        "logs:PutResourcePolicy",
        "logs:DescribeResourcePolicies",
        "logs:DescribeLogGroups",
    )
    return [Statement(action=actions, resource=("*",))]


def _secrets(secrets: Sequence[str]) -> Iterator[Statement]:
    if secrets:
        yield Statement(action=("secretsmanager:GetSecretValue",), resource=tuple(secrets))


def machine_statements(
    graph: FlowGraph[Any], functions: Sequence[str], config: Config
) -> list[Statement]:
    """For the state machine: invoke, submit, log, trace, and for a map read and write."""
    every = list(units(graph))
    statements = []
    if functions:
        statements.append(invocations(functions))
    if any(map(is_batch, every)):
        statements += _batch_statements()
    if any(isinstance(stage, MapStage) for stage in graph.stages):
        runs = f"{_BUCKET}/{graph.name}/runs/*"
        # https://docs.aws.amazon.com/step-functions/latest/dg/iam-policies-eg-dist-map.html
        actions = (
            "s3:GetObject",
            "s3:PutObject",
            "s3:ListMultipartUploadParts",
            "s3:AbortMultipartUpload",
        )
        statements.append(Statement(action=actions, resource=(sub(runs),)))
        statements += key_statements(config)
    return [*statements, *log_statements(config), *tracing_statements(config)]


def invocations(functions: Sequence[str]) -> Statement:
    """To invoke versions of functions.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-versions.html
    """
    every = tuple(sub(f"${{{name}.Arn}}:*") for name in functions)
    return Statement(action=("lambda:InvokeFunction",), resource=every)


def _batch_statements() -> list[Statement]:
    """https://docs.aws.amazon.com/step-functions/latest/dg/batch-iam.html ."""
    rule = (
        "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:"
        "rule/StepFunctionsGetEventsForBatchJobsRule"
    )
    return [
        Statement(
            action=("batch:SubmitJob", "batch:DescribeJobs", "batch:TerminateJob"), resource=("*",)
        ),
        Statement(
            action=("events:PutTargets", "events:PutRule", "events:DescribeRule"),
            resource=(sub(rule),),
        ),
    ]


def own_statements() -> list[Statement]:
    """For a state machine with a map, on itself: start, describe and stop children."""
    executions = "arn:${AWS::Partition}:states:${AWS::Region}:${AWS::AccountId}:execution:"
    own = tuple(sub(f"{executions}${{StateMachine.Name}}{which}") for which in (":*", "/*:*"))
    return [
        Statement(action=("states:StartExecution",), resource=(ref("StateMachine"),)),
        Statement(
            action=("states:DescribeExecution", "states:StopExecution", "states:RedriveExecution"),
            resource=own,
        ),
    ]


def secret_arns(config: Config) -> dict[str, str]:
    """The variables whose values are ARNs of secrets."""
    every = {**config.lambda_.env, **config.batch.env}
    return {name: value for name, value in every.items() if is_secret(value)}
