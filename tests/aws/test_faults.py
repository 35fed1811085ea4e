"""What goes wrong between here and AWS while runs are looked at, and what must be told nowhere."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from uuid import uuid4

import deployed_flows as flows
import pytest
from clouds import Cloud, begin, ended

from lokki.aws.home import pull
from lokki.backends.blocking import opened
from lokki.errors import AwsError, ParameterError, RunNotFound
from lokki.model.base import fields_of
from lokki.model.run_filter import RunFilter
from lokki.store.local import LocalStore

pytestmark = pytest.mark.timeout(120)
PLANTED = f"planted-{uuid4().hex}"


@pytest.fixture
def refusing(deployed, way):
    """The same place, by way of ``way``."""
    with opened(deployed.by(way.endpoint).config()) as place:
        yield place


def test_a_history_of_20_000_events_is_read_once(place, refusing, way, monkeypatch):
    from moto.stepfunctions.parser.asl.eval.event.event_manager import EventManager

    run_id = begin(place, count=2)
    ended(place, run_id)
    whole = EventManager.get_event_history

    @cache
    def long(self):
        events = whole(self)
        attempts = [
            {**events[2], "type": kind} for kind in ("TaskScheduled", "TaskFailed")
        ] * 10_000
        return events[:3] + attempts + events[3:]

    monkeypatch.setattr(EventManager, "get_event_history", lambda self: list(long(self)))
    run = refusing.run(run_id)
    assert (run.status, [stage.succeeded for stage in run.stages]) == (
        "succeeded", [1, 2, 1],
    )  # fmt: skip
    asked = way.seen.count("AWSStepFunctions.GetExecutionHistory")
    assert asked == 21
    assert refusing.run(run_id).stages == run.stages
    assert way.seen.count("AWSStepFunctions.GetExecutionHistory") == asked + 1


def test_a_log_group_that_is_missing_is_reported(place, deployed):
    run_id = begin(place, "doubles", count=1)
    ended(place, run_id)
    logs = deployed.client("logs")
    logs.delete_log_group(logGroupName="/lokki/doubles")
    told = "no log group /lokki/doubles: it was deleted; deploy makes"
    try:
        with pytest.raises(AwsError, match=told):
            place.last_line(run_id)
        assert place.run(run_id).status == "succeeded"
    finally:
        logs.create_log_group(logGroupName="/lokki/doubles")


def test_calls_of_which_every_third_is_throttled_are_repeated(place, refusing, way):
    way.refuses.update({"AWSStepFunctions": (429, "ThrottlingException")})
    way.every = 3
    run_id = begin(refusing, count=2)
    assert ended(refusing, run_id).status == "succeeded"
    assert refusing.result(run_id) == [2, []]
    assert way.asked > 6


@pytest.mark.parametrize(
    ("action", "does"),
    [
        ("DescribeMapRun", lambda place, run_id: place.run(run_id)),
        ("FilterLogEvents", lambda place, run_id: place.last_line(run_id)),
        ("ListExecutions", lambda place, run_id: place.runs(RunFilter(flow="crunching", limit=1))),
        ("StopExecution", lambda place, run_id: place.request_cancel(run_id)),
    ],
)
def test_a_permission_that_is_missing_is_named(place, refusing, way, action, does):
    run_id = begin(place, count=1)
    ended(place, run_id)
    way.refuses[action] = (400, "AccessDeniedException")
    with pytest.raises(AwsError, match=f"no permission for \\w+:{action}: ask for it"):
        does(refusing, run_id)


def test_credentials_that_have_expired_are_reported(place, refusing, way):
    way.refuses["DescribeExecution"] = (400, "ExpiredTokenException")
    with pytest.raises(AwsError, match="the AWS credentials have expired: log in again"):
        refusing.find("anything", "crunching")


def test_an_aws_that_does_not_answer_is_reported_without_many_tries(deployed, way):
    way.refuses["GetCallerIdentity"] = (503, "ServiceUnavailable")
    with (
        pytest.raises(AwsError, match="sts:GetCallerIdentity"),
        opened(deployed.by(way.endpoint).config()),
    ):
        pass
    assert way.asked == 2


def test_a_process_that_died_is_reported_by_the_item_that_it_had(rehearsal, build_dir):
    cloud = Cloud(rehearsal.endpoint, build_dir, [])
    cloud.deploy(flows.dying)
    try:
        with opened(cloud.config()) as place:
            run = ended(place, begin(place, "dying", index=7))
    finally:
        cloud.destroy(data=False)
    (group,) = run.stages[1].failures
    assert (group.type, group.items, group.failed) == ("WorkerDied", [1], 1)
    assert group.message.startswith("Runtime.ExitError: ")


def test_an_invocation_that_ended_after_its_results_were_stored_is_reported(rehearsal, build_dir):
    cloud = Cloud(rehearsal.endpoint, build_dir, [])
    cloud.deploy(flows.done_and_gone)
    try:
        with opened(cloud.config()) as place:
            run = ended(place, begin(place, "done-and-gone"))
    finally:
        cloud.destroy(data=False)
    assert (run.status, run.error.step, run.error.type) == (
        "failed", "gone_once_done", "WorkerDied",
    )  # fmt: skip
    assert "the results of its items are stored, but AWS reports" in run.error.message


def test_parameters_that_are_too_large_start_nothing(place):
    with pytest.raises(ParameterError, match=r"300,012 bytes as JSON, .* at most 256,000"):
        place.start("greeting", "too-large", {"word": "x" * 300_000})
    with pytest.raises(RunNotFound):
        place.find("too-large", "greeting")


# ---- secrets -------------------------------------------------------------------------------------


@pytest.fixture
def secretive(rehearsal, dependencies, tmp_path):
    """The flow with a secret, deployed in a bucket and a folder of its own."""
    cloud = Cloud(rehearsal.endpoint, dependencies.into(tmp_path / "built"), [])
    arn = f"arn:aws:secretsmanager:us-east-1:123456789012:secret:token-{uuid4().hex[:6]}"
    cloud.client("secretsmanager").create_secret(Name=arn, SecretString=PLANTED)
    cloud.deploy(flows.secretive, **{"lambda.env": {"LOKKI_SECRET_TOKEN": arn}})
    yield cloud
    cloud.destroy(data=False)


def test_a_secret_is_in_no_template_log_object_answer_or_journal(secretive, tmp_path):
    with opened(secretive.config()) as place:
        run_id = place.start("secretive", f"run-{uuid4().hex[:6]}", {}).id
        run = ended(place, run_id)
        assert (run.status, run.error.message) == ("failed", "wrong token ***")
        assert [line.message for line in place.lines(run_id)] == [
            "the token is ***", "it is ***", "failed: ValueError: wrong token ***",
        ]  # fmt: skip
        graph = flows.secretive(token="here")
        journal, large = tmp_path / "lokki.db", LocalStore(tmp_path / "payloads")

        async def work():
            return await pull(
                place.executions, run, graph, journal, large,
                only_failed=False, replace=False, started_by="a test",
            )  # fmt: skip

        place.wait(work)
    told = [json.dumps(run, default=fields_of), *secretive.told]
    logs = secretive.client("logs").filter_log_events(logGroupName="/lokki/secretive")["events"]
    told += [event["message"] for event in logs]
    machines = secretive.client("stepfunctions")
    arn = f"arn:aws:states:us-east-1:123456789012:execution:secretive:{run_id}"
    told.append(str(machines.describe_execution(executionArn=arn)))
    told.append(str(machines.get_execution_history(executionArn=arn)))
    s3 = secretive.client("s3")
    objects = s3.list_objects_v2(Bucket=secretive.bucket)["Contents"]
    bodies = [
        s3.get_object(Bucket=secretive.bucket, Key=each["Key"])["Body"].read() for each in objects
    ]
    files = [file.read_bytes() for file in Path(tmp_path).rglob("*") if file.is_file()]
    assert len(bodies) > 3
    assert len(logs) > 3
    assert not [text for text in told if PLANTED in text]
    assert not [data for data in (*bodies, *files) if PLANTED.encode() in data]
