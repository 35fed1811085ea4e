"""Items on the workers of a Dask cluster: every end of a process, and what it means for them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import dask_flows as flows
import pytest
from clusters import Cluster
from elsewhere import (
    SIZED,
    Conformance,
    Elsewhere,
    attempts,
    failures,
    is_gone,
    of_every_size,
    told,
)
from serving import until

from lokki import Engine, step
from lokki.errors import ClusterError, ConfigError, DefinitionError
from lokki.store.local import LocalStore

pytestmark = pytest.mark.timeout(180)  # it starts interpreters, one after the other

ALL = list(range(flows.COUNT))


@pytest.fixture
def elsewhere(cluster):
    return Elsewhere({"cluster": cluster.address})


class TestSlicesOnDask(Conformance):
    """The workers of a cluster."""


@pytest.mark.asyncio
async def test_results_pass_through_dask_where_a_worker_cannot_reach_the_store(
    cluster, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    store = LocalStore(Path("/proc/self/cwd/large"))  # another one for each process
    async with Engine(cluster=cluster.address, payloads=store) as engine:
        handle = engine.submit(of_every_size(None))
        assert await handle.result() == SIZED
        lines = told(engine, handle.run_id)
        assert any("cannot reach the payload store" in each for each in lines)
    assert len(list((tmp_path / "large").rglob("*.pkl.gz"))) == 3
    assert not list((tmp_path / "large" / "lokki-cluster").iterdir())


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
    await asyncio.to_thread(until, lambda: all(map(is_gone, running)), "the calls have ended")


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
    until(lambda: is_gone(int(last.read_text())), "what the engine had begun has ended")
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
