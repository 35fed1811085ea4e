"""Deploys a flow's build (bucket, package, stack), and destroys all of it again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from lokki.aws import stack
from lokki.aws.account import Account, Identity
from lokki.aws.bucket import bucket_of, ensure_bucket, exists, remove_if_empty
from lokki.aws.image import docker_command, is_pushed, push
from lokki.aws.keeping import kept
from lokki.builder.builder import build, clean
from lokki.builder.concurrency import MOST_CHILDREN, depends_on_account, functions
from lokki.builder.durable import is_durable
from lokki.builder.encryption import kms_key
from lokki.builder.limits import json_text
from lokki.builder.template import literal, needs_image
from lokki.config import Config
from lokki.errors import AwsError
from lokki.graph import FlowGraph
from lokki.store.keys import package_key, template_key
from lokki.store.s3 import S3Store
from lokki.wording import Arguments, Wording

_AGAIN = Arguments(force=True)

_NEW_TARGET = (
    "Note: the flow's target has changed, so that this replaces what runs it: its earlier runs are "
    "not shown any more, and cannot be resumed"
)
Agree = Callable[[stack.ChangeSet], bool]
"""Decides whether to make changes."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """The outcome of a deploy: the ARN of what runs the flow, and whether anything changed."""

    stack: str
    machine: str | None
    changed: bool


async def deploy(
    account: Account,
    who: Identity,
    graph: FlowGraph[Any],
    config: Config,
    *,
    name: str,
    force: bool,
    agree: Agree,
    tell: stack.Tell,
) -> Deployed | None:
    """Build a flow, and create or update its stack ``name``; None if ``agree`` refuses.

    An unchanged build is repeated only with ``force``; a stack that is already up to date is a
    success, too. Raises BuildError, ConfigError, AwsError or PayloadError.
    """
    bucket, deployed_name = bucket_of(config), config.aws.deployed_name(graph.name)
    pushes = needs_image(graph, config) and is_pushed(config)
    if pushes:
        docker_command()
    before = await stack.made_ready(account, name, tell)
    if before is None:
        await _refuse_second(account, graph.name, config, name)
    tell("building")
    if force:
        clean(config)
    if depends_on_account(graph, config):
        config = await _with_concurrency(account, config, tell)
    built = build(graph, config, reuse=True)
    if built.reused:
        tell(Wording("nothing has changed since the last build: ", _AGAIN, " builds again"))
    for note in built.notes:
        tell(f"Note: {note}")
    if made := await ensure_bucket(account, bucket, deployed_name, who, kms_key(config)):
        tell(made)
    parameters = {"FlowName": deployed_name, "S3Bucket": bucket}
    if built.package is not None:
        data = built.package.file.read_bytes()
        parameters["PackageKey"] = await _uploaded(account, who, bucket, deployed_name, data, tell)
    document = json.loads(built.template.read_text("utf-8"))
    if pushes:
        assert built.image is not None
        parameters |= await push(account, config, built.image, built.digest, tell, force=force)
        document = json.loads(json_text(built.with_image(parameters["ImageTag"])))
    new = document["Resources"] = literal(document, parameters)
    if before is not None and before.is_durable != is_durable(graph, config):
        tell(_NEW_TARGET)
    if before is not None:
        document["Resources"] = {**await kept(account, before, new, tell), **new}
    data = json.dumps(document, ensure_ascii=False).encode()
    key = template_key(deployed_name, _digest(data))
    await account.ask("s3", "put_object", Bucket=bucket, Key=key, Body=data)
    change_set = await stack.changes(
        account, before, name, _url(who.region, bucket, key), parameters
    )
    if change_set is None:
        assert before is not None  # otherwise there would be something to make
        return Deployed(name, before.runner, changed=False)
    if not agree(change_set):
        await stack.withdraw(account, change_set)
        return None
    after = await stack.make(account, change_set, tell)
    return Deployed(name, after.runner, changed=True)


async def _refuse_second(account: Account, flow: str, config: Config, name: str) -> None:
    """Raise AwsError if another stack has the flow, whose names on AWS are taken then."""
    found = await stack.deployed(account, config.aws)
    other = next((each.stack for each in found if each.flow == flow), name)
    if other != name:
        raise AwsError(
            Wording(
                f"flow '{flow}' is deployed already, by stack '{other}': update that one with ",
                Arguments(stack_name=other),
                ", or deploy beside it with a name of its own, ",
                Arguments(deployment="test"),
            )
        )


async def _with_concurrency(account: Account, config: Config, tell: stack.Tell) -> Config:
    """The configuration with the account's concurrency."""
    try:
        limits = (await account.ask("lambda", "get_account_settings"))["AccountLimit"]
    except AwsError as error:
        tell(f"Note: {error}; maps run at most {functions(config):,} functions at a time")
        return config
    # https://docs.aws.amazon.com/lambda/latest/api/API_AccountLimit.html
    found = max(1, min(limits["UnreservedConcurrentExecutions"], MOST_CHILDREN))
    tell(f"maps run at most {found:,} functions at a time, as many as the account has")
    return replace(config, lambda_=replace(config.lambda_, concurrency=found))


