"""Runs on AWS that are brought home, go on here, and are given back what came of that."""

from __future__ import annotations

import gzip
import json
import pickle
from contextlib import closing
from dataclasses import replace

import deployed_flows as flows
import pytest
from anyio import run as run_async
from clouds import begin, ended, off

from lokki.aws.home import pull, push
from lokki.backends.local import LocalBackend
from lokki.engine.engine import Engine
from lokki.errors import (
    AwsError,
    FingerprintError,
    JournalError,
    PayloadError,
    RunCancelled,
    RunNotFound,
)
from lokki.resumption import ResumeOptions
from lokki.store.attachments import Attachments
from lokki.store.connection import Reader
from lokki.store.journal import Journal
from lokki.store.local import LocalStore

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def here(tmp_path, place):
    """A journal of this machine, and what is done with it."""
    return Here(tmp_path / "lokki.db", place)


class Here:
    def __init__(self, journal, place):
        self.journal = journal
        self.place = place
        self.large = LocalStore(journal.parent / "payloads")

    def pull(self, run_id, *, only_failed=False, flow=None, replace=False):
        found = self.place.run(run_id)
        known = getattr(flows, found.flow) if flow is None else flow
        graph = known.trace(found.params if flow is None else {})

        async def work():
            return await pull(
                self.place.executions,
                found,
                graph,
                self.journal,
                self.large,
                only_failed=only_failed,
                replace=replace,
                started_by="a test",
            )

        return self.place.wait(work)

    def push(self, run_id, flow="crunching"):
        observation = self.place.wait(self.place.executions.observe, flow, run_id)
        book = Journal(self.journal)
        try:

            async def work():
                run = book.history.find(run_id)
                stages = observation.machine.stages
                return await push(self.place.executions, run, stages, book, self.large)

            return self.place.wait(work)
        finally:
            book.close()

    def resume(self, run_id, flow=flows.crunching, again=None):
        async def work():
            async with Engine(journal=self.journal, payloads=self.large) as engine:
                return await (await engine.resume(run_id, flow, again)).result()

        return run_async(work)

    def run(self, run_id):
        with closing(Reader(self.journal)) as read:
            return LocalBackend(read).run(run_id)


def told(run):
    names = ("name", "kind", "total", "succeeded", "failed", "tolerated")
    return [tuple(getattr(stage, name) for name in names) for stage in run.stages]


def test_a_run_is_the_same_here_as_there(here, place, switch):
    run_id = begin(place, "tolerant", count=5, switch=str(switch))
    there = ended(place, run_id)
    assert here.pull(run_id).results == 1 + 3 + 1
    run = here.run(run_id)
    for name in ("id", "flow", "status", "params", "chain", "created", "finished", "error"):
        assert getattr(run, name) == getattr(there, name)
    assert told(run) == told(there)
    (group,) = run.stages[1].failures
    (known,) = there.stages[1].failures
    assert replace(group, place=None) == replace(known, place=None)
    assert here.resume(run_id, flows.tolerant) == [10, [1, 4]]


def test_what_has_failed_runs_here_and_its_result_is_given_back(here, place, switch, deployed):
    run_id = begin(place, count=3, switch=str(switch))
    ended(place, run_id)
    pulled = here.pull(run_id)
    assert (pulled.failed, pulled.left) == (1, 0)
    with off(switch):
        assert here.resume(run_id) == [6, []]
    assert here.push(run_id) >= 2
    assert here.push(run_id) == 0
    key = f"crunching/runs/{run_id}/pair/1/output.pkl.gz"
    stored = deployed.client("s3").get_object(Bucket=deployed.bucket, Key=key)["Body"].read()
    assert pickle.loads(gzip.decompress(stored)) == (2, 2)
    ended(place, place.resume(place.plan(run_id, ResumeOptions()), "unused").id)
    assert place.run(run_id).status == "succeeded"
    assert place.result(run_id) == [6, []]
    printed = [line.message for line in place.lines(run_id, item=1) if line.source == "stdout"]
    assert len(printed) == 1  # it was not called again there


def test_items_that_aws_has_not_come_to_can_be_left_to_it(here, place, switch):
    run_id = begin(place, count=40, switch=str(switch))
    ended(place, run_id)
    pulled = here.pull(run_id, only_failed=True)
    assert pulled.left > 0
    assert pulled.results + pulled.failed + pulled.left == 1 + 40
    with off(switch), pytest.raises(RunCancelled):
        here.resume(run_id)
    run = here.run(run_id)
    assert run.status == "cancelled"
    assert run.stages[1].succeeded == 40 - pulled.left
    assert here.push(run_id) == pulled.failed


def test_large_results_are_kept_beside_the_journal(here, place):
    run_id = begin(place, "large", size=200_000)
    ended(place, run_id)
    here.pull(run_id)
    (file,) = (here.journal.parent / "payloads").rglob("output.pkl.gz")
    assert "blob" in str(file)
    content = file.read_bytes()
    file.write_bytes(content[::-1])
    with pytest.raises(PayloadError, match="resume it from stage 'blob', which makes it again"):
        here.resume(run_id, flows.large, ResumeOptions(from_stage="length"))
    file.write_bytes(content)
    assert here.resume(run_id, flows.large) == 200_000


def test_what_steps_have_shown_comes_along(here, place, deployed):
    run_id = begin(place, "large", size=10)
    ended(place, run_id)
    table = {"columns": ["a"], "rows": [[1]], "total": 1, "cut": ""}
    key = f"large/runs/{run_id}/previews.d/length/step.json"
    deployed.client("s3").put_object(Bucket=deployed.bucket, Key=key, Body=json.dumps(table))
    assert here.pull(run_id).shown == 1
    with closing(Reader(here.journal)) as read:
        values = Attachments(read)
        (value,) = values.page(run_id, limit=10)
        assert (value.name, value.title) == ("length.-.1.0", "Size")
        assert values.content(run_id, value.name)[1] == b"**10** bytes"
        assert json.loads(values.preview(run_id, "length", None)) == table


def test_a_pull_that_fails_halfway_leaves_nothing(here, place):
    run_id = begin(place, "large", size=200_000)
    ended(place, run_id)
    blocked = here.journal.parent / "payloads"
    blocked.touch()  # where the folder of large results would be
    with pytest.raises(PayloadError, match="payloads"):
        here.pull(run_id)
    with pytest.raises(RunNotFound):
        here.run(run_id)
    blocked.unlink()
    assert here.pull(run_id).results == 2


def test_what_cannot_be_pulled_is_reported(here, place, hold):
    run_id = begin(place, count=1, hold=str(hold))
    with pytest.raises(AwsError, match=f"run {run_id} is running: cancel it, or wait"):
        here.pull(run_id)
    hold.unlink()
    ended(place, run_id)
    with pytest.raises(FingerprintError, match="the flow has another structure here"):
        here.pull(run_id, flow=flows.greeting)
    here.pull(run_id)
    with pytest.raises(JournalError, match="is already here: resume it, or give replace=True"):
        here.pull(run_id)
    assert here.pull(run_id, replace=True).results == 3
    assert here.run(run_id).status == "succeeded"
