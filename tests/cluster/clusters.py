"""A Dask cluster of real processes on the loopback interface."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from serving import until

from lokki.engine.cluster.dask import imported


class Cluster:
    """A scheduler and its workers, each a process; ``address`` is the scheduler's.

    ``environment`` is for all of them.
    """

    def __init__(self, place: Path, scheme: str = "tcp", **environment: str) -> None:
        self._place = place
        self._scheme = scheme
        self._environment = environment
        self._file = place / "scheduler.json"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._port = 0
        self.start_scheduler()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        with ExitStack() as ended:
            for process in self._processes.values():
                process.kill()
                ended.callback(process.wait, 30)

    def start_scheduler(self) -> None:
        """Start the scheduler, at the port that it had before, if any; it has no lokki."""
        self._file.unlink(missing_ok=True)
        (self._place / "sitecustomize.py").write_text("import sys\nsys.modules['lokki'] = None\n")
        without = str(self._place)
        self._start(
            "scheduler", "scheduler", "--port", str(self._port), "--protocol", self._scheme,
            PYTHONPATH=without,
        )  # fmt: skip
        until(self._file.exists, "the scheduler")
        self.address: str = until(self._written, "its address")["address"]
        self._port = int(self.address.rpartition(":")[2])

    def start_worker(
        self, name: str, *options: str, threads: int = 1, has: str = "", **environment: str
    ) -> None:
        """Start a worker, which has the resource ``has``, or its name."""
        self._start(
            name, "worker", self.address, "--name", name, "--nthreads", str(threads), "--no-nanny",
            "--resources", f"{has or name}=1000", *options, **environment,
        )  # fmt: skip

    def until_worker(self, name: str) -> None:
        """Wait until a worker is there."""
        log = self._place / f"{name}.log"
        until(lambda: "Starting established connection" in log.read_text(), f"worker {name}")

    def stop(self, name: str) -> None:
        """Stop a process, until `go_on`."""
        self._processes[name].send_signal(signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        self._processes[name].send_signal(signal.SIGCONT)

    def terminate(self, name: str) -> None:
        """Have a process end as it does for SIGTERM."""
        self._processes[name].terminate()

    def retire(self, name: str) -> None:
        """Have the scheduler retire a worker, as an adaptive cluster does."""
        with imported("distributed").Client(self.address, set_as_default=False) as client:
            client.retire_workers(names=[name])

    def kill(self, name: str) -> None:
        """Kill a process with SIGKILL."""
        self._processes[name].send_signal(signal.SIGKILL)
        self._processes[name].wait(30)

    def _start(self, name: str, command: str, *arguments: str, **environment: str) -> None:
        with open(self._place / f"{name}.log", "wb") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "dask", command, *arguments]
                + ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
                + (["--scheduler-file", str(self._file)] if command == "scheduler" else []),
                stdout=log,
                stderr=log,
                cwd=self._place,
                env={**os.environ, **self._environment, **environment},
            )

    def _written(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(self._file.read_text())
        except ValueError:  # it is being written
            return None
        return found
