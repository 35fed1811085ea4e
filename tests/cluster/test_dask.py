"""Items on the workers of a Dask cluster: every end of a process, and what it means for them."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import dask_flows as flows
import pytest
from clusters import Cluster
from serving import until

from lokki import Engine, RunCancelled, step
from lokki.errors import ClusterError, ConfigError, DefinitionError
from lokki.store.attachments import Attachments
from lokki.store.items import Items
from lokki.store.local import LocalStore

pytestmark = pytest.mark.timeout(180)  # it starts interpreters, one after the other

ALL = list(range(flows.COUNT))


def attempts(engine, run_id):
    """How many attempts each item had that had more than one."""
    stage = engine.journal.history.stage(run_id, 1)
    page = Items(engine.journal.read).page(stage, limit=1000)
    return {each.index: each.attempts for each in page if each.attempts != 1}


def failures(engine, run_id, index):
    stage = engine.journal.history.stage(run_id, 1)
    failed = Items(engine.journal.read).attempts(stage, index)
    return [(each.type, each.attempt) for each in failed]


def told(engine, run_id):
    return [line.message for line in engine.journal.history.lines(run_id)]


@pytest.mark.asyncio
async def test_each_item_ends_for_itself(cluster):
    async with Engine(cluster=cluster.address) as engine:
        handle = engine.submit(flows.ending)
        found = await handle.result()
        assert [number for number, _ in found] == ALL
        assert os.getpid() not in {process for _, process in found}
        assert attempts(engine, handle.run_id) == dict.fromkeys(flows.ENDS, 2)
        assert failures(engine, handle.run_id, 10) == [("WorkerDied", 1)]
        assert failures(engine, handle.run_id, 11) == [("WorkerDied", 1)]
        lines = engine.journal.history.lines(handle.run_id)
        said = [line for line in lines if line.source == "stdout"]
        assert {line.item for line in said} == set(ALL)
        for line in said:
            assert line.message == f"{line.item} is {line.item}, attempt {line.attempt}"
        values = Attachments(engine.journal.read).page(handle.run_id, limit=1_000)
        assert {each.item for each in values if each.attempt == 1} == set(ALL)
        assert {each.item for each in values if each.attempt == 2} == set(flows.ENDS)
        assert b"tblib" not in pickle.dumps(OSError("a result that is read without Dask"))


@pytest.mark.asyncio
@pytest.mark.parametrize("reached", [True, False])
async def test_results_of_every_size_arrive(cluster, tmp_path, monkeypatch, reached):
    monkeypatch.chdir(tmp_path)
    folder = Path("/proc/self/cwd/large")  # another one for each process
    store = LocalStore(tmp_path / "large" if reached else folder)
    async with Engine(cluster=cluster.address, payloads=store) as engine:
        handle = engine.submit(flows.measuring)
        assert await handle.result() == [
            bytes([n]) * (300_000 if n % 10 == 0 else n) + b"!" for n in range(30)
        ]
        lines = told(engine, handle.run_id)
        assert any("cannot reach the payload store" in each for each in lines) is not reached
    assert len(list((tmp_path / "large").rglob("*.pkl.gz"))) == 3
    assert not list((tmp_path / "large" / "lokki-cluster").iterdir())


@pytest.mark.asyncio
async def test_a_timeout_is_kept_on_the_worker(cluster):
    async with Engine(cluster=cluster.address) as engine:
        handle = engine.submit(flows.waiting)
        assert await handle.result() == ALL
        assert attempts(engine, handle.run_id) == {7: 2}
        assert failures(engine, handle.run_id, 7) == [("TimeoutError", 1)]


@pytest.mark.asyncio
async def test_a_cancelled_run_leaves_nothing_running(cluster, tmp_path):
    calls = tmp_path / "calls"
    calls.mkdir()
    async with Engine(cluster=cluster.address) as engine:
        handle = engine.submit(flows.hanging, {"place": str(calls)})
        await asyncio.to_thread(until, lambda: len(list(calls.iterdir())) == 2, "two calls")
        began = time.monotonic()
        handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
        assert time.monotonic() - began < 10
        running = [int(each.name) for each in calls.iterdir()]
        await asyncio.to_thread(until, lambda: all(map(_is_gone, running)), "the calls have ended")


def _is_gone(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


@pytest.mark.asyncio
async def test_items_behind_one_that_takes_long_run_elsewhere(cluster, tmp_path):
    async with Engine(cluster=cluster.address) as engine:
        found = await engine.run(flows.holding, {"opened": str(tmp_path / "open")})
        assert found == list(range(flows.COUNT * 10))


@pytest.mark.asyncio
async def test_a_dask_worker_that_dies_costs_its_item_one_attempt(cluster):
    def replace(engine, run_id):
        until(lambda: "here it dies" in told(engine, run_id), "item 9 runs")
        cluster.kill("fragile")
        cluster.start_worker("fragile")

    cluster.start_worker("fragile")
    async with Engine(cluster=cluster.address) as engine:
        handle = engine.submit(flows.breaking)
        replacing = asyncio.create_task(asyncio.to_thread(replace, engine, handle.run_id))
        assert await handle.result() == ALL
        await replacing
        assert attempts(engine, handle.run_id) == {9: 2}
        assert failures(engine, handle.run_id, 9) == [("WorkerDied", 1)]
    cluster.kill("fragile")


@pytest.mark.asyncio
async def test_a_run_waits_for_its_scheduler(tmp_path):
    def strike(handle):
        until(lambda: handle._run.state.counts.succeeded > 20, "some items are done")
        own.kill("scheduler")
        own.kill("only")
        own.start_scheduler()
        own.start_worker("only")

    with Cluster(tmp_path) as own:
        own.start_worker("only")
        async with Engine(cluster=own.address) as engine:
            handle = engine.submit(flows.striking)
            striking = asyncio.create_task(asyncio.to_thread(strike, handle))
            assert await handle.result() == list(range(200))
            await striking
            assert attempts(engine, handle.run_id) == {}
            lines = told(engine, handle.run_id)
            assert any("cannot be reached; the run waits for it" in each for each in lines)
            assert any("is back" in each for each in lines)


@pytest.mark.asyncio
async def test_a_scheduler_that_stays_away_ends_the_run(monkeypatch):
    monkeypatch.setenv("LOKKI_LOCAL_RECONNECT", "1")
    async with Engine(cluster="tcp://127.0.0.1:9") as engine:
        with pytest.raises(ClusterError, match=r"127.0.0.1:9 could not be reached within 1 s"):
            await engine.run(flows.waiting)


@pytest.mark.asyncio
async def test_a_scheduler_that_does_not_answer_ends_the_run(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("LOKKI_LOCAL_RECONNECT", "3")
    calls = tmp_path / "calls"
    calls.mkdir()
    async with Engine(cluster=cluster.address) as engine:
        handle = engine.submit(flows.hanging, {"place": str(calls)})
        await asyncio.to_thread(until, lambda: any(calls.iterdir()), "a call")
        cluster.stop("scheduler")
        try:
            with pytest.raises(ClusterError, match=r"has not answered for 3 s"):
                await handle.result()
        finally:
            cluster.go_on("scheduler")
    running = [int(each.name) for each in calls.iterdir()]
    await asyncio.to_thread(until, lambda: all(map(_is_gone, running)), "the calls have ended")


@pytest.mark.asyncio
async def test_workers_that_nobody_has_end_the_run(cluster, monkeypatch):
    monkeypatch.setenv("LOKKI_LOCAL_RECONNECT", "6")
    async with Engine(cluster=cluster.address) as engine:
        handle = engine.submit(flows.impossible)
        with pytest.raises(ClusterError, match=r"has had no worker with unheard=1 for 6 s"):
            await handle.result()
        lines = told(engine, handle.run_id)
        assert any("has no worker with unheard=1; the run waits" in each for each in lines)


@pytest.mark.asyncio
async def test_a_worker_with_another_lokki_is_refused(cluster, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import lokki\nlokki.__version__ = '0.0.1'\n")
    cluster.start_worker("older", PYTHONPATH=str(tmp_path))
    async with Engine(cluster=cluster.address) as engine:
        with pytest.raises(ClusterError, match=r"has lokki 0\.0\.1, .* the engine lokki "):
            await engine.run(flows.differing)
    cluster.kill("older")


SCRIPT = """
import os, sys, time
from pathlib import Path
from lokki import flow, main, step

