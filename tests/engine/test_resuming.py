"""What a resume does again: tolerated failures, a group of them, everything from a stage on."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from time import time
from typing import Any

import anyio
import pytest
import pytest_asyncio

import lokki
from lokki import (
    DefinitionError,
    Engine,
    FingerprintError,
    RunCancelled,
    RunFailed,
    RunNotFound,
    RunOwned,
    flow,
    step,
)
from lokki.engine.resuming import plan
from lokki.model.structure import dumped, loaded
from lokki.resumption import ResumeOptions
from lokki.store.journal import Journal

pytestmark = pytest.mark.asyncio


@dataclass
class Trouble:
    """What the steps have been called with, and which of their items fail how."""

    calls: list[Any] = field(default_factory=list)
    errors: dict[Any, Exception] = field(default_factory=dict)

    def called(self, call: Any) -> None:
        self.calls.append(call)
        if call in self.errors:
            raise self.errors[call]

    def taken(self) -> list[Any]:
        """The calls since the last time, in an order of their own."""
        calls, self.calls = self.calls, []
        return sorted(calls, key=str)


@pytest.fixture
def trouble():
    return Trouble()


@pytest.fixture
def birds(trouble):
    """Ten items through two maps and a step after each; three failures of a map are tolerated."""

    @step
    def source():
        trouble.called("source")
        return list(range(10))

    @step
    def first(number):
        trouble.called(number)
        return number

    @step
    def listed(numbers):
        trouble.called("listed")
        return numbers

    @step
    def second(number):
        trouble.called(f"second {number}")
        return number

    @step
    def total(numbers):
        trouble.called("total")
        return sum(numbers)

    @flow
    def birds():
        chain = source().map(first, tolerated_failures=3, concurrency_limit=1).agg(listed)
        return chain.map(second, tolerated_failures=3, concurrency_limit=1).agg(total)

    return birds


@pytest_asyncio.fixture
async def engine():
    async with Engine() as engine:
        yield engine


AFTER_FIRST = ["listed", *(f"second {number}" for number in range(10)), "total"]
EVERYTHING = sorted(["source", *range(10), *AFTER_FIRST], key=str)


async def resumed(engine: Engine, run_id: str, what: Any, **again: Any) -> Any:
    handle = await engine.resume(run_id, what, ResumeOptions(**again))
    return await handle.result()


def told(engine: Engine, run_id: str, what: Any, **again: Any) -> list[str]:
    run = engine.journal.history.find(run_id)
    return list(plan(engine.journal.history, run, what(), ResumeOptions(**again)).summary)


def groups(engine: Engine, run_id: str, position: int) -> dict[str, str]:
    """The groups of a stage's failures by the type of error."""
    stage = engine.journal.history.stages(run_id)[position]
    return {group.type: group.id for group in engine.journal.history.groups(stage)}


async def failing_run(engine: Engine, what: Any, run_id: str = "r1") -> None:
    with pytest.raises(RunFailed):
        await engine.run(what, run_id=run_id)


# ---- a run that has succeeded --------------------------------------------------------------------


async def test_a_run_that_has_succeeded_gives_its_result_and_runs_nothing(engine, birds, trouble):
    assert await engine.run(birds, run_id="r1") == 45
    assert trouble.taken() == EVERYTHING
    assert told(engine, "r1", birds) == ["run r1 has succeeded: nothing runs again"]
    before = engine.journal.run("r1")
    assert await resumed(engine, "r1", birds) == 45
    assert trouble.taken() == []
    assert engine.journal.run("r1") == before


