"""What is known of executions: their history, their map runs, and the failures of their steps.

What was read of an execution is kept, so that the next request asks only for news.
"""

from __future__ import annotations

from functools import partial
from math import inf
from time import monotonic, time
from typing import Any

import anyio

from lokki.aws import stack
from lokki.aws.account import PAGE, Account, Identity
from lokki.aws.durable_functions import DurableFunctions
from lokki.aws.execution_view import (
    Answer,
    Machine,
    Observation,
    Outlined,
    execution_view,
    label_of,
    machine_of,
)
from lokki.aws.once import Kept
from lokki.aws.unreported import failed_items, unreported
from lokki.config import Aws
from lokki.errors import AwsError, RunNotFound
from lokki.model.failure import Failure
from lokki.model.run import Run
from lokki.runtime.payloads import Payloads
from lokki.store.s3 import S3Store

GONE = ("ExecutionDoesNotExist", "StateMachineDoesNotExist")
_FAILURE_SECONDS = 5.0
"""Seconds between reads of an unfinished run's failures: there may be thousands."""
_DEPLOYED_SECONDS = 10.0
"""How long it counts as current what runs a flow: a deploy may replace it."""


class Observations:
    """The executions of an account as they are now; their results are in ``store``.

    Methods raise AwsError.
    """

    def __init__(self, account: Account, who: Identity, store: S3Store, settings: Aws) -> None:
        self.account = account
        self.name = who.name + (
            f", deployment {settings.deployment}" if settings.deployment else ""
        )
        self._settings = settings
        self._who = who
        self._store = store
        self._known: Kept[str, _Known] = Kept()
        self.durable = DurableFunctions(account)
        self._deployed: dict[str, tuple[stack.DeployedFlow, float]] = {}

    def machine_arn(self, flow: str) -> str:
        """The ARN of a flow's state machine, which has the name of the flow in its deployment."""
        return f"{self._who.states}:stateMachine:{self.deployed_name(flow)}"

    def arn(self, flow: str, run_id: str) -> str:
        """The ARN of a run's execution."""
        return f"{self._who.states}:execution:{self.deployed_name(flow)}:{run_id}"

    def payloads(self, flow: str) -> Payloads:
        """What runs of a flow stored."""
        return Payloads(self._store, self.deployed_name(flow))

    def deployed_name(self, flow: str) -> str:
        """The name of a flow in this deployment."""
        return self._settings.deployed_name(flow)

    async def flows(self) -> list[str]:
        """The deployed flows."""
        found = await stack.deployed(self.account, self._settings)
        self._deployed = {each.flow: (each, monotonic()) for each in found}
        return sorted(self._deployed)

    async def stack_of(self, flow: str) -> stack.DeployedFlow:
        """A flow as deployed: its stack, and whether a durable function runs it."""
        known = self._deployed.get(flow)
        if known is None or monotonic() >= known[1] + _DEPLOYED_SECONDS:
            found = await stack.of_flow(self.account, flow, self._settings)
            known = self._deployed[flow] = found, monotonic()
        return known[0]

    async def is_durable(self, flow: str) -> bool:
        """Whether a durable function runs a flow, and not a state machine, as it is deployed."""
        return (await self.stack_of(flow)).is_durable

    async def view(self, flow: str, run_id: str) -> Run:
        """A run as it is now, with its stages and failures. Raises RunNotFound."""
        return execution_view(await self.observe(flow, run_id), time())

    async def observe(self, flow: str, run_id: str) -> Observation:
        """What is known of a run now. Raises RunNotFound."""
        if await self.is_durable(flow):
            return await self._observe_durable(flow, run_id)
        arn = self.arn(flow, run_id)
        known = self._known.get(arn)
        try:
            description = await self._described(arn)
            if known is None:
                known = self._known[arn] = _Known(await self._machine(arn, flow))
        except AwsError as error:
            if error.code in GONE:
                raise RunNotFound(f"{self.name}: no run {run_id!r} of {flow}") from error
            raise
        async with known.reading:
            await self._read_events(arn, known)
            await self._read_maps(arn, known)
            await self._read_failures(run_id, description, known)
        return Observation(description, known.machine, known.events, known.maps, known.failures)

    async def _observe_durable(self, flow: str, run_id: str) -> Observation:
        payloads, function = self.payloads(flow), self.deployed_name(flow)
        try:
            return await self.durable.observe(function, run_id, flow, payloads)
        except AwsError as error:
            if error.code in GONE:
                raise RunNotFound(f"{self.name}: no run {run_id!r} of {flow}") from error
            raise

    async def described(self, flow: str, run_id: str) -> Answer:
        """A run's execution, as Step Functions reports it."""
        if await self.is_durable(flow):
            return await self.durable.described(self.deployed_name(flow), run_id)
        return await self._described(self.arn(flow, run_id))

    async def _described(self, arn: str) -> Answer:
        answer: Answer = await self.account.ask(
            "stepfunctions", "describe_execution", executionArn=arn
        )
        return answer

    async def _machine(self, arn: str, flow: str) -> Machine:
        """The flow as deployed when the execution started."""
        answer = await self.account.ask(
            "stepfunctions", "describe_state_machine_for_execution", executionArn=arn
        )
        return self._lokkis(answer, flow)

    def _lokkis(self, answer: Answer, flow: str) -> Machine:
        at = answer.get("updateDate")
        machine = machine_of(answer["definition"], at and at.timestamp())
        if machine is None:
            raise AwsError(f"lokki did not make state machine '{flow}': deploy the flow again")
        return machine

    async def _read_events(self, arn: str, known: _Known) -> None:
        """Read more of the history; an incomplete page is read again from its start."""
        while True:
            again = {"nextToken": known.token} if known.token else {}
            page = await self.account.ask(
                "stepfunctions",
                "get_execution_history",
                executionArn=arn,
                maxResults=PAGE,
                includeExecutionData=False,
                **again,
            )
            known.events[known.whole :] = page["events"]
            if "nextToken" not in page:
                return
            known.whole = len(known.events)
            known.token = page["nextToken"]

    async def _read_maps(self, arn: str, known: _Known) -> None:
        """Describe the map runs that have run since the last call."""
        if not any(stage.label for stage in known.machine.stages):
            return
        pages = self.account.pages("stepfunctions", "list_map_runs", executionArn=arn)
        async for page in pages:
            for run in page["mapRuns"]:
                label, seen = label_of(run["mapRunArn"]), known.maps.get(run["mapRunArn"])
                if (
                    seen is None
                    or seen.get("stopDate") != run.get("stopDate")
                    or (run.get("stopDate") is None)
                ):
                    seen = await self.account.ask(
                        "stepfunctions", "describe_map_run", mapRunArn=run["mapRunArn"]
                    )
                known.maps[run["mapRunArn"]] = known.maps[label] = seen

    # ---- failures --------------------------------------------------------------------------------

    async def _read_failures(self, run_id: str, description: Answer, known: _Known) -> None:
        """Read the recorded failures of each stage that has new ones.

        For an unfinished run, only now and then.
        """
        if (
            description["status"] == "RUNNING"
            and monotonic() < known.failures_read + _FAILURE_SECONDS
        ):
            return
        known.failures_read = monotonic()
        entered, left = (
            {
                event[f"state{name}EventDetails"]["name"]
                for event in known.events
                if event["type"].endswith(f"State{name}")
            }
            for name in ("Entered", "Exited")
        )
        for stage in known.machine.stages:
            if stage.state not in entered:
                return
            failed = failed_items(known.maps[stage.label]) if stage.label in known.maps else 0
            seen = (
                failed,
                stage.state in left,
                description["status"],
                description.get("redriveCount"),
            )
            if seen != known.failed.get(stage.name):
                payloads = self.payloads(known.machine.flow)
                is_done = stage.label is None and stage.state in left
                known.failures[stage.name] = (
                    [] if is_done else await self._failures(payloads, run_id, stage, known, failed)
                )
                known.failed[stage.name] = seen

    async def _failures(
        self, payloads: Payloads, run_id: str, stage: Outlined, known: _Known, failed: int
    ) -> list[Failure]:
        """The failures of a stage's items without a result."""
        if stage.label is not None and not stage.batched and not failed:
            return []
        recorded: list[Failure] = []
        for call in stage.calls:
            recorded += await payloads.failures(run_id, call)
        if stage.label is None:
            return [] if await self._has_result(payloads, run_id, stage) else recorded
        done = await payloads.indexes(run_id, stage.calls[-1], "output.pkl.gz")
        recorded = sorted(
            (each for each in recorded if each.index not in done), key=lambda each: each.index or 0
        )
        if len(recorded) < failed:
            reported = {each.index for each in recorded if each.index is not None}
            ask, run = partial(self.account.ask, "stepfunctions"), known.maps[stage.label]
            recorded += await unreported(ask, run, stage.name, reported, done.keys())
        return recorded

    async def _has_result(self, payloads: Payloads, run_id: str, stage: Outlined) -> bool:
        return await self._store.exists(payloads.output_key(run_id, stage.calls[-1]))


class _Known:
    """What has been read of an execution.

    ``whole`` has the events of complete pages; ``token`` leads to the page after them. ``maps`` has
    map runs by ARN and, the newest of each, by label.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.reading = anyio.Lock()
        self.events: list[Answer] = []
        self.whole = 0
        self.token: str | None = None
        self.maps: dict[str, Answer] = {}
        self.failures: dict[str, list[Failure]] = {}
        self.failures_read = -inf
        self.failed: dict[str, Any] = {}