@step
def numbers(count: int): return list(range(count))

@step
def noted(number, place: str):
    with open(Path(place, str(number)), "a") as file:
        file.write(f"{os.getpid()}\\n")
    while number >= 30 and not Path(place, "open").exists():
        time.sleep(0.02)
    return number

@flow
def killed_flow(count: int, place: str): return numbers().map(noted, batch_size=1)

if __name__ == "__main__": main(killed_flow)
"""


def test_a_run_is_resumed_after_its_engine_was_killed(cluster, tmp_path):
    place = tmp_path / "noted"
    place.mkdir()
    (tmp_path / "killed.py").write_text(SCRIPT)
    command = [sys.executable, "killed.py"]
    start = [*command, "run", "--count", "40", "--place", str(place)]
    with subprocess.Popen([*start, "--on", f"dask={cluster.address}"], cwd=tmp_path) as running:
        until(lambda: len(list(place.iterdir())) >= 32, "both workers wait, the rest is recorded")
        time.sleep(0.5)
        running.kill()
    last = max(place.iterdir(), key=lambda each: int(each.name))
    until(lambda: _is_gone(int(last.read_text())), "what the engine had begun has ended")
    (place / "open").touch()
    again = [*command, "resume", "last", "--on", f"dask={cluster.address}"]
    done = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == f"{list(range(40))}\n", done.stderr
    assert [len((place / str(n)).read_text().split()) for n in range(30)] == [1] * 30


# ---- what is refused before anything runs --------------------------------------------------------


@pytest.mark.asyncio
async def test_a_step_for_dask_needs_a_cluster():
    async with Engine() as engine:
        with pytest.raises(DefinitionError, match=r"'there' has executor='dask', but there is no"):
            await engine.run(flows.needing)


def test_an_address_names_a_scheduler():
    with pytest.raises(ConfigError, match=r"'scheduler:8786' is not the address of a Dask"):
        Engine(cluster="scheduler:8786")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"resources": {"GPU": 1}}, r"add executor='dask'"),
        ({"executor": "dask", "resources": ["GPU"]}, r"must be a dict"),
        ({"executor": "dask", "resources": {"GPU": 0}}, r"numbers above 0"),
        ({"executor": "grid"}, r"'thread', 'process' or 'dask', not 'grid'"),
    ],
)
def test_options_that_do_not_fit(options, why):
    with pytest.raises(DefinitionError, match=why):
        step(**options)(flows.there.fn)
