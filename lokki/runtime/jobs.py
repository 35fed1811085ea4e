"""The Batch jobs of a durable function: submitted, looked at until they have ended, and recorded.

A look is an attempt of one operation, however many jobs there are. What it finds and does is
recorded in S3, at the latest after each few submissions: a process that ends amid a look may submit
those few again, and of two jobs for an item the first result counts.
"""

from __future__ import annotations

import asyncio
import json
import sys
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from copy import deepcopy
from itertools import islice
from time import monotonic, time
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from lokki.errors import LokkiError
from lokki.model.failure import Failure
from lokki.runtime.deaths import of_job, reported
from lokki.runtime.definition import variable
from lokki.runtime.event import BUCKET, EVENT, FLOW, RESUMED
from lokki.runtime.job_group import Group, seconds_to_look
from lokki.runtime.job_record import JobRecord, is_cancelled, recorded
from lokki.runtime.payloads import Payloads
from lokki.runtime.slices import firsts
from lokki.runtime.units import TaskUnit
from lokki.stages import MapStage
from lokki.store.concurrency import for_each
from lokki.store.keys import failure_key
from lokki.store.s3 import S3Store

_DESCRIBED = 100
"""Jobs in a request
(https://docs.aws.amazon.com/batch/latest/APIReference/API_DescribeJobs.html)."""
_AT_A_TIME = 10
"""Jobs that are submitted before they are recorded."""
_SUBMITTING_SECONDS = 60.0
"""Of a look; the next one goes on."""
_TRIES = 10
_REFUSED = ("TooManyRequestsException", "ThrottlingException", "ServerException")
"""What Batch refuses now and may do later."""
_MOST_NAME = 128


class Jobs:
    """Those of a durable function; ``settings`` has the queue and the definition of each step."""

    def __init__(self, settings: Mapping[str, Mapping[str, str]]) -> None:
        self._settings = settings
        self._payloads = Payloads(S3Store(variable(BUCKET)), variable(FLOW))
        self._runner = asyncio.Runner()
        self._opened = AsyncExitStack()
        self._batch: Any = None

    def look(self, group: Group) -> dict[str, Any]:
        """Submit what can be submitted, and find out what has ended.

        How many items are ``left``, and the seconds to ``wait`` before the next look; or what has
        ``failed``, or the ``input`` of the next stage. Raises what the execution ends with, under
        the name of the user's error.
        """
        try:
            return self._runner.run(self._look(group))
        except LokkiError as error:
            raise reported(type(error).__name__, str(error)) from error

    async def _look(self, group: Group) -> dict[str, Any]:
        if self._batch is None:
            config = AioConfig(retries={"mode": "standard", "total_max_attempts": _TRIES})
            client = get_session().create_client("batch", config=config)
            self._batch = await self._opened.enter_async_context(client)
        return await _Look(self._batch, self._payloads, self._settings, group).done()


