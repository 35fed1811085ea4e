"""The executions of deployed flows: started, found, looked at, stopped and started again."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from hashlib import sha256
from math import inf
from time import monotonic, time
from typing import Any

import anyio

from lokki.aws import account as accounts
from lokki.aws import stack
from lokki.aws.account import Account, Identity
from lokki.aws.bucket import bucket_of
from lokki.aws.picture import (
    Looked,
    Machine,
    Outlined,
    Told,
    brief,
    label_of,
    machine_of,
    picture,
    status_of,
    statuses_of,
)
from lokki.config import Config
from lokki.errors import AwsError, KeyReused, PayloadError, RunNotFound
from lokki.model.failure import Failure
from lokki.model.run import Run, RunList
from lokki.model.times import seconds
from lokki.runtime.payloads import Payloads
from lokki.store.codec import dumps_list, loads, pickle_in
from lokki.store.jobs import as_asked
from lokki.store.keys import output_key
from lokki.store.s3 import S3Store

_RUN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_PAGE = 1_000
_MOST_KNOWN = 200
"""Executions of which what was read is kept."""
_MOST_SEARCHED = 5_000
"""Executions of a flow among which one is looked for by the beginning of its id."""
_MOST_UNTOLD = 20
"""Failed items whose own execution is asked, of those whose process did not live to tell why."""
_FAILURE_SECONDS = 5.0
"""Failures of a run that goes on are read at most so often: there may be thousands."""
_GONE = ("ExecutionDoesNotExist", "StateMachineDoesNotExist")


def checked_run_id(run_id: str) -> str:
    """A run id that may name an execution, too. Raises AwsError."""
    if not _RUN_ID.fullmatch(run_id):
        raise AwsError(
            f"run id {run_id!r} cannot name an execution: use 1 to 80 letters, digits, '-' or "
            "'_', beginning with a letter, a digit or '_'"
        )
    return run_id


class Executions:
    """The executions of an account, as runs; what they have stored is in ``store``.

    What is known of an execution is kept, so that looking again asks for what is new alone. Its
    methods raise AwsError, and PayloadError where results are asked for.
    """

    def __init__(self, account: Account, who: Identity, store: S3Store) -> None:
        self.account = account
        self.name = who.told
        self._who = who
        self._store = store
        self._known: OrderedDict[str, _Known] = OrderedDict()

    # ---- names -----------------------------------------------------------------------------------

    def machine_arn(self, flow: str) -> str:
        """The state machine of a flow, which has its name."""
        return f"{self._who.states}:stateMachine:{flow}"

    def arn(self, flow: str, run_id: str) -> str:
        """The execution that a run is."""
        return f"{self._who.states}:execution:{flow}:{run_id}"

    def payloads(self, flow: str) -> Payloads:
        """What runs of a flow have stored."""
        return Payloads(self._store, flow)

    async def flows(self) -> list[str]:
        """The flows that are deployed."""
        return await stack.flows(self.account)

    # ---- what is done ----------------------------------------------------------------------------

    async def start(self, flow: str, run_id: str, given: Mapping[str, Any]) -> None:
        """Start an execution. Raises AwsError when the flow is not deployed, or the id taken."""
        try:
            await self.account.ask(
                "stepfunctions",
                "start_execution",
                stateMachineArn=self.machine_arn(flow),
                name=checked_run_id(run_id),
                input=json.dumps(given),
            )
        except AwsError as error:
            if error.code == "StateMachineDoesNotExist":
                raise self._undeployed(flow) from error
            if error.code == "ExecutionAlreadyExists":
                raise AwsError(
                    f"there is a run {run_id} of {flow} on AWS already: give another --run-id",
                    error.code,
                ) from error
            raise

    async def start_once(self, flow: str, key: str, given: Mapping[str, Any]) -> str:
        """The id of the run that is started for an idempotency key, or was before.

        Flow and key name the execution, and AWS keeps a name for 90 days after the execution's end
        (https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html).
        Raises KeyReused when it was given with other parameters, else as `start` does.
        """
        run_id = f"key-{sha256(f'{flow}:{key}'.encode()).hexdigest()[:32]}"
        try:
            await self.start(flow, run_id, given)
        except AwsError as error:
            if error.code != "ExecutionAlreadyExists":
                raise
            told = await self._described(self.arn(flow, run_id))
            if as_asked(flow, json.loads(told["input"])) != as_asked(flow, given):
                raise KeyReused(key) from error
        return run_id

    async def stop(self, run: Run) -> None:
        """Have a run cancelled; one that has ended is left."""
        await self.account.ask(
            "stepfunctions",
            "stop_execution",
            executionArn=self.arn(run.flow, run.id),
            error="Cancelled",
            cause="cancelled by lokki",
        )

    async def redrive(self, run: Run) -> None:
        """Start an execution that has ended again, in the state that it ended in."""
        arn = self.arn(run.flow, run.id)
        await self.account.ask("stepfunctions", "redrive_execution", executionArn=arn)

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
            raise RunNotFound(f"{self._who.told}: no run{of}" + "s yet" * (name == "last"))
        if name == "last":
            return max(found, key=lambda run: run.created)
        if len(found) > 1:
            some = ", ".join(run.id for run in found[:3])
            raise RunNotFound(f"{self._who.told}: several runs begin with {name!r}: {some}")
        return found[0]

    async def _named(self, name: str, flow: str) -> list[Run]:
        if not _RUN_ID.fullmatch(name):
            return []
        try:
            told = await self._described(self.arn(flow, name))
            return [brief(told, flow, time())]
        except AwsError as error:
            if error.code not in _GONE:
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
        """Runs of a flow, the newest first, without their stages; none of one not deployed."""
        only = statuses_of(statuses[0]) if len(statuses) == 1 else []
        wanted = {"statusFilter": only[0]} if len(only) == 1 else {}
        passes_over = older_than is not None or bool(statuses)
        found: list[Run] = []
        pages = self.account.pages(
            "stepfunctions",
            "list_executions",
            stateMachineArn=self.machine_arn(flow),
            PaginationConfig={"PageSize": _PAGE if passes_over else min(limit, _PAGE)},
            **wanted,
        )
        try:
            async with aclosing(pages):
                async for page in pages:
                    for told in page["executions"]:
                        at = told["startDate"].timestamp()
                        if since is not None and at < since:
                            return found
                        newer = older_than is not None and at >= older_than
                        if newer or (statuses and status_of(told) not in statuses):
                            continue
                        found.append(brief(told, flow, time()))
                        if len(found) == limit:
                            return found
        except AwsError as error:
            if error.code != "StateMachineDoesNotExist":
                raise
        return found

    async def page(
        self,
        flow: str | None,
        statuses: Sequence[str],
        since: float | None,
        before: str | None,
        limit: int,
        older_than: float | None = None,
    ) -> RunList:
        """A page of runs as `History.runs` has it."""
        if before is not None:
            older_than = seconds((await self.find(before, flow)).created)
        flows = [flow] if flow is not None else await self.flows()
        found = [
            run
            for each in flows
            for run in await self.listed(
                each,
                statuses=statuses,
                since=since,
                older_than=older_than,
                limit=limit + 1,
            )
        ]
        found.sort(key=lambda run: run.created, reverse=True)
        more, found = found[limit:], found[:limit]
        return RunList(runs=found, next=found[-1].id if more else None)

    # ---- one of them -----------------------------------------------------------------------------

    async def look(self, flow: str, run_id: str) -> Run:
        """A run as it is now, with its stages and failures. Raises RunNotFound."""
        return picture(await self.looked(flow, run_id), time())

    async def looked(self, flow: str, run_id: str) -> Looked:
        """All that is known of a run now. Raises RunNotFound."""
        arn = self.arn(flow, run_id)
        known = self._known.get(arn)
        try:
            told = await self._described(arn)
            if known is None:
                known = self._known[arn] = _Known(await self._machine(arn, flow))
                while len(self._known) > _MOST_KNOWN:
                    self._known.popitem(last=False)
        except AwsError as error:
            if error.code in _GONE:
                raise RunNotFound(f"{self._who.told}: no run {run_id!r} of {flow}") from error
            raise
        async with known.reading:
            await self._read_events(arn, known)
            await self._read_maps(arn, known)
            await self._read_failures(run_id, told, known)
        return Looked(told, known.machine, known.events, known.maps, known.failures)

    async def _described(self, arn: str) -> Told:
        told: Told = await self.account.ask("stepfunctions", "describe_execution", executionArn=arn)
        return told

    async def _machine(self, arn: str, flow: str) -> Machine:
        """The flow as it was deployed when the execution was started."""
        told = await self.account.ask(
            "stepfunctions", "describe_state_machine_for_execution", executionArn=arn
        )
        return self._lokkis(told, flow)

    def _lokkis(self, told: Told, flow: str) -> Machine:
        machine = machine_of(told["definition"])
        if machine is None:
            raise AwsError(f"state machine '{flow}' is none of lokki's: deploy the flow again")
        return machine

    async def _read_events(self, arn: str, known: _Known) -> None:
        """Read on in the history; a page that was not full is read again, from its own start."""
        while True:
            again = {"nextToken": known.token} if known.token else {}
            told = await self.account.ask(
                "stepfunctions",
                "get_execution_history",
                executionArn=arn,
                maxResults=_PAGE,
                includeExecutionData=False,
                **again,
            )
            known.events[known.whole :] = told["events"]
            if "nextToken" not in told:
                return
            known.whole = len(known.events)
            known.token = told["nextToken"]

    async def _read_maps(self, arn: str, known: _Known) -> None:
        """Look at the map runs that go on, or have since the last look."""
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

    async def _read_failures(self, run_id: str, told: Told, known: _Known) -> None:
        """Read what is told of the failures of each stage that has more of them than before.

        Of a run that goes on, now and then.
        """
        if told["status"] == "RUNNING" and monotonic() < known.failures_read + _FAILURE_SECONDS:
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
            counts = known.maps[stage.label]["itemCounts"] if stage.label in known.maps else {}
            failed = counts.get("failed", 0) + counts.get("timedOut", 0)
            seen = (failed, stage.state in left, told["status"], told.get("redriveCount"))
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
        """The failures of a stage's items that have no result."""
        if stage.label is not None and not stage.batched and not failed:
            return []
        told: list[Failure] = []
        for call in stage.calls:
            told += await payloads.failures(run_id, call)
        if stage.label is None:
            return [] if await self._has_result(payloads, run_id, stage) else told
        done = await payloads.indexes(run_id, stage.calls[-1], "output.pkl.gz")
        told = sorted(
            (each for each in told if each.index not in done), key=lambda each: each.index or 0
        )
        if len(told) < failed:
            explained = done.keys() | {each.index for each in told if each.index is not None}
            told += await self._untold(stage, known, explained)
        return told

    async def _has_result(self, payloads: Payloads, run_id: str, stage: Outlined) -> bool:
        return await self._store.exists(output_key(payloads.flow, run_id, stage.calls[-1]))

    async def _untold(self, stage: Outlined, known: _Known, told: set[int]) -> list[Failure]:
        """Failures that only Step Functions knows of: of processes that were ended."""
        assert stage.label is not None
        answer = await self.account.ask(
            "stepfunctions",
            "list_executions",
            mapRunArn=known.maps[stage.label]["mapRunArn"],
            statusFilter="FAILED",
            maxResults=_PAGE,
        )
        found = []
        for child in answer["executions"][:_MOST_UNTOLD]:
            one = await self._described(child["executionArn"])
            kind, cause = one.get("error") or one["status"], one.get("cause") or ""
            given = json.loads(one["input"])
            indexes = (item["index"] for item in given.get("Items", [given]))
            found += [
                Failure(stage.name, index, 1, kind, cause, "")
                for index in indexes
                if index not in told
            ]
        return found

    # ---- results ---------------------------------------------------------------------------------

    async def result(self, flow: str, run_id: str) -> Any:
        """The result of a run that has succeeded. Raises PayloadError for one that has none."""
        return loads(await self.pickled_result(flow, run_id))

    async def pickled_result(self, flow: str, run_id: str) -> bytes:
        """The result of a run that has succeeded as a pickle. Raises PayloadError as `result`."""
        packed = await self.packed_result(flow, run_id)
        is_map = self._known[self.arn(flow, run_id)].machine.stages[-1].label is not None
        return dumps_list(packed) if is_map else pickle_in(packed[0])

    async def packed_result(self, flow: str, run_id: str) -> list[bytes]:
        """The result of a run that has succeeded as it is stored; of a map, those of its items.

        Raises PayloadError for a run that has none.
        """
        looked = await self.looked(flow, run_id)
        if looked.execution["status"] != "SUCCEEDED":
            raise PayloadError(f"run {run_id} has no result: it is {status_of(looked.execution)}")
        last, payloads = looked.machine.stages[-1], self.payloads(flow)
        if last.label is None:
            return [await self._store.get(output_key(flow, run_id, last.calls[-1]))]
        done = await payloads.indexes(run_id, last.calls[-1], "output.pkl.gz")
        missing = looked.maps[last.label]["itemCounts"]["succeeded"] - len(done)
        if missing > 0:
            raise PayloadError(
                f"{missing} results of step '{last.calls[-1]}' of run {run_id} are not in the "
                "bucket any more: start the run again"
            )
        return await payloads.read([done[key] for key in sorted(done)])

    async def packed_output(
        self, flow: str, run_id: str, position: int, index: int
    ) -> bytes | None:
        """The result of an item, or of a stage that is no map, as it is stored; None if it is not.

        Of a run that was looked at.
        """
        stage = self._known[self.arn(flow, run_id)].machine.stages[position]
        place = index if stage.label is not None else None
        key = output_key(flow, run_id, stage.calls[-1], place)
        return await self._store.get(key) if await self._store.exists(key) else None

    async def input_of(self, run: Run) -> dict[str, Any]:
        """What the execution of a run was given."""
        told = await self._described(self.arn(run.flow, run.id))
        given: dict[str, Any] = json.loads(told.get("input") or "{}")
        return given

    async def deployed(self, flow: str) -> Machine:
        """A flow as it is deployed now. Raises AwsError when it is not."""
        try:
            told = await self.account.ask(
                "stepfunctions", "describe_state_machine", stateMachineArn=self.machine_arn(flow)
            )
        except AwsError as error:
            if error.code == "StateMachineDoesNotExist":
                raise self._undeployed(flow) from error
            raise
        return self._lokkis(told, flow)

    async def done_items(self, flow: str, run_id: str, position: int) -> set[int]:
        """The items of a map that have their result, of a run that was looked at."""
        stage = self._known[self.arn(flow, run_id)].machine.stages[position]
        payloads = self.payloads(flow)
        return set(await payloads.indexes(run_id, stage.calls[-1], "output.pkl.gz"))

    async def failed_items(self, flow: str, run_id: str, position: int) -> set[int]:
        """The items of a map that have failed for good, of a run that was looked at."""
        known = self._known[self.arn(flow, run_id)]
        failures = known.failures.get(known.machine.stages[position].name, ())
        return {each.index for each in failures if each.index is not None}

    def _undeployed(self, flow: str) -> AwsError:
        return AwsError(
            f"flow '{flow}' is not deployed in {self._who.told}: deploy it first", "NotDeployed"
        )


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[Executions]:
    """Those of the configured account and bucket, as long as the context is open.

    Raises AwsError, and ConfigError where there is no bucket.
    """
    bucket = bucket_of(config)
    async with accounts.opened(config) as account:
        who = await account.identity()
        async with S3Store(bucket, endpoint=account.endpoint, region=who.region) as store:
            yield Executions(account, who, store)


class _Known:
    """What has been read of an execution.

    ``whole`` events are of pages that are full, ``token`` leads to what comes after them. ``maps``
    are by ARN and, the newest of each, by label.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.reading = anyio.Lock()
        self.events: list[Told] = []
        self.whole = 0
        self.token: str | None = None
        self.maps: dict[str, Told] = {}
        self.failures: dict[str, list[Failure]] = {}
        self.failures_read = -inf
        self.failed: dict[str, Any] = {}