async def test_failed_items_run_again_and_what_comes_after(engine, birds, trouble):
    trouble.errors = {2: ValueError("no 2"), 5: KeyError("no 5")}
    assert await engine.run(birds, run_id="r1") == 38
    trouble.taken()
    trouble.errors = {}
    assert told(engine, "r1", birds, failed=True) == [
        "first: 2 of 10 items that failed and were tolerated",
        "listed: runs after that",
        "second: runs after that",
        "total: runs after that",
    ]
    assert await resumed(engine, "r1", birds, failed=True) == 45
    assert trouble.taken() == sorted([2, 5, *AFTER_FIRST], key=str)
    assert engine.journal.run("r1").status == "succeeded"
    stages = engine.journal.history.stages("r1")
    assert [(stage.succeeded, stage.failed, stage.tolerated) for stage in stages] == [
        (1, 0, 0),
        (10, 0, 0),
        (1, 0, 0),
        (10, 0, 0),
        (1, 0, 0),
    ]
    with pytest.raises(DefinitionError, match="run r1 has no failed items"):
        await resumed(engine, "r1", birds, failed=True)
    assert await resumed(engine, "r1", birds) == 45


async def test_failed_items_of_a_later_stage_leave_the_earlier_ones(engine, birds, trouble):
    trouble.errors = {"second 3": ValueError()}
    assert await engine.run(birds, run_id="r1") == 42
    trouble.taken()
    trouble.errors = {}
    assert told(engine, "r1", birds, failed=True) == [
        "second: 1 of 10 items that failed and were tolerated",
        "total: runs after that",
    ]
    assert await resumed(engine, "r1", birds, failed=True) == 45
    assert trouble.taken() == ["second 3", "total"]


async def test_what_fails_again_is_tolerated_again(engine, birds, trouble):
    trouble.errors = {2: ValueError(), 5: ValueError()}
    assert await engine.run(birds, run_id="r1") == 38
    del trouble.errors[2]
    assert await resumed(engine, "r1", birds, failed=True) == 40
    assert told(engine, "r1", birds, failed=True)[0] == (
        "first: 1 of 10 items that failed and were tolerated"
    )


async def test_one_group_of_errors_runs_again(engine, birds, trouble):
    trouble.errors = {2: ValueError("no 2"), 5: KeyError("no 5"), 7: ValueError("no 7")}
    assert await engine.run(birds, run_id="r1") == 31
    trouble.taken()
    trouble.errors = {}
    of_value, of_key = (groups(engine, "r1", 1)[name] for name in ("ValueError", "KeyError"))
    assert told(engine, "r1", birds, error=of_value) == [
        f"first: 2 of 10 items that failed with {of_value}",
        "listed: runs after that",
        "second: runs after that",
        "total: runs after that",
    ]
    assert await resumed(engine, "r1", birds, error=of_value[:5]) == 40
    calls = trouble.taken()
    assert [call for call in calls if isinstance(call, int)] == [2, 7]
    assert "second 5" not in calls
    with pytest.raises(DefinitionError, match=f"no failure group '{of_value}'; it has {of_key}$"):
        await resumed(engine, "r1", birds, error=of_value)
    assert await resumed(engine, "r1", birds, error=of_key) == 45
    assert [call for call in trouble.taken() if isinstance(call, int)] == [5]


async def test_a_group_that_is_in_two_stages_runs_from_the_first_on(engine, trouble):
    @step
    def source():
        return [0, 1, 2]

    @step
    def work(number):
        trouble.called((lokki.current().step, number))
        return number

    @step
    def listed(numbers):
        return numbers

    @flow
    def twice():
        chain = source().map(work, tolerated_failures=1).agg(listed)
        return chain.map(work, tolerated_failures=1)

    trouble.errors = {("work", 1): ValueError(), ("work-2", 2): ValueError()}
    assert await engine.run(twice, run_id="r1") == [0]
    trouble.taken()
    trouble.errors = {}
    group = groups(engine, "r1", 1)["ValueError"]
    assert groups(engine, "r1", 3) == {"ValueError": group}
    assert told(engine, "r1", twice, error=group)[0].startswith(
        "work: 1 of 3 items that failed with "
    )
    assert await resumed(engine, "r1", twice, error=group) == [0, 1, 2]
    assert trouble.taken() == [("work", 1), ("work-2", 0), ("work-2", 1), ("work-2", 2)]


