"""`Client`: starts and follows runs of a server (`lokki serve`) from Python, and fetches results.

Blocking, and made from the standard library alone.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from http.client import HTTPException
from math import inf
from time import monotonic, sleep
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request, urlopen

from lokki.errors import DefinitionError, RunCancelled, RunFailed, ServerError
from lokki.model.failure import Error
from lokki.model.reading import read
from lokki.model.status import FINAL
from lokki.numeric import json_whole
from lokki.tags import checked_tags

T = TypeVar("T")

_POLL_INTERVAL = 0.2
_LONGEST_PAUSE = 2.0
PATIENCE_SECONDS = 60.0
"""How long a server may be away, for a restart say."""


class Patience:
    """How long a caller that waits for a run keeps asking a server that does not answer.

    The pauses grow from 0.2 to 2 seconds. ``report`` is called once each time the server is away.
    """

    def __init__(self, seconds: float, report: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._report = report
        self._until: float | None = None
        self._pause = 0.0

    def answered(self) -> None:
        """The server answers."""
        self._until = None

    def after(self, error: Exception, deadline: float = inf) -> float:
        """Seconds to wait before the next request; raises ``error`` when time is up.

        ``deadline`` ends the wait earlier.
        """
        now = monotonic()
        if self._until is None:
            self._until, self._pause = now + self._seconds, _POLL_INTERVAL / 2
            if self._seconds > 0:
                self._report(f"{error}; trying again for up to {self._seconds:g} s")
        left = min(self._until, deadline) - now
        if left <= 0:
            raise error
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return min(self._pause, left)

    def ask(self, ask: Callable[[], T], deadline: float = inf) -> T:
        """The answer, after as many tries as it takes; only for repeatable requests."""
        while True:
            try:
                answer = ask()
            except ServerError as error:
                if not is_away(error):
                    raise
                sleep(self.after(error, deadline))
            else:
                self.answered()
                return answer


def is_away(error: ServerError) -> bool:
    """Whether a server may answer a little later, after its start say."""
    return error.status in (None, 502, 503, 504)


class Client:
    """A server at ``url``, such as ``http://127.0.0.1:8765``.

    ``token``: required off loopback (default: the variable LOKKI_SERVER_TOKEN). ``timeout``: how
    many seconds an answer may take (default: 30). ``patience``: how many seconds `ServerRun.wait`,
    ``result`` and ``logs`` keep asking a server that does not answer (default: 60), so that it may
    be restarted meanwhile; they log a warning. Runs and flows are dicts, as the server's OpenAPI
    document defines them. Methods raise ServerError when the server refuses a request or cannot be
    reached.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 30,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise DefinitionError(f"Client: url must look like http://127.0.0.1:8765, not {url!r}")
        self.url = url.rstrip("/")
        self._token = token or os.environ.get("LOKKI_SERVER_TOKEN")
        self._timeout = timeout
        self._patience = patience

    def patience(self) -> Patience:
        """The patience of one wait."""
        return Patience(self._patience, logging.getLogger("lokki.client").warning)

    def flows(self) -> list[dict[str, Any]]:
        """The flows that can be run."""
        found: list[dict[str, Any]] = self.ask("GET", "/flows")["flows"]
        return found

    def start(
        self,
        flow: str,
        params: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        no_cache: bool = False,
        tags: Iterable[str] = (),
    ) -> ServerRun:
        """Start a run, or return the one that was started with the same idempotency ``key``.

        ``no_cache`` and ``tags``: as for `Engine.submit`.
        """
        headers = {} if key is None else {"Idempotency-Key": key}
        path = f"/flows/{quote(flow, safe='')}/runs"
        options = {"no_cache": no_cache, "tags": checked_tags(tags)}
        given = {name: value for name, value in options.items() if value}  # as older servers know
        body = {"params": dict(params or {}), **given}
        run = self.ask("POST", path, body, headers)
        return ServerRun(self, run["id"])

    def run(self, run_id: str) -> ServerRun:
        """A run, by its id or the beginning of it."""
        return ServerRun(self, self.ask("GET", f"/runs/{quote(run_id, safe='')}")["id"])

    def runs(self, *, limit: int = 20, **filters: Any) -> list[dict[str, Any]]:
        """The newest runs; ``filters`` are those of ``GET /runs``: ``flow``, ``tag``, …"""
        wanted = {name: value for name, value in filters.items() if value is not None}
        query = urlencode({"n": limit, **wanted}, doseq=True)
        found: list[dict[str, Any]] = self.ask("GET", f"/runs?{query}")["runs"]
        return found

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """The server's answer, parsed as JSON; ``body`` is sent as JSON."""
        return json.loads(self.send(method, path, body, headers))

    def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """The server's answer; ``body`` is sent as JSON."""
        data = None if body is None else json.dumps(body, default=json_whole).encode()
        request = Request(self.url + path, data, dict(headers or {}), method=method)  # noqa: S310
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with urlopen(request, timeout=self._timeout) as answer:  # noqa: S310
                answered: bytes = answer.read()
                return answered
        except HTTPError as error:
            with error:
                raise ServerError(error.code, self._refusal(error)) from None
        except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise ServerError(None, f"{self.url} cannot be reached: {reason}") from error

    def _refusal(self, error: HTTPError) -> str:
        """What the server says; for a token that it wants, what to set here."""
        if error.code != 401:
            return _detail(error)
        is_wrong = "does not accept this token" if self._token else "needs a token"
        return f"{self.url} {is_wrong}: set the variable LOKKI_SERVER_TOKEN to that of the server"


