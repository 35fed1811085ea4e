"""The results of runs on AWS, complete and item by item."""

from __future__ import annotations

from typing import Any

from lokki.aws.execution_view import Machine, status_of
from lokki.aws.observation import Observations
from lokki.errors import PayloadError
from lokki.store.codec import dumps_list, loads, pickle_in


class Results(Observations):
    """The results of an account's executions. Methods raise AwsError and PayloadError."""

    async def result(self, flow: str, run_id: str) -> Any:
        """The result of a succeeded run. Raises PayloadError for one without a result."""
        return loads(await self.pickled_result(flow, run_id))

    async def pickled_result(self, flow: str, run_id: str) -> bytes:
        """The result of a succeeded run as a pickle. Raises PayloadError like `result`."""
        packed = await self.packed_result(flow, run_id)
        is_map = (await self._machine_of(flow, run_id)).stages[-1].label is not None
        return dumps_list(packed) if is_map else pickle_in(packed[0])

    async def packed_result(self, flow: str, run_id: str) -> list[bytes]:
        """The result of a succeeded run as stored; for a map, those of its items.

        Raises PayloadError for a run without a result.
        """
        observation = await self.observe(flow, run_id)
        if observation.execution["status"] != "SUCCEEDED":
            raise PayloadError(
                f"run {run_id} has no result: it is {status_of(observation.execution)}"
            )
        last, payloads = observation.machine.stages[-1], self.payloads(flow)
        if last.label is None:
            return [await self._store.get(payloads.output_key(run_id, last.calls[-1]))]
        done = await payloads.indexes(run_id, last.calls[-1], "output.pkl.gz")
        missing = observation.maps[last.label]["itemCounts"]["succeeded"] - len(done)
        if missing > 0:
            raise PayloadError(
                f"{missing} results of step '{last.calls[-1]}' of run {run_id} are no longer in "
                "the bucket: start the run again"
            )
        return await payloads.read([done[key] for key in sorted(done)])

    async def packed_output(
        self, flow: str, run_id: str, position: int, index: int
    ) -> bytes | None:
        """The result of an item, or of a stage that is not a map, as stored, if it exists."""
        stage = (await self._machine_of(flow, run_id)).stages[position]
        item = index if stage.label is not None else None
        key = self.payloads(flow).output_key(run_id, stage.calls[-1], item)
        return await self._store.get(key) if await self._store.exists(key) else None

    async def done_items(self, flow: str, run_id: str, position: int) -> set[int]:
        """The items of a map that have a result."""
        stage = (await self._machine_of(flow, run_id)).stages[position]
        payloads = self.payloads(flow)
        return set(await payloads.indexes(run_id, stage.calls[-1], "output.pkl.gz"))

    async def _machine_of(self, flow: str, run_id: str) -> Machine:
        """The flow as deployed when a run was started."""
        known = None if await self.is_durable(flow) else self._known.get(self.arn(flow, run_id))
        return known.machine if known else (await self.observe(flow, run_id)).machine