async def test_a_stage_and_what_comes_after_run_again(engine, birds, trouble):
    await engine.run(birds, run_id="r1")
    trouble.taken()
    assert told(engine, "r1", birds, from_stage="second") == [
        "second: all of its 10 items, as requested",
        "total: runs after that",
    ]
    assert await resumed(engine, "r1", birds, from_stage="second") == 45
    assert trouble.taken() == [*(f"second {number}" for number in range(10)), "total"]
    assert told(engine, "r1", birds, from_stage="total") == ["total: all of it, as requested"]
    assert await resumed(engine, "r1", birds, from_stage="total") == 45
    assert trouble.taken() == ["total"]
    assert await resumed(engine, "r1", birds, from_stage="source") == 45
    assert trouble.taken() == EVERYTHING


async def test_earlier_tolerated_failures_stay_when_a_later_stage_runs_again(
    engine, birds, trouble
):
    trouble.errors = {2: ValueError()}
    assert await engine.run(birds, run_id="r1") == 43
    trouble.taken()
    trouble.errors = {}
    assert await resumed(engine, "r1", birds, from_stage="listed") == 43
    assert 2 not in trouble.taken()


# ---- a run that has failed -----------------------------------------------------------------------


async def test_a_failed_run_goes_on_with_what_has_no_result(engine, birds, trouble):
    trouble.errors = dict.fromkeys([1, 2, 3, 6], ValueError())
    await failing_run(engine, birds)
    assert trouble.taken() == [*range(7), "source"]
    trouble.errors = {}
    assert told(engine, "r1", birds) == [
        "first: 1 of 10 items that failed, and 3 without a recorded result",
        "listed: runs after that",
        "second: runs after that",
        "total: runs after that",
        "tolerated failures stay as they are: 3 items (failed=True runs them again)",
    ]
    assert await resumed(engine, "r1", birds) == 39
    assert [call for call in trouble.taken() if isinstance(call, int)] == [6, 7, 8, 9]


async def test_the_tolerated_failures_of_a_failed_run_run_again_beside_the_rest(
    engine, birds, trouble
):
    trouble.errors = dict.fromkeys([1, 2, 3, 6], ValueError())
    await failing_run(engine, birds)
    trouble.taken()
    trouble.errors = {}
    (group,) = groups(engine, "r1", 1).values()
    rest = "1 that failed, and 3 without a recorded result"
    assert told(engine, "r1", birds, failed=True)[0] == (
        f"first: 3 of 10 items that failed and were tolerated, {rest}"
    )
    assert told(engine, "r1", birds, error=group)[0] == (
        f"first: 3 of 10 items that failed with {group}, {rest}"
    )
    assert await resumed(engine, "r1", birds, error=group) == 45
    assert [call for call in trouble.taken() if isinstance(call, int)] == [1, 2, 3, 6, 7, 8, 9]


async def test_a_failure_that_nothing_tolerates_is_gone_on_with(engine, birds, trouble):
    trouble.errors = {"listed": ValueError()}
    await failing_run(engine, birds)
    trouble.taken()
    (group,) = groups(engine, "r1", 2).values()
    expected = ["listed: its call that failed", "second: runs after that", "total: runs after that"]
    for again in ({}, {"failed": True}, {"error": group}):
        assert told(engine, "r1", birds, **again) == expected
    trouble.errors = {}
    assert await resumed(engine, "r1", birds, failed=True) == 45
    assert trouble.taken() == AFTER_FIRST


async def test_a_resume_that_fails_can_be_resumed_again(engine, birds, trouble):
    trouble.errors = {2: ValueError()}
    await engine.run(birds, run_id="r1")
    trouble.errors = {2: ValueError(), "total": ValueError()}
    with pytest.raises(RunFailed, match="total"):
        await resumed(engine, "r1", birds, failed=True)
    trouble.taken()
    trouble.errors = {}
    assert told(engine, "r1", birds) == [
        "total: its call that failed",
        "tolerated failures stay as they are: 1 item (failed=True runs them again)",
    ]
    assert told(engine, "r1", birds, failed=True)[0] == (
        "first: 1 of 10 items that failed and were tolerated"
    )
    assert await resumed(engine, "r1", birds) == 43
    assert trouble.taken() == ["total"]


# ---- a run that was cancelled or has crashed -----------------------------------------------------


