"""Real servers, `lokki serve`, for tests: with flow files in a temporary folder, and a client."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import forking
import httpx
import pytest

FLOWS = r"""
import dataclasses
import datetime
import decimal
import enum
import lokki
from lokki import Secret, flow, step

class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"

@dataclasses.dataclass
class Box:
    width: int
    name: str = "box"

class Own:
    pass

class Trap:
    "Whichever process reads it back is written down."
    def __reduce__(self):
        return exec, (f"import os; open({TRAP!r}, 'a').write(str(os.getpid()) + ' ')",)

@step
def numbers(count):
    print("counting to", count)
    return list(range(count))

@step
def double(number):
    print("doubling", number)
    return 2 * number

@step
def add(values):
    return sum(values)

@step
def same(value):
    return value

@step
def made(kind):
    return {
        "own": Own(),
        "trap": Trap(),
        "deep": {"at": datetime.datetime(2026, 2, 3), "of": (1, decimal.Decimal("2.5"), b"abc")},
        "set": {1},
        "nan": float("nan"),
        "text": "half a character: \ud800",
        "range": range(10**12),
        "short range": range(3),
        "large": "x" * 2_000_000,
        "largest": list(range(400_000)),
    }[kind]

@step(retry={"retries": 2, "delay": 0.001})
def fragile(number):
    if number % 10 == 3:
        raise ValueError(f"no {number}")
    if number % 10 == 4 and lokki.current().attempt == 1:
        raise OSError("try again")
    return number

@step
def broken(number):
    if number >= 8 and not OPEN.exists():
        raise KeyError("closed")
    return number

@step
def waits(value):
    "Until the file is there."
    import time
    print("waiting")
    while not OPEN.exists():
        time.sleep(0.01)
    return value

@step
def kept(password):
    return len(password.value)

@flow
def summed(count: int = 4):
    "Doubles numbers, and adds them."
    return numbers(count).map(double).agg(add)

@flow
def doubled(count: int = 3):
    return numbers(count).map(double)

@flow
def typed(
    count: int,
    colour: Colour = Colour.RED,
    day: datetime.date | None = None,
    box: Box = Box(2),
    password: Secret[str] = Secret("no"),
    at: datetime.datetime = datetime.datetime(2026, 2, 3),
    names: list[str] = [],
    ratio: float = 0.5,
):
    return same(count)

@flow
def values(kind: str):
    return made(kind)

@flow
def words(text: str = "x"):
    return same(text)

@flow
def tolerant(count: int = 30):
    return numbers(count).map(fragile, tolerated_failures=0.5).agg(add)

@flow
def breaks(count: int = 10):
    return numbers(count).map(broken).agg(add)

@flow
def waiting(value: int = 1):
    return waits(value)

@step
def naps(number):
    import time
    time.sleep(0.02)
    return number

@flow
def napping(count: int = 1000):
    return numbers(count).map(naps).agg(add)

@step
def none():
    pass

@flow
def nothing():
    return none()

@flow
def hidden(password: Secret[str]):
    return kept(password)

@flow
def picky(count: int = 1):
    if count < 0:
        raise RuntimeError("not below zero")
    return same(count)
"""

Run = dict[str, Any]


def until(found: Callable[[], Any], what: str, seconds: float = 40) -> Any:
    """What a question gives, once it gives something."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)
    return answer


