"""The flows that the service offers: which files there are, what is in them, what has changed.

Every file is looked into by a process of its own (`lokki_server.inspector`), which also checks the
parameters of its flows. One that nothing was asked of for a while ends, and is started again for
the next question.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio

from lokki.cli.found import found_in, stamp
from lokki.store.offers import Offer
from lokki_server.channel import Child
from lokki_server.problems import Problem

_LOOK_SECONDS = 1.0
_IDLE_SECONDS = 60.0
_PATIENCE_SECONDS = 3.0
"""A file whose import takes longer is told, and goes on beside the others."""
_IMPORT_SECONDS = 120.0
_CHECK_SECONDS = 30.0
_AT_ONCE = 4


class FlowFile:
    """One file or module: its flows, or why it has none."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.flows: list[dict[str, Any]] = []
        self.error: dict[str, str] | None = None
        self._stamp: object = None
        self._child: Child | None = None
        self._answers: AsyncIterator[dict[str, Any]] | None = None
        self._turn = anyio.Lock()
        self._importing = False
        self._asked = 0.0

    def told_as_slow(self) -> None:
        """Tell that it is still being imported; the flows that it had are offered meanwhile."""
        self.error = {"error": "its import has not ended yet", "traceback": ""}

    def changed(self) -> bool:
        """Whether it is another than when it was looked into; a module is looked into once."""
        return self._stamp != stamp(self.place)

    async def look(self) -> None:
        """Find out what is in it; an import of what was there before is given up."""
        if self._importing and self._child is not None:
            self._child.kill()
        async with self._turn:
            await self._end()
            await self._start()

    async def ask(self, flow: str, **question: Any) -> dict[str, Any]:
        """What the process answers about a flow as it is now. Raises Problem if it does not."""
        async with self._turn:
            if self._child is None or await anyio.to_thread.run_sync(self.changed):
                await self._end()
                await self._start()
            if self._child is None or self._answers is None:
                told = self.error or {"error": "it cannot be imported"}
                raise Problem(409, "The flow's file cannot be imported", told["error"])
            if flow not in [each["name"] for each in self.flows]:
                raise Problem(404, "No such flow", f"{self.place} has no flow '{flow}'")
            self._asked = asyncio.get_running_loop().time()
            answer = None
            with anyio.move_on_after(_CHECK_SECONDS) as scope:
                self._child.channel.send(flow=flow, **question)
                answer = await anext(self._answers, None)
            if answer is not None:
                return answer
            await self._end()
            what = f"took longer than {_CHECK_SECONDS:.0f} seconds"
            if not scope.cancelled_caught:
                what = "ended the process that it ran in"
            raise Problem(409, "The flow cannot be asked", f"the body of flow '{flow}' {what}")

    async def rest(self) -> None:
        """End the process if nothing was asked of it for a while."""
        now = asyncio.get_running_loop().time()
        idle = now - self._asked > _IDLE_SECONDS
        if self._child is not None and not self._importing and idle:
            async with self._turn:
                await self._end()

    async def close(self) -> None:
        await self._end()

    async def _start(self) -> None:
        self._stamp = await anyio.to_thread.run_sync(stamp, self.place)
        self._child = await Child.start("lokki_server.inspector", self.place)
        self._answers = self._child.channel.messages()
        self._asked = asyncio.get_running_loop().time()
        ended = {"error": "its import ended the process", "traceback": ""}
        found: dict[str, Any] = ended
        self._importing = True
        with anyio.move_on_after(_IMPORT_SECONDS) as scope:
            found = await anext(self._answers, ended)
        self._importing = False
        if scope.cancelled_caught:
            found["error"] = f"its import took longer than {_IMPORT_SECONDS:.0f} seconds"
        self.flows = found.pop("flows", [])
        self.error = found or None
        if self.error is not None:
            await self._end()

    async def _end(self) -> None:
        child, self._child, self._answers = self._child, None, None
        if child is not None:
            child.channel.close()
            child.kill()
            await child.ended()


class Catalog:
    """The files that the service was given, or found in folders, looked at again and again."""

    def __init__(self, places: Sequence[str]) -> None:
        self._places = places
        self._files: dict[str, FlowFile] = {}
        self._offered: set[str] = set()
        self._folder = os.getcwd()
        self._tasks: set[asyncio.Task[None]] = set()

    async def look(self) -> None:
        """Look into the files that are new or have changed, and forget those that are gone."""
        places = await anyio.to_thread.run_sync(found_in, self._places)
        self._offered.update(places)
        for gone in self._files.keys() - set(places):
            await self._files.pop(gone).close()
        news = []
        for place in places:
            file = self._files.setdefault(place, FlowFile(place))
            if await anyio.to_thread.run_sync(file.changed):
                news.append(file)
            else:
                await file.rest()
        limit = anyio.CapacityLimiter(_AT_ONCE)
        async with anyio.create_task_group() as group:
            for file in news:
                group.start_soon(self._look, file, limit)

    async def _look(self, file: FlowFile, limit: anyio.CapacityLimiter) -> None:
        """Look into a file; one that takes long goes on beside the others."""
        async with limit:
            task = asyncio.create_task(file.look())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.wait([task], timeout=_PATIENCE_SECONDS)
        if task.done():
            task.result()
        else:
            file.told_as_slow()

    async def watch(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self.look()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for file in self._files.values():
            await file.close()

    @property
    def offer(self) -> Offer:
        """Which waiting runs are ours; those of files that were offered and are gone, too."""
        return Offer(frozenset(self._offered), sys.prefix, self._folder)

    @property
    def flows(self) -> dict[str, tuple[FlowFile, dict[str, Any]]]:
        """Every flow by its name; of two with one name, the first."""
        found: dict[str, tuple[FlowFile, dict[str, Any]]] = {}
        for file in self._files.values():
            for flow in file.flows:
                found.setdefault(flow["name"], (file, flow))
        return dict(sorted(found.items()))

    @property
    def problems(self) -> list[dict[str, str]]:
        """The files without flows, and why; and the flows whose name another has taken."""
        told = []
        for file in self._files.values():
            if file.error is not None:
                told.append({"file": file.place, **file.error})
            for flow in file.flows:
                other = self.flows[flow["name"]][0]
                if other is not file:
                    error = f"{other.place} has a flow '{flow['name']}', too: rename one"
                    told.append({"file": file.place, "error": error, "traceback": ""})
        return told

    @asynccontextmanager
    async def file(self, place: str) -> AsyncIterator[FlowFile]:
        """The file or module with this name, which need not be one that is offered."""
        if place in self._files:
            yield self._files[place]
            return
        file = FlowFile(place)
        try:
            yield file
        finally:
            await file.close()

    def find(self, name: str) -> tuple[FlowFile, dict[str, Any]]:
        """A flow and its file. Raises Problem."""
        if name not in self.flows:
            known = ", ".join(self.flows) or "none"
            raise Problem(404, "No such flow", f"there is no flow '{name}'; there are: {known}")
        return self.flows[name]
