"""The peers and lokki on the same work, in turns. `peers/` has a script for each.

Every peer has a virtual environment of its own, made here with uv on first use.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from statistics import median
from time import perf_counter

from timing import HERE, add_options, begin, directory, environment, seconds, table, times

ENVIRONMENTS = HERE / ".envs"
PATIENCE = 600
NAPS = 200
PREFECT = {
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


class NotInstalled(Exception):
    """A peer's environment cannot be made."""


class Failed(Exception):
    """A peer did not do the work."""


@dataclass(frozen=True)
class Peer:
    """How to run a peer; without a ``requirement`` it runs in the project's own environment."""

    name: str
    script: str
    records: str
    requirement: str | None = None
    variant: str = ""
    items: int = 10_000
    python: str | None = None
    env: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def package(self) -> str:
        return (self.requirement or self.name).partition("==")[0]


DBOS, DASK, FLOW = "dbos==3.4.0", "distributed==2026.8.0", "lokkiflow==0.5.151"
PEERS = (
    Peer("lokki", "run_lokki.py", "yes"),
    Peer("ThreadPoolExecutor.map", "run_pool.py", "no"),
    Peer("DBOS, sequential", "run_dbos.py", "yes", DBOS, "sequential"),
    Peer("DBOS, gather", "run_dbos.py", "yes", DBOS, "gather", items=1_000),
    Peer("DBOS, queue", "run_dbos.py", "yes", DBOS, "queue", items=1_000),
    Peer("Dask, threads", "run_dask.py", "no", DASK),
    Peer("Prefect", "run_prefect.py", "not by default", "prefect==3.9.1", env=PREFECT),
    Peer("lokkiflow", "run_lokkiflow.py", "no", FLOW, python="3.13"),
)


# ---- environments -------------------------------------------------------------------------------


@cache
def interpreter(peer: Peer) -> Path:
    """The Python of a peer's environment, which is made if need be. Raises NotInstalled."""
    if peer.requirement is None:
        return Path(sys.executable)
    place = ENVIRONMENTS / peer.package
    python, stamp = place / "bin" / "python", place / "requirement"
    if not (stamp.exists() and stamp.read_text() == peer.requirement):
        base = find_python(peer.python) if peer.python else sys.executable
        uv("venv", "--quiet", "--clear", "--no-project", "--python", base, str(place))
        uv("pip", "install", "--quiet", "--python", str(python), peer.requirement)
        stamp.write_text(peer.requirement)
    return python


def uv(*words: str) -> None:
    program = shutil.which("uv")
    if program is None:
        raise NotInstalled("uv is not found")
    done = subprocess.run([program, *words], stdout=subprocess.PIPE, stderr=-2, text=True)
    if done.returncode:
        raise NotInstalled(last_line(done.stdout))


def find_python(wanted: str) -> str:
    """An interpreter of this version: one on the PATH, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    places = [shutil.which(f"python{wanted}"), *sorted(pyenv.glob(f"{wanted}*/bin/python"))]
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    for place in filter(None, places):
        told = subprocess.run([place, "-c", code], stdout=subprocess.PIPE, stderr=-1, text=True)
        if told.stdout.strip() == wanted:
            return str(place)
    raise NotInstalled(f"it needs Python {wanted}, which is not found")


def last_line(text: str) -> str:
    """Where a tool says what the matter was, without its colours."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no reason given")[:100]


# ---- measuring ----------------------------------------------------------------------------------


def measure(peer: Peer, workload: str, count: int) -> float:
    """Seconds of one run; of W3, those of the whole process. Raises NotInstalled and Failed."""
    command = [interpreter(peer), HERE / "peers" / peer.script, workload, str(count), peer.variant]
    env = environment("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", **peer.env)
    with directory() as place:
        env |= dict.fromkeys(("HOME", "TMPDIR", "PREFECT_HOME"), str(place))
        began = perf_counter()
        try:
            done = subprocess.run(
                command, cwd=place, env=env, capture_output=True, text=True, timeout=PATIENCE
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"no end after {PATIENCE} s") from None
        process = perf_counter() - began
    told = re.search(r"^RESULT (.*)$", done.stdout, re.MULTILINE)
    if told is None:
        raise Failed(last_line(done.stderr))
    return process if workload == "W3" else json.loads(told[1])["seconds"]


class Figures:
    """What has been measured: times by peer and workload, or why there are none."""

    def __init__(self, peers: Sequence[Peer], quick: bool) -> None:
        self.peers = peers
        self.quick = quick
        self.times: dict[tuple[Peer, str], list[float]] = {}
        self.failed: dict[tuple[Peer, str], str] = {}
        self.missing: dict[Peer, str] = {}

    def items(self, peer: Peer, workload: str) -> int:
        count = {"W1": peer.items, "W2": NAPS}.get(workload, 1)
        return min(count, 100) if self.quick else count

    def take_turn(self, workload: str) -> None:
        """Every peer once, one after the other."""
        for peer in self.peers:
            if peer in self.missing or (peer, workload) in self.failed:
                continue
            try:
                took = measure(peer, workload, self.items(peer, workload))
            except NotInstalled as error:
                self.missing[peer] = str(error)
            except Failed as error:
                self.failed[peer, workload] = str(error)
            else:
                self.times.setdefault((peer, workload), []).append(took)

    def median(self, peer: Peer, workload: str) -> float | None:
        found = self.times.get((peer, workload))
        return None if found is None or (peer, workload) in self.failed else median(found)

    def cell(self, peer: Peer, workload: str) -> str:
        if peer in self.missing:
            return "not installed"
        value = self.median(peer, workload)
        return "fails" if value is None else seconds(value)

    def row(self, peer: Peer) -> tuple[str, ...]:
        per_item = self._per_item(peer)
        own = self._per_item(self.peers[0])
        return (
            peer.name,
            (peer.requirement or "").partition("==")[2],
            f"{self.items(peer, 'W1'):,}",
            self.cell(peer, "W1"),
            "" if per_item is None else seconds(per_item),
            "" if per_item is None or own is None else times(per_item / own),
            peer.records,
            *(self.cell(peer, workload) for workload in ("W2", "W3", "W4")),
        )

    def _per_item(self, peer: Peer) -> float | None:
        value = self.median(peer, "W1")
        return None if value is None else value / self.items(peer, "W1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_options(parser, 5)
    parser.add_argument("--peer", action="append", metavar="NAME", help="only lokki and this one")
    options = parser.parse_args()
    begin(options)
    wanted = [name.lower() for name in options.peer or ()]
    peers = [
        peer
        for peer in PEERS
        if peer is PEERS[0] or not wanted or any(name in peer.name.lower() for name in wanted)
    ]
    figures = Figures(peers, options.quick)
    for workload in ("W1", "W2", "W3", "W4"):
        for _ in range(options.repeat):
            figures.take_turn(workload)
    table(
        f"The peers on the same work, in turns; medians of {options.repeat}",
        ("", "version", "W1 items", "W1", "per item", "to lokki's", "records each item")
        + (f"W2: {figures.items(PEERS[0], 'W2')} naps", "W3: a process", "W4: 64 MiB"),
        [figures.row(peer) for peer in peers],
    )
    for peer, reason in figures.missing.items():
        print(f"{peer.name}: not installed: {reason}")
    for (peer, workload), reason in figures.failed.items():
        print(f"{peer.name}, {workload}: fails: {reason}")


if __name__ == "__main__":
    main()
