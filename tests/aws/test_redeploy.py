"""A deploy under running executions: each goes on, and is redriven, with what it started with."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
from clouds import NAMES, Cloud, ended
from past import ended_days_ago

from lokki.backends.blocking import opened
from lokki.builder.image_pkg import ENTRYPOINT
from lokki.loading import load_flow
from lokki.rehearse.images import assembled
from lokki.rehearse.moto_patches.platform import Image
from lokki.rehearse.moto_patches.server import PLATFORM
from lokki.resumption import ResumeOptions

pytestmark = pytest.mark.timeout(120)

BEFORE = """
import os, time
from lokki import flow, step

@step
def numbers(hold):
    while os.path.exists(hold):
        time.sleep(0.02)
    return [1, 2]

@step(retry={"retries": 1, "delay": 1})
def work(number, switch):
    if number == 2 and os.path.exists(switch):
        raise ValueError("off")
    return ("old", number)

@step
def total(works):
    return works

@flow
def redeployed(hold: str = "/nowhere", switch: str = "/nowhere"):
    return numbers().map(work).agg(total)
"""
AFTER = (
    BEFORE.replace('"retries": 1', '"retries": 0')
    .replace('"old"', '"new"')
    .replace(".agg(total)", ".agg(only)")
    .replace("def total(works):\n    return works", "def only(works):\n    return len(works)")
)


@pytest.fixture
def redeployed(rehearsal, dependencies, tmp_path):
    """A function that deploys a source as the flow, again and again; its cloud."""
    built = dependencies.into(tmp_path / "built")
    cloud = Cloud(rehearsal.endpoint, built, [])
    numbers = itertools.count()

    def deploy(source, **settings):
        file = tmp_path / f"redeployed_{next(NAMES)}_{next(numbers)}.py"
        file.write_text(source)
        try:
            return cloud.deploy(load_flow(f"{file}:redeployed"), **settings)
        finally:
            sys.modules.pop(file.stem, None)

    cloud.deploy_source = deploy
    yield cloud
    cloud.destroy()
    PLATFORM.images.pop("lokki:latest", None)


def started(place, **params):
    return place.start("redeployed", f"run-{next(NAMES)}", params).id


def test_runs_in_flight_and_redrives_keep_their_code_and_new_runs_have_the_new(
    redeployed, tmp_path, hold, switch
):
    machine = redeployed.deploy_source(BEFORE).machine
    with opened(redeployed.config()) as place:
        flying = started(place, hold=str(hold))
        failed = started(place, switch=str(switch))
        assert ended(place, failed).status == "failed"
        redeployed.told.clear()
        redeployed.deploy_source(AFTER, **{"lambda.package_type": "image", "lambda.memory": 640})
        assert not [each for each in redeployed.told if each.startswith("Remove")]
        files = assembled(Path(redeployed.config().build_dir), tmp_path / "image")
        PLATFORM.images["lokki:latest"] = Image(files, ENTRYPOINT)
        new = started(place)
        late = started(place, switch=str(switch))
        hold.unlink()
        assert ended(place, flying).status == "succeeded"
        assert place.result(flying) == [("old", 1), ("old", 2)]
        ended(place, new)
        assert place.result(new) == 2
        assert ended(place, late).status == "failed"
        switch.unlink()
        plan = place.plan(failed, ResumeOptions())
        assert plan.redrives
        assert "with the code, retries and timeouts of its deploy of 20" in plan.summary[-1]
        assert "deployed=True takes what is deployed now" in plan.summary[-1]
        place.resume(plan, "unused")
        assert ended(place, failed).status == "succeeded"
        assert place.result(failed) == [("old", 1), ("old", 2)]
        with ended_days_ago(f"{machine.replace('stateMachine', 'execution')}:{late}", 15):
            plan = place.plan(late, ResumeOptions())
        assert plan.new
        assert plan.summary[-1].endswith("not start it again: Execution redrivable period exceeded")
        plan = place.plan(late, ResumeOptions())
        assert plan.summary[-1].endswith("which is the newest")
        place.resume(plan, "unused")
        assert ended(place, late).status == "succeeded"
        assert place.result(late) == 2


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Lambda has durable functions from 3.13 on")
def test_a_run_of_a_durable_function_keeps_its_code_and_a_new_target_is_announced(redeployed, hold):
    durable = {"aws.target": "durable"}
    redeployed.deploy_source(BEFORE, **durable)
    with opened(redeployed.config()) as place:
        flying = started(place, hold=str(hold))
        redeployed.told.clear()
        redeployed.deploy_source(AFTER, **durable)
        assert not [each for each in redeployed.told if each.startswith("Remove")]
        hold.unlink()
        assert ended(place, flying).status == "succeeded"
        assert place.result(flying) == [("old", 1), ("old", 2)]
        new = started(place)
        assert ended(place, new).status == "succeeded"
        assert place.result(new) == 2
        redeployed.told.clear()
        redeployed.deploy_source(AFTER, **durable, **{"lambda.memory": 640})
        assert [each for each in redeployed.told if each.startswith("Remove Orchestrator")]
    redeployed.deploy_source(AFTER)
    assert any("the flow's target has changed" in each for each in redeployed.told)
