"""An AWS for all tests in here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import deployed_flows
import pytest
from clouds import Cloud
from refusing import Way, way

from lokki.backends.blocking import opened
from lokki.rehearse.moto_patches.server import REGION
from lokki.testing import Stage

__all__ = ["way"]


@pytest.fixture
def cloud(rehearsal: Stage, build_dir: str) -> Iterator[Cloud]:
    made = Cloud(rehearsal.endpoint, build_dir, [])
    yield made
    made.destroy()


@pytest.fixture
def stack_status() -> Any:
    """Have a stack be in a state that moto never gets it into."""
    from moto.backends import get_backend

    @contextmanager
    def having(name: str, status: str) -> Iterator[None]:
        backends = get_backend("cloudformation")
        (stack,) = (
            each
            for account in backends.values()
            for each in account[REGION].stacks.values()
            if each.name == name
        )
        before, stack.status = stack.status, status
        try:
            yield
        finally:
            if stack.status == status:
                stack.status = before

    return having


@pytest.fixture
def refused(cloud: Cloud, way: Way) -> Cloud:
    """The same, by way of ``way``."""
    return cloud.by(way.endpoint)


@pytest.fixture(scope="session")
def deployed(rehearsal, build_dir):
    """Flows, each deployed once for all tests."""
    clouds = {}
    for flow in (
        deployed_flows.crunching,
        deployed_flows.tolerant,
        deployed_flows.doubles,
        deployed_flows.large,
        deployed_flows.lingering,
    ):
        cloud = clouds[flow.name] = Cloud(rehearsal.endpoint, build_dir, [])
        cloud.bucket = next(iter(clouds.values())).bucket
        cloud.deploy(flow)
    yield clouds["crunching"]
    for cloud in clouds.values():
        cloud.destroy(data=False)


@pytest.fixture
def place(deployed):
    with opened(deployed.config()) as place:
        yield place


@pytest.fixture
def hold(tmp_path):
    """As long as there is this file, a run that is given it goes on."""
    file = tmp_path / "hold"
    file.touch()
    yield file
    file.unlink(missing_ok=True)


@pytest.fixture
def switch(tmp_path):
    file = tmp_path / "switch"
    file.touch()
    return file