async def test_a_cancelled_run_goes_on_with_what_has_no_result(engine):
    began = anyio.Event()
    release = False

    @step
    def source():
        return range(10)

    @step
    async def held(number):
        if number >= 4 and not release:
            began.set()
            await anyio.sleep_forever()
        return number

    @flow
    def holding():
        return source().map(held, batch_size=1, concurrency_limit=1)

    handle = engine.submit(holding)
    with anyio.fail_after(20):
        await began.wait()
        with closing(Journal(engine.journal.path)) as other:
            assert await anyio.to_thread.run_sync(
                other.request_cancel(handle.run_id, time()).result
            )
        with pytest.raises(RunCancelled):
            await handle.result()
    assert engine.journal.run(handle.run_id).status == "cancelled"
    assert told(engine, handle.run_id, holding) == [
        "held: 1 of 10 items cancelled, and 5 without a recorded result"
    ]
    with pytest.raises(DefinitionError, match="no failed items: resume it without failed=True"):
        await engine.resume(handle.run_id, holding, ResumeOptions(failed=True))
    release = True
    assert await resumed(engine, handle.run_id, holding) == list(range(10))


CRASHING = """
import os, sys, time
from lokki import flow, step
from lokki.store.journal import Journal

@step
def source():
    return range(10)

@step(retry={"retries": 1, "delay": 3600, "max_delay": 3600})
def work(number):
    if os.environ.get("CRASH"):
        if number == 1:
            raise OSError("again later")
        if number == 5:
            from lokki.config import journal_path, load
            import lokki, sqlite3
            from contextlib import closing
            while True:  # until what came before is recorded
                with closing(sqlite3.connect(journal_path(load()))) as connection:
                    query = "SELECT succeeded, retrying FROM stages WHERE position = 1"
                    if connection.execute(query).fetchone() == (4, 1):
                        os._exit(9)
                time.sleep(0.01)
    return number

@flow
def crashing():
    return source().map(work, concurrency_limit=1, batch_size=1)
"""


async def test_a_crashed_run_goes_on_with_what_has_no_result(tmp_path, monkeypatch):
    (tmp_path / "crashing.py").write_text(CRASHING)
    monkeypatch.syspath_prepend(tmp_path)
    code = "import crashing; crashing.crashing.run_sync()"
    environment = {**os.environ, "CRASH": "1", "PYTHONPATH": str(tmp_path)}
    process = await anyio.run_process([sys.executable, "-c", code], env=environment, check=False)
    assert process.returncode == 9, process.stderr.decode()
    import crashing

    async with Engine() as engine:
        run = engine.journal.history.find("last")
        assert run.status == "running"
        assert told(engine, run.id, crashing.crashing) == [
            "work: 1 of 10 items retrying, and 5 without a recorded result"
        ]
        assert await resumed(engine, run.id, crashing.crashing) == list(range(10))


async def test_a_run_that_crashed_before_its_first_stage_begins(engine, birds):
    engine.journal.create(
        "r1",
        flow="birds",
        source=None,
        fingerprint=birds().fingerprint,
        structure=dumped(birds().structure),
        params=b"",
        params_json="{}",
        now=1.0,
    ).result()
    assert told(engine, "r1", birds)[:2] == ["source: has not begun", "first: runs after that"]
    assert told(engine, "r1", birds, from_stage="source")[0] == "source: all of it, as requested"
    with pytest.raises(DefinitionError, match="the last stage to start from is 'source'"):
        told(engine, "r1", birds, from_stage="first")


async def test_a_run_that_crashed_after_its_last_stage_does_nothing_again(engine, birds, trouble):
    await engine.run(birds, run_id="r1")
    trouble.taken()
    engine.journal.commits.call(
        "r1",
        lambda connection: (
            connection.execute("UPDATE runs SET status = 'running', finished = NULL").rowcount
        ),
    ).result()
    assert told(engine, "r1", birds) == ["every stage has its results: nothing runs again"]
    assert await resumed(engine, "r1", birds) == 45
    assert trouble.taken() == []
    assert engine.journal.run("r1").status == "succeeded"


# ---- a structure that has changed ----------------------------------------------------------------


