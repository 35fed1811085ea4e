"""A server of Prefect's for `server.py`, on loopback, with what starts its runs."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from compare import PREFECT, Peer, interpreter
from timing import HERE, environment, resident_bytes

PEER = Peer("Prefect", "serve_prefect.py", "no", "prefect==3.9.1")
_OVER = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_PAGE = 200


class PrefectServer:
    """Its API's process, asked over one connection."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self._connection = HTTPConnection("127.0.0.1", port, timeout=120)
        self.deployments: dict[str, str] = {}

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        try:
            self._connection.request(method, f"/api{path}", data, headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            self._connection.close()
            return 0, b""

    def json(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = self.ask(method, path, body)
        while status in (0, 503):  # it has closed the connection, or its database is busy
            time.sleep(0.05)
            status, answer = self.ask(method, path, body)
        if not 200 <= status < 300:
            raise SystemExit(f"Prefect: {path}: {status} {answer.decode()[:200]}")
        return json.loads(answer)

    def find_deployments(self) -> bool:
        """Whether the flows have been deployed; their ids are known then."""
        status, answer = self.ask("POST", "/deployments/filter", {})
        if status == 200:
            self.deployments = {each["name"]: each["id"] for each in json.loads(answer)}
        return len(self.deployments) == 3

    def start(self, flow: str, **params: Any) -> str:
        path = f"/deployments/{self.deployments[flow]}/create_flow_run"
        return str(self.json("POST", path, {"parameters": params})["id"])

    def wait(self, run_id: str) -> None:
        while (state := self.json("GET", f"/flow_runs/{run_id}")["state_type"]) not in _OVER:
            time.sleep(0.005)
        if state != "COMPLETED":
            raise SystemExit(f"Prefect: run {run_id} is {state}")

    def opened(self, run_id: str) -> tuple[float, int]:
        """Seconds and bytes of what its page of a run asks for: the run, its graph, a page."""
        began, size = time.perf_counter(), 0
        page = {"flow_runs": {"id": {"any_": [run_id]}}, "limit": _PAGE}
        for method, path, body in (
            ("GET", f"/flow_runs/{run_id}", None),
            ("GET", f"/flow_runs/{run_id}/graph-v2", None),
            ("POST", "/task_runs/filter", page),
            ("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [run_id]}}, "limit": _PAGE}),
        ):
            size += len(self.ask(method, path, body)[1])
        return time.perf_counter() - began, size

    @property
    def memory(self) -> int:
        """Resident bytes of the API's process."""
        return resident_bytes(self.process.pid)


@contextmanager
def prefect_server(place: Path, limit: int) -> Iterator[PrefectServer]:
    """A server in ``place`` and a runner that runs ``limit`` runs at a time and looks each second.

    Raises NotInstalled.
    """
    python = interpreter(PEER)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = environment("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", **PREFECT) | {
        "HOME": str(place),
        "PREFECT_HOME": str(place),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    }
    log = (place / "prefect.log").open("wb")
    server = subprocess.Popen(
        [python, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app",
         "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"],
        cwd=place, env=env, stdout=log, stderr=log,
    )  # fmt: skip
    runner = None
    try:
        found = PrefectServer(server, port)
        _until(lambda: found.ask("GET", "/health")[0] == 200, server)
        runner = subprocess.Popen(
            [python, HERE / "peers" / PEER.script, str(limit)],
            cwd=place, env=env, stdout=log, stderr=log,
        )  # fmt: skip
        _until(found.find_deployments, runner)
        found.wait(found.start("single"))
        yield found
    finally:
        for process in filter(None, (runner, server)):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        log.close()


def _until(true: Any, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("Prefect: the server does not start; see prefect.log")
        time.sleep(0.1)