class _Look:
    """A look at a group of jobs."""

    def __init__(
        self,
        batch: Any,
        payloads: Payloads,
        settings: Mapping[str, Mapping[str, str]],
        group: Group,
    ) -> None:
        self._batch = batch
        self._payloads = payloads
        self._settings = settings
        self._group = group
        self._record = JobRecord(time())
        self._skipped = {*group.without}
        self._stored: list[set[int]] = []
        self._inputs: dict[int, list[Any]] = {}

    async def done(self) -> dict[str, Any]:
        group = self._group
        before = await recorded(self._payloads, group.run_id, group.name)
        if before is None:
            await self._keep()
        else:
            self._record = deepcopy(before)
        await self._find_ended()
        has_room = await self._submit()
        if self._record != before:
            await self._keep()
        record = self._record
        left = len(record.running) + len(record.ready) + group.total - record.next
        if left:
            waits = seconds_to_look(time() - record.began) if has_room else 1
            return {"left": left, "wait": waits}
        if group.in_map:
            return {"failed": sorted({*self._skipped, *record.failed}), "left": 0}
        return {"input": await self._passed_on()}

    async def _keep(self) -> None:
        await self._record.keep(self._payloads, self._group.run_id, self._group.name)

    async def _passed_on(self) -> Any:
        """What the next stage gets from a step by itself: where its result or its items are."""
        unit, run_id = self._group.units[-1], self._group.run_id
        if unit.mapped is None:
            return self._url(unit.calls[-1].name, None)
        made = await self._payloads.manifest(run_id, unit.calls[-1].name)
        starts = firsts(len(made.sizes), self._group.cut, unit.mapped)
        return {"manifest": made.key, "count": len(made.sizes), "cuts": made.cuts(starts)}

    def _url(self, step: str, index: int | None) -> str:
        return self._payloads.store.url(self._payloads.output_key(self._group.run_id, step, index))

    # ---- jobs that have ended --------------------------------------------------------------------

    async def _find_ended(self) -> None:
        """Take what has ended out of the record. Raises the error that ends the run."""
        running, first = self._record.running, None
        ids = list(running)
        for start in range(0, len(ids), _DESCRIBED):
            answer = await self._batch.describe_jobs(jobs=ids[start : start + _DESCRIBED])
            for job in answer["jobs"]:
                if job["status"] == "SUCCEEDED":
                    item, number = running.pop(job["jobId"])
                    if number + 1 < len(self._group.units):
                        self._record.ready.append((item, number + 1))
                elif job["status"] == "FAILED":
                    item, number = running.pop(job["jobId"])
                    failure = await self._failure(job, item, self._group.units[number])
                    first = first or failure
                    self._record.failed.append(item)
        if first is not None:
            await self._check(first)

    async def _failure(self, job: Mapping[str, Any], item: int, unit: TaskUnit) -> Failure:
        """Why a job has failed: what its step has recorded, or what Batch says, recorded now."""
        run_id, index = self._group.run_id, self._group.index(item)
        for call in unit.calls:
            key = failure_key(self._payloads.flow, run_id, call.name, index)
            if await self._payloads.store.exists(key):
                return Failure(**json.loads(await self._payloads.store.get(key)))
        container = job.get("container", {})
        ended = job.get("statusReason"), container.get("exitCode"), container.get("reason")
        kind, reason = of_job(job["jobId"], *ended)
        used = await self._payloads.attempts(run_id, unit.name, index)
        failure = Failure(await self._unfinished(unit, index), index, used + 1, kind, reason, "")
        await self._payloads.keep_failure(run_id, failure)
        return failure

    async def _unfinished(self, unit: TaskUnit, index: int | None) -> str:
        for call in unit.calls[:-1]:
            key = self._payloads.output_key(self._group.run_id, call.name, index)
            if not await self._payloads.store.exists(key):
                return call.name
        return unit.calls[-1].name

    async def _check(self, first: Failure) -> None:
        """Raise the error that ends the run, unless its map tolerates what has failed."""
        stage, failed = self._group.units[0].stage, {*self._skipped, *self._record.failed}
        tolerated = 0
        if isinstance(stage, MapStage):
            if stage.tolerates(len(failed), self._group.total):
                return
            tolerated = bool(stage.tolerated_failures)
        await self._terminate("another job of its run has failed")
        if tolerated:
            text = f"{len(failed)} of {self._group.total} items failed"
            raise reported("MapFailed", text)
        raise reported(first.type, first.reason)

    async def _terminate(self, why: str) -> None:
        """End the jobs that are running or in the queue."""

        async def end(job: str) -> None:
            try:
                await self._batch.terminate_job(jobId=job, reason=why)
            except ClientError as error:
                print(f"Batch job {job} cannot be ended: {error}", file=sys.stderr)

        await for_each(list(self._record.running), end, _AT_A_TIME)

    # ---- jobs that are submitted -----------------------------------------------------------------

    async def _submit(self) -> bool:
        """Submit jobs up to the most at a time; False if there is room for more that are due."""
        record, until = self._record, monotonic() + _SUBMITTING_SECONDS
        self._stored = await self._stored_before()
        due = self._due()
        while (room := self._group.at_once - len(record.running)) > 0:
            some = list(islice(due, min(room, _AT_A_TIME)))
            if not some:
                return True
            refused = await self._submitted(some)
            await self._keep()
            if await is_cancelled(self._payloads, self._group.run_id):
                await self._terminate("its run was cancelled")
                raise reported("Cancelled", "the run was cancelled")
            if refused:
                return True
            if monotonic() > until:
                return False
        return True

    async def _stored_before(self) -> list[set[int]]:
        """By step, the items with a result of its last call; after them, those of the stage.

        Only a run that continues another one begins with results.
        """
        group, found = self._group, list[set[int]]()
        if RESUMED not in group.flow["params"] or not group.in_map:
            return [set()] * (len(group.units) + 1)
        last = group.units[0].stage.calls[-1]
        for call in [*(unit.calls[-1] for unit in group.units), last]:
            indexes = await self._payloads.indexes(group.run_id, call.name, "output.pkl.gz")
            found.append({*indexes})
        return found

    def _due(self) -> Iterator[tuple[int, int]]:
        """The items whose job can be submitted, and the number of its step; takes them out."""
        record, units = self._record, len(self._group.units)
        while record.ready:
            yield record.ready.pop()
        while record.next < self._group.total:
            item = record.next
            record.next += 1
            done = (number + 1 for number in range(units) if item in self._stored[number])
            first = units if item in self._stored[units] else max(done, default=0)
            if item not in self._skipped and first < units:
                yield item, first

    async def _submitted(self, some: Sequence[tuple[int, int]]) -> bool:
        """Submit some jobs, and add them to the record; whether Batch has refused any for now."""
        refused: list[ClientError] = []

        async def submit(job: tuple[int, int]) -> None:
            given = await self._given(*job)
            try:
                answer = await self._batch.submit_job(**given)
            except ClientError as error:
                refused.append(error)
                self._record.ready.append(job)
            else:
                self._record.running[answer["jobId"]] = job

        await for_each(some, submit, len(some))
        for error in refused:
            if (code := error.response["Error"]["Code"]) not in _REFUSED:
                await self._terminate("another job of its run was refused")
                raise reported(code, str(error)) from error
        return bool(refused)

    async def _given(self, item: int, number: int) -> dict[str, Any]:
        """The request for the job of an item."""
        unit, index = self._group.units[number], self._group.index(item)
        settings = self._settings[unit.name]
        event = {
            "flow": self._group.flow,
            **({} if index is None else {"index": index}),
            "input": await self._input(unit, item, number),
        }
        name = f"{unit.name}-{self._group.run_id}" + ("" if index is None else f"-{index}")
        variable = {"name": EVENT, "value": json.dumps(event, ensure_ascii=False)}
        return {
            "jobName": name[:_MOST_NAME],
            "jobQueue": settings["queue"],
            "jobDefinition": settings["definition"],
            "containerOverrides": {"environment": [variable]},
        }

    async def _input(self, unit: TaskUnit, item: int, number: int) -> Any:
        """The input of an item's job: a value, or where it is."""
        if not self._group.in_map:
            return self._group.value
        parts = self._group.parts
        at = bisect_right(parts, item, key=lambda part: part.first) - 1
        part = parts[at]
        if number or part.manifest is None:
            calls = unit.stage.calls
            return self._url(calls[calls.index(unit.calls[0]) - 1].name, item)
        if at not in self._inputs:
            where = part.manifest, part.start, part.end
            self._inputs = {at: await self._payloads.manifest_part(*where)}
        return self._inputs[at][item - part.base]
