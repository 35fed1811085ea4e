"""The queue of runs that services run: put, waiting, refused, handed back, gone on with."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace

import pytest
from journals import ask

from lokki.errors import KeyReused, RunNotFound, RunOwned
from lokki.store.jobs import Job, Jobs, NewRun, QueueFull
from lokki.store.journal import Journal
from lokki.store.leases import LEASE_SECONDS
from lokki.store.offers import Needs, Offer

OFFER = Offer(frozenset({"/f.py"}), "/venv", "/home/u")


@pytest.fixture
def jobs(opened):
    return Jobs(opened)


@pytest.fixture
def put(jobs):
    def queued(run_id="r1", now=1.0, source="/f.py:f", offer=OFFER, flow="f", **options):
        return jobs.put(new_run(run_id, now, source, flow), offer, **options).result().id

    return queued


def new_run(run_id, now=1.0, source="/f.py:f", flow="f"):
    return NewRun(run_id, flow, source, "p", "a", b"", "{}", now, "lokki serve")


def waiting(jobs, offer=OFFER):
    return [job.run_id for job in jobs.waiting(10, offer)]


def kinds(opened, run_id="r1"):
    return [kind for _, kind, _, _ in opened.history.events(run_id)]


def test_what_is_put_waits_in_order(jobs, opened, put):
    assert waiting(jobs) == []
    assert put("b", 1.0) == "b"
    put("c", 2.0)
    put("a", 1.0)
    assert waiting(jobs) == ["a", "b", "c"]
    assert jobs.waiting(1, OFFER) == [Job("a", "/f.py:f", {})]
    run = opened.run("a")
    assert (run.status, run.started, run.owner) == ("queued", None, None)
    assert run.started_by == "lokki serve"
    assert kinds(opened, "a") == []


def test_who_takes_a_run_takes_it_from_the_queue(jobs, opened, put):
    put()
    before = opened.take("r1", 5.0, queued=opened.run("r1")).result()
    assert before.status == "queued"
    run = opened.run("r1")
    assert (run.status, run.started, run.owner) == ("running", 5.0, opened.owner)
    assert kinds(opened) == ["run_started"]
    assert waiting(jobs) == []


def test_each_of_several_that_are_taken_at_once_has_its_own_end(jobs, opened, put):
    """One has another structure meanwhile, and one has been begun: the others are not affected."""
    for name in "abcd":
        put(name)
    seen = {name: opened.run(name) for name in "abcd"}
    opened.take("b", 5.0, queued=seen["b"]).result()
    held = threading.Event()
    opened.commits.call("", lambda connection: held.wait(10))  # the others wait for one transaction
    taken = {
        name: opened.take(name, 6.0, queued=seen[name], seen="new" if name == "c" else "p")
        for name in "abcd"
    }
    held.set()
    assert [taken[name].result().id for name in "ad"] == ["a", "d"]
    with pytest.raises(RunOwned, match="is being run by process"):
        taken["b"].result()
    with pytest.raises(RunOwned, match="another structure"):
        taken["c"].result()
    assert [opened.run(name).status for name in "abcd"] == [
        "running",
        "running",
        "queued",
        "running",
    ]
    assert [kinds(opened, name) for name in "abcd"] == [
        ["run_started"],
        ["run_started"],
        [],
        ["run_started"],
    ]
    assert waiting(jobs) == ["c"]


def test_of_several_that_are_queued_at_once_no_more_than_allowed_wait(jobs, opened):
    held = threading.Event()
    opened.commits.call("", lambda connection: held.wait(10))
    asked = [jobs.put(new_run(f"r{number}"), OFFER, most=3) for number in range(5)]
    held.set()
    ends = [each.exception() for each in asked]
    assert [type(end) for end in ends] == [type(None)] * 3 + [QueueFull] * 2
    assert waiting(jobs) == ["r0", "r1", "r2"]
    assert opened.history.runs(limit=9)[0].id == "r2"


def test_a_run_is_taken_from_the_queue_once(jobs, opened, put):
    """Two services may see it there; the second comes when the first has ended it."""
    put()
    seen = opened.run("r1")
    opened.take("r1", 5.0, queued=seen).result()
    writer = opened.own("r1", lambda error: None)
    opened.finish("r1", "failed", 6.0, "{}").result()
    opened.commits.release(writer)
    with pytest.raises(RunOwned, match="another process has begun"):
        opened.take("r1", 7.0, queued=seen).result()
    assert opened.run("r1").status == "failed"
    assert opened.take("r1", 7.0).result().status == "failed"


def test_a_key_gives_the_run_that_it_was_given_for(jobs, put):
    assert put("a", key="k", body="x") == "a"
    assert put("b", key="k", body="x") == "a"
    assert put("c", key="other", body="x") == "c"
    with pytest.raises(KeyReused, match="'k' was used for a run of this flow with other"):
        put("d", key="k", body="y")
    assert waiting(jobs) == ["a", "c"]


def test_a_key_is_one_of_its_flow(put):
    assert put("a", key="k", body="x") == "a"
    assert put("b", flow="g", key="k", body="y") == "b"
    assert put("c", flow="g", key="k", body="y") == "b"
    assert put("d", key="k", body="x") == "a"


def test_a_key_is_forgotten_with_its_run(opened, put):
    put("a", key="k", body="x")
    opened.begin_removal("a", 2.0).result()
    writer = opened.own("a", lambda error: None)
    opened.remove("a").result()
    opened.commits.release(writer)
    assert put("b", key="k", body="y") == "b"


# ---- whose runs they are -------------------------------------------------------------------------


OTHERS = [
    Offer(frozenset({"/g.py", "f"}), "/venv", "/home/u"),
    Offer(frozenset({"/f.py"}), "/other venv", "/home/u"),
]


@pytest.mark.parametrize("other", OTHERS)
def test_a_service_takes_the_runs_of_its_own_files_in_its_own_python(jobs, opened, put, other):
    put()
    assert waiting(jobs, other) == []
    assert waiting(jobs, Offer(frozenset({"/f.py", "/e.py"}), "/venv", "/elsewhere")) == ["r1"]
    assert opened.history.needs("r1") == Needs("/f.py", "/venv", None)
    opened.take("r1", 5.0, queued=opened.run("r1")).result()
    assert opened.history.needs("r1") is None


def test_the_name_of_a_module_means_what_it_does_in_its_folder(jobs, put):
    offer = Offer(frozenset({"pkg.f"}), "/venv", "/home/u")
    put(source="pkg.f:f", offer=offer)
    assert waiting(jobs, replace(offer, folder="/home/v")) == []
    assert waiting(jobs, replace(offer, prefix="/other venv")) == []
    assert waiting(jobs, replace(offer, sources=frozenset({"pkg.g"}))) == []
    assert waiting(jobs, offer) == ["r1"]


def test_a_run_that_is_resumed_by_a_service_that_does_not_offer_it_is_its_own(jobs, opened, put):
    put()
    opened.request_cancel("r1", 2.0).result()
    jobs.put_again("r1", {}, 3.0, OTHERS[0]).result()
    assert waiting(jobs) == ["r1"], "this one is in the same folder and Python"
    assert waiting(jobs, OTHERS[0]) == ["r1"]
    assert waiting(jobs, OTHERS[1]) == []
    assert waiting(jobs, replace(OFFER, folder="/elsewhere")) == []


def test_no_number_of_other_runs_hides_one_or_fills_its_queue(jobs, opened, put):
    for number in range(1_000):
        put(f"a{number}", 1.0)
    put("b", 2.0, source="/g.py:g", offer=OTHERS[0], most=1)
    assert [job.run_id for job in jobs.waiting(1, OTHERS[0])] == ["b"]
    with pytest.raises(QueueFull, match="1 runs wait"):
        put("c", 3.0, source="/g.py:g", offer=OTHERS[0], most=1)


def test_who_finds_a_lost_run_of_another_service_queues_it_for_that_one(jobs, opened, put):
    put()
    opened.take("r1", 2.0, queued=opened.run("r1")).result()
    opened.commits.release(opened.own("r1", lambda error: None))
    assert jobs.recover(3.0 + LEASE_SECONDS, 3).result().queued == ["r1"]
    assert waiting(jobs, OTHERS[0]) == []
    assert waiting(jobs) == ["r1"]


def test_a_run_that_an_earlier_lokki_queued_is_taken_by_any_service(jobs, opened, put):
    put()
    ask(opened.path, "UPDATE jobs SET place = NULL, prefix = NULL, folder = NULL")
    assert waiting(jobs, OTHERS[0]) == waiting(jobs, OTHERS[1]) == ["r1"]
    assert opened.history.needs("r1") == Needs(None, None, None)


# ---- again ---------------------------------------------------------------------------------------


def test_a_run_is_queued_to_be_resumed(jobs, opened, record):
    record.run("r1", status="failed")
    jobs.put_again("r1", {"failed": True}, 5.0, OFFER).result()
    run = opened.run("r1")
    assert (run.status, run.finished, run.error) == ("queued", None, None)
    (job,) = opened.history.waiting(5, OFFER)
    assert json.loads(job[2]) == {"failed": True}
    with pytest.raises(RunOwned, match="is already queued"):
        jobs.put_again("r1", {}, 6.0, OFFER).result()
    opened.take("r1", 7.0, queued=opened.run("r1")).result()
    assert kinds(opened)[-1] == "run_resumed"


def test_a_run_that_is_worked_on_is_not_queued(jobs, record):
    record.run("r1")
    with pytest.raises(RunOwned, match="is being run by process"):
        jobs.put_again("r1", {}, 1.5, OFFER).result()
    with pytest.raises(RunNotFound):
        jobs.put_again("nosuch", {}, 1.5, OFFER).result()


def test_a_run_that_is_being_removed_is_not_queued(jobs, opened, record):
    record.run("r1", status="failed")
    opened.begin_removal("r1", 3.0).result()
    with pytest.raises(RunNotFound):
        jobs.put_again("r1", {}, 4.0, OFFER).result()


def test_a_runner_elsewhere_whose_clock_was_ahead_does_not_keep_its_run(jobs, opened, put):
    put()
    opened.take("r1", 100.0 + 7_200, queued=opened.run("r1")).result()
    ask(opened.path, "UPDATE runs SET owner = 'elsewhere:1:abcd'")
    with pytest.raises(RunOwned):
        jobs.put_again("r1", {}, 105.0, OFFER).result()
    ask(opened.path, "UPDATE runs SET leased_until = leased_until + 7200")
    assert jobs.recover(110.0, 3).result().queued == []
    assert jobs.recover(110.0 + LEASE_SECONDS - 1, 3).result().queued == []
    assert jobs.recover(110.0 + LEASE_SECONDS, 3).result().queued == ["r1"]


# ---- out of the queue ----------------------------------------------------------------------------


def test_a_run_that_cannot_be_begun_fails(jobs, opened, put):
    put()
    error = json.dumps({"type": "LoadError", "message": "no"})
    jobs.refuse("r1", error, 3.0).result()
    run = opened.run("r1")
    assert (run.status, run.finished, run.error) == ("failed", 3.0, error)
    assert kinds(opened) == ["run_failed"]
    assert waiting(jobs) == []


def test_only_a_run_that_waits_is_refused(jobs, opened, put, record):
    put()
    opened.take("r1", 2.0, queued=opened.run("r1")).result()
    jobs.refuse("r1", "{}", 3.0).result()
    assert opened.run("r1").status == "running"
    jobs.refuse("nosuch", "{}", 3.0).result()


def test_a_queued_run_is_cancelled_at_once(jobs, opened, put):
    put()
    assert opened.request_cancel("r1", 3.0).result() is False
    assert opened.run("r1").status == "cancelled"
    assert waiting(jobs) == []


def test_a_run_is_handed_back(jobs, opened, put):
    put()
    opened.take("r1", 2.0, queued=opened.run("r1")).result()
    writer = opened.own("r1", lambda error: None)
    jobs.hand_back("r1", 9.0).result()
    opened.commits.release(writer)
    run = opened.run("r1")
    assert (run.status, run.owner, run.leased_until) == ("queued", None, None)
    assert waiting(jobs) == ["r1"]
    opened.take("r1", 10.0, queued=opened.run("r1")).result()
    assert kinds(opened) == ["run_started", "run_resumed"]


def test_a_run_of_another_is_not_handed_back(jobs, opened, put, journal):
    put()
    with closing(Journal(journal)) as other:
        other.take("r1", 2.0).result()
        with pytest.raises(RunOwned):
            jobs.hand_back("r1", 3.0).result()
        assert opened.run("r1").owner == other.owner


# ---- the death of a runner -----------------------------------------------------------------------


TAKE = """
import sys
from lokki.store.journal import Journal
Journal(sys.argv[1]).take("r1", float(sys.argv[2])).result()
import os
os._exit(0)
"""


def die_with(journal, now):
    """Have a process take the run, and end."""
    subprocess.run([sys.executable, "-c", TAKE, str(journal), str(now)], check=True)


def test_a_run_goes_on_after_the_death_of_its_runner(jobs, opened, put, journal):
    put()
    assert jobs.recover(2.0, 3).result().queued == []
    for count in range(2):
        die_with(journal, 5.0)
        assert opened.run("r1").status == "running"
        assert jobs.recover(6.0 + count, 2).result().queued == ["r1"]
        assert waiting(jobs) == ["r1"]
        assert jobs.recover(6.0 + count, 2).result().queued == []
    die_with(journal, 8.0)
    assert jobs.recover(9.0, 2).result().queued == []
    run = opened.run("r1")
    assert (run.status, run.finished, run.owner) == ("failed", 9.0, None)
    assert json.loads(run.error)["type"] == "RunnerDied"
    assert "died 3 times" in json.loads(run.error)["message"]
    assert kinds(opened)[-1] == "run_failed"
    jobs.put_again("r1", {}, 10.0, OFFER).result()
    die_with(journal, 11.0)
    assert jobs.recover(12.0, 2).result().queued == ["r1"], "a resume counts anew"


def test_runs_of_the_living_and_of_no_service_are_left(jobs, opened, put, record, journal):
    put()
    opened.take("r1", 2.0).result()
    writer = opened.own("r1", lambda error: None)
    assert jobs.recover(3.0, 3).result().queued == []
    opened.commits.release(writer)
    assert jobs.recover(3.0 + LEASE_SECONDS, 3).result().queued == ["r1"]
    record.run("r2")  # of `lokki run`
    assert jobs.recover(10_000.0, 3).result().queued == []
    assert opened.run("r2").status == "running"


def test_a_run_that_was_to_be_cancelled_when_its_runner_died_is_cancelled(jobs, opened, put):
    put()
    opened.take("r1", 2.0, queued=opened.run("r1")).result()
    opened.own("r1", lambda error: None)
    opened.request_cancel("r1", 2.5).result()
    end = 3.0 + LEASE_SECONDS
    assert jobs.recover(end, 3).result().queued == []
    run = opened.run("r1")
    assert (run.status, run.finished, run.owner) == ("cancelled", end, None)
    assert kinds(opened)[-1] == "run_cancelled"
    assert waiting(jobs) == []


def test_a_run_that_is_to_be_cancelled_is_not_handed_back(jobs, opened, put):
    put()
    opened.take("r1", 2.0, queued=opened.run("r1")).result()
    opened.own("r1", lambda error: None)
    opened.request_cancel("r1", 2.5).result()
    jobs.hand_back("r1", 3.0).result()
    assert (opened.run("r1").status, waiting(jobs)) == ("cancelled", [])
