"""Helpers for your own tests; needs pytest.

`isolated` and `rehearsal` are fixtures for tests of flows, here and as AWS would run them: import
them into your ``conftest.py``. ``lokki.testing.stores`` has the contract of payload stores as
tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from lokki.config import load
from lokki.rehearse import check_installed

if TYPE_CHECKING:
    from pathlib import Path

    from lokki.graph import FlowGraph
    from lokki.rehearse.outcome import Rehearsed
    from lokki.rehearse.rehearsal import Rehearsal


@pytest.fixture
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Gives the runs of a test a journal of their own, and does not have them wait for retries.

    This holds for its child processes, too. Returns the path of the journal, ``lokki.db`` in
    ``tmp_path``; large results are beside it. Timeouts and rate limits are those of the steps.
    """
    path = tmp_path / "lokki.db"
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", str(path))
    monkeypatch.setenv("LOKKI_LOCAL_WAITS", "false")
    return path


class Stage:
    """The type of the `rehearsal` fixture."""

    def __init__(self, rehearsal: Rehearsal, build_dir: str) -> None:
        self.endpoint = rehearsal.endpoint
        self._rehearsal = rehearsal
        self._build_dir = build_dir

    def run(self, graph: FlowGraph[Any], settings: Mapping[str, Any] | None = None) -> Rehearsed:
        """Build a flow, given as ``birds_flow(limit=5)``, run its build, and return the outcome.

        ``settings`` are keys of the configuration, such as ``{"lambda.package_type": "zip"}``;
        others stay as configured. Raises BuildError or ConfigError.
        """
        import anyio

        assert graph.flow is not None
        config = load(settings)
        kind = config.lambda_.package_type  # each keeps its own dependencies
        config = replace(config, build_dir=f"{self._build_dir}/{kind}")
        params = graph.flow.parameters.given(graph.params)
        return anyio.run(self._rehearsal.run, graph, params, config)


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """An AWS in this process that runs the builds of flows, for all tests of a session.

    Its functions can write to pytest's temporary folders, ``tmp_path`` among them.
    Needs ``pip install 'lokki-engine[rehearse]'`` and uv; raises BuildError without the former.
    """
    check_installed()
    from lokki.rehearse.rehearsal import rehearsing

    with rehearsing(shared=(str(tmp_path_factory.getbasetemp()),)) as opened:
        yield Stage(opened, str(tmp_path_factory.mktemp("build")))
