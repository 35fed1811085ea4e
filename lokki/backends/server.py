"""The runs of a server, `lokki serve`, over HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from lokki.client import PATIENCE_SECONDS, Client, Patience
from lokki.errors import AttachmentNotFound, RunNotFound, ServerError
from lokki.model.attachment import Attachment, AttachmentList
from lokki.model.flow import Flow, FlowList
from lokki.model.item import Item, ItemDetail, ItemList, Strip
from lokki.model.log import LineList, LogLine
from lokki.model.reading import read
from lokki.model.run import AllParams, Run, RunList, Tuned
from lokki.model.run_filter import RunFilter
from lokki.model.structure import Structure, of_text
from lokki.model.times import rfc3339
from lokki.store.codec import pickle_in

T = TypeVar("T")

_ID = re.compile("[A-Za-z0-9_-]{1,80}")
_MOST_ITEMS = 1_000
_MOST_LINES = 5_000
_MOST_RUNS = 1_000


class ServerBackend:
    """A `Backend` at a URL; raises ServerError if the server cannot be reached."""

    poll_interval = 0.2
    settling_time = 0.0

    def __init__(self, url: str, tell: Callable[[str], None] | None = None) -> None:
        """With ``tell``, a server that has answered may be away for a while; that is reported."""
        self._client = Client(url)
        self._patience = None if tell is None else Patience(PATIENCE_SECONDS, tell)
        self._answered = False
        self.name = self._client.url

    def find(self, name: str, flow: str | None = None) -> Run:
        if name != "last":
            return self._run(name)
        newest = self.runs(RunFilter(flow=flow, limit=1)).runs
        if not newest:
            raise RunNotFound(f"no runs{f' of {flow}' if flow else ''} yet on {self.name}")
        return newest[0]

    def run(self, run_id: str) -> Run:
        return self._run(run_id)

    def _run(self, name: str) -> Run:
        if not _ID.fullmatch(name):
            raise RunNotFound(f"{self.name}: no run {name!r}")
        try:
            return self._with_structure(self._ask(Run, f"/runs/{name}"))
        except ServerError as error:
            if error.status == 404:
                raise RunNotFound(f"{self.name}: {error}") from None
            raise

    def _with_structure(self, run: Run) -> Run:
        """A run; servers of lokki 0.1 send its structure only as a text."""
        return run if run.structure else replace(run, structure=of_text(run.chain))

    def runs(self, wanted: RunFilter) -> RunList:
        found: list[Run] = []
        before = wanted.before
        filters: dict[str, Any] = {
            "flow": wanted.flow,
            "status": wanted.statuses,
            "since": rfc3339(wanted.since),
            "tag": wanted.tags,
            "param": wanted.params,
            "search": wanted.search,
        }
        while True:
            asked = {**filters, "before": before}
            if before is None and wanted.older_than is not None:
                asked["older_than"] = rfc3339(wanted.older_than)
            n = min(wanted.limit - len(found), _MOST_RUNS)
            page = self._ask(RunList, "/runs", n=n, **asked)
            found += map(self._with_structure, page.runs)
            before = page.next
            if before is None or len(found) >= wanted.limit:
                return RunList(runs=found, next=before)

    def params(self, run: Run) -> dict[str, Any]:
        """All parameters of a run, in full even if the run's are cut."""
        if not run.params_cut:
            return run.params
        return self._ask(AllParams, f"/runs/{run.id}/params").params

    def flows(self) -> list[str]:
        return sorted({run.flow for run in self.runs(RunFilter(limit=_MOST_RUNS)).runs})

    def strip(self, run_id: str, position: int, width: int) -> Sequence[Mapping[str, int]]:
        return self._ask(Strip, f"/runs/{run_id}/stages/{position}/strip", width=width).cells

    def items(self, run_id: str, position: int, statuses: Sequence[str] = ()) -> Iterator[Item]:
        path, after = f"/runs/{run_id}/stages/{position}/items", -1
        while True:
            page = self._ask(ItemList, path, status=statuses, after=after, limit=_MOST_ITEMS)
            yield from page.items
            if page.next is None:
                return
            after = page.next

    def item(self, run_id: str, position: int, index: int) -> ItemDetail | None:
        try:
            return self._ask(ItemDetail, f"/runs/{run_id}/stages/{position}/items/{index}")
        except ServerError as error:
            if error.status == 404:
                return None
            raise

    def lines(
        self,
        run_id: str,
        *,
        since: float | None = None,
        until: float | None = None,
        after: int = 0,
        **wanted: Any,
    ) -> Iterator[LogLine]:
        times = {"since": rfc3339(since), "until": rfc3339(until)}
        while True:
            page = self._ask(
                LineList, f"/runs/{run_id}/logs", **wanted, **times, after=after, limit=_MOST_LINES
            )
            yield from (line.read for line in page.lines)
            if len(page.lines) < _MOST_LINES:
                return
            after = page.next

    def last_line(self, run_id: str) -> int:
        return self._ask(LineList, f"/runs/{run_id}/logs", tail=True, limit=1).next

    def attachments(self, run_id: str, **wanted: Any) -> list[Attachment]:
        try:
            return self._ask(AttachmentList, f"/runs/{run_id}/attachments", **wanted).attachments
        except ServerError as error:
            if error.status == 404:  # a server of before, whose runs show nothing
                return []
            raise

    def attachment(self, run_id: str, name: str) -> tuple[Attachment, bytes]:
        path = f"/runs/{run_id}/attachments/{quote(name)}"
        try:
            about = self._ask(Attachment, path)
        except ServerError as error:
            if error.status == 404:
                raise AttachmentNotFound(f"{self.name}: {error}") from None
            raise
        return about, self._client.send("GET", f"{path}/content")

    def start(
        self,
        flow: str,
        params: Mapping[str, Any],
        *,
        no_cache: bool = False,
        tags: Sequence[str] = (),
    ) -> Run:
        """Queue a run of a flow."""
        started = self._client.start(flow, params, no_cache=no_cache, tags=tags)
        run: Run = self.find(started.id)
        return run

    def offered(self) -> FlowList:
        """The flows that the server offers, and the files that it cannot read."""
        return self._ask(FlowList, "/flows")

    def flow(self, name: str) -> Flow:
        """One of the flows that the server offers."""
        return self._ask(Flow, f"/flows/{name}")

    def stages(self, flow: str) -> Structure:
        """The stages of a flow; none if they depend on its parameters."""
        try:
            return self.flow(flow).stages or []
        except ServerError as error:
            if error.status == 404:  # its file is gone
                return []
            raise

    def plan(self, run_id: str, wanted: Mapping[str, Any]) -> tuple[list[str], bool]:
        """A summary of what a resume would do, and whether it would do anything."""
        plan = self._client.ask("POST", f"/runs/{run_id}/plan", wanted)
        return plan["told"], plan["anything"]

    def resume(self, run_id: str, wanted: Mapping[str, Any]) -> Run:
        """Queue a run to be resumed."""
        return self._read(Run, self._client.ask("POST", f"/runs/{run_id}/resume", wanted))

    def result(self, run_id: str) -> str | None:
        """A run's result as printed; None for None, which is not printed."""
        text = self._client.send("GET", f"/runs/{run_id}/result.txt").decode()
        return text.removesuffix("\n") if text else None

    def pickled_result(self, run_id: str) -> bytes:
        return pickle_in(self._client.send("GET", f"/runs/{run_id}/result.pickle"))

    def request_cancel(self, run_id: str) -> None:
        """Request the cancellation of a run."""
        self._client.ask("POST", f"/runs/{run_id}/cancel", {})

    def cancel(self, run_id: str) -> Iterator[None]:
        self.request_cancel(run_id)
        while not self.find(run_id).status.is_final:
            yield

    def pause(self, run_id: str) -> Iterator[None]:
        self._client.ask("POST", f"/runs/{run_id}/pause", {})
        while (run := self.find(run_id)).status == "running" and run.pause_requested:
            yield

    def unpause(self, run_id: str) -> Run:
        return self._read(Run, self._client.ask("POST", f"/runs/{run_id}/unpause", {}))

    def tune(self, run_id: str, concurrency: int) -> Tuned:
        wanted = {"concurrency": concurrency}
        return self._read(Tuned, self._client.ask("POST", f"/runs/{run_id}/tune", wanted))

    def _ask(self, kind: type[T], path: str, **wanted: Any) -> T:
        """The server's answer, as a type of the model."""
        query = {name: value for name, value in wanted.items() if value is not None}
        ask = partial(self._client.ask, "GET", f"{path}?{urlencode(query, doseq=True)}")
        answer = self._patience.ask(ask) if self._patience and self._answered else ask()
        self._answered = True
        return self._read(kind, answer)

    def _read(self, kind: type[T], answer: Any) -> T:
        try:
            return read(kind, answer)
        except ValueError as error:
            message = f"{self.name} sent an answer that this version of lokki cannot read: {error}"
            raise ServerError(None, message) from error
