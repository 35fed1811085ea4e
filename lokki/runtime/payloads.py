"""The results of a flow's runs in S3, for the runtime and for views of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

from lokki.errors import PayloadError, Picklable
from lokki.graph import FlowGraph
from lokki.model.failure import Failure
from lokki.runtime.event import URL, inline
from lokki.stages import MapStage
from lokki.store.codec import compress_chunks, dumps_chunks, unpack
from lokki.store.concurrency import for_each
from lokki.store.keys import (
    attempts_key,
    cache_prefix,
    cached_key,
    failure_key,
    is_part,
    manifest_key,
    output_key,
    step_prefix,
)
from lokki.store.s3 import S3Store

_CREATED_AT_ONCE = 16 * 1024 * 1024
_AT_A_TIME = 64
_BETWEEN = b", "
"""Two items of a manifest."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A stored list of a map's items: its key, and how many bytes each of them takes."""

    key: str
    sizes: tuple[int, ...]

    def cuts(self, firsts: Sequence[int]) -> list[tuple[int, int, int]]:
        """For the slices that begin at these indexes: the index, the bytes from and to."""
        before = list(accumulate((size + len(_BETWEEN) for size in self.sizes), initial=1))
        ends = [*firsts, len(self.sizes)][1:]
        return [
            (first, before[first], before[end] - len(_BETWEEN))
            for first, end in zip(firsts, ends, strict=True)
        ]


