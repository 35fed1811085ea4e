"""A map whose items are express executions: they are shown and resumed as standard ones are."""

from __future__ import annotations

import deployed_flows as flows
import pytest
from clouds import Cloud, begin, ended, off

from lokki.backends.blocking import opened
from lokki.rehearse.moto_patches.server import PLATFORM
from lokki.resumption import ResumeOptions

pytestmark = pytest.mark.timeout(120)
SETTINGS = {"aws.map": "express", "lambda.timeout": 120}


@pytest.fixture(scope="module")
def place(rehearsal, build_dir):
    cloud = Cloud(rehearsal.endpoint, build_dir, [])
    cloud.deploy(flows.checking, **SETTINGS)
    with opened(cloud.config()) as place:
        yield place
    cloud.destroy()


def resumed(place, run_id):
    planned = place.plan(run_id, ResumeOptions())
    assert planned.redrives
    place.resume(planned, "unused")
    return ended(place, run_id)


def lines_of(place, run_id, step):
    """The items of a step's calls."""
    began = f"{step} of"
    return [line.item for line in place.lines(run_id) if line.message.startswith(began)]


def test_a_failed_item_is_shown_and_runs_again_without_its_calls_that_have_results(place, switch):
    run_id = begin(place, "checking", count=4, switch=str(switch))
    run = ended(place, run_id)
    assert (run.status, run.error.step, run.error.message) == ("failed", "check", "cannot check 1")
    (group,) = run.stages[1].failures
    assert (group.type, group.items) == ("ValueError", [1])
    with off(switch):
        run = resumed(place, run_id)
    assert run.status == "succeeded"
    assert place.result(run_id) == [0, 1, 2, 3]
    assert sorted(lines_of(place, run_id, "twin")) == [0, 1, 2, 3]
    assert sorted(lines_of(place, run_id, "check")) == [0, 1, 1, 2, 3]


def test_an_item_that_takes_too_long_is_shown_and_runs_again(place, hold, monkeypatch):
    monkeypatch.setattr(PLATFORM, "express_seconds", 1)
    run_id = begin(place, "checking", count=1, hold=str(hold))
    run = ended(place, run_id)
    assert (run.status, run.error.type) == ("failed", "TimeoutError")
    assert "an express execution has 300 s" in run.error.message
    assert run.stages[1].failures[0].items == [0]
    hold.unlink()
    monkeypatch.undo()
    assert resumed(place, run_id).status == "succeeded"
    assert place.result(run_id) == [0]
