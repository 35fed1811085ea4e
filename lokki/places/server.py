"""The runs of a server, `lokki serve`, over HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlencode

from lokki.client import ENDED, PATIENCE_SECONDS, Client, Patience
from lokki.errors import RunNotFound, ServerError
from lokki.places.shapes import RunShape, RunsShape, rfc3339, seconds
from lokki.store.codec import pickle_in
from lokki.store.lines import LogLine

_ID = re.compile("[A-Za-z0-9_-]{1,80}")
_MOST_LINES = 5_000
_MOST_RUNS = 1_000


class ServerPlace:
    """A `Place` at a URL; what a server that cannot be reached raises is a ServerError."""

    look_seconds = 0.2
    settle_seconds = 0.0

    def __init__(self, url: str, told: Callable[[str], None] | None = None) -> None:
        """With ``told``, one that has answered may be away for a while: it is told so."""
        self._client = Client(url)
        self._patience = None if told is None else Patience(PATIENCE_SECONDS, told)
        self._answered = False
        self.name = self._client.url

    def find(self, name: str, flow: str | None = None) -> RunShape:
        if name != "last":
            return self._run(name)
        newest = self.runs(flow=flow, limit=1)["runs"]
        if not newest:
            raise RunNotFound(f"no runs{f' of {flow}' if flow else ''} yet on {self.name}")
        return newest[0]

    def run(self, run_id: str) -> RunShape:
        return self._run(run_id)

    def _run(self, name: str) -> RunShape:
        if not _ID.fullmatch(name):
            raise RunNotFound(f"{self.name}: no run {name!r}")
        try:
            run: RunShape = self._ask(f"/runs/{name}")
        except ServerError as error:
            if error.status == 404:
                raise RunNotFound(f"{self.name}: {error}") from None
            raise
        return run

    def runs(
        self,
        *,
        flow: str | None = None,
        statuses: Sequence[str] = (),
        since: float | None = None,
        before: str | None = None,
        limit: int,
    ) -> RunsShape:
        found: list[RunShape] = []
        while True:
            n = min(limit - len(found), _MOST_RUNS)
            wanted = {"flow": flow, "status": statuses, "since": rfc3339(since), "before": before}
            page: RunsShape = self._ask("/runs", n=n, **wanted)
            found += page["runs"]
            before = page["next"]
            if before is None or len(found) >= limit:
                return {"runs": found, "next": before}

    def params(self, run: RunShape) -> dict[str, Any]:
        """All parameters of a run, also where its shape has cut ones."""
        if not run.get("params_cut"):
            return run["params"]
        params: dict[str, Any] = self._ask(f"/runs/{run['id']}/params")["params"]
        return params

    def flows(self) -> list[str]:
        return sorted({run["flow"] for run in self.runs(limit=_MOST_RUNS)["runs"]})

    def strip(self, run_id: str, position: int, width: int) -> Sequence[Mapping[str, int]]:
        cells: list[dict[str, int]] = self._ask(
            f"/runs/{run_id}/stages/{position}/strip", width=width
        )["cells"]
        return cells

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
                f"/runs/{run_id}/logs", **wanted, **times, after=after, limit=_MOST_LINES
            )
            for line in page["lines"]:
                at = seconds(line.pop("ts"))
                yield LogLine(at=at, **line)
            if len(page["lines"]) < _MOST_LINES:
                return
            after = page["next"]

    def last_line(self, run_id: str) -> int:
        last: int = self._ask(f"/runs/{run_id}/logs", tail=True, limit=1)["next"]
        return last

    def start(self, flow: str, params: Mapping[str, Any]) -> RunShape:
        """Queue a run of a flow."""
        run: RunShape = self.find(self._client.start(flow, params).id)
        return run

    def offered(self) -> dict[str, Any]:
        """The flows that it offers, and the files that it cannot read."""
        offered: dict[str, Any] = self._ask("/flows")
        return offered

    def flow(self, name: str) -> dict[str, Any]:
        """One of the flows that it offers."""
        flow: dict[str, Any] = self._ask(f"/flows/{name}")
        return flow

    def stages(self, flow: str) -> list[dict[str, Any]]:
        """The stages that a flow has; none that are known when they depend on its parameters."""
        try:
            return self.flow(flow)["stages"] or []
        except ServerError as error:
            if error.status == 404:  # its file is gone
                return []
            raise

    def plan(self, run_id: str, wanted: Mapping[str, Any]) -> tuple[list[str], bool]:
        """What a resume would do, in words, and whether that is anything."""
        plan = self._client.ask("POST", f"/runs/{run_id}/plan", wanted)
        return plan["told"], plan["anything"]

    def resume(self, run_id: str, wanted: Mapping[str, Any]) -> RunShape:
        """Queue a run to go on."""
        run: RunShape = self._client.ask("POST", f"/runs/{run_id}/resume", wanted)
        return run

    def result(self, run_id: str) -> str | None:
        """A run's result as it is printed; None for None, of which nothing is."""
        text = self._client.send("GET", f"/runs/{run_id}/result.txt").decode()
        return text.removesuffix("\n") if text else None

    def pickled_result(self, run_id: str) -> bytes:
        return pickle_in(self._client.send("GET", f"/runs/{run_id}/result.pickle"))

    def request_cancel(self, run_id: str) -> None:
        """Ask for a run to be cancelled."""
        self._client.ask("POST", f"/runs/{run_id}/cancel", {})

    def cancel(self, run_id: str) -> Iterator[None]:
        self.request_cancel(run_id)
        while self.find(run_id)["status"] not in ENDED:
            yield

    def _ask(self, path: str, **wanted: Any) -> Any:
        query = {name: value for name, value in wanted.items() if value is not None}
        ask = partial(self._client.ask, "GET", f"{path}?{urlencode(query, doseq=True)}")
        answer = self._patience.ask(ask) if self._patience and self._answered else ask()
        self._answered = True
        return answer