def chain(trouble: Trouble, build: Callable[..., Any], name: str = "birds") -> Any:
    """A flow ``birds`` of steps ``a`` to ``d``, that note their calls."""

    def made(letter: str) -> Any:
        def work(value: Any = None) -> Any:
            trouble.called(letter)
            return [0, 1] if value is None else value

        work.__name__ = work.__qualname__ = letter
        return step(work)

    letters = {letter: made(letter) for letter in "abcd"}

    def body() -> Any:
        return build(**letters)

    body.__name__ = name
    return flow(body)


async def test_what_is_deployed_is_not_for_runs_of_this_machine(engine, birds):
    await engine.run(birds, run_id="r1")
    with pytest.raises(DefinitionError, match="deployed=True is for runs on AWS"):
        told(engine, "r1", birds, deployed=True)


async def test_a_changed_structure_is_forced_from_a_stage_on(engine, trouble):
    old = chain(trouble, lambda a, b, c, d: a().map(b).agg(c))
    new = chain(trouble, lambda a, b, c, d: a().map(b).agg(d).next(c))
    await engine.run(old, run_id="r1")
    trouble.taken()
    for again in ({}, {"failed": True}, {"from_stage": "d"}):
        with pytest.raises(FingerprintError, match="structure has changed") as caught:
            await engine.resume("r1", new, ResumeOptions(**again))
        assert "a → map(b) → c" in str(caught.value)
        assert "a → map(b) → d → c" in str(caught.value)
        assert str(caught.value).endswith("'d' and run the rest again: force=True, from_stage='d'")
    assert trouble.taken() == []
    forced = {"from_stage": "d", "force": True}
    assert told(engine, "r1", new, **forced) == [
        "d: all of it, as requested",
        "c: runs after that",
    ]
    assert await resumed(engine, "r1", new, **forced) == [0, 1]
    assert trouble.taken() == ["c", "d"]
    assert loaded(engine.journal.run("r1").structure) == new().structure
    assert await resumed(engine, "r1", new) == [0, 1]
    with pytest.raises(FingerprintError):
        await engine.resume("r1", old)
    assert trouble.taken() == []


async def test_a_stage_that_is_appended_runs_after_what_has_no_result(engine, trouble):
    old = chain(trouble, lambda a, b, c, d: a().map(b))
    new = chain(trouble, lambda a, b, c, d: a().map(b).agg(c).next(d))
    trouble.errors = {"b": ValueError()}
    await failing_run(engine, old)
    trouble.taken()
    trouble.errors = {}
    with pytest.raises(FingerprintError, match=r"force=True, from_stage='c'$"):
        await engine.resume("r1", new)
    with pytest.raises(DefinitionError, match="no results for stage 'c' as it is now"):
        await engine.resume("r1", new, ResumeOptions(from_stage="d", force=True))
    failed, *others = told(engine, "r1", new, from_stage="c", force=True)
    assert " of 2 items that failed" in failed
    assert others == ["c: all of it, as requested", "d: runs after that"]
    assert await resumed(engine, "r1", new, from_stage="c", force=True) == [0, 1]
    assert trouble.taken() == ["b", "b", "c", "d"]
    assert loaded(engine.journal.run("r1").structure) == new().structure


async def test_a_structure_with_fewer_stages_only_is_forced_from_its_last(engine, trouble):
    old = chain(trouble, lambda a, b, c, d: a().map(b).agg(c).next(d))
    new = chain(trouble, lambda a, b, c, d: a().map(b).agg(c))
    await engine.run(old, run_id="r1")
    trouble.taken()
    with pytest.raises(FingerprintError, match=r"force=True, from_stage='c'$"):
        await engine.resume("r1", new)
    assert await resumed(engine, "r1", new, from_stage="c", force=True) == [0, 1]
    assert trouble.taken() == ["c"]


async def test_a_structure_with_fewer_stages_is_forced(engine, trouble):
    old = chain(trouble, lambda a, b, c, d: a().map(b).next(c).agg(d))
    new = chain(trouble, lambda a, b, c, d: a().next(d))
    await engine.run(old, run_id="r1")
    trouble.taken()
    with pytest.raises(FingerprintError, match=r"force=True, from_stage='d'$"):
        await engine.resume("r1", new)
    assert await resumed(engine, "r1", new, from_stage="d", force=True) == [0, 1]
    assert trouble.taken() == ["d"]
    assert [stage.name for stage in engine.journal.history.stages("r1")] == ["a", "d"]


