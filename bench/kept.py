"""A `lokki serve` that is kept running, as by a service manager, with a log and what it uses."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timing import environment, resident_bytes

_LOG_LINES = 30


@dataclass(frozen=True)
class Used:
    """What a server and its processes have at a time: bytes of memory, and numbers."""

    memory: int
    descriptors: int
    connections: int


class Server:
    """A server at an address that it keeps, over and over."""

    def __init__(self, place: Path, name: str, journal: str) -> None:
        self.name = name
        self.ended = 0
        """How often it has ended by itself."""
        self._place = place
        self._journal = journal
        self._log = place / f"{name}.log"
        with closing(socket.create_server(("127.0.0.1", 0))) as found:
            self.port = found.getsockname()[1]
        self.start()

    def start(self) -> None:
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lokki", "serve", "flows.py", "--port", str(self.port)],
                cwd=self._place,
                stdout=log,
                stderr=log,
                env=environment(HOME=str(self._place), LOKKI_LOCAL_JOURNAL=self._journal),
            )

    def tend(self) -> None:
        """Start it again if it has ended by itself, and show why."""
        if (code := self._process.poll()) is not None:
            self.ended += 1
            print(f"{self.name} ended with {code}:\n{self.log_end()}", flush=True)
            self.start()

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def log_end(self) -> str:
        return "\n".join(self.log().splitlines()[-_LOG_LINES:])

    def kill(self, *, whole: bool) -> None:
        """End it at once, perhaps with its runners."""
        for pid in self._processes() if whole else [self._process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def ask(self, path: str, body: Any, key: str) -> Any:
        """The JSON that it answers to a POST; None while it does not."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Idempotency-Key": key},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code in (404, 409, 503):  # its file is half-written
                return None
            raise SystemExit(f"{path}: {error.code} {error.read().decode()}") from None
        except OSError:
            return None

    def used(self, connections: int) -> Used:
        """What its processes have; those that it has left behind count only by connections."""
        memory = descriptors = 0
        for pid in self._processes():
            with suppress(OSError, StopIteration):
                memory += resident_bytes(pid)
                descriptors += len(os.listdir(f"/proc/{pid}/fd"))
        return Used(memory, descriptors, connections)

    def _processes(self) -> list[int]:
        """Its own one, and those that it and they have started."""
        found, new = [], [self._process.pid]
        while new:
            pid = new.pop()
            with suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    new += map(int, (task / "children").read_text().split())
            found.append(pid)
        return found
