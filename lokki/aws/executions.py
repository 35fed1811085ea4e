"""The executions of deployed flows: found, started, stopped and redriven."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from hashlib import sha256
from time import time
from typing import Any

from lokki.aws import account as accounts
from lokki.aws.account import PAGE
from lokki.aws.bucket import bucket_of
from lokki.aws.execution_view import (
    Answer,
    Machine,
    brief,
    status_of,
    statuses_of,
)
from lokki.aws.observation import GONE
from lokki.aws.results import Results
from lokki.config import Config
from lokki.errors import AwsError, KeyReused, NotTunable, RunNotFound
from lokki.model.run import Run, RunList, Tuned
from lokki.model.run_filter import RunFilter
from lokki.model.times import seconds
from lokki.runtime.event import NO_CACHE, TAGS, TRACE, execution_input
from lokki.store.jobs import as_asked
from lokki.store.s3 import S3Store
from lokki.wording import Arguments, Wording

_RUN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_MOST_NAME, _MOST_DURABLE_NAME = 80, 64
"""Characters of the name of an execution
(https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html)."""
_MOST_SEARCHED = 5_000
"""How many executions of a flow are searched for the beginning of an id."""


def checked_run_id(run_id: str, most: int = _MOST_NAME) -> str:
    """A run id that may name an execution, too. Raises AwsError."""
    if not _RUN_ID.fullmatch(run_id) or len(run_id) > most:
        raise AwsError(
            f"run id {run_id!r} cannot name an execution: use 1 to {most} letters, digits, '-' or "
            "'_', beginning with a letter, a digit or '_'"
        )
    return run_id


class Executions(Results):
    """The executions of an account, as runs: found, listed, started, stopped and redriven.

    Methods raise AwsError.
    """

    # ---- what is done ----------------------------------------------------------------------------

    async def start(
        self,
        flow: str,
        run_id: str,
        given: Mapping[str, Any],
        tags: Sequence[str] = (),
        *,
        no_cache: bool = False,
    ) -> None:
        """Start an execution, with tags in its input; ``no_cache``: it uses no cached results.

        Raises AwsError if the flow is not deployed, or the id is taken, and ParameterError for
        parameters that are too large.
        """
        durable = await self.is_durable(flow)
        most = _MOST_DURABLE_NAME if durable else _MOST_NAME
        checked = (
            checked_run_id(run_id, most),
            execution_input(_noted(given, tags, no_cache), durable=durable),
        )
        try:
            await self._start(flow, *checked)
        except AwsError as error:
            if error.code == "StateMachineDoesNotExist":
                raise self._undeployed(flow) from error
            if error.code == "ExecutionAlreadyExists":
                raise AwsError(
                    Wording(
                        f"there is already a run {run_id} of {flow} on AWS: give another ",
                        Arguments(run_id=...),
                    ),
                    error.code,
                ) from error
            raise

    async def _start(self, flow: str, run_id: str, given: str) -> None:
        if await self.is_durable(flow):
            await self.durable.start(self.deployed_name(flow), run_id, given)
            return
        await self.account.ask(
            "stepfunctions",
            "start_execution",
            stateMachineArn=self.machine_arn(flow),
            name=run_id,
            input=given,
        )

    async def start_once(
        self,
        flow: str,
        key: str,
        given: Mapping[str, Any],
        tags: Sequence[str] = (),
        *,
        no_cache: bool = False,
    ) -> str:
        """The id of the run for an idempotency key, which is started unless there is one.

        Flow and key name the execution, and AWS keeps a name for 90 days after the execution's end
        (https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html).
        Raises KeyReused if the key was used with other parameters, otherwise like `start`.
        """
        run_id = f"key-{sha256(f'{flow}:{key}'.encode()).hexdigest()[:32]}"
        try:
            await self.start(flow, run_id, given, tags, no_cache=no_cache)
        except AwsError as error:
            if error.code != "ExecutionAlreadyExists":
                raise
            description = await self.described(flow, run_id)
            asked = _as_asked(flow, _noted(given, tags, no_cache))
            if _as_asked(flow, json.loads(description["input"])) != asked:
                raise KeyReused(key) from error
        return run_id

    async def stop(self, run: Run) -> None:
        """Cancel a run; one that has ended stays as it is."""
        if await self.is_durable(run.flow):
            function = self.deployed_name(run.flow)
            await self.durable.stop(function, run.id, self.payloads(run.flow))
            return
        await self.account.ask(
            "stepfunctions",
            "stop_execution",
            executionArn=self.arn(run.flow, run.id),
            error="Cancelled",
            cause="cancelled by lokki",
        )

    async def redrive(self, run: Run) -> None:
        """Redrive an execution that has ended, from the state in which it ended."""
        arn = self.arn(run.flow, run.id)
        await self.account.ask("stepfunctions", "redrive_execution", executionArn=arn)

    async def tune(self, flow: str, run_id: str, concurrency: int) -> Tuned:
        """Change how many executions of the map that is running run at a time.

        https://docs.aws.amazon.com/step-functions/latest/apireference/API_UpdateMapRun.html
        Raises NotTunable if no map is running.
        """
        if await self.is_durable(flow):
            raise NotTunable(
                f"run {run_id} is one of a durable function, whose maps are as wide as at its "
                "deploy: deploy with another lambda.concurrency or concurrency_limit"
            )
        seen = await self.observe(flow, run_id)
        for stage in seen.machine.stages:
            running = seen.maps.get(stage.label or "")
            if running is not None and running["status"] == "RUNNING":
                await self.account.ask(
                    "stepfunctions",
                    "update_map_run",
                    mapRunArn=running["mapRunArn"],
                    maxConcurrency=concurrency,
                )
                return Tuned(
                    stage=stage.name, concurrency=concurrency, before=running["maxConcurrency"]
                )
        status = status_of(seen.execution)
        if status.is_final:
            raise NotTunable(f"run {run_id} has ended: it is {status}")
        raise NotTunable(f"no map of run {run_id} is running now: only maps have a concurrency")

    # ---- what is found ---------------------------------------------------------------------------

    async def find(self, name: str, flow: str | None) -> Run:
        """The run whose id is ``name``, begins with it, or is the newest. Raises RunNotFound."""
        flows = [flow] if flow is not None else await self.flows()
        if name == "last":
            newest = [await self.listed(each, limit=1) for each in flows]
            found = [run for page in newest for run in page]
            of = f" of {flow}" if flow else ""
        else:
            found = [run for each in flows for run in await self._named(name, each)]
            of = f" {name!r}"
        if not found:
            raise RunNotFound(f"{self.name}: no run{of}" + "s yet" * (name == "last"))
        if name == "last":
            return max(found, key=lambda run: run.created)
        if len(found) > 1:
            some = ", ".join(run.id for run in found[:3])
            raise RunNotFound(f"{self.name}: several runs begin with {name!r}: {some}")
        return found[0]

    async def _named(self, name: str, flow: str) -> list[Run]:
        if not _RUN_ID.fullmatch(name):
            return []
        try:
            description = await self.described(flow, name)
            return [brief(description, flow, time())]
        except AwsError as error:
            if error.code not in GONE:
                raise
        begun = await self.listed(flow, limit=_MOST_SEARCHED)
        return [run for run in begun if run.id.startswith(name)]

    async def listed(
        self,
        flow: str,
        *,
        statuses: Sequence[str] = (),
        since: float | None = None,
        older_than: float | None = None,
        limit: int,
    ) -> list[Run]:
        """Runs of a flow, the newest first, without their stages; none if it is not deployed."""
        only = statuses_of(statuses[0]) if len(statuses) == 1 else []
        passes_over = older_than is not None or bool(statuses)
        found: list[Run] = []
        if await self.is_durable(flow):
            every = self.durable.listed(self.deployed_name(flow), only)
        else:
            every = self._listed(flow, only, PAGE if passes_over else min(limit, PAGE))
        try:
            async with aclosing(every):
                async for description in every:
                    at = description["startDate"].timestamp()
                    if since is not None and at < since:
                        return found
                    newer = older_than is not None and at >= older_than
                    if newer or (statuses and status_of(description) not in statuses):
                        continue
                    found.append(brief(description, flow, time()))
                    if len(found) == limit:
                        return found
        except AwsError as error:
            if error.code != "StateMachineDoesNotExist":
                raise
        return found

    async def _listed(self, flow: str, only: Sequence[str], size: int) -> AsyncGenerator[Answer]:
        """The executions of a state machine, the newest first."""
        wanted = {"statusFilter": only[0]} if len(only) == 1 else {}
        pages = self.account.pages(
            "stepfunctions",
            "list_executions",
            stateMachineArn=self.machine_arn(flow),
            PaginationConfig={"PageSize": size},
            **wanted,
        )
        async with aclosing(pages):
            async for page in pages:
                for description in page["executions"]:
                    yield description

    async def page(self, wanted: RunFilter) -> RunList:
        """A page of runs. Raises AwsError for a search."""
        if wanted.searches:
            raise AwsError(
                "Step Functions lists executions without their input and errors: runs on AWS are "
                "found by flow, status and time, not by tag, parameter or text"
            )
        older_than, flow, limit = wanted.older_than, wanted.flow, wanted.limit
        if wanted.before is not None:
            older_than = seconds((await self.find(wanted.before, flow)).created)
        flows = [flow] if flow is not None else await self.flows()
        found = [
            run
            for each in flows
            for run in await self.listed(
                each,
                statuses=wanted.statuses,
                since=wanted.since,
                older_than=older_than,
                limit=limit + 1,
            )
        ]
        found.sort(key=lambda run: run.created, reverse=True)
        more, found = found[limit:], found[:limit]
        return RunList(runs=found, next=found[-1].id if more else None)

    async def input_of(self, run: Run) -> dict[str, Any]:
        """The input of a run's execution."""
        description = await self.described(run.flow, run.id)
        given: dict[str, Any] = json.loads(description.get("input") or "{}")
        return given

    async def deployed(self, flow: str) -> Machine:
        """A flow as deployed now. Raises AwsError if it is not."""
        try:
            return await self._as_deployed(flow)
        except AwsError as error:
            if error.code == "StateMachineDoesNotExist":
                raise self._undeployed(flow) from error
            raise

    async def _as_deployed(self, flow: str) -> Machine:
        about = await self.stack_of(flow)
        if about.is_durable:
            return await self.durable.deployed(self.deployed_name(flow), flow, about.stack)
        machine = self.machine_arn(flow)
        return self._lokkis(
            await self.account.ask(
                "stepfunctions", "describe_state_machine", stateMachineArn=machine
            ),
            flow,
        )

    def _undeployed(self, flow: str) -> AwsError:
        return AwsError(
            f"flow '{flow}' is not deployed in {self.name}: deploy it first", "NotDeployed"
        )


def _noted(given: Mapping[str, Any], tags: Sequence[str], no_cache: bool) -> dict[str, Any]:
    """Parameters with what the input of an execution has besides them."""
    notes = {TAGS: list(tags), NO_CACHE: no_cache}
    return {**given, **{name: value for name, value in notes.items() if value}}


def _as_asked(flow: str, given: Mapping[str, Any]) -> str:
    """What an idempotency key stands for: each request may have a trace of its own."""
    return as_asked(flow, {name: value for name, value in given.items() if name != TRACE})


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[Executions]:
    """Those of the configured account and bucket, as long as this context is open.

    Raises AwsError, and ConfigError where there is no bucket.
    """
    bucket = bucket_of(config)
    async with accounts.opened(config) as account:
        who = await account.identity()
        async with S3Store(bucket, endpoint=account.endpoint, region=who.region) as store:
            yield Executions(account, who, store, config.aws)
