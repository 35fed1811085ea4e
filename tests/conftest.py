"""Fixtures for all tests: a journal of one's own, and hypothesis without surprises."""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import botocore.session
import certifi
import pytest
from dependencies import Dependencies
from hypothesis import settings

from lokki.testing import Stage
from lokki.testing import rehearsal as unprepared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from postgres_server import PostgresServer

__all__ = ["unprepared"]

_CACHE = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
CACHES = {"XDG_CACHE_HOME": _CACHE, "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", f"{_CACHE}/uv")}
"""What is downloaded and installed once is kept, wherever the home directory is."""

settings.register_profile("lokki", derandomize=True, deadline=None)
settings.load_profile("lokki")


for _signal in (signal.SIGINT, signal.SIGHUP):  # ignored in a background job, under nohup
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(
            _signal, signal.default_int_handler if _signal is signal.SIGINT else signal.SIG_DFL
        )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files anew, to look at the diff"
    )
    parser.addoption(
        "--schedules", type=int, default=300, help="how many schedules to compare with a calendar"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run first what may take longest: at the end, one process would work on it alone."""
    longest: dict[Path, float] = {}
    for item in items:
        marked = item.get_closest_marker("timeout")
        seconds = marked.args[0] if marked is not None else 0.0
        longest[item.path] = max(longest.get(item.path, 0.0), seconds)
    items.sort(key=lambda item: -longest[item.path])  # those of a module stay together


gc.disable()  # what is imported and collected stays


def pytest_collection_finish() -> None:
    """Keep the garbage collector from looking through all tests again and again."""
    gc.freeze()
    gc.enable()
    often, medium, _ = gc.get_threshold()
    gc.set_threshold(often, medium, 100)


# The descriptions of AWS's services are read once, rather than by each session of botocore.
botocore.session.create_loader = cache(botocore.session.create_loader)


@pytest.fixture(scope="session")
def cloud() -> Iterator[str]:
    """The URL of an AWS in this process, for all tests of it: they name what they make there."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(cloud: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an AWS, in whose region and with whose credentials a test works."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return cloud


@pytest.fixture(scope="session")
def dependencies(tmp_path_factory: pytest.TempPathFactory) -> Dependencies:
    """Gives a build folder what the packages of most flows need."""
    own = tmp_path_factory.getbasetemp()
    return Dependencies((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "packaged")


@pytest.fixture(scope="session")
def build_dir(tmp_path_factory: pytest.TempPathFactory, dependencies: Dependencies) -> str:
    """Where tests build packages that need the same."""
    return dependencies.into(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="session")
def rehearsal(unprepared: Stage, dependencies: Dependencies) -> Stage:
    """An AWS in this process that runs the builds of flows, for all tests of it."""
    for kind in ("zip", "image"):
        dependencies.into(Path(unprepared._build_dir) / kind)
    return unprepared


@pytest.fixture(scope="session", autouse=True)
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A file with one certificate: clients of AWS, of which none needs it, read it at once."""
    file = tmp_path_factory.mktemp("certificate") / "one.pem"
    found = re.search("-----BEGIN.*?END CERTIFICATE-----\n", certifi.contents(), re.DOTALL)
    assert found is not None
    file.write_text(found[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_CA_BUNDLE", str(file))
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for all tests of this process."""
    from postgres_server import PostgresServer

    with closing(PostgresServer()) as server:
        yield server


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journal that everything in this test uses by default, child processes too.

    No other setting of whoever runs the tests is seen: neither a variable nor a file in their home.
    """
    path = tmp_path / "lokki" / "lokki.db"
    for name in [
        name for name in os.environ if name.startswith(("LOKKI_", "XDG_CONFIG", "XDG_STATE"))
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", str(path))
    own = {"HOME": tmp_path / "home", **CACHES}
    for name, value in own.items():
        monkeypatch.setenv(name, str(value))
    return path


@pytest.fixture(autouse=True)
def unmasked() -> Iterator[None]:
    """What a process of its own would not show until its end, other tests may show."""
    yield
    streams = sys.modules.get("lokki.output.streams")
    if streams is not None and streams.masks.secrets:
        streams.masks.secrets = ()
        streams.release_streams()
