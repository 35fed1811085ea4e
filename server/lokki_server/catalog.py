"""The flows that the service offers: the files, their flows, and what has changed in them.

Each file has a process that imports it (`lokki_server.inspector`) and also checks the parameters of
its flows. A process that is idle for a while ends, and is started again for the next question.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

import anyio

from lokki.engine.code import Stamps, changed
from lokki.engine.sources import stamp
from lokki.flow_files import found_in
from lokki.loading import file_named
from lokki.location import near
from lokki.model.flow import FileProblem
from lokki.store.offers import Offer
from lokki_server.channel import Child
from lokki_server.problems import Problem

_log = logging.getLogger("lokki_server")

LOOK_SECONDS = 1.0
"""The pause between two looks at the files."""
_IDLE_SECONDS = 60.0
_PATIENCE_SECONDS = 3.0
"""A file whose import takes longer is reported as slow; the import continues beside the others."""
_IMPORT_SECONDS = 120.0
_CHECK_SECONDS = 30.0
_RETRY_SECONDS = 2.0
"""The first backoff before a file that cannot be imported is retried; it doubles each time."""
_LONGEST_RETRY_SECONDS = 60.0
_AT_ONCE = 4
_SLOW = {"error": "its import has not ended yet", "traceback": ""}


@dataclass(slots=True, eq=False)
class _Question:
    """What is asked about a flow, and its answer."""

    flow: str
    words: dict[str, Any]
    answer: dict[str, Any] | Problem | None = None


class FlowFile:
    """One file or module: its flows, or why it has none."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.flows: list[dict[str, Any]] = []
        self.error: dict[str, str] | None = None
        self.importable_at = -inf
        """When the last look that found its flows began, by `monotonic`."""
        self._had: frozenset[str] = frozenset()
        self._code: Stamps = {}
        self._again = -inf
        self._wait = _RETRY_SECONDS
        self._child: Child | None = None
        self._answers: AsyncIterator[dict[str, Any]] | None = None
        self._turn = anyio.Lock()
        self._questions: list[_Question] = []
        self._singly = False
        self._importing = False
        self._given_up = False
        self._asked = 0.0

    def mark_as_slow(self) -> None:
        """Report an unfinished import; the earlier flows are offered meanwhile."""
        self.error = _SLOW

    def log_end(self, task: asyncio.Task[None]) -> None:
        """Log how a slow import has ended, unless another look has taken its place."""
        if not task.cancelled() and task.exception() is None and self.error is not _SLOW:
            told = self.error["error"] if self.error else "its import has ended"
            _log.warning("%s: %s", near(self.source), told)

    def may_have(self, name: str) -> bool:
        """Whether it had a flow before it became impossible to import."""
        return self.error is not None and name in self._had

    def changed(self) -> bool:
        """Whether its code has changed since the last look, or a retry is due."""
        return monotonic() > self._again or changed(self._code)

    async def look(self) -> None:
        """Import the file and describe it; abandons the import of an earlier version."""
        if self._importing and self._child is not None:
            self._given_up = True
            self._child.kill()
        async with self._turn:
            await self._end()
            await self._start()

    async def ask(self, flow: str, **words: Any) -> dict[str, Any]:
        """Ask the process about a flow as it is now. Raises Problem if there is no answer.

        Questions that come while others wait for their answers are asked together.
        """
        question = _Question(flow, words)
        self._questions.append(question)
        async with self._turn:
            while question.answer is None:
                await self._ask_all()
        if isinstance(question.answer, Problem):
            raise question.answer
        return question.answer

    async def _ask_all(self) -> None:
        """Ask what waits; if one question has no answer, those behind it wait for a new process."""
        asked = self._questions[:1] if self._singly else [*self._questions]
        starts = self._child is None or monotonic() > self._again
        try:
            if starts:
                await self._end()
                await self._start()
            await self._answer(asked, is_new=starts)
        except BaseException:  # answers may come that nobody reads
            with anyio.CancelScope(shield=True):
                await self._end()
            raise
        finally:
            self._questions = [each for each in self._questions if each.answer is None]
            self._singly = self._singly and bool(self._questions)

    async def _answer(self, asked: list[_Question], *, is_new: bool) -> None:
        """Get answers of the process, which looks whether its code has changed, unless it is new.

        Looking here would cost each request a switch to a thread, and back.
        """
        if self._child is None or self._answers is None:
            for each in asked:
                each.answer = self.problem()
            return
        self._asked = asyncio.get_running_loop().time()
        for each in asked:
            self._child.channel.send(flow=each.flow, is_new=is_new, **each.words)
        for each in asked:
            answer = None
            with anyio.move_on_after(_CHECK_SECONDS) as scope:
                answer = await anext(self._answers, None)
            if answer is None:
                await self._end()
                self._without_answer(each, late=scope.cancelled_caught, last=each is asked[-1])
                return
            if "stale" in answer:  # a new process is asked again
                await self._end()
                return
            self._learn(answer)
            each.answer = answer if answer else self._unknown(each.flow)

    def _unknown(self, flow: str) -> Problem:
        return Problem(404, "No such flow", f"{self.source} has no flow '{flow}'")

    def _without_answer(self, question: _Question, *, late: bool, last: bool) -> None:
        """The answer to a question that has none.

        If the process has ended with questions unread, answers may be lost with the connection, so
        that another one may have ended it: they are asked again, one by one.
        """
        self._singly = not (late or last)
        if not self._singly:
            what = "ended the process that it ran in"
            if late:
                what = f"took longer than {_CHECK_SECONDS:.0f} seconds"
            why = f"the body of flow '{question.flow}' {what}"
            question.answer = Problem(409, "The flow does not answer", why)

    def problem(self) -> Problem:
        """The answer about a flow while its file cannot be imported."""
        found = self.error or {"error": "it cannot be imported"}
        return Problem(409, "The flow's file cannot be imported", found["error"])

    async def rest(self) -> None:
        """End the process if it has been idle for a while."""
        now = asyncio.get_running_loop().time()
        idle = now - self._asked > _IDLE_SECONDS
        if self._child is not None and not self._importing and idle:
            async with self._turn:
                await self._end()

    async def close(self) -> None:
        await self._end()

    async def _start(self) -> None:
        file = str(file_named(self.source))
        self._again, began = -inf, monotonic()  # what cannot be started is tried again
        self._code = {file: await anyio.to_thread.run_sync(stamp, file)}
        self._child = await Child.start("lokki_server.inspector", self.source)
        self._again = inf
        self._answers = self._child.channel.messages()
        self._asked = asyncio.get_running_loop().time()
        ended = {"error": "its import ended the process", "traceback": ""}
        found: dict[str, Any] = ended
        self._importing = True
        with anyio.move_on_after(_IMPORT_SECONDS) as scope:
            found = await anext(self._answers, ended)
        self._importing = False
        if self._given_up:  # the next look starts over
            self._given_up = False
            await self._end()
            return
        if scope.cancelled_caught:
            found["error"] = f"its import took longer than {_IMPORT_SECONDS:.0f} seconds"
        self._learn(found)
        self.flows = found.pop("flows", [])
        self.error = found or None
        if self.error is None:
            self._had = frozenset(each["name"] for each in self.flows)
            self.importable_at, self._wait = began, _RETRY_SECONDS
        else:  # what is missing may appear without a change of a known file
            self._again = monotonic() + self._wait
            self._wait = min(2 * self._wait, _LONGEST_RETRY_SECONDS)
            await self._end()

    def _learn(self, answer: dict[str, Any]) -> None:
        """Record the stamps of the files imported since the previous answer."""
        imported = answer.pop("code", {})
        stamps = {file: each and (each[0], each[1]) for file, each in imported.items()}
        self._code = {**stamps, **self._code}

    async def _end(self) -> None:
        child, self._child, self._answers = self._child, None, None
        if child is not None:
            child.channel.close()
            child.kill()
            await child.ended()