@pytest.mark.parametrize(
    "build",
    [
        lambda a, b, c, d: a().next(b).next(c),
        lambda a, b, c, d: a().map(d).agg(c),
        lambda a, b, c, d: a().map(b).next(d).agg(c),
        lambda a, b, c, d: a().next(d).map(b).agg(c),
    ],
    ids=["another kind", "another step", "another inner step", "a stage more"],
)
async def test_a_structure_that_has_changed_before_the_stage_is_refused(engine, trouble, build):
    old = chain(trouble, lambda a, b, c, d: a().map(b).agg(c))
    new = chain(trouble, build)
    await engine.run(old, run_id="r1")
    trouble.taken()
    before = engine.journal.run("r1")
    with pytest.raises(DefinitionError, match="start from it or from an earlier stage"):
        await engine.resume("r1", new, ResumeOptions(from_stage="c", force=True))
    assert engine.journal.run("r1") == before
    assert trouble.taken() == []
    changed = new().stages[1].name
    assert await resumed(engine, "r1", new, from_stage=changed, force=True) == [0, 1]
    assert "a" not in trouble.taken()


@pytest.mark.parametrize("again", [{}, {"from_stage": "total"}])
async def test_a_plan_is_void_when_another_structure_was_forced_meanwhile(
    engine, birds, trouble, monkeypatch, again
):
    trouble.errors = {"total": ValueError()}
    await failing_run(engine, birds)
    trouble.taken()

    def planned(*args):
        made = plan(*args)
        with closing(sqlite3.connect(engine.journal.path)) as connection, connection:
            connection.execute("UPDATE runs SET fingerprint = 'another'")
        return made

    monkeypatch.setattr("lokki.engine.engine.plan", planned)
    handle = await engine.resume("r1", birds, ResumeOptions(**again))
    with pytest.raises(RunOwned, match="another structure"):
        await handle.result()
    assert trouble.taken() == []
    assert engine.journal.run("r1").fingerprint == "another"


async def test_to_force_needs_a_stage(engine, birds):
    await engine.run(birds, run_id="r1")
    with pytest.raises(DefinitionError, match=r"source, first, listed, second, total$"):
        await engine.resume("r1", birds, ResumeOptions(force=True))


async def test_to_force_what_has_not_changed_is_the_same_as_not_to(engine, birds, trouble):
    await engine.run(birds, run_id="r1")
    trouble.taken()
    assert await resumed(engine, "r1", birds, from_stage="total", force=True) == 45
    assert trouble.taken() == ["total"]


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "several",
    [
        {"failed": True, "error": "abc"},
        {"failed": True, "from_stage": "first"},
        {"error": "abc", "from_stage": "first"},
        {"failed": True, "error": "abc", "from_stage": "first"},
    ],
)
async def test_several_options_at_once_are_refused(several):
    with pytest.raises(DefinitionError, match="takes one of failed, error and from_stage"):
        ResumeOptions(**several)


async def test_a_stage_that_is_not_there_or_not_reached_is_refused(engine, birds, trouble):
    trouble.errors = {"listed": ValueError()}
    await failing_run(engine, birds)
    before = engine.journal.run("r1")
    with pytest.raises(DefinitionError, match="no stage 'third'; it has source, first, listed"):
        await engine.resume("r1", birds, ResumeOptions(from_stage="third"))
    for name in ("second", "total"):
        with pytest.raises(
            DefinitionError,
            match=f"has not reached stage '{name}': the last stage to start from is 'listed'",
        ):
            await engine.resume("r1", birds, ResumeOptions(from_stage=name))
    assert engine.journal.run("r1") == before


async def test_an_inner_step_is_reported_with_its_stage(engine, trouble):
    chained = chain(trouble, lambda a, b, c, d: a().map(b).map(c).agg(d))
    await engine.run(chained, run_id="r1")
    with pytest.raises(DefinitionError, match=r"^step 'c' is in stage 'b': from_stage='b'$"):
        await engine.resume("r1", chained, ResumeOptions(from_stage="c"))