def _detail(error: HTTPError) -> str:
    """What a problem document says."""
    try:
        problem = json.load(error)
        return str(problem.get("detail") or problem["title"])
    except (ValueError, KeyError, AttributeError):
        return f"{error.url} answered {error.code} {error.reason}"


class ServerRun:
    """A run of a server; ``id`` is its id."""

    def __init__(self, client: Client, run_id: str) -> None:
        self._client = client
        self._path = f"/runs/{run_id}"
        self.id = run_id

    def __repr__(self) -> str:
        return f"<run {self.id} of {self._client.url}>"

    def state(self) -> dict[str, Any]:
        """The run as it is now."""
        state: dict[str, Any] = self._client.ask("GET", self._path)
        return state

    def params(self) -> dict[str, Any]:
        """Its complete parameters; `state` cuts long ones."""
        params: dict[str, Any] = self._client.ask("GET", f"{self._path}/params")["params"]
        return params

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """Wait for the end of the run; TimeoutError after ``timeout`` seconds (default: none)."""
        deadline = inf if timeout is None else monotonic() + timeout
        patience = self._client.patience()
        while True:
            try:
                state = patience.ask(self.state, deadline)
            except ServerError as error:
                if is_away(error) and monotonic() >= deadline:
                    raise TimeoutError(f"run {self.id}: {error}, after {timeout} s") from error
                raise
            if state["status"] in FINAL:
                return state
            if monotonic() > deadline:
                raise TimeoutError(f"run {self.id} is {state['status']} after {timeout} s")
            sleep(_POLL_INTERVAL)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end and return the result as JSON has it.

        Raises RunFailed, RunCancelled, TimeoutError, and ServerError for a result that JSON cannot
        hold: the server offers it as a file.
        """
        state = self.wait(timeout)
        if state["status"] == "cancelled":
            raise RunCancelled(f"run {self.id} was cancelled", self.id)
        if state["status"] == "failed":
            raise failure(self.id, read(Error, state["error"]))
        path = f"{self._path}/result"
        answer = self._client.patience().ask(partial(self._client.ask, "GET", path))
        if answer["download"] is not None:
            text = f"the result is {answer['type']}: {self._client.url}{answer['download']}"
            raise ServerError(None, text)
        return answer["result"]

    def logs(self, *, follow: bool = False, **filters: Any) -> Iterator[dict[str, Any]]:
        """What its steps printed and logged; with ``follow``, until the run ends.

        ``filters`` are ``step``, ``item``, ``attempt``, ``level``, ``since``, ``until`` and
        ``search``, a part of the message.
        """
        wanted = {name: value for name, value in filters.items() if value is not None}
        after, goes_on, patience = 0, True, self._client.patience()
        while goes_on:
            goes_on = follow and patience.ask(self.state)["status"] not in FINAL
            while True:
                path = f"{self._path}/logs?{urlencode({**wanted, 'after': after})}"
                page = patience.ask(partial(self._client.ask, "GET", path))
                yield from page["lines"]
                if not page["lines"]:
                    break
                after = page["next"]
            if goes_on:
                sleep(_POLL_INTERVAL)

    def cancel(self) -> None:
        """Ask for its cancellation; `wait` returns when it has ended."""
        self._client.ask("POST", f"{self._path}/cancel", {})

    def pause(self) -> None:
        """Have it begin no more calls; it is ``paused`` when those that run have ended."""
        self._client.ask("POST", f"{self._path}/pause", {})

    def unpause(self) -> None:
        """Have it continue after a pause."""
        self._client.ask("POST", f"{self._path}/unpause", {})

    def tune(self, concurrency: int) -> None:
        """Have this many items of its map run at a time, from now to the end of the map."""
        self._client.ask("POST", f"{self._path}/tune", {"concurrency": concurrency})

    def resume(
        self,
        *,
        failed: bool = False,
        error: str | None = None,
        from_stage: str | None = None,
        no_cache: bool = False,
    ) -> None:
        """Resume it, as `lokki resume` does: what has no result runs, and what is named."""
        wanted: dict[str, Any] = {"failed": failed or None, "error": error, "from": from_stage}
        wanted["no_cache"] = no_cache or None
        body = {name: value for name, value in wanted.items() if value is not None}
        self._client.ask("POST", f"{self._path}/resume", body)


def failure(run_id: str, error: Error) -> RunFailed | ServerError:
    """The exception for a run that failed with ``error``."""
    if error.failure is None:  # no step caused it
        return ServerError(None, f"run {run_id} failed: {error.message}")
    return RunFailed(run_id, error.failure)