class Payloads:
    """The results of one flow in ``store``."""

    def __init__(self, store: S3Store, flow: str) -> None:
        self.store = store
        self.flow = flow

    def output_key(self, run_id: str, call: str, index: int | None = None) -> str:
        """The key of a call's result."""
        return output_key(self.flow, run_id, call, index)

    # ---- what an input stands for ----------------------------------------------------------------

    def key_of(self, value: Any) -> str | None:
        """The key that an input refers to, None if the input is a value itself.

        Only the result of a run of this flow is such a key; any other text is the user's, whatever
        it looks like.
        """
        if not (isinstance(value, str) and value.startswith(URL)):
            return None
        runs = f"{self.flow}/runs"
        prefix = f"{self.store.url(runs)}/"
        parts = value.removeprefix(prefix).split("/")
        mine = value.startswith(prefix) and all(map(is_part, parts))
        return f"{runs}/{'/'.join(parts)}" if mine and parts[-1] == "output.pkl.gz" else None

    async def read(self, keys: Sequence[str]) -> list[bytes]:
        """The payloads under several keys, read concurrently."""
        found: list[bytes] = [b""] * len(keys)

        async def read(index: int) -> None:
            found[index] = await self.store.get(keys[index])

        await for_each(range(len(keys)), read, min(_AT_A_TIME, len(keys)))
        return found

    # ---- what is kept ----------------------------------------------------------------------------

    async def keep(self, key: str, data: bytes) -> bytes:
        """Store a result unless there is one; return what is there now.

        A large one replaces an earlier one.
        """
        if len(data) > _CREATED_AT_ONCE:
            await self.store.put(key, data)
        elif not await self.store.create(key, data):
            return await self.store.get(key)
        return data

    async def cached(self, digest: str, seconds: float) -> bytes | None:
        """The result of an earlier call with this key that is at most ``seconds`` old.

        A result that cannot be read, or not be unpickled, is as good as none.
        """
        try:
            data = await self.store.get_young(cached_key(digest, self.flow), seconds)
            if data is not None:
                unpack(data)
        except PayloadError:
            return None
        return data

    async def keep_cached(self, digest: str, data: bytes) -> None:
        """Store a result for later calls, if that is possible: its run has it anyway."""
        with suppress(PayloadError):
            await self.store.put(cached_key(digest, self.flow), data)

    async def forget_cached(self, before: float, *, dry_run: bool) -> int:
        """Remove the results for later calls that were made before a time; return how many."""
        folder = cache_prefix(self.flow)
        old = await self.store.list_older(folder, before)
        return len(old) if dry_run else await self.store.delete_all(old, folder)

    async def keep_failure(self, run_id: str, failure: Failure) -> None:
        key = failure_key(self.flow, run_id, failure.step, failure.index)
        told = {name: value for name, value in asdict(failure).items() if name != "later"}
        await self.store.put(key, json.dumps(told).encode())

    async def attempts(self, run_id: str, step: str, index: int | None) -> int:
        """How many attempts of a step, or of an item, are recorded as used."""
        key = attempts_key(self.flow, run_id, step, index)
        return int((await self.store.get(key)).split()[0]) if await self.store.exists(key) else 0

    async def keep_attempts(self, run_id: str, step: str, index: int | None, used: int) -> None:
        await self.store.put(attempts_key(self.flow, run_id, step, index), str(used).encode())

    async def put_off(self, run_id: str, step: str, index: int) -> tuple[int, int] | None:
        """If an item has raised RetryLater last: its used attempts, and in which invocation."""
        key = attempts_key(self.flow, run_id, step, index)
        recorded = (await self.store.get(key)).split() if await self.store.exists(key) else []
        return (int(recorded[0]), int(recorded[1])) if len(recorded) == 2 else None

    async def keep_put_off(
        self, run_id: str, step: str, index: int, used: int, invocation: int
    ) -> None:
        key = attempts_key(self.flow, run_id, step, index)
        await self.store.put(key, f"{used} {invocation}".encode())

    async def keep_manifest(self, run_id: str, step: str, items: Sequence[Any]) -> Manifest:
        """Store the list of a map's items, each in it or under its own key."""
        inputs: list[Any] = list(items)
        apart = [index for index, each in enumerate(items) if not inline(each)]

        async def keep(index: int) -> None:
            key = output_key(self.flow, run_id, step, index)
            await self.store.put(key, compress_chunks(dumps_chunks(items[index])))
            inputs[index] = self.store.url(key)

        await for_each(apart, keep, min(_AT_A_TIME, len(apart)))
        entries = [_entry({"input": each}) for each in inputs]
        key = manifest_key(self.flow, run_id, step)
        await self.store.put(key, b"[" + _BETWEEN.join(entries) + b"]")
        return Manifest(key, tuple(map(len, entries)))

    async def manifest(self, run_id: str, step: str) -> Manifest:
        """The list of a map's items that was stored by `keep_manifest`."""
        key = manifest_key(self.flow, run_id, step)
        entries = json.loads(await self.store.get(key))
        return Manifest(key, tuple(len(_entry(each)) for each in entries))

    async def manifest_part(self, key: str, start: int, end: int) -> list[Any]:
        """The inputs in these bytes of a manifest; see `Manifest.cuts`."""
        data = await self.store.get_part(key, start, end)
        return [each["input"] for each in json.loads(b"[" + data + b"]")]

    # ---- what a run has given --------------------------------------------------------------------

    async def result(self, graph: FlowGraph[Any], run_id: str, value: Any) -> Any:
        """The result of a run whose last state returned ``value``.

        Raises like `map_results`.
        """
        last = graph.stages[-1]
        if isinstance(last, MapStage):
            source = graph.stages[-2].name
            results, _ = await self.map_results(run_id, last, source)
            return [unpack(each) for each in results]
        key = self.key_of(value)
        return value if key is None else unpack(await self.store.get(key))

    async def failures(self, run_id: str, step: str) -> list[Failure]:
        """The recorded failures of a failed step, or of its failed items."""
        prefix = step_prefix(self.flow, run_id, step)
        keys = [each for each in await self.store.list(prefix) if each.endswith("/failure.json")]
        return [Failure(**json.loads(each)) for each in await self.read(keys)]

    # ---- what a map has given --------------------------------------------------------------------

    async def map_results(
        self, run_id: str, stage: MapStage, source: str
    ) -> tuple[list[bytes], tuple[Failure, ...]]:
        """The stored results of a map in the order of its items, and its tolerated failures.

        Raises PayloadError for missing results, and MapFailed for more failures than it tolerates.
        """
        last = stage.inner[-1].name
        count = len(json.loads(await self.store.get(manifest_key(self.flow, run_id, source))))
        found = await self.indexes(run_id, last, "output.pkl.gz") if count else {}
        missing = sorted(set(range(count)) - found.keys())
        failures = await self._failures(run_id, stage, missing)
        if not stage.tolerates(len(failures), count):
            if not stage.tolerated_failures:
                first = output_key(self.flow, run_id, last, missing[0])
                raise PayloadError(
                    f"{len(missing)} of {count} results of step '{last}' are missing, the first of "
                    f"them {self.store.url(first)}: start the run again"
                )
            raise MapFailed(failures, count)
        return await self.read([found[index] for index in sorted(found)]), failures

    async def indexes(self, run_id: str, step: str, name: str) -> dict[int, str]:
        """The keys of this name below a map's step, by the index of their item."""
        prefix = step_prefix(self.flow, run_id, step)
        below = ((key, key[len(prefix) + 1 :].split("/")) for key in await self.store.list(prefix))
        return {
            int(parts[0]): key
            for key, parts in below
            if len(parts) == 2 and parts[1] == name and parts[0].isdecimal()
        }

    async def _failures(
        self, run_id: str, stage: MapStage, missing: Sequence[int]
    ) -> tuple[Failure, ...]:
        if not missing:
            return ()
        recorded: dict[int, str] = {}
        for call in stage.inner:
            recorded |= await self.indexes(run_id, call.name, "failure.json")
        known = {index: recorded[index] for index in missing if index in recorded}
        texts = dict(zip(known, await self.read(list(known.values())), strict=True))
        return tuple(
            Failure(**json.loads(texts[index])) if index in texts else _unreported(stage, index)
            for index in missing
        )


def _entry(item: dict[str, Any]) -> bytes:
    """An item in a manifest."""
    return json.dumps(item).encode()


class MapFailed(Picklable, Exception):
    """More items of a map failed than it tolerates."""

    def __init__(self, failures: tuple[Failure, ...], count: int) -> None:
        super().__init__(f"{len(failures)} of {count} items failed")
        self.failures = failures
        self.count = count


def _unreported(stage: MapStage, index: int) -> Failure:
    """The failure of an item whose process ended before it could report one."""
    why = "its process ended before it reported why (a timeout, or too little memory): see its logs"
    return Failure(stage.name, index, 1, "WorkerDied", why, "")
