"""Fixtures for the tests of the service: a server of a test's own, and one that a module shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Place, Server, environment


@pytest.fixture
def place(tmp_path: Path, journal: Path) -> Iterator[Place]:
    """A folder for servers of this test's own."""
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The folder of the server that the tests of a module share."""
    made = Place(tmp_path_factory.mktemp("served"))
    made.write("flows.py")
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(shared: Place) -> Iterator[Server]:
    """A server that the tests of a module share: a test sees the runs of others, too."""
    with pytest.MonkeyPatch.context() as patch:
        environment(shared.folder, patch)
        patch.setenv("LOKKI_SECRET_PASSWORD", "sesame")
        yield shared.serve("flows.py", "--runners", "1")


@pytest.fixture(autouse=True)
def shut(request: pytest.FixtureRequest) -> None:
    """Whatever a test before has let go on: at the beginning of a test, what waits, waits."""
    if "shared" in request.fixturenames:
        request.getfixturevalue("shared").shut()
