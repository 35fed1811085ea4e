"""Checks of AWS: the account, and what a deploy asks of it. Nothing is changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, NamedTuple

from lokki.aws import check_installed
from lokki.builder.concurrency import functions
from lokki.builder.uv import uv
from lokki.cli.doctor.check import Check, State
from lokki.config import Config
from lokki.errors import AwsError, LokkiError


class _Question(NamedTuple):
    """A request that only reads; ``needed`` for the configuration at hand.

    ``otherwise``: what a deploy does without an answer.
    """

    subject: str
    service: str
    operation: str
    request: dict[str, Any]
    needed: bool = True
    otherwise: str | None = None


async def aws(config: Config) -> AsyncIterator[Check]:
    """Whether the account, the bucket and the services can be asked, with these credentials."""
    bucket = config.aws.artifact_bucket
    if bucket is None:
        yield Check("AWS", "ok", "not used: no bucket is configured (aws.artifact_bucket)")
        return
    try:
        check_installed()
    except AwsError as error:
        yield Check("AWS", "error", "packages are missing", str(error))
        return
    from lokki.aws.account import opened
    from lokki.aws.bucket import exists
    from lokki.aws.image import docker_command

    try:
        async with opened(config) as account:
            who = await account.identity()
            yield Check("AWS", "ok", f"{who.name}, as {who.arn}")
            try:
                found = "is there" if await exists(account, bucket, who) else "is made by `deploy`"
                yield Check("bucket", "ok", f"{bucket} {found}")
            except AwsError as error:
                yield Check("bucket", "error", str(error))
            for each in _questions(config):
                if each.needed:
                    try:
                        await account.ask(each.service, each.operation, **each.request)
                    except AwsError as error:
                        state: State = "error" if each.otherwise is None else "warning"
                        yield Check(each.subject, state, str(error), each.otherwise)
                    else:
                        yield Check(each.subject, "ok", "answers")
    except AwsError as error:
        yield Check("AWS", "error", str(error))
    yield _tool("uv", partial(uv, "--version"))
    if config.lambda_.package_type == "image" and config.aws.ecr_repo_prefix:
        yield _tool("docker", docker_command)


def _questions(config: Config) -> tuple[_Question, ...]:
    return (
        _Question("CloudFormation", "cloudformation", "describe_stacks", {}),
        _Question("Step Functions", "stepfunctions", "list_state_machines", {"maxResults": 1}),
        _Question(
            "Lambda",
            "lambda",
            "get_account_settings",
            {},
            otherwise=f"maps will run at most {functions(config):,} functions at a time",
        ),
        _Question("logs", "logs", "describe_log_groups", {"limit": 1}),
        _Question("ECR", "ecr", "describe_repositories", {}, bool(config.aws.ecr_repo_prefix)),
    )


def _tool(name: str, find: Callable[[], str]) -> Check:
    """Whether a program that builds need is installed."""
    try:
        return Check(name, "ok", find().strip())
    except LokkiError as error:
        return Check(name, "error", str(error))