async def _uploaded(
    account: Account, who: Identity, bucket: str, flow: str, data: bytes, tell: stack.Tell
) -> str:
    """The key of a package, which is uploaded if it is missing.

    The stack names it by its content: a new key shows CloudFormation that there is new code. It is
    also stored where the template looks by default.
    """
    key = package_key(flow, _digest(data))
    if not await _is_there(account, bucket, key):
        tell(f"uploading {len(data) / 1e6:.1f} MB")
        async with S3Store(bucket, endpoint=account.endpoint, region=who.region) as store:
            await store.upload_lambda_zip(flow, data)
            await store.put(key, data)
    return key


async def _is_there(account: Account, bucket: str, key: str) -> bool:
    try:
        await account.ask("s3", "head_object", Bucket=bucket, Key=key)
    except AwsError as error:
        if error.code == "404":
            return False
        raise
    return True


@dataclass(frozen=True, slots=True)
class Target:
    """What a destroy deletes: a stack, and what a flow has in a bucket."""

    stack: str
    flow: str
    bucket: str


@dataclass(frozen=True, slots=True)
class Doomed:
    """What exists: resources of the stack, objects of the flow in its bucket."""

    resources: tuple[tuple[str, str], ...]
    objects: int


async def doomed(account: Account, who: Identity, target: Target) -> Doomed:
    """What there is to destroy, perhaps nothing. Raises AwsError or PayloadError."""
    there = await stack.find(account, target.stack)
    if there is not None:
        stack.refuse_busy(there)
    resources = await stack.resources(account, target.stack) if there else []
    named = tuple((each.kind, each.physical) for each in resources)
    async with S3Store(target.bucket, endpoint=account.endpoint, region=who.region) as store:
        is_there = await exists(account, target.bucket, who)
        objects = len(await store.list(target.flow)) if is_there else 0
    return Doomed(named, objects)


async def destroy(
    account: Account,
    who: Identity,
    what: Doomed,
    target: Target,
    *,
    data: bool,
    tell: stack.Tell,
) -> None:
    """Delete the stack, and with ``data`` everything that the flow has in its bucket.

    Also deletes the bucket if lokki made it and it is empty then. Raises AwsError or PayloadError.
    """
    if what.resources:
        await stack.delete(account, target.stack, tell)
    if data and what.objects:
        async with S3Store(target.bucket, endpoint=account.endpoint, region=who.region) as store:
            deleted = await store.delete_prefix(target.flow)
        tell(f"deleted {deleted:,} objects of {target.flow} in {target.bucket}")
        if await remove_if_empty(account, target.bucket):
            tell(f"deleted bucket {target.bucket}, which was empty")


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:16]


def _url(region: str, bucket: str, key: str) -> str:
    """The URL of an object for CloudFormation, also for an emulator."""
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://s3.{region}.{domain}/{bucket}/{key}"
