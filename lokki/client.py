"""`Client`: starts, follows and fetches runs of a server, `lokki serve`, from Python.

Blocking, and made of the standard library alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from time import monotonic, sleep
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request, urlopen

from lokki.errors import DefinitionError, RunCancelled, RunFailed, ServerError
from lokki.numeric import json_whole

_LOOK_SECONDS = 0.2
ENDED = ("succeeded", "failed", "cancelled")


class Client:
    """A server at ``url``, such as ``http://127.0.0.1:8765``.

    ``token`` is what it wants off loopback (default: the variable LOKKI_SERVER_TOKEN). ``timeout``
    is how many seconds an answer may take (default: 30). Runs and flows are dicts, as the server's
    OpenAPI document tells them. Methods raise ServerError when the server refuses or cannot be
    reached.
    """

    def __init__(self, url: str, *, token: str | None = None, timeout: float = 30) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise DefinitionError(f"Client: url must be such as http://127.0.0.1:8765, not {url!r}")
        self.url = url.rstrip("/")
        self._token = token or os.environ.get("LOKKI_SERVER_TOKEN")
        self._timeout = timeout

    def flows(self) -> list[dict[str, Any]]:
        """The flows that can be run."""
        found: list[dict[str, Any]] = self.ask("GET", "/flows")["flows"]
        return found

    def start(
        self, flow: str, params: Mapping[str, Any] | None = None, *, key: str | None = None
    ) -> ServerRun:
        """Start a run; with an idempotency ``key``, the run that was started with it before."""
        headers = {} if key is None else {"Idempotency-Key": key}
        path = f"/flows/{quote(flow, safe='')}/runs"
        run = self.ask("POST", path, {"params": dict(params or {})}, headers)
        return ServerRun(self, run["id"])

    def run(self, run_id: str) -> ServerRun:
        """A run by its id, or the beginning of it."""
        return ServerRun(self, self.ask("GET", f"/runs/{quote(run_id, safe='')}")["id"])

    def runs(self, *, limit: int = 20, **filters: Any) -> list[dict[str, Any]]:
        """The newest runs; ``filters`` are ``flow``, ``status``, ``since`` and ``before``."""
        wanted = {name: value for name, value in filters.items() if value is not None}
        query = urlencode({"n": limit, **wanted}, doseq=True)
        found: list[dict[str, Any]] = self.ask("GET", f"/runs?{query}")["runs"]
        return found

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """The JSON that the server answers with; ``body`` is sent as JSON."""
        return json.loads(self.send(method, path, body, headers))

    def send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """What the server answers with; ``body`` is sent as JSON."""
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
                raise ServerError(error.code, _told(error)) from None
        except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise ServerError(None, f"{self.url} cannot be reached: {reason}") from error


def _told(error: HTTPError) -> str:
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

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """The run, once it has ended; TimeoutError after ``timeout`` seconds (default: never)."""
        began = monotonic()
        while (state := self.state())["status"] not in ENDED:
            if timeout is not None and monotonic() - began > timeout:
                raise TimeoutError(f"run {self.id} is {state['status']} after {timeout} s")
            sleep(_LOOK_SECONDS)
        return state

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end and return the result as JSON has it.

        Raises RunFailed, RunCancelled, TimeoutError, and ServerError for a result that JSON has no
        words for: the server offers it as a file.
        """
        state = self.wait(timeout)
        if state["status"] == "cancelled":
            raise RunCancelled(f"run {self.id} was cancelled", self.id)
        if state["status"] == "failed":
            raise failure(self.id, state["error"])
        answer = self._client.ask("GET", f"{self._path}/result")
        if answer["download"] is not None:
            told = f"the result is {answer['type']}: {self._client.url}{answer['download']}"
            raise ServerError(None, told)
        return answer["result"]

    def logs(self, *, follow: bool = False, **filters: Any) -> Iterator[dict[str, Any]]:
        """What its steps have printed and logged; with ``follow``, until the run ends.

        ``filters`` are ``step``, ``item``, ``attempt``, ``level``, ``since`` and ``until``.
        """
        wanted = {name: value for name, value in filters.items() if value is not None}
        after, goes_on = 0, True
        while goes_on:
            goes_on = follow and self.state()["status"] not in ENDED
            while True:
                query = urlencode({**wanted, "after": after})
                page = self._client.ask("GET", f"{self._path}/logs?{query}")
                yield from page["lines"]
                if not page["lines"]:
                    break
                after = page["next"]
            if goes_on:
                sleep(_LOOK_SECONDS)

    def cancel(self) -> None:
        """Have it cancelled; `wait` tells when it is."""
        self._client.ask("POST", f"{self._path}/cancel", {})

    def resume(
        self, *, failed: bool = False, error: str | None = None, from_stage: str | None = None
    ) -> None:
        """Have it go on: what has no result runs, and what is named, as `lokki resume` does."""
        wanted = {"failed": failed or None, "error": error, "from": from_stage}
        body = {name: value for name, value in wanted.items() if value is not None}
        self._client.ask("POST", f"{self._path}/resume", body)


def failure(run_id: str, error: Mapping[str, Any]) -> RunFailed | ServerError:
    """What is raised for a run that has failed with ``error``."""
    if error.get("step") is None:  # no step has ended it
        return ServerError(None, f"run {run_id} failed: {error['message']}")
    return RunFailed(
        run_id,
        error["step"],
        error["index"],
        error["attempt"],
        error["type"],
        error["message"],
        error["traceback"] or "",
    )