async def test_a_run_that_has_begun_to_be_removed_is_not_resumed(engine, birds, trouble):
    await engine.run(birds, run_id="r1")
    with closing(Journal(engine.journal.path)) as other:
        assert await anyio.to_thread.run_sync(other.begin_removal("r1", time()).result)
    trouble.taken()
    for again in ({}, {"from_stage": "source"}):
        with pytest.raises(RunNotFound, match="run r1 is being removed: its payloads are gone"):
            await engine.resume("r1", birds, ResumeOptions(**again))
    assert trouble.taken() == []


async def test_the_tolerated_failures_of_a_run_that_has_succeeded_stay(engine, birds, trouble):
    trouble.errors = {2: ValueError(), 5: ValueError()}
    await engine.run(birds, run_id="r1")
    assert told(engine, "r1", birds) == [
        "run r1 has succeeded: nothing runs again",
        "tolerated failures stay as they are: 2 items (failed=True runs them again)",
    ]


async def test_a_resume_records_who_asked_for_it_and_what_it_did_again(engine, birds, trouble):
    trouble.errors = {"total": ValueError()}
    await failing_run(engine, birds)
    trouble.errors = {}
    await (await engine.resume("r1", birds, started_by="lokki resume r1")).result()
    await (await engine.resume("r1", birds)).result()  # which does nothing
    await (await engine.resume("r1", birds, ResumeOptions(from_stage="total"))).result()
    details = [
        json.loads(detail)
        for _, kind, _, detail in engine.journal.history.events("r1")
        if kind == "run_resumed"
    ]
    assert [(detail["by"], detail["again"]) for detail in details] == [
        ("lokki resume r1", ["total: its call that failed"]),
        (None, ["total: all of it, as requested"]),
    ]


async def test_every_group_of_many_runs_again(engine):
    @step
    def source():
        return range(60)

    @step
    def first(number):
        raise ValueError("x" * (number + 1))

    @flow
    def failing():
        return source().map(first, tolerated_failures=60)

    await engine.run(failing, run_id="r1")
    stage = engine.journal.history.stages("r1")[1]
    ids = [group.id for group in engine.journal.history.groups(stage)]
    assert len(ids) == 60
    for name in ids:
        again = told(engine, "r1", failing, error=name)
        assert again == [f"first: 1 of 60 items that failed with {name}"]


async def test_a_group_that_is_not_there_or_not_one_is_refused(engine, birds, trouble):
    await engine.run(birds, run_id="r1")
    with pytest.raises(DefinitionError, match="no failure group 'abc'; it has none"):
        await engine.resume("r1", birds, ResumeOptions(error="abc"))
    trouble.errors = {2: ValueError(), 5: KeyError(), 7: OSError()}
    await engine.run(birds, run_id="r2")
    known = sorted(groups(engine, "r2", 1).values())
    with pytest.raises(DefinitionError, match=f"several failure groups .{', '.join(known)}.; "):
        await engine.resume("r2", birds, ResumeOptions(error=""))


async def test_a_run_without_failures_is_refused_when_they_are_asked_for(engine, birds):
    await engine.run(birds, run_id="r1")
    with pytest.raises(DefinitionError, match="run r1 has no failed items"):
        await engine.resume("r1", birds, ResumeOptions(failed=True))


async def test_a_run_that_goes_on_is_not_reopened(engine):
    began, release = threading.Event(), threading.Event()

    @step
    def source():
        return [1]

    @step
    def held(numbers):
        began.set()
        assert release.wait(20)
        return numbers

    @flow
    def holding():
        return source().next(held)

    handle = engine.submit(holding)
    try:
        assert await anyio.to_thread.run_sync(began.wait, 20)
        async with Engine() as other:
            again = await other.resume(handle.run_id, holding, ResumeOptions(from_stage="source"))
            with pytest.raises(Exception, match="is being run by process"):
                await again.result()
    finally:
        release.set()
    assert await handle.result() == [1]
