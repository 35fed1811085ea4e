"""A flow with a Batch job for each item, on AWS: its lines and its resume are as with functions."""

from __future__ import annotations

import time
from pathlib import Path

import deployed_flows as flows
import pytest
from clouds import NAMES, Cloud, begin, ended, off

from lokki.backends.blocking import opened
from lokki.builder.image_pkg import ENTRYPOINT
from lokki.rehearse.images import assembled
from lokki.rehearse.moto_patches.platform import Image
from lokki.rehearse.moto_patches.server import PLATFORM
from lokki.resumption import ResumeOptions

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def queue(rehearsal):
    """A queue that was there before."""
    cloud, name = Cloud(rehearsal.endpoint, "", []), f"queue-{next(NAMES)}"
    batch = cloud.client("batch")
    role = cloud.client("iam").create_role(RoleName=f"{name}-role", AssumeRolePolicyDocument="{}")
    made = batch.create_compute_environment(
        computeEnvironmentName=f"{name}-environment",
        type="UNMANAGED",
        state="ENABLED",
        serviceRole=role["Role"]["Arn"],
    )
    order = [{"order": 1, "computeEnvironment": made["computeEnvironmentArn"]}]
    batch.create_job_queue(
        jobQueueName=name, state="ENABLED", priority=1, computeEnvironmentOrder=order
    )
    return name


@pytest.fixture
def weighing(rehearsal, dependencies, tmp_path, queue):
    """A function that deploys the flow, and its image."""
    built = dependencies.into(tmp_path / "built")
    cloud = Cloud(rehearsal.endpoint, built, [])
    PLATFORM.images.pop("lokki:latest", None)  # that of another flow

    def deploy(**settings):
        cloud.deploy(flows.weighing, **{"batch.job_queue": queue}, **settings)
        if "lokki:latest" not in PLATFORM.images:
            image = assembled(Path(built), tmp_path / "image")
            PLATFORM.images["lokki:latest"] = Image(image, ENTRYPOINT)
        return cloud

    yield deploy
    del PLATFORM.images["lokki:latest"]
    cloud.destroy()


@pytest.fixture
def weighed(weighing):
    """A way to its runs."""
    with opened(weighing().config()) as place:
        yield place


def test_jobs_tell_their_lines_with_those_of_functions_and_are_run_again(weighed, switch):
    run_id = f"run-{next(NAMES)}"
    weighed.start("weighing", run_id, {"count": 3, "switch": str(switch)})
    failed = ended(weighed, run_id)
    assert (failed.status, failed.error.message) == ("failed", "cannot weigh 1")
    with off(switch):
        weighed.resume(weighed.plan(run_id, ResumeOptions()), "unused")
        run = ended(weighed, run_id)
    assert run.status == "succeeded"
    assert weighed.result(run_id) == 2
    lines = list(weighed.lines(run_id))
    (failure,) = [line for line in lines if line.level == "ERROR"]
    assert (failure.item, failure.message) == (1, "failed: ValueError: cannot weigh 1")
    lines.remove(failure)
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    assert lines[-1].message == "comparing"
    told = [(line.item, line.message) for line in lines[:-1]]
    assert sorted(set(told)) == [(number, f"weighing {number}") for number in range(3)]
    assert told.count((1, "weighing 1")) == 2


def test_a_deploy_leaves_the_job_definitions_of_earlier_runs(weighing, weighed, switch):
    run_id = f"run-{next(NAMES)}"
    weighed.start("weighing", run_id, {"count": 2, "switch": str(switch)})
    assert ended(weighed, run_id).status == "failed"
    batch = weighing(**{"batch.env": {"MORE": "1"}}).client("batch")
    active = batch.describe_job_definitions(status="ACTIVE")["jobDefinitions"]
    names = [
        each["jobDefinitionName"] for each in active if "WeighJob" in each["jobDefinitionName"]
    ]
    assert len(set(names)) == 2
    with off(switch):
        planned = weighed.plan(run_id, ResumeOptions())
        assert planned.redrives
        weighed.resume(planned, "unused")
        assert ended(weighed, run_id).status == "succeeded"


def test_jobs_of_a_durable_function_end_with_their_run_and_only_those_without_a_result_run_again(
    weighing, queue, switch, hold
):
    settings = {"aws.target": "durable", "lambda.package_type": "image"}
    cloud = weighing(**settings)
    batch = cloud.client("batch")

    def jobs(run_id):
        named = {"name": "JOB_NAME", "values": [f"weigh-{run_id}-*"]}
        every = batch.list_jobs(jobQueue=queue, filters=[named])["jobSummaryList"]
        return {int(each["jobName"][-1]): each["status"] for each in every}

    def waits(run_id, wanted):
        while jobs(run_id) != wanted:
            time.sleep(0.05)

    with opened(cloud.config(**settings)) as place:
        held = begin(place, "weighing", count=2, hold=str(hold))
        waits(held, {0: "SUCCEEDED", 1: "RUNNING"})
        weigh = place.run(held).stages[1]
        assert (weigh.total, weigh.succeeded, weigh.failed, weigh.finished) == (2, 1, 0, None)
        place.request_cancel(held)
        assert ended(place, held).status == "cancelled"
        waits(held, {0: "SUCCEEDED", 1: "FAILED"})

        given = {"count": 3, "switch": str(switch), "hold": str(hold)}
        failed = ended(place, begin(place, "weighing", **given))
        assert (failed.status, failed.error.message) == ("failed", "cannot weigh 1")
        while not {*jobs(failed.id).values()} <= {"SUCCEEDED", "FAILED"}:
            time.sleep(0.05)
        assert jobs(failed.id)[2] == "FAILED"
        stored = place.wait(place.executions.done_items, "weighing", failed.id, 1)
        hold.unlink()
        with off(switch):
            planned = place.plan(failed.id, ResumeOptions())
            again = ended(place, place.resume(planned, f"run-{next(NAMES)}").id)
        assert (again.status, place.result(again.id)) == ("succeeded", 2)
        assert jobs(again.id) == dict.fromkeys({0, 1, 2} - stored, "SUCCEEDED")
