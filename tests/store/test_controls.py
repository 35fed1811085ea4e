"""What others want of a run, and the limits that runs share, as the journal has them."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from lokki.errors import NotPausable, NotTunable, RunOwned
from lokki.rate import Rate
from lokki.store.controls import Controls
from lokki.store.jobs import Jobs, NewRun
from lokki.store.journal import Journal
from lokki.store.limits import reserve
from lokki.store.offers import Offer
from lokki.store.records import Opening
from lokki.store.rows import StageRow, stage_id
from lokki.store.writer import Wanted


def never(error):
    raise AssertionError(error)


def create(journal: Journal) -> int:
    return journal.create(
        "r1", flow="f", source=None, fingerprint="p", structure="[]", params=b"",
        params_json="{}", now=time.time(),
    ).result()  # fmt: skip


class Heard:
    """What a run is told of the wishes of others."""

    def __init__(self) -> None:
        self.wanted: list[Wanted] = []
        self._news = threading.Condition()

    def __call__(self, wanted: Wanted) -> None:
        with self._news:
            self.wanted.append(wanted)
            self._news.notify_all()

    def wait(self, count: int) -> Wanted:
        with self._news:
            assert self._news.wait_for(lambda: len(self.wanted) >= count, 10)
            return self.wanted[count - 1]


def test_a_pause_of_another_process_is_heard_recorded_and_ended(opened, journal):
    create(opened)
    heard = Heard()
    opened.own("r1", never, on_control=heard)
    with closing(Journal(journal)) as other:
        controls = Controls(other)
        at = time.time()
        assert controls.pause("r1", at).result() is True
        assert heard.wait(1).paused == pytest.approx(at)
        assert opened.run("r1").status == "running"
        assert Controls(opened).rest("r1", at + 1).result() is True
        paused = opened.run("r1")
        assert (paused.status, paused.owner) == ("paused", opened.owner)
        assert paused.end(at + 100) == pytest.approx(at + 1), "a pause is no work"
        assert controls.pause("r1", at + 2).result() is False
        assert controls.unpause("r1", at + 11).result() == "running"
    assert heard.wait(2) == Wanted()
    again = opened.run("r1")
    assert again.worked(at, at + 21) == pytest.approx(11)
    assert Controls(opened).rest("r1", at + 12).result() is False, "it is not wanted any more"
    with pytest.raises(NotPausable, match="is not paused: it is running"):
        Controls(opened).unpause("r1", at).result()


def test_a_run_that_has_ended_is_neither_paused_nor_tuned(opened):
    create(opened)
    opened.finish("r1", "failed", time.time(), None).result()
    for ask in (Controls(opened).pause, Controls(opened).unpause):
        with pytest.raises(NotPausable, match="run r1 has ended: it is failed"):
            ask("r1", time.time()).result()
    with pytest.raises(NotTunable, match="run r1 has ended: it is failed"):
        Controls(opened).tune("r1", 5, time.time()).result()


def test_a_run_that_waits_in_a_queue_is_paused_queued_again_and_cancelled(opened):
    offer = Offer({"f.py"}, "python", "/")
    new = NewRun("r1", "f", "f.py:f", "p", "[]", b"", "{}", 1.0, "me")
    Jobs(opened).put(new, offer).result()
    controls = Controls(opened)
    assert controls.pause("r1", 2.0).result() is False
    assert Jobs(opened).waiting(9, offer) == []
    assert opened.run("r1").status == "paused"
    assert Jobs(opened).recover(3.0, 3).result().queued == []
    assert controls.unpause("r1", 4.0).result() == "queued"
    assert [job.run_id for job in Jobs(opened).waiting(9, offer)] == ["r1"]
    controls.pause("r1", 5.0).result()
    assert opened.request_cancel("r1", 6.0).result() is False
    assert opened.run("r1").status == "cancelled"
    with pytest.raises(NotPausable, match="run r1 has ended: it is cancelled"):
        controls.unpause("r1", 7.0).result()


def test_a_paused_run_that_nobody_has_is_taken_by_a_resume(opened):
    create(opened)
    Controls(opened).pause("r1", time.time()).result()
    writer = opened.own("r1", never)
    assert Controls(opened).rest("r1", time.time()).result() is True
    with pytest.raises(RunOwned, match=r"is paused in process .* lokki unpause r1"):
        opened.take("r1", time.time()).result()
    opened.commits.release(writer)
    Jobs(opened).hand_back("r1", time.time()).result()
    assert opened.take("r1", time.time()).result().status == "paused"
    taken = opened.run("r1")
    assert (taken.status, taken.pause_requested) == ("running", None)


def test_a_map_is_tuned_until_its_run_ends(opened):
    number = create(opened)
    heard = Heard()
    writer = opened.own("r1", never, on_control=heard)
    controls = Controls(opened)
    with pytest.raises(NotTunable, match="no map of run r1 is running now"):
        controls.tune("r1", 5, time.time()).result()
    row = StageRow(stage_id(number, 1), "r1", 1, "work", "map", time.time(), None, 9)
    writer.add(Opening(row))
    assert controls.tune("r1", 5, time.time()).result() == ("work", None)
    assert heard.wait(1) == Wanted(None, 1, 5)
    assert controls.tune("r1", 7, time.time()).result() == ("work", 5)
    assert heard.wait(2) == Wanted(None, 1, 7)
    opened.commits.release(writer)
    opened.finish("r1", "succeeded", time.time(), None).result()
    ended = opened.run("r1")
    assert (ended.tuned_stage, ended.concurrency) == (None, None)


def test_reserved_times_follow_each_other_evenly_and_pass_unused(opened, journal):
    rate, now = Rate(60, 60), time.time()
    with closing(Journal(journal)) as other:
        assert reserve(opened, "api", rate, 3, now).result() == 0
        assert reserve(other, "api", rate, 2, now + 0.5).result() == pytest.approx(2.5, abs=0.1)
        assert reserve(opened, "other", rate, 2, now).result() == 0
        assert reserve(opened, "api", rate, 1, now + 3).result() == pytest.approx(2, abs=0.1)
        assert reserve(opened, "api", rate, 1, now + 100).result() == 0
        assert reserve(opened, "api", rate, 1, now - 86_400).result() == 0, "a clock was wrong"
