"""A rehearsal: builds a flow, creates its stack on an AWS in this process, and executes it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import anyio
from aiobotocore.session import AioSession, get_session

from lokki.aws.execution_view import label_of, machine_of
from lokki.aws.unreported import failed_items, unreported
from lokki.builder.builder import Build, build
from lokki.builder.image_pkg import ENTRYPOINT, image_uri
from lokki.builder.permissions import secret_arns
from lokki.builder.queues import named_queue, queue_of
from lokki.builder.sizes import is_batch
from lokki.builder.template import DURABLE_FUNCTION
from lokki.config import Config
from lokki.errors import BuildError
from lokki.graph import FlowGraph
from lokki.model.failure import Failure
from lokki.rehearse import durable
from lokki.rehearse.environment import architecture, runtime_python
from lokki.rehearse.images import assembled
from lokki.rehearse.moto_patches import lambdas
from lokki.rehearse.moto_patches.platform import Image, Platform
from lokki.rehearse.moto_patches.server import REGION, serving
from lokki.rehearse.outcome import Progress, Rehearsed, StateRow, lines_of, silent
from lokki.runtime.event import execution_input
from lokki.runtime.payloads import MapFailed, Payloads
from lokki.runtime.units import units
from lokki.standin import ValueNeeded
from lokki.store.keys import zip_key
from lokki.store.s3 import S3Store

BUCKET = "lokki-rehearsal"
_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "rehearsal", "AWS_SECRET_ACCESS_KEY": "rehearsal"}
_POLL_INTERVAL = 0.1
_STACK_FAILED = ("CREATE_FAILED", "ROLLBACK_IN_PROGRESS", "ROLLBACK_COMPLETE")


class Rehearsal:
    """An AWS in this process, in which flows are built, created and executed one by one."""

    def __init__(self, platform: Platform) -> None:
        self.endpoint = platform.endpoint
        self.confined = platform.confined
        self._platform = platform
        self._session = get_session()  # it caches what it reads about services
        self._count = 0

    async def run(
        self,
        graph: FlowGraph[Any],
        params: Mapping[str, Any],
        config: Config,
        report: Progress = silent,
    ) -> Rehearsed:
        """Build a flow as configured, and execute it with the JSON values ``params``.

        The build does without them, as for a deploy, unless the structure needs them. Raises
        BuildError or ConfigError for a flow that cannot be built or created.
        """
        report("building")
        self._count += 1
        bucket = config.aws.artifact_bucket or BUCKET
        config = replace(config, aws=replace(config.aws, artifact_bucket=bucket))
        if config.lambda_.architecture != architecture():
            config = replace(
                config,
                build_dir=f"{config.build_dir}/rehearsal",
                lambda_=replace(config.lambda_, architecture=architecture()),
            )
        assert graph.flow is not None
        try:
            outline = graph.flow.outline()
        except ValueNeeded:
            outline = graph
        built = build(outline, config)
        async with _clients(self._session, self.endpoint) as client:
            report("creating the stack")
            await self._place(client, graph, config, built)
            outputs = await self._create(client, graph, built)
            report("executing")
            run_id = f"rehearsal-{self._count}"
            async with S3Store(bucket, endpoint=self.endpoint, region=REGION) as store:
                payloads = Payloads(store, config.aws.deployed_name(graph.name))
                about = graph, run_id, params, payloads, report
                try:
                    if (arn := outputs.get(DURABLE_FUNCTION)) is not None:
                        return await durable.execute(client.lambda_, client.logs, arn, *about)
                    return await _execute(client, outputs["StateMachineArn"], *about)
                finally:
                    lambdas.end_idle()  # no other execution uses these functions

    async def _place(
        self, client: _Clients, graph: FlowGraph[Any], config: Config, built: Build
    ) -> None:
        """Put in place what a deploy would: bucket, package, image, and what exists before it."""
        bucket = config.aws.artifact_bucket
        await client.s3.create_bucket(Bucket=bucket)
        if built.package is not None:
            body = built.package.file.read_bytes()
            key = zip_key(config.aws.deployed_name(graph.name))
            await client.s3.put_object(Bucket=bucket, Key=key, Body=body)
        if built.image is not None or config.batch.image is not None:
            files = assembled(built.folder, built.folder / "rehearsal-image" / str(self._count))
            image = Image(files, ENTRYPOINT)
            self._platform.images[image_uri(config)] = image
            if config.batch.image is not None:
                self._platform.images[config.batch.image] = image
        for name, arn in secret_arns(config).items():
            value = os.environ.get(name, "rehearsal")
            await client.secretsmanager.create_secret(Name=arn, SecretString=value)
        jobs = [unit for unit in units(graph) if is_batch(unit)]
        queues = {named_queue(queue_of(unit, config), config) for unit in jobs}
        for queue in filter(None, queues):
            await _make_queue(client, queue)

    async def _create(
        self, client: _Clients, graph: FlowGraph[Any], built: Build
    ) -> dict[str, str]:
        """Create the stack from the template itself; its outputs."""
        name = f"{graph.name}-{self._count}"
        cloudformation = client.cloudformation
        try:
            await cloudformation.create_stack(
                StackName=name,
                TemplateBody=built.template.read_text("utf-8"),
                Capabilities=["CAPABILITY_IAM"],
                Parameters=[{"ParameterKey": "FlowName", "ParameterValue": name[-80:]}],
            )
        except Exception as error:
            raise BuildError(
                f"the stack of flow '{graph.name}' cannot be created: {error}"
            ) from error
        stack = (await cloudformation.describe_stacks(StackName=name))["Stacks"][0]
        if stack["StackStatus"] in _STACK_FAILED:
            raise BuildError(
                f"the stack of flow '{graph.name}' is {stack['StackStatus']}: "
                f"{stack.get('StackStatusReason', '')}"
            )
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}


async def _make_queue(client: _Clients, name: str) -> None:
    """The configured queue, which exists before the flow."""
    name = name.rpartition("/")[2]
    known = await client.batch.describe_job_queues(jobQueues=[name])
    if known["jobQueues"]:
        return
    role = await client.iam.create_role(RoleName=f"{name}-role", AssumeRolePolicyDocument="{}")
    environment = await client.batch.create_compute_environment(
        computeEnvironmentName=f"{name}-environment",
        type="UNMANAGED",
        state="ENABLED",
        serviceRole=role["Role"]["Arn"],
    )
    order = [{"order": 1, "computeEnvironment": environment["computeEnvironmentArn"]}]
    await client.batch.create_job_queue(
        jobQueueName=name, state="ENABLED", priority=1, computeEnvironmentOrder=order
    )


# ---- an execution --------------------------------------------------------------------------------


async def _execute(
    client: _Clients,
    arn: str,
    graph: FlowGraph[Any],
    run_id: str,
    params: Mapping[str, Any],
    payloads: Payloads,
    report: Progress,
) -> Rehearsed:
    machine = client.stepfunctions
    started = await machine.start_execution(
        stateMachineArn=arn, name=run_id, input=execution_input(params)
    )
    execution = started["executionArn"]
    while (described := await machine.describe_execution(executionArn=execution))[
        "status"
    ] == "RUNNING":
        if report is not silent:
            report(f"executing{await _counts(machine, execution)}")
        await anyio.sleep(_POLL_INTERVAL)
    status, result, error, cause = (
        described["status"],
        None,
        described.get("error"),
        described.get("cause"),
    )
    if status == "SUCCEEDED":
        value = json.loads(described["output"]).get("input")
        try:
            result = await payloads.result(graph, run_id, value)
        except MapFailed as failed:
            status, error, cause = "FAILED", "MapFailed", str(failed)
    failures = [
        failure for call in graph.calls for failure in await payloads.failures(run_id, call.name)
    ]
    failures += await _unreported(machine, execution, payloads, run_id, failures)
    states = [row async for row in _states(machine, execution)]
    seconds = (described["stopDate"] - described["startDate"]).total_seconds()
    lines = await lines_of(client.logs, arn.rpartition(":")[2])
    return Rehearsed(
        run_id, status, result, error, cause, tuple(failures), tuple(states), tuple(lines), seconds
    )


async def _unreported(
    machine: Any, execution: str, payloads: Payloads, run_id: str, reported: Sequence[Failure]
) -> list[Failure]:
    """The failures of items whose processes were killed, and the like."""

    async def ask(operation: str, **given: Any) -> Any:
        return await getattr(machine, operation)(**given)

    definition = await machine.describe_state_machine_for_execution(executionArn=execution)
    made = machine_of(definition["definition"])
    assert made is not None
    stages = {stage.label: stage for stage in made.stages}
    found: list[Failure] = []
    for listed in (await machine.list_map_runs(executionArn=execution))["mapRuns"]:
        run, stage = (
            await machine.describe_map_run(mapRunArn=listed["mapRunArn"]),
            stages[label_of(listed["mapRunArn"])],
        )
        told = {each.index for each in reported if each.step in stage.calls}
        if failed_items(run) > len(told):
            done = await payloads.indexes(run_id, stage.calls[-1], "output.pkl.gz")
            own = {index for index in told if index is not None}
            found += await unreported(ask, run, stage.name, own, done.keys())
    return found


async def _counts(machine: Any, execution: str) -> str:
    """How far the newest map is, in words."""
    runs = (await machine.list_map_runs(executionArn=execution))["mapRuns"]
    if not runs:
        return ""
    counts = (await machine.describe_map_run(mapRunArn=runs[-1]["mapRunArn"]))["itemCounts"]
    done = counts["succeeded"] + counts["failed"]
    label = runs[-1]["mapRunArn"].rpartition("/")[2].partition(":")[0]
    return f" {label}: {done}/{counts['total']}"


async def _states(machine: Any, execution: str) -> AsyncIterator[StateRow]:
    """The states that an execution has entered, in order."""
    maps = (await machine.list_map_runs(executionArn=execution))["mapRuns"]
    runs = iter(sorted(maps, key=lambda run: run["startDate"]))
    entered: dict[str, tuple[str, datetime]] = {}
    failed: dict[str, int] = {}
    current = ""
    rows: dict[str, StateRow] = {}
    async for event in _history(machine, execution):
        kind = event["type"]
        if kind.endswith("StateEntered"):
            current = event["stateEnteredEventDetails"]["name"]
            entered[current] = kind.removesuffix("StateEntered"), event["timestamp"]
            rows[current] = StateRow(current, entered[current][0], None, 0, {})
            if kind == "MapStateEntered":
                run = next(runs, None)
                items = await _items(machine, run["mapRunArn"]) if run else {}
                rows[current] = replace(rows[current], items=items)
        elif kind in ("TaskFailed", "TaskTimedOut"):
            failed[current] = failed.get(current, 0) + 1
            rows[current] = replace(rows[current], retries=failed[current])
        elif kind.endswith("StateExited"):
            name = event["stateExitedEventDetails"]["name"]
            seconds = (event["timestamp"] - entered[name][1]).total_seconds()
            rows[name] = replace(rows[name], seconds=seconds)
    for row in rows.values():
        yield row


async def _items(machine: Any, run: str) -> dict[str, int]:
    counts = (await machine.describe_map_run(mapRunArn=run))["itemCounts"]
    return {name: counts[name] for name in ("succeeded", "failed", "aborted") if counts[name]}


async def _history(machine: Any, execution: str) -> AsyncIterator[Any]:
    pages = machine.get_paginator("get_execution_history")
    async for page in pages.paginate(executionArn=execution):
        for event in page["events"]:
            yield event


# ---- clients -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Clients:
    s3: Any
    cloudformation: Any
    stepfunctions: Any
    logs: Any
    batch: Any
    iam: Any
    lambda_: Any
    secretsmanager: Any


@asynccontextmanager
async def _clients(session: AioSession, endpoint: str) -> AsyncIterator[_Clients]:
    async with AsyncExitStack() as stack:
        opened = {
            name: await stack.enter_async_context(
                session.create_client(
                    name.rstrip("_"),
                    endpoint_url=endpoint,
                    region_name=REGION,
                    aws_access_key_id="rehearsal",
                    aws_secret_access_key="rehearsal",  # noqa: S106 - of no account
                )
            )
            for name in _Clients.__slots__
        }
        yield _Clients(**opened)


@contextmanager
def rehearsing(
    *, concurrency: int | None = None, shared: tuple[str, ...] = ()
) -> Iterator[Rehearsal]:
    """A rehearsal whose AWS exists as long as this context.

    Its account refuses more functions at a time than ``concurrency`` (default: none). Its functions
    can write to the folders of this machine that are ``shared``, besides their own /tmp. Raises
    BuildError.
    """
    python = runtime_python()
    before = {name: os.environ.get(name) for name in _CREDENTIALS}
    os.environ.update(_CREDENTIALS)
    try:
        with serving(str(python), concurrency=concurrency, shared=shared) as platform:
            yield Rehearsal(platform)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
