"""Large parameters: beside the journal, so that a run's row stays small, and read for a resume."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing

import anyio
import pytest

from lokki import Engine, JournalError, PayloadError, RunFailed, flow, step
from lokki.backends import recorded
from lokki.cli.removal import collect
from lokki.config import load
from lokki.model.run_filter import RunFilter
from lokki.store.history import read_history
from lokki.store.memory import MemoryStore

LARGE = random.Random(3).randbytes(300_000)
closed = True


@step
def measured(data):
    if closed:
        raise OSError("closed")
    return len(data)


@flow
def measuring(data: bytes, name: str = "x"):
    return measured(data)


@flow
def counting(numbers: list[int]):
    return measured(numbers)


@pytest.fixture(autouse=True)
def shut():
    global closed
    closed = True


def row_size(journal):
    with closing(sqlite3.connect(journal)) as connection:
        ((size,),) = connection.execute("SELECT length(params) + length(params_json) FROM runs")
    return size


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("flow", "params", "result"),
    [
        (measuring, {"data": LARGE}, len(LARGE)),
        (counting, {"numbers": list(range(50_000))}, 50_000),
    ],
    ids=["bytes", "numbers"],
)
async def test_a_run_with_large_parameters_has_a_small_row_and_can_be_resumed(
    journal, flow, params, result
):
    global closed
    async with Engine() as engine:
        handle = engine.submit(flow, params)
        with pytest.raises(RunFailed, match="closed"):
            await handle.result()
    assert row_size(journal) < 2_000
    closed = False
    async with Engine() as engine:
        assert await (await engine.resume(handle.run_id, flow)).result() == result
    assert len(files(journal.parent / "payloads")) == 1


@pytest.mark.asyncio
async def test_they_are_shown_by_their_beginning(journal):
    async with Engine() as engine:
        with pytest.raises(RunFailed):
            await engine.run(counting, {"numbers": list(range(50_000))})
    with read_history(journal) as history:
        told = recorded.run(history, history.find("last"))
        listed = recorded.page(history, RunFilter()).runs[0]
    for shape in (told, listed):
        assert shape.params_cut
        assert shape.params["numbers"].startswith("[0, 1, 2, 3, ")
        assert shape.params["numbers"].endswith("… (cut: it has 338,890 characters)")


@pytest.mark.asyncio
async def test_small_ones_are_in_the_row_and_whole(journal):
    async with Engine() as engine:
        with pytest.raises(RunFailed):
            await engine.run(measuring, {"data": b"x", "name": "y" * 2_000})
    with read_history(journal) as history:
        told = recorded.run(history, history.find("last"))
    assert not told.params_cut
    assert told.params["name"] == "y" * 2_000
    assert not (journal.parent / "payloads").exists()


@pytest.mark.asyncio
async def test_long_ones_of_a_journal_of_before_are_cut_where_they_are_shown(journal):
    text = json.dumps({"data": "z" * 100_000, "name": "x"})
    async with Engine() as engine:
        with pytest.raises(RunFailed):
            await engine.run(measuring, {"data": b"x"})
        engine.journal.commits.call(
            "", lambda c: c.execute("UPDATE runs SET params_json = ?", (text,)).rowcount
        ).result()
        told = recorded.run(engine.journal.history, engine.journal.history.find("last"))
    assert told.params_cut
    assert told.params["name"] == "x"
    assert told.params["data"] == "z" * 200 + "… (cut: it has 100,000 characters)"


@pytest.mark.asyncio
async def test_damaged_ones_are_refused_and_removed_ones_are_gone(journal):
    async with Engine() as engine:
        handle = engine.submit(measuring, {"data": LARGE})
        with pytest.raises(RunFailed):
            await handle.result()
    (payload,) = files(journal.parent / "payloads")
    right = payload.read_bytes()
    payload.write_bytes(right[:-20] + bytes(20))
    async with Engine() as engine:
        with pytest.raises(
            PayloadError, match=rf"parameters of run {handle.run_id} cannot be read"
        ):
            await engine.resume(handle.run_id, measuring)
    await anyio.to_thread.run_sync(collect, load(), None, None, 0, False)
    assert files(journal.parent / "payloads") == []


@pytest.mark.asyncio
async def test_a_run_of_an_id_that_is_taken_leaves_nothing_behind():
    store = MemoryStore()
    async with Engine(payloads=store) as engine:
        for data in (LARGE, LARGE[1:]):
            with pytest.raises((RunFailed, JournalError)) as raised:
                await engine.run(measuring, {"data": data}, run_id="taken")
        assert "there is already a run taken" in str(raised.value)
        assert len(await store.list("measuring")) == 1
        row = await engine.recorded("taken")
    assert json.loads(row.params_json)["name"] == "x"


def test_the_command_line_resumes_with_them(tmp_path):
    (tmp_path / "flows.py").write_text(
        "import os, sys\n"
        "from lokki import flow, main, step\n"
        "@step\n"
        "def total(numbers):\n"
        "    if not os.path.exists('open'):\n"
        "        raise OSError('closed')\n"
        "    return sum(numbers)\n"
        "@flow\n"
        "def adding(numbers: list[int]):\n"
        "    return total(numbers)\n"
        "main(adding)\n"
    )
    (tmp_path / "params.json").write_text(json.dumps({"numbers": list(range(60_000))}))

    def command(*arguments):
        return subprocess.run(
            [sys.executable, "flows.py", *arguments],
            cwd=tmp_path,
            env=os.environ | {"LOKKI_LOCAL_JOURNAL": str(tmp_path / "lokki.db")},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    assert command("run", "--params", "params.json").returncode == 1
    assert row_size(tmp_path / "lokki.db") < 2_000
    (tmp_path / "open").touch()
    resumed = command("resume", "last")
    assert (resumed.returncode, resumed.stdout.strip()) == (0, str(sum(range(60_000))))
    again = command("rerun", "last")
    assert (again.returncode, again.stdout.strip()) == (0, str(sum(range(60_000)))), again.stderr
