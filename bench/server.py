"""The service: from a POST to the end of a run, runs a second, its answers while a map runs.

A server of its own for each figure, on loopback, with its journal on the disk of the repository.
Its memory is that of the API's process, over some thousands of runs. Prefect's server does the same
work beside it, as much of it as it can do in a minute.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from compare import NotInstalled
from prefect_server import PEER, prefect_server
from timing import (
    NO_BOUND,
    START,
    Bound,
    add_options,
    begin,
    directory,
    environment,
    megabytes,
    resident_bytes,
    seconds,
    start_seconds,
    table,
    times,
)

FLOWS = """
from lokki import flow, step

@step
def get_birds(): return ["goose", "duck", "seagul"]

@step
def flap_bird(bird): return f"flappy {bird}"

@step
def join_birds(birds): return ", ".join(birds)

@flow
def birds(): return get_birds().map(flap_bird).agg(join_birds)

@step
def one(): return 1

@flow
def single(): return one()

@step
def numbers(count): return range(count)

@step
def crunch(number): return sum(range(number % 20_000))

@flow
def crunching(count: int): return numbers(count).map(crunch)
"""
FINISHED = Bound(0.75, None, times)
EACH = Bound(0.15, None, times)
ANSWER = Bound(1.0, None, times)
OPENED = Bound(1.0, None, times)
STARTS = 5
"""Starts of Python that are measured before each figure, which their median is compared with."""
MOST_BYTES = 300_000


class Connection:
    """A connection that is kept open; http.client would take a tenth of the machine's time."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._answers = self._socket.makefile("rb")

    def ask(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._socket.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        status, length = int(self._answers.readline().split()[1]), 0
        while (line := self._answers.readline()) != b"\r\n":
            name, _, value = line.lower().partition(b":")
            if name == b"content-length":
                length = int(value)
        return status, self._answers.read(length)


class Server:
    """A server process, asked over one connection a thread."""

    def __init__(self, process: subprocess.Popen[str], port: int, journal: Path) -> None:
        self.process = process
        self.port = port
        self.journal = journal
        self._local = threading.local()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        if not hasattr(self._local, "connection"):
            self._local.connection = Connection(self.port)
        connection: Connection = self._local.connection
        return connection.ask(method, path, b"" if body is None else json.dumps(body).encode())

    def start(self, flow: str, **params: Any) -> str:
        status, body = self.ask("POST", f"/flows/{flow}/runs", {"params": params})
        if status != 202:
            raise SystemExit(f"a run was not taken: {body.decode()}")
        return str(json.loads(body)["id"])

    def status(self, run_id: str) -> str:
        return str(json.loads(self.ask("GET", f"/runs/{run_id}")[1])["status"])

    def wait(self, run_id: str) -> None:
        """Wait until a run has ended, as close as a client can see it."""
        while (status := self.status(run_id)) in ("queued", "running"):
            time.sleep(0.001)
        if status != "succeeded":
            raise SystemExit(f"run {run_id} has {status}")

    @property
    def memory(self) -> int:
        """Resident bytes of the API's process."""
        return resident_bytes(self.process.pid)


@contextmanager
def server(place: Path, runners: int, journal: str | None = None) -> Iterator[Server]:
    """A server in ``place``, ready, whose runners have run something.

    ``journal``: where it is, if not there.
    """
    (place / "flows.py").write_text(FLOWS)
    process = subprocess.Popen(
        [sys.executable, "-m", "lokki", "serve", "--port", "0", "--runners", str(runners)],
        cwd=place, stderr=subprocess.PIPE, text=True,
        env=environment(HOME=str(place), LOKKI_LOCAL_JOURNAL=journal or str(place / "lokki.db")),
    )  # fmt: skip
    try:
        assert process.stderr is not None
        port = int(process.stderr.readline().rpartition(":")[2])
        found = Server(process, port, place / "lokki.db")
        while found.ask("GET", "/readyz")[0] != 200:
            time.sleep(0.05)
        for each in [found.start("birds") for _ in range(4 * runners)]:
            found.wait(each)
        yield found
    finally:
        process.terminate()
        process.communicate()


def finished_seconds(times: int) -> tuple[float, float]:
    """From a POST to a finished run, and to its answer; medians."""
    posted, ended = [], []
    with directory() as place, server(place, 1) as found:
        for _ in range(times):
            began = time.perf_counter()
            run = found.start("birds")
            posted.append(time.perf_counter() - began)
            found.wait(run)
            ended.append(time.perf_counter() - began)
    return median(ended), median(posted)


def runs_a_second(count: int, clients: int = 8) -> tuple[float, int, int]:
    """One-step runs that two runners finish a second; the memory after a fifth of them and all."""

    def post(found: Server, runs: int) -> None:
        for _ in range(runs):
            found.start("single")

    def finish(found: Server, runs: int) -> float:
        began = time.perf_counter()
        threads = [
            threading.Thread(target=post, args=(found, runs // clients)) for _ in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        while b'"runs":[]' not in found.ask("GET", "/runs?status=queued&status=running&n=1")[1]:
            time.sleep(0.01)
        return runs / (time.perf_counter() - began)

    with directory() as place, server(place, 2) as found:
        finish(found, count // 5)
        before = found.memory
        return finish(found, count - count // 5), before, found.memory


def answers(items: int) -> tuple[float, int, float, int]:
    """The 99th percentile of answers while a map runs, how many there were, and opening it."""
    with directory() as place, server(place, 1) as found:
        run = found.start("crunching", count=items)
        paths = ["/runs", f"/runs/{run}", f"/runs/{run}/stages/1/strip", f"/runs/{run}/logs"]
        while found.status(run) == "queued" or found.ask("GET", paths[2])[0] == 404:
            time.sleep(0.001)
        took = []
        while found.status(run) == "running":
            for path in paths:
                began = time.perf_counter()
                status, body = found.ask("GET", path)
                took.append(time.perf_counter() - began)
                if status != 200:
                    raise SystemExit(f"{path}: {body.decode()}")
        opened, size = [], 0
        for _ in range(5):
            began = time.perf_counter()
            size = sum(
                len(found.ask("GET", path)[1])
                for path in (*paths[1:], f"/runs/{run}/stages/1/items?limit=100")
            )
            opened.append(time.perf_counter() - began)
    return quantiles(took, n=100)[98], len(took), median(opened), size


def prefects(count: int, runs: int, items: int) -> list[str]:
    """The same of a Prefect server, in the order of the table; smaller numbers of runs.

    Raises NotInstalled.
    """
    with directory() as place, prefect_server(place, 2) as found:
        ended = []
        for _ in range(count):
            began = time.perf_counter()
            found.wait(found.start("birds"))
            ended.append(time.perf_counter() - began)
        before, began = found.memory, time.perf_counter()
        for each in [found.start("single") for _ in range(runs)]:
            found.wait(each)
        rate, after = runs / (time.perf_counter() - began), found.memory
        run = found.start("crunching", count=items)
        found.wait(run)
        opened = [found.opened(run) for _ in range(5)]
    return [
        "",
        "",
        f"{seconds(median(ended))} ({count} runs)",
        f"{rate:.1f}/s ({runs} runs)",
        megabytes(before),
        megabytes(after),
        "",
        f"{seconds(median(took for took, _ in opened))} ({items:,} items)",
        f"{opened[0][1]:,}",
    ]


def starts() -> list[float]:
    with directory() as place:
        return [start_seconds(place) for _ in range(STARTS)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser, 1)
    parser.add_argument("--no-peers", action="store_true", help="leave Prefect's server out")
    options = parser.parse_args()
    begin(options)
    count, runs, items = (10, 200, 5_000) if options.quick else (100, 5_000, 100_000)
    started = starts()
    ended, posted = finished_seconds(count)
    started += starts()
    rate, before, after = runs_a_second(runs)
    started += starts()
    slowest, answered, opened, size = answers(items)
    start = median(started)
    held = {True: "held", False: "BROKEN"}

    def compared(took: float, bound: Bound) -> tuple[str, ...]:
        return (seconds(took), times(took / start), *bound.cells(took / start))

    rows = [
        (START, seconds(start), "", *NO_BOUND),
        ("from POST to the answer, median", seconds(posted), "", *NO_BOUND),
        ("from POST to finished, median", *compared(ended, FINISHED)),
        (f"a one-step run, of 2 runners ({rate:.0f}/s)", *compared(1 / rate, EACH)),
        (f"memory after {runs // 5:,} runs", megabytes(before), "", *NO_BOUND),
        (f"memory after {runs:,} runs", megabytes(after), "", *NO_BOUND),
        (f"answers during the map, 99 % of {answered:,}", *compared(slowest, ANSWER)),
        ("opening the run", *compared(opened, OPENED)),
        ("  its bytes", f"{size:,}", "", f"≤ {MOST_BYTES:,}", held[size <= MOST_BYTES]),
    ]
    peers, why = [""] * len(rows), ""
    if not options.no_peers:
        try:
            peers = prefects(*((2, 4, 100) if options.quick else (10, 40, 2_000)))
        except NotInstalled as error:
            why = f"Prefect: not installed: {error}"
    table(
        f"lokki serve; {count} runs of birds, {runs:,} of one step, a map of {items:,} items",
        ("", "", "of a start", "bound", "", PEER.requirement or ""),
        [(*row, peer) for row, peer in zip(rows, peers, strict=True)],
    )
    print(why, end="\n" if why else "")


if __name__ == "__main__":
    main()
