"""The Batch jobs that a run of a durable function has submitted, as recorded in S3."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field

from lokki.runtime.payloads import Payloads
from lokki.store.keys import job_record_key, jobs_cancelled_key, jobs_prefix


@dataclass(slots=True)
class JobRecord:
    """The jobs of consecutive steps of a stage, which have numbers from 0.

    ``began``: when, in seconds since 1970; ``next``: the first item without a job; ``ready``: items
    whose job of a step can be submitted, by item and step; ``running``: item and step by the id of
    their job; ``failed``: the items that have failed.
    """

    began: float
    next: int = 0
    ready: list[tuple[int, int]] = field(default_factory=list)
    running: dict[str, tuple[int, int]] = field(default_factory=dict)
    failed: list[int] = field(default_factory=list)

    async def keep(self, payloads: Payloads, run_id: str, step: str) -> None:
        """Store the record of a run's jobs that begin with a step."""
        key = job_record_key(payloads.flow, run_id, step)
        await payloads.store.put(key, json.dumps(asdict(self)).encode())


async def recorded(payloads: Payloads, run_id: str, step: str) -> JobRecord | None:
    """The record of the jobs that begin with a step, if there is one."""
    key = job_record_key(payloads.flow, run_id, step)
    if not await payloads.store.exists(key):
        return None
    return _read(await payloads.store.get(key))


async def cancel(payloads: Payloads, run_id: str) -> AsyncIterator[str]:
    """Let a run submit no more jobs; the ids of those that it has not seen ending.

    A run that has just submitted some finds out after it has recorded them.
    """
    await payloads.store.put(jobs_cancelled_key(payloads.flow, run_id), b"")
    for key in await payloads.store.list(jobs_prefix(payloads.flow, run_id)):
        if key.endswith(".json"):
            for job in _read(await payloads.store.get(key)).running:
                yield job


async def is_cancelled(payloads: Payloads, run_id: str) -> bool:
    """Whether `cancel` was called for a run."""
    return await payloads.store.exists(jobs_cancelled_key(payloads.flow, run_id))


def _read(data: bytes) -> JobRecord:
    known = json.loads(data)
    ready = [(item, step) for item, step in known["ready"]]
    running = {job: (item, step) for job, (item, step) in known["running"].items()}
    return JobRecord(known["began"], known["next"], ready, running, known["failed"])