class Catalog:
    """The files that were given to the service or found in folders; polled for changes."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources = sources
        self._files: dict[str, FlowFile] = {}
        self._offered: set[str] = set()
        self._folder = os.getcwd()
        self._tasks: set[asyncio.Task[None]] = set()

    async def look(self) -> None:
        """Import new and changed files, and forget those that are gone."""
        sources = await anyio.to_thread.run_sync(found_in, self._sources)
        self._offered.update(sources)
        for gone in self._files.keys() - set(sources):
            await self._files.pop(gone).close()
        news = []
        for source in sources:
            file = self._files.setdefault(source, FlowFile(source))
            if await anyio.to_thread.run_sync(file.changed):
                news.append(file)
            else:
                await file.rest()
        limit = anyio.CapacityLimiter(_AT_ONCE)
        async with anyio.create_task_group() as group:
            for file in news:
                group.start_soon(self._look, file, limit)

    async def _look(self, file: FlowFile, limit: anyio.CapacityLimiter) -> None:
        """Import a file; a long import continues beside the others."""
        async with limit:
            task = asyncio.create_task(file.look())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.wait([task], timeout=_PATIENCE_SECONDS)
        if task.done():
            task.result()
        else:
            file.mark_as_slow()
            task.add_done_callback(file.log_end)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for file in self._files.values():
            await file.close()

    @property
    def offer(self) -> Offer:
        """Which waiting runs this service takes, also for files that were offered and are gone."""
        return Offer(frozenset(self._offered), sys.prefix, self._folder)

    @property
    def flows(self) -> dict[str, tuple[FlowFile, dict[str, Any]]]:
        """Every flow by its name; the first of two with the same name."""
        found: dict[str, tuple[FlowFile, dict[str, Any]]] = {}
        for file in self._files.values():
            for flow in file.flows:
                found.setdefault(flow["name"], (file, flow))
        return dict(sorted(found.items()))

    @property
    def problems(self) -> list[FileProblem]:
        """The files without flows and why, and the flows whose name another flow has taken."""
        found = []
        for file in self._files.values():
            if file.error is not None:
                found.append(FileProblem(file=file.source, **file.error))
            for flow in file.flows:
                other = self.flows[flow["name"]][0]
                if other is not file:
                    error = f"{other.source} also has a flow '{flow['name']}': rename one"
                    found.append(FileProblem(file=file.source, error=error, traceback=""))
        return found

    def importable_at(self, source: str) -> float:
        """When the last look that found the flows of a file or module began."""
        return self._files[source].importable_at if source in self._files else -inf

    @asynccontextmanager
    async def file(self, source: str) -> AsyncIterator[FlowFile]:
        """The file or module with this name, even if it is not offered."""
        if source in self._files:
            yield self._files[source]
            return
        file = FlowFile(source)
        try:
            yield file
        finally:
            await file.close()

    def find(self, name: str) -> tuple[FlowFile, dict[str, Any]]:
        """A flow and its file. Raises Problem."""
        flows = self.flows
        if name not in flows:
            for file in self._files.values():
                if file.may_have(name):
                    raise file.problem()
            known = ", ".join(flows) or "none"
            broken = [
                f"{file.source} ({file.error['error']})"
                for file in self._files.values()
                if file.error
            ]
            others = f"; others may be in {', '.join(broken[:3])}" if broken else ""
            raise Problem(
                404, "No such flow", f"there is no flow '{name}'; known flows: {known}{others}"
            )
        return flows[name]
