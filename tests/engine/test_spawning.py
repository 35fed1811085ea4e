"""Worker processes as they are started and ended: environment, path, threads, seeds, age."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from serving import until

from lokki import Engine, flow, step
from lokki.config import Config

pytestmark = pytest.mark.asyncio


@step
def numbers(count: int = 4):
    return list(range(count))


def config(**local: int | None) -> Config:
    return Config(local=replace(Config().local, **local))


async def results(function, count=4, processes=1, **local):
    """The results of a process step for ``count`` items, under these settings of ``[local]``."""
    work = step(executor="process")(function)

    @flow
    def working():
        return numbers(count).map(work, batch_size=1)

    async with Engine(processes=processes, config=config(**local)) as engine:
        return await engine.run(working)


@pytest.mark.parametrize("path", [None, "/of/the/caller"])
async def test_what_a_step_starts_has_the_callers_environment(tmp_path, monkeypatch, path):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if path is not None:
        monkeypatch.setenv("PYTHONPATH", path)

    def started(_):
        code = "import os, sys; print(os.environ.get('PYTHONPATH'), sys.path)"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        return sys.path, run.stdout

    [(here, there)] = await results(started, 1)
    assert here == sys.path
    assert there.startswith(f"{path} ")
    assert str(tmp_path) not in there


FLAGS = """
import sys, warnings
from lokki import flow, main, step

@step(executor="process")
def flags():
    return sys.flags.optimize, sys.flags.utf8_mode, sys.flags.dev_mode, sys.warnoptions

@flow
def flagged():
    return flags()

if __name__ == "__main__":
    main(flagged)
"""


async def test_a_worker_has_the_interpreters_options(tmp_path):
    (tmp_path / "flagged.py").write_text(FLAGS)
    options = ["-O", "-X", "utf8", "-X", "dev", "-W", "ignore::UserWarning"]
    run = subprocess.run(
        [sys.executable, *options, "flagged.py", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    optimize, utf8, dev, warned = ast.literal_eval(run.stdout)
    assert (optimize, utf8, dev) == (1, 1, True)
    assert "ignore::UserWarning" in warned


SEEDED = """
import os, random, time
import numpy
from lokki import flow, step

random.seed(7)
numpy.random.seed(7)

@step
def folders(folder):
    return [folder] * 2

@step(executor="process")
def draw(folder):
    open(os.path.join(folder, str(os.getpid())), "w").close()
    deadline = time.monotonic() + 30
    while len(os.listdir(folder)) < 2:  # the other worker has come, too
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return random.random(), numpy.random.random()

@flow
def drawing(folder: str):
    return folders(folder).map(draw, batch_size=1)
"""


async def test_workers_draw_other_numbers_though_their_import_seeds(tmp_path, monkeypatch):
    (tmp_path / "seeded_draws.py").write_text(SEEDED)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "here").mkdir()
    drawing = importlib.import_module("seeded_draws").drawing
    async with Engine(processes=2) as engine:
        drawn = await engine.run(drawing, {"folder": str(tmp_path / "here")})
    assert len({one for one, _ in drawn}) == 2
    assert len({other for _, other in drawn}) == 2


def _threads(_):
    import polars

    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return [os.environ.get(name) for name in names], polars.thread_pool_size()


@pytest.fixture
def unset(monkeypatch):
    for name in [name for name in os.environ if name.endswith("_THREADS")]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("unset")
async def test_the_cores_are_shared_by_the_workers():
    cores = len(os.sched_getaffinity(0))
    assert await results(_threads, 1, processes=cores) == [(["1"] * 3, 1)]
    assert await results(_threads, 1, processes=1) == [([str(cores)] * 3, cores)]


@pytest.mark.usefixtures("unset")
async def test_threads_are_those_of_the_setting_and_of_the_environment_first(monkeypatch):
    assert await results(_threads, 1, worker_threads=3) == [(["3"] * 3, 3)]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert await results(_threads, 1, worker_threads=3) == [(["5", None, "3"], 3)]
    monkeypatch.setenv("POLARS_MAX_THREADS", "2")
    assert await results(_threads, 1, worker_threads=3) == [(["5", None, "3"], 2)]


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_an_idle_worker_ends_and_the_next_call_has_a_new_one():
    @step(executor="process")
    def pid(number):
        return os.getpid()

    @flow
    def pids():
        return numbers(3).map(pid)

    async with Engine(processes=1, config=config(worker_idle=1)) as engine:
        [first] = set(await engine.run(pids))
        until(lambda: not _is_there(first), "the end of an idle worker")
        [second] = set(await engine.run(pids))
    assert first != second
    assert not _is_there(second)


async def test_a_worker_is_replaced_after_as_many_calls():
    def pid(_):
        return os.getpid()

    pids = await results(pid, 7, worker_calls=3)
    assert [pids.count(each) for each in dict.fromkeys(pids)] == [3, 3, 1]


async def test_a_worker_that_has_grown_is_replaced():
    def grow(number):
        if number == 1:
            sys.grown = bytearray(300_000_000)
            sys.grown[::4096] = b"x" * len(sys.grown[::4096])
        return os.getpid()

    pids = await results(grow, 4, worker_memory=250)
    assert pids[0] == pids[1] != pids[2] == pids[3]
