"""What the benchmarks share: repetition, medians, bounds, and the tables."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, TypeVar

from rich import box
from rich.console import Console
from rich.table import Table

from lokki import Engine, Flow, FlowGraph

T = TypeVar("T")

HERE = Path(__file__).parent
ROOT = HERE.parent
WORK = HERE / ".work"


# ---- what is measured --------------------------------------------------------------------------


@contextmanager
def directory() -> Iterator[Path]:
    """A directory on the disk of the repository: /tmp may be in memory, where fsync is free."""
    WORK.mkdir(exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=WORK))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


@dataclass(frozen=True)
class Durable:
    """Seconds that a durable run took: the run alone, and with the engine opened and closed."""

    run: float
    whole: float


async def run_durably(
    flow: Flow[..., Any] | FlowGraph[Any], expected: object, *, concurrency: int, place: Path
) -> Durable:
    """Run a flow in a new engine with its journal in ``place``, and check the result."""
    began = perf_counter()
    async with Engine(journal=place / "lokki.db", concurrency=concurrency) as engine:
        opened = perf_counter()
        result = await engine.run(flow)
        ended = perf_counter()
    closed = perf_counter()
    check(result, expected)
    return Durable(ended - opened, closed - began)


def check(result: object, expected: object) -> None:
    """A benchmark of something that does not work is worth nothing."""
    if result != expected:
        raise SystemExit(f"wrong result: {result!r:.200}, not {expected!r:.200}")


def environment(*without: str, **added: str) -> dict[str, str]:
    """The environment for a process: this one's, but Python may cache bytecode, as it does if
    nobody forbids it; else every start compiles every module.
    """
    left_out = {*without, "PYTHONDONTWRITEBYTECODE"}
    return {name: value for name, value in os.environ.items() if name not in left_out} | added


def process_seconds(command: Sequence[str | Path], *, cwd: Path, **env: str) -> float:
    """Wall-clock time of a whole process, from before it is started until it has been reaped."""
    began = perf_counter()
    done = subprocess.run(
        command, cwd=cwd, env=environment(**env), stdout=subprocess.PIPE, stderr=-1
    )
    seconds = perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{command} exited with {done.returncode}:\n{done.stderr.decode()}")
    return seconds


def start_seconds(place: Path) -> float:
    """What whole processes are compared with: a Python that imports some of its own library."""
    return process_seconds([sys.executable, "-c", "import asyncio, sqlite3, json"], cwd=place)


START = "python -c 'import asyncio, sqlite3, json'"


def alternate(times: int, *measures: Callable[[], T]) -> list[tuple[T, ...]]:
    """Measure in turns, A B A B …, after one turn that does not count.

    What else the machine does then strikes both alike, and a ratio is taken turn by turn.
    """
    turns = [tuple(measure() for measure in measures) for _ in range(times + 1)]
    return turns[1:]


def ratios(turns: Sequence[tuple[float, ...]], numerator: int, denominator: int) -> list[float]:
    return [turn[numerator] / turn[denominator] for turn in turns]


def column(turns: Sequence[tuple[float, ...]], index: int) -> float:
    """The median of one of the measures."""
    return median(turn[index] for turn in turns)


def resident_bytes(pid: int) -> int:
    """The memory that a process has."""
    text = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in text.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


# ---- what is shown -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Bound:
    """What a figure may be at most, and what it aims at; ``show`` writes such a figure."""

    most: float
    aim: float | None
    show: Callable[[float], str]

    def cells(self, value: float) -> tuple[str, str]:
        """The bound, and whether ``value`` keeps it."""
        bound = f"≤ {self.show(self.most)}"
        if self.aim is None:
            return bound, "held" if value <= self.most else "BROKEN"
        bound += f", aim {self.show(self.aim)}"
        if value <= self.aim:
            return bound, "held, aim met"
        return bound, "held" if value <= self.most else "BROKEN"


NO_BOUND = ("", "")


def seconds(value: float) -> str:
    """Seconds in the unit that reads best."""
    if abs(value) < 1e-3:
        return f"{value * 1e6:.1f} µs"
    return f"{value * 1e3:.1f} ms" if abs(value) < 1 else f"{value:.2f} s"


def times(value: float) -> str:
    return f"{value:.2f}\N{MULTIPLICATION SIGN}"


def megabytes(value: float) -> str:
    return f"{value / 1e6:.1f} MB"


def spread(values: Sequence[float], show: Callable[[float], str] = times) -> str:
    """The median, and the least and the greatest value."""
    return f"{show(median(values))} ({show(min(values))} to {show(max(values))})"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table that is Markdown as well: what the documentation shows is pasted from here."""
    shown = Table(box=box.MARKDOWN)
    for name in columns:
        shown.add_column(name, no_wrap=True)
    for row in rows:
        shown.add_row(*row)
    console = Console(width=400, color_system=None, highlight=False, markup=False)
    with console.capture() as text:
        console.print(shown)
    print(f"{title}\n\n{text.get().strip()}\n", flush=True)


def machine() -> str:
    """What the figures were measured with, in one line."""
    packages = ("lokki-engine", "anyio", "cloudpickle")
    return "; ".join(
        (
            f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
            f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
            ", ".join(f"{name} {version(name)}" for name in packages),
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            f"load before the start {os.getloadavg()[0]:.2f}",
        )
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


# ---- the command line of a benchmark -----------------------------------------------------------


def arguments(description: str | None, *, repeat: int = 5) -> argparse.Namespace:
    """Read the options that every benchmark has, and say what machine this is."""
    parser = argparse.ArgumentParser(description=description)
    add_options(parser, repeat)
    options = parser.parse_args()
    begin(options)
    return options


def add_options(parser: argparse.ArgumentParser, repeat: int) -> None:
    parser.add_argument(
        "--repeat", type=int, default=repeat, help=f"how often each is measured (default: {repeat})"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: shows that it works, measures nothing"
    )
    parser.add_argument("--no-machine", action="store_true", help=argparse.SUPPRESS)


def begin(options: argparse.Namespace) -> None:
    if not options.no_machine:
        print(machine(), end="\n\n", flush=True)
    if options.quick:
        print("--quick: these figures measure nothing", end="\n\n", flush=True)


def script(name: str) -> list[str]:
    """The command of another script here, with this interpreter."""
    return [sys.executable, str(HERE / name)]
