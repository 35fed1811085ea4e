"""The backend of an AWS account, alone and beside a journal: see `conformance`."""

from __future__ import annotations

import subprocess
import sys
from functools import cache, partial

import pytest
from clouds import Cloud, ended
from conformance import FLOW, FLOWS, OTHER, Conformance, World

from lokki.backends import local
from lokki.backends.blocking import opened
from lokki.backends.combined import CombinedBackend
from lokki.loading import load_flow

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def endpoint():
    """An AWS of its own, with no runs of other tests."""
    command = [sys.executable, "-m", "lokki.rehearse", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    yield process.stderr.readline().split()[-1]
    process.terminate()
    process.communicate()
    assert process.returncode == 0


def account(endpoint, build_dir, folder, target):
    """A configuration of an account, and the ids of three runs there."""
    settings = {"aws.deployment": target}
    file = folder / "conformance_flows.py"
    file.write_text(FLOWS)
    clouds = [Cloud(endpoint, f"{build_dir}/{target}", []) for _ in range(2)]
    for cloud, flow in zip(clouds, (FLOW, OTHER), strict=True):
        cloud.bucket = clouds[0].bucket
        cloud.deploy(load_flow(f"{file}:{flow}"), **settings, **{"aws.target": target})
    config = clouds[0].config(**settings)
    with opened(config) as backend:
        ids = [f"20260101-00000{n}-conform{n}" for n in range(3)]
        for run_id, flow, count in zip(ids, (FLOW, FLOW, OTHER), (4, 2, 3), strict=True):
            backend.start(flow, run_id, {"count": count})
            assert ended(backend, run_id).status == "succeeded"
    return config, ids


@pytest.fixture(scope="module")
def accounts(rehearsal, endpoint, build_dir, tmp_path_factory):
    """What `account` makes for each target, once."""
    folder = tmp_path_factory.mktemp("conformance")
    yield cache(partial(account, endpoint, build_dir, folder))
    sys.modules.pop("conformance_flows", None)  # a process may come back to tests of this module


WORLDS = ["aws", "combined", *["durable"] * (sys.version_info >= (3, 13))]


@pytest.fixture(scope="module", params=WORLDS)
def world(request, accounts, tmp_path_factory):
    config, ids = accounts("durable" if request.param == "durable" else "stepfunctions")
    with pytest.MonkeyPatch.context() as patch, opened(config) as there:
        patch.setenv("LOKKI_LOCAL_JOURNAL", str(tmp_path_factory.mktemp("here") / "lokki.db"))
        with local.opened() as here:
            combined = CombinedBackend(here, lambda: there, pytest.fail)
            yield World(combined if request.param == "combined" else there, ids)


class TestConformance(Conformance):
    pass
