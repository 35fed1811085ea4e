"""Execution environments of Lambda: the real runtime interface client, and the API it polls.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html . One process is one environment: it
handles one invocation at a time, and is reused while it is warm.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, time

from lokki.rehearse.moto_patches import prepared
from lokki.rehearse.moto_patches.memory import MEGABYTE, peak
from lokki.rehearse.moto_patches.prepared import Sandbox

_POLL_SECONDS = 0.02
_FLUSH_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Spec:
    """A function: its ARN, what to run, where, with which variables, timeout and MiB of memory.

    An environment may take ``init_seconds`` to start, besides the timeout.
    """

    arn: str
    argv: Sequence[str]
    sandbox: Sandbox
    env: Mapping[str, str]
    timeout: float
    memory: int
    init_seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an invocation: its answer, or the error that AWS reports, and its output.

    ``stream`` is the environment's log stream, ``memory`` the MiB that it has used, if known.
    """

    request_id: str
    payload: bytes
    failed: bool
    output: str
    seconds: float
    stream: str
    memory: int


class Function:
    """A function and its environments."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._idle: list[_Environment] = []
        self._every: list[_Environment] = []
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """Where its code is, which functions of a package share."""
        return self._spec.sandbox.folder

    def invoke(self, payload: bytes) -> Outcome:
        """Handle one event in an idle environment, or a new one."""
        with self._lock:
            environment = self._idle.pop() if self._idle else None
        if environment is None:
            environment = _Environment(self._spec)
            with self._lock:
                self._every.append(environment)
        outcome = environment.invoke(payload)
        with self._lock:
            if environment.alive:
                self._idle.append(environment)
            elif environment in self._every:
                self._every.remove(environment)
        return outcome

    def end_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
            self._every = [each for each in self._every if each not in idle]
        for each in idle:
            each.close()

    def kill(self) -> None:
        """Kill its processes, whatever they do."""
        with self._lock:
            every = list(self._every)
        for each in every:
            each.kill()

    def close(self) -> None:
        with self._lock:
            every, self._every, self._idle = self._every, [], []
        for each in every:
            each.close()


class _Environment:
    """One process and the API that it polls."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._warm = False
        self._events: queue.SimpleQueue[tuple[str, bytes, int] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[bool, bytes]] = queue.SimpleQueue()
        self._polls = threading.Semaphore(0)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._closed = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()
        self._closing = threading.RLock()  # its function may be deleted amid a call
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._read = 0
        self._rest = ""
        version = spec.env["AWS_LAMBDA_FUNCTION_VERSION"]
        self._stream = f"{datetime.now(UTC):%Y/%m/%d}/[{version}]{uuid.uuid4().hex}"
        self._peak = 0
        self._process = self._started()

    def _started(self) -> prepared.Process | subprocess.Popen[bytes]:
        own = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
            "AWS_LAMBDA_LOG_STREAM_NAME": self._stream,
        }
        spec = self._spec
        return prepared.started(spec.argv, spec.sandbox, spec.env, self._output.fileno(), own)

    def _serve(self) -> None:
        """Serve without polling, unlike `serve_forever`: there may be hundreds of environments."""
        while not self._closed.is_set():
            self._server.handle_request()
        self._server.server_close()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()

    def invoke(self, payload: bytes) -> Outcome:
        request_id, began = str(uuid.uuid4()), monotonic()
        answer = None
        until = self._initialized(began)
        if until is not None:
            left = until - monotonic()
            self._events.put((request_id, payload, int((time() + left) * 1000)))
            answer = self._answer(until)
            self._warm = True
        elif not self._answers.empty():  # it has reported why it cannot start
            answer = self._answers.get()
        if answer is None or self._is_too_large():
            failed, answered = True, self._why_silent(request_id)
            self.close()
        else:
            failed, answered = answer
            if not self._polled(monotonic() + _FLUSH_SECONDS):  # it does so once all is written
                self.close()
        seconds = monotonic() - began
        memory = -(-self._peak // MEGABYTE)
        return Outcome(request_id, answered, failed, self._written(), seconds, self._stream, memory)

    def _initialized(self, began: float) -> float | None:
        """Until when it may handle an event, once it asks for one; None if it does not.

        An environment that takes too long is started again, then as part of the call:
        https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
        """
        if self._warm or self._polled(began + self._spec.init_seconds):
            return monotonic() + self._spec.timeout
        if not self.alive or not self._answers.empty() or self._is_too_large():
            return None
        self._process.kill()
        self._process.wait()
        self._process = self._started()
        until = monotonic() + self._spec.timeout
        return until if self._polled(until) else None

    def _polled(self, until: float) -> bool:
        """Wait until the process asks for an event; False if it does not."""
        while not self._polls.acquire(timeout=_POLL_SECONDS):
            if monotonic() > until or not self.alive or self._is_too_large():
                return False
        return True

    def _answer(self, until: float) -> tuple[bool, bytes] | None:
        while monotonic() < until and not self._is_too_large():
            with suppress(queue.Empty):
                return self._answers.get(timeout=_POLL_SECONDS)
            if not self.alive and self._answers.empty():
                return None
        return None

    def _is_too_large(self) -> bool:
        """Whether it has used more memory than its function has."""
        self._peak = max(self._peak, peak(self._process.pid))
        return self._peak > self._spec.memory * MEGABYTE

    def _why_silent(self, request_id: str) -> bytes:
        """The error that Lambda reports for a process that ends, or is ended, without an answer."""
        if self._is_too_large():
            kind, why = "Runtime.OutOfMemory", "Runtime exited with error: signal: killed"
        elif self.alive:
            kind = "Sandbox.Timedout"
            why = f"Task timed out after {self._spec.timeout:.2f} seconds"
        else:
            kind, why = "Runtime.ExitError", _end_of(self._process.wait())
        text = f"RequestId: {request_id} Error: {why}"
        return json.dumps({"errorType": kind, "errorMessage": text}).encode()

    def _written(self) -> str:
        """What the process has written since the last call of this."""
        with self._closing:
            if self._output.closed:
                text, self._rest = self._rest, ""
                return text
            size = os.fstat(self._output.fileno()).st_size
            written = os.pread(self._output.fileno(), size - self._read, self._read)
            self._read = size
            return written.decode(errors="replace")

    def close(self) -> None:
        """End the process and its API; what it has written can still be read."""
        with self._closing:
            if self._closed.is_set():
                return
            if self.alive:
                self._process.kill()
            self._process.wait()
            self._rest = self._written()
            self._output.close()
            self._events.put(None)
            self._closed.set()
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self._server.server_port)).close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        environment = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                with suppress(ConnectionError):
                    super().handle()

            def log_message(self, format: str, *args: object) -> None:
                """Does nothing: this is no log for the user."""

            def do_GET(self) -> None:
                """…/runtime/invocation/next ."""
                environment._polls.release()
                event = environment._events.get()
                if event is None:
                    self._answer(410)
                    return
                request_id, body, deadline = event
                self._answer(
                    200,
                    body,
                    {
                        "Content-Type": "application/json",
                        "Lambda-Runtime-Aws-Request-Id": request_id,
                        "Lambda-Runtime-Deadline-Ms": str(deadline),
                        "Lambda-Runtime-Invoked-Function-Arn": environment._spec.arn,
                        "Lambda-Runtime-Trace-Id": _trace(),
                    },
                )

            def do_POST(self) -> None:
                """…/<request id>/response, …/<request id>/error or …/init/error ."""
                environment._answers.put((not self.path.endswith("/response"), self._body()))
                self._answer(202, b'{"status":"OK"}')

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def _answer(
                self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
            ) -> None:
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler


def _trace() -> str:
    part = uuid.uuid4().hex
    return f"Root=1-{int(time()):08x}-{part[:24]};Parent={part[16:]};Sampled=0"


def _end_of(code: int) -> str:
    """How a process has ended, in Lambda's words.

    As LocalStack recorded: lambda_/test_lambda::test_lambda_handler_exit, 2025-11-24.
    """
    if not code:
        return "Runtime exited without providing a reason"
    ended = f"signal: {signal.strsignal(-code)}".lower() if code < 0 else f"exit status {code}"
    return f"Runtime exited with error: {ended}"