def environment(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Have what is started use a journal and a home in ``folder``, and no settings from outside."""
    for name in [name for name in os.environ if name.startswith("LOKKI_")]:
        patch.delenv(name)
    patch.setenv("LOKKI_LOCAL_JOURNAL", str(folder / "journal" / "lokki.db"))
    patch.setenv("HOME", str(folder / "home"))


class Server:
    """A `lokki serve` of its own, and what a client of it does."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        python: str = sys.executable,
        within: Sequence[str] = (),
        **variables: str,
    ) -> None:
        self.folder = folder
        self._told: list[str] = []
        self._orphans: list[int] = []
        words = ["-m", "lokki", "serve", "--port", "0", *arguments]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "cwd": folder}
        environment = os.environ | variables
        if within or python != sys.executable:
            command = [*within, python, *words]
            self.process = subprocess.Popen(command, text=True, env=environment, **options)
        else:
            self.process = forking.started(words, forking.SERVER, env=environment, **options)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        token = variables.get("LOKKI_SERVER_TOKEN")
        self.client = httpx.Client(
            base_url=until(self._url, "the address of the server"),
            timeout=30,
            headers={"Authorization": f"Bearer {token}"} if token else None,
        )

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._told.append(line)

    def _url(self) -> str | None:
        assert self.process.poll() is None, self.told
        found = re.search(r"http://\S+", self.told)
        return found and found[0]

    @property
    def told(self) -> str:
        """What it has printed."""
        return "".join(self._told)

    def ready(self) -> Server:
        until(lambda: self._is_ready(), "a server that is ready")
        return self

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.told
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    # ---- requests --------------------------------------------------------------------------------

    def get(self, path: str, **params: Any) -> Any:
        """The JSON of an answer."""
        answer = self.client.get(path, params=params or None)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def problem(self, path: str, status: int, body: Any = None, /, **params: Any) -> Any:
        """What a request that is refused is told; with a body, it is a POST."""
        if body is None:
            answer = self.client.get(path, params=params or None)
        else:
            answer = self.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        told = answer.json()
        assert told["status"] == status
        assert told["title"]
        return told

    def start(self, flow: str, **params: Any) -> str:
        """The id of a new run."""
        answer = self.client.post(f"/flows/{flow}/runs", json={"params": params})
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def ended(self, run_id: str) -> Run:
        """A run, once it has ended."""

        def end() -> Run | None:
            run = self.get(f"/runs/{run_id}")
            return run if run["finished"] else None

        return until(end, f"the end of run {run_id}")

    def ran(self, flow: str, **params: Any) -> Run:
        """A run of a flow, from its start to its end."""
        return self.ended(self.start(flow, **params))

    def until_status(self, run_id: str, status: str) -> Run:
        def is_so() -> Run | None:
            run = self.get(f"/runs/{run_id}")
            return run if run["status"] == status else None

        return until(is_so, f"run {run_id} {status}")

    @contextmanager
    def events(self, path: str, **headers: str) -> Iterator[Iterator[tuple[str, str, Any]]]:
        """A stream of events: name, id and data of each."""
        with self.client.stream("GET", path, headers=headers) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield _events(answer.iter_lines())

    # ---- its end ---------------------------------------------------------------------------------

    def children(self) -> list[int]:
        """The processes that it has started."""
        found = children(self.process.pid)
        return [pid for pid in found if not _command(pid).startswith(b"forks")]  # see `forking`

    def runners(self) -> list[int]:
        """Those of them that run flows."""
        return [pid for pid in self.children() if b"lokki_server.runner" in _command(pid)]

    def stop(self, grace: float = 50) -> int:
        """Ask it to end; gives its exit code."""
        self.process.terminate()
        code = self.process.wait(grace)
        self._reader.join(5)
        return code

    def kill(self) -> None:
        """Kill it; its runners go on until they have ended what they have."""
        self._orphans += self.children()
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it and the processes it has started: in good order, if that is soon done."""
        with suppress(subprocess.TimeoutExpired):
            self.process.terminate()
            self.process.wait(2)
        self.kill()
        for pid in self._orphans:
            if b"lokki_server" in _command(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.client.close()
        self._reader.join(5)
        if not self._reader.is_alive() and self.process.stdout is not None:
            self.process.stdout.close()


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for each in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                found += map(int, (each / "children").read_text().split())
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _events(lines: Iterator[str]) -> Iterator[tuple[str, str, Any]]:
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield fields.get("event", ""), fields.get("id", ""), json.loads(fields["data"])
            fields = {}


class Place:
    """A folder of flow files, with a journal, for servers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: list[Server] = []

    def write(self, name: str, text: str = "") -> Path:
        """A file of flows; without a text, of `FLOWS`."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"from pathlib import Path\nOPEN = Path({str(self.folder / 'open')!r})\n"
            f"TRAP = {str(self.folder / 'trap')!r}\n" + (textwrap.dedent(text) or FLOWS)
        )
        return path

    def open(self) -> None:
        """Let the steps go on that wait."""
        (self.folder / "open").touch()

    def shut(self) -> None:
        (self.folder / "open").unlink(missing_ok=True)

    def begin(self, *arguments: str, inside: str = "", **options: Any) -> Server:
        """A server in a folder ``inside`` this one, which need not be ready."""
        self.servers.append(Server(self.folder / inside, *arguments, **options))
        return self.servers[-1]

    def serve(self, *arguments: str, **options: Any) -> Server:
        return self.begin(*arguments, **options).ready()

    def close(self) -> None:
        for server in self.servers:
            server.close()
