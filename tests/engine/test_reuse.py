"""Results of steps with a cache stand for calls of later runs, in every kind of lane."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import closing
from math import inf

import anyio
import pytest
from journals import ask

from lokki import DefinitionError, Engine, Secret, flow, step
from lokki.cli.removal import collect, collect_cache
from lokki.config import load
from lokki.engine.events import StageFinished
from lokki.resumption import ResumeOptions
from lokki.store.connection import Reader
from lokki.store.history import read_history
from lokki.store.items import Items

LEVEL = 1
ALSO = {"offset": 0}


def noted(what: str) -> None:
    """Note a call, from any process."""
    with open(os.environ["CALLED"], "a") as file:
        file.write(f"{what}\n")


@pytest.fixture(autouse=True)
def called(tmp_path, monkeypatch):
    """The calls since this was last asked, by what was noted."""
    path = tmp_path / "called"
    monkeypatch.setenv("CALLED", str(path))

    def since():
        calls = Counter(path.read_text().split()) if path.exists() else Counter()
        path.unlink(missing_ok=True)
        return dict(calls)

    return since


async def run(what, **params):
    async with Engine() as engine:
        return await engine.run(what, params)


async def reused(what, **params):
    """How many results each stage reused, as its events say."""
    async with Engine() as engine:
        handle = engine.submit(what, params)
        await handle.result()
        events = [each async for each in handle.events()]
        return [each.counts.reused for each in events if isinstance(each, StageFinished)]


@step
def numbers(count):
    return list(range(count))


@step(cache="1h")
def in_thread(number):
    noted("in_thread")
    return {"squared": number * number, "level": LEVEL + ALSO["offset"]}


@step(cache="1h", executor="process")
def in_process(number):
    noted("in_process")
    return {"squared": number * number}


@step(cache="1h")
async def on_loop(number):
    noted("on_loop")
    await asyncio.sleep(0)
    return {"squared": number * number}


@step(cache="1h")
def total(values):
    noted("total")
    return sum(each["squared"] for each in values)


@flow
def threads(count: int = 4):
    return numbers(count).map(in_thread).agg(total)


@flow
def processes(count: int = 4):
    return numbers(count).map(in_process).agg(total)


@flow
def loops(count: int = 4):
    return numbers(count).map(on_loop).agg(total)


@pytest.mark.asyncio
@pytest.mark.parametrize("what", [threads, processes, loops], ids=lambda what: what.name)
async def test_a_run_reuses_the_results_of_another(what, called):
    name = {"threads": "in_thread", "processes": "in_process", "loops": "on_loop"}[what.name]
    assert await run(what) == 14
    assert called() == {name: 4, "total": 1}
    assert await reused(what) == [0, 4, 1]
    assert called() == {}
    assert await run(what, count=5) == 30
    assert called() == {name: 1, "total": 1}


@pytest.mark.asyncio
async def test_runs_reuse_results_in_a_journal_on_postgresql(called, postgres, monkeypatch):
    place = postgres.journal()
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", place.url)
    assert await run(threads, count=500) == await run(threads, count=500)
    assert called() == {"in_thread": 500, "total": 1}
    await anyio.to_thread.run_sync(collect_cache, load(), inf, False)
    assert ask(place, "SELECT count(*) FROM cached") == [(0,)]


@flow
def slowly():
    return numbers(4).map(in_thread, rate_limit="1/h")


@pytest.mark.asyncio
async def test_what_is_reused_does_not_count_for_the_rate_of_a_map(called):
    await run(threads)
    called()
    with anyio.fail_after(30):
        assert len(await run(slowly)) == 4
    assert called() == {}


@step
def plus_one(value):
    noted("plus_one")
    return value["squared"] + 1


@step(cache="1h")
def doubled(value):
    noted("doubled")
    if value == 10:
        raise ValueError("ten")
    return 2 * value


@step(cache="1h", executor="process")
def doubled_there(value):
    noted("doubled")
    return 2 * value


@flow
def chained(count: int = 4):
    return numbers(count).map(in_thread).next(plus_one).next(doubled).agg(listed)


@flow
def chained_there(count: int = 4):
    return numbers(count).map(in_process).next(plus_one_there).next(doubled_there).agg(listed)


@step(executor="process")
def plus_one_there(value):
    noted("plus_one")
    return value["squared"] + 1


@step
def listed(values):
    return values


@pytest.mark.asyncio
@pytest.mark.parametrize("what", [chained, chained_there], ids=lambda what: what.name)
async def test_inner_steps_are_reused_each_by_itself(what, called, journal):
    first = "in_thread" if what is chained else "in_process"
    assert await run(what, count=3) == [2, 4, 10]
    assert called() == {first: 3, "plus_one": 3, "doubled": 3}
    assert await reused(what, count=3) == [0, 3, 0]
    assert called() == {"plus_one": 3}
    with read_history(journal) as history:
        stage = history.stages(history.find("last").id)[1]
        assert [each.reused for each in history.inner(stage, ("a", "b", "c"))] == [3, 0, 3]
        with closing(Reader(journal)) as read:
            assert [each.reused for each in Items(read).page(stage)] == [True] * 3


@pytest.mark.asyncio
async def test_a_failed_item_is_not_cached_but_the_steps_before_are(called):
    for _ in range(2):
        called()
        async with Engine(concurrency=1) as engine:  # one by one: the item that fails is the last
            with pytest.raises(Exception, match="ten"):
                await engine.run(chained, {"count": 4})
    assert called() == {"plus_one": 4, "doubled": 1}  # the step between keeps nothing


@pytest.mark.asyncio
async def test_what_the_function_uses_of_its_module_is_part_of_the_key(called, monkeypatch):
    await run(threads)
    called()
    monkeypatch.setattr("test_reuse.LEVEL", 2)
    await run(threads)
    assert called()["in_thread"] == 4
    monkeypatch.setitem(ALSO, "offset", 7)
    await run(threads)
    assert called()["in_thread"] == 4


@step(cache="1h")
def keyed(number, factor=1, token=None):
    noted("keyed")
    return number * factor


@flow
def with_arguments(factor: int = 1, token: Secret[str] = Secret("none")):
    return numbers(2).map(keyed)


@pytest.mark.asyncio
async def test_arguments_and_secrets_are_part_of_the_key_which_contains_none(called, journal):
    assert await run(with_arguments) == [0, 1]
    assert await run(with_arguments, factor=3) == [0, 3]
    assert called() == {"keyed": 4}
    assert await run(with_arguments, factor=3) == [0, 3]
    assert called() == {}
    await run(with_arguments, token=Secret("hush-hush"))
    await run(with_arguments, token=Secret("hush-hush"))
    assert called() == {"keyed": 2}
    everything = b"".join(path.read_bytes() for path in journal.parent.iterdir() if path.is_file())
    assert b"hush-hush" not in everything


@step
def groups():
    return [{"b", "a", "c"}, {"z": 1, "y": {"q", "r"}}]


@step(cache="1h")
def sized(group):
    noted("sized")
    return len(group)


@flow
def of_sets():
    return groups().map(sized)


def test_sets_are_the_same_in_every_process(tmp_path, called):
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", "import test_reuse; test_reuse.of_sets.run_sync()"],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
    assert called() == {"sized": 2}


@step(cache="1h")
def large(number):
    noted("large")
    return os.urandom(300_000)


@flow
def wide():
    return numbers(2).map(large)


@pytest.mark.asyncio
async def test_a_large_result_outlives_its_run_and_is_made_again_when_it_is_gone(called, journal):
    made = await run(wide)
    await anyio.to_thread.run_sync(collect, load(), None, None, 0, False)
    assert await run(wide) == made
    assert called() == {"large": 2}
    kept = journal.parent / "payloads" / "cache.d"
    shutil.rmtree(kept)
    async with Engine() as engine:
        handle = engine.submit(wide)
        again = await handle.result()
    assert again != made
    assert called() == {"large": 2}
    for path in kept.rglob("*.gz"):
        path.write_bytes(b"damaged")
    await run(wide)
    assert called() == {"large": 2}
    async with Engine() as engine:  # it has copies of its own
        assert await (await engine.resume(handle.run_id, wide)).result() == again


@pytest.mark.asyncio
async def test_without_the_cache_results_are_replaced(called):
    first = await run(wide)
    async with Engine() as engine:
        second = await engine.run(wide, no_cache=True)
    assert called() == {"large": 4}
    assert second != first
    assert await run(wide) == second
    assert called() == {}


@pytest.mark.asyncio
async def test_a_run_without_the_cache_stays_so_when_it_is_resumed(called):
    await run(threads, count=2)
    async with Engine() as engine:
        handle = engine.submit(threads, {"count": 2}, no_cache=True)
        await handle.result()
        called()
        again = await engine.resume(handle.run_id, threads, ResumeOptions(from_stage="in_thread"))
        await again.result()
        assert called() == {"in_thread": 2, "total": 1}
        again = await engine.resume(
            (await _finished(engine, threads, 2)).run_id,
            threads,
            ResumeOptions(from_stage="total", no_cache=True),
        )
        called()
        await again.result()
        assert called() == {"total": 1}


async def _finished(engine, what, count):
    handle = engine.submit(what, {"count": count})
    await handle.result()
    return handle


@pytest.mark.asyncio
async def test_old_results_are_not_used_and_are_removed(called, journal):
    await run(threads)
    called()
    ask(journal, "UPDATE cached SET made = made - 3700 WHERE step = 'in_thread'")
    assert await reused(threads) == [0, 0, 1]
    assert called() == {"in_thread": 4}
    ask(journal, "UPDATE cached SET expires = 1 WHERE step = 'in_thread'")
    await anyio.to_thread.run_sync(collect_cache, load(), None, False)
    assert ask(journal, "SELECT DISTINCT step FROM cached") == [("total",)]


@pytest.mark.asyncio
async def test_all_results_are_removed_with_their_payloads(called, journal):
    await run(wide)
    await anyio.to_thread.run_sync(collect_cache, load(), inf, True)
    assert ask(journal, "SELECT count(*) FROM cached") == [(2,)]
    await anyio.to_thread.run_sync(collect_cache, load(), inf, False)
    assert ask(journal, "SELECT count(*) FROM cached") == [(0,)]
    assert not (journal.parent / "payloads" / "cache.d").exists()


def test_the_version_is_part_of_the_key(called):
    def again(number):
        noted("again")
        return number

    for version in (1, 2, 2):
        made = step(cache="1h", cache_version=version)(again)

        @flow
        def versioned(made=made):
            return numbers(1).map(made)

        versioned.run_sync()
    assert called() == {"again": 2}


def test_what_a_function_takes_from_around_it_is_part_of_the_key_or_is_refused(called):
    def made(factor):
        @step(cache="1h")
        def scaled(number):
            noted("scaled")
            return number if isinstance(factor, object) and not factor else factor * number

        @flow
        def scaling():
            return numbers(1).map(scaled)

        return scaling

    for factor in (2, 3, 3):
        made(factor).run_sync()
    assert called() == {"scaled": 2}
    with pytest.raises(DefinitionError, match="'factor' is a Engine of the function around it"):
        made(Engine()).run_sync()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"cache": "7 days"}, "cache must be a duration such as"),
        ({"cache": 7}, "cache must be a duration such as"),
        ({"cache": "9999w"}, "cache must be a duration such as"),
        ({"cache_version": 2}, "add cache='7d'"),
        ({"cache": "7d", "cache_version": 2.5}, "cache_version must be a number or a text"),
    ],
)
def test_wrong_options_are_refused(options, why):
    with pytest.raises(DefinitionError, match=why):
        step(**options)(lambda_like)


def lambda_like(value):
    return value
