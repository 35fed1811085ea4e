"""What becomes of results: iterators, files, and what cannot be read back, in every lane."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from importlib import import_module
from unittest.mock import Mock

import pytest

from lokki import Engine, RunFailed, current, flow, step
from lokki.resumption import ResumeOptions

pytestmark = pytest.mark.asyncio


class Gone(Exception):
    def __init__(self, code, detail):
        super().__init__(f"{code}: {detail}")


class Reluctant:
    """Can be read back in no process."""

    def __setstate__(self, state):
        raise RuntimeError("not again")

    def __init__(self, number):
        self.number = number


@dataclass
class Note:
    text: str


class Anything:
    """Has every attribute that it is asked for."""

    def __getattr__(self, name):
        if name.startswith("__") and name != "__next__":
            raise AttributeError(name)
        return lambda *args: None


class Tape:
    """A file of the user's own: it can be read, and it is an iterator."""

    def __init__(self, *lines):
        self.lines = list(lines)

    def read(self):
        return "".join(self.lines)

    def readline(self):
        return self.lines.pop(0) if self.lines else ""

    def __iter__(self):
        return self

    def __next__(self):
        if not self.lines:
            raise StopIteration
        return self.readline()


class Cursor:
    """An iterator of the user's own."""

    def __init__(self, count):
        self.left = count

    def __iter__(self):
        return self

    def __next__(self):
        if not self.left:
            raise StopIteration
        self.left -= 1
        return self.left


def in_lane(function, lane, **options):
    """A step that is called in a lane of this kind."""
    if lane == "async":

        async def called(*args):
            return function(*args)

        called.__name__ = function.__name__
        return step(called, **options)
    return step(function, executor=lane, **options)


LANES = pytest.mark.parametrize("lane", ["thread", "async", "process"])


@step
def numbers():
    return [0, 1, 2, 3]


@step
def kept(values):
    return [values, [(each.index, each.type, each.reason) for each in current().failures]]


# ---- what cannot be read back --------------------------------------------------------------------


def probed(number):
    return Gone(number, "away") if number == 2 else number


@LANES
async def test_a_result_that_cannot_be_read_back_is_a_failure_of_its_item(lane):
    probe = in_lane(probed, lane)

    @flow
    def probing():
        return numbers().map(probe, tolerated_failures=1).agg(kept)

    values, failures = await probing.run()
    assert values == [0, 1, 3]
    ((index, kind, reason),) = failures
    assert (index, kind) == (2, "PayloadError")
    assert reason.startswith("the result of step 'probed' cannot be read back: a value of type '")
    assert reason.endswith(
        "TypeError: Gone.__init__() missing 1 required positional argument: 'detail'"
    )


def mended(number):
    return [Reluctant(number)] if current().attempt == 1 else number


@LANES
async def test_it_is_tried_again_as_the_step_has_it(lane):
    mend = in_lane(mended, lane, retry={"retries": 1, "delay": 0})

    @flow
    def mending():
        return numbers().map(mend)

    assert await mending.run() == [0, 1, 2, 3]


@LANES
async def test_it_fails_at_once_where_the_policy_is_of_other_errors(lane):
    mend = in_lane(mended, lane, retry={"retries": 3, "delay": 0, "exceptions": (OSError,)})

    @flow
    def unmended():
        return numbers().next(mend)

    with pytest.raises(RunFailed, match=r"attempt 1.*list' contains a '.*Reluctant'") as failed:
        await unmended.run()
    assert 'raise RuntimeError("not again")' in failed.value.traceback


async def test_between_inner_steps_it_need_not_be_read_back():
    @step
    def made(number):
        return Reluctant(number)

    @step(retry={"retries": 2, "delay": 0})
    def used(value):
        if current().attempt < 3:
            raise OSError("once more")
        return value.number

    @flow
    def unread_between():
        return numbers().map(made).next(used)

    assert await unread_between.run() == [0, 1, 2, 3]


async def test_objects_come_as_copies_whether_they_were_read_back_early_or_late():
    made = []

    @step
    def noted(number):
        made.append(Note("a" * number * 30_000))
        return made[-1]

    @step
    def first(notes):
        assert not any(note is one for note in notes for one in made)
        return [len(note.text) for note in notes]

    @flow
    def noting():
        return numbers().map(noted).agg(first)

    assert await noting.run() == [0, 30_000, 60_000, 90_000]


# ---- iterators and files -------------------------------------------------------------------------


def binary():
    file = io.BytesIO()
    file.write(b"PNG")
    return file


KEPT = {
    "BytesIO": (binary, lambda file: file.getvalue() == b"PNG"),
    "StringIO": (lambda: io.StringIO("a\nb\n"), lambda file: file.read() == "a\nb\n"),
    "Tape": (lambda: Tape("a\n", "b\n"), lambda tape: tape.read() == "a\nb\n"),
    "Anything": (Anything, lambda anything: anything.whatever() is None),
    "Counter": (lambda: Counter("emu"), lambda counter: counter["e"] == 1),
    "OrderedDict": (lambda: OrderedDict(a=1), lambda ordered: ordered["a"] == 1),
    "deque": (lambda: deque([1, 2], 2), lambda queue: queue.maxlen == 2),
    "range": (lambda: range(3), lambda several: several.stop == 3),
    "dict_keys": (lambda: {"a": 1}.keys(), lambda keys: list(keys) == ["a"]),
    "dict_items": (lambda: {"a": 1}.items(), lambda items: list(items) == [("a", 1)]),
    "type": (lambda: Cursor, lambda kind: kind.__name__ == "Cursor"),
}


def pandas():
    """Imported where it is needed: each worker imports this file."""
    return import_module("pandas")


READ = {
    "generator": lambda: (n for n in "ab"),
    "csv.reader": lambda: csv.reader(["a", "b"]),
    "csv.DictReader": lambda: csv.DictReader(["x", "a", "b"]),
    "map": lambda: map(str.lower, "AB"),
    "islice": lambda: itertools.islice("abc", 2),
    "enumerate": lambda: enumerate("ab"),
    "Cursor": lambda: Cursor(2),
    "chunks": lambda: pandas().read_csv(io.StringIO("x\na\nb\n"), chunksize=1),
}


@LANES
async def test_what_is_no_iterator_keeps_its_type_and_content(lane):
    def keeping(name):
        def source():
            return KEPT[name][0]()

        def seen(value):
            return type(value).__name__, bool(KEPT[name][1](value))

        made, look = in_lane(source, lane), in_lane(seen, lane)

        @flow
        def keeping():
            return made().next(look)

        return keeping()

    async with Engine() as engine:  # one, so that a worker imports this file once
        found = {name: await engine.run(keeping(name)) for name in KEPT}
    assert found == {name: (name, True) for name in KEPT}


@LANES
async def test_an_iterator_is_read_to_its_end(lane):
    def reading(name):
        def source():
            return READ[name]()

        made = in_lane(source, lane)

        @flow
        def reading():
            return made().next(step(listed))

        return reading()

    async with Engine() as engine:
        found = {name: await engine.run(reading(name)) for name in READ}
    assert found == dict.fromkeys(READ, ("list", 2))


def listed(value):
    return type(value).__name__, len(value)


@LANES
@pytest.mark.parametrize("inner", [False, True])
async def test_a_retry_sees_all_that_an_iterator_gave(lane, inner):
    def source(number=0):
        return csv.reader(["1", "2"])

    def used(rows):
        seen = len(list(rows))
        if current().attempt == 1:
            raise OSError("once more")
        return seen

    made, use = in_lane(source, lane), in_lane(used, lane, retry={"retries": 1, "delay": 0})

    @flow
    def rereading():
        return numbers().map(made).next(use) if inner else made().next(use)

    assert await rereading.run() == ([2] * 4 if inner else 2)


@LANES
async def test_a_mock_is_no_iterator(lane):
    def source():
        return Mock(side_effect=ValueError)

    made = in_lane(source, lane)

    @flow
    def mocking():
        return made().next(step(name_of))

    assert await mocking.run() in ("Mock", "MagicMock")


def name_of(value):
    return type(value).__name__


async def test_an_open_file_is_refused_with_what_to_return_instead(tmp_path):
    path = tmp_path / "text"
    path.write_text("a\nb\n")
    files = []

    @step
    def opened():
        files.append(path.open())
        return files[-1]

    @flow
    def opening():
        return opened().next(kept)

    with pytest.raises(RunFailed, match=r"step 'opened'.*TextIOWrapper.*return the file's content"):
        await opening.run()
    files[0].close()


async def test_what_an_async_step_leaves_to_be_awaited_is_refused():
    async def few():
        yield 1

    @step(retry={"retries": 3, "delay": 0})
    async def unread():
        return few()

    @flow
    def leaving():
        return unread()

    told = r"attempt 1: DefinitionError: step 'unread' returned an async generator.*: write '(.*)'$"
    with pytest.raises(RunFailed, match=told) as failed:
        await leaving.run()
    found = re.search(told, str(failed.value))
    assert found is not None
    assert found[1] == "return [item async for item in …]"


# ---- a recorded result that a new map goes over --------------------------------------------------

RECORDED = {
    "set": lambda: {"ox", "emu", "hen"},
    "frozenset": lambda: frozenset({"ox", "emu", "hen"}),
    "dict": lambda: {"ox": 1, "emu": 2, "hen": 3},
    "deque": lambda: deque(["ox", "emu", "hen"]),
    "text": lambda: "ox",
    "number": lambda: 5,
    "table": lambda: pandas().DataFrame({"ox": [1]}),
}


def changing(kind, mapped, seen):
    """A flow whose second stage is a call, or a map that fails at its last item once."""

    @step
    def source():
        return RECORDED[kind]()

    @step
    def broken(value):
        raise OSError("down")

    @step
    def each(animal):
        seen.append(animal)
        if len(seen) == 3:
            raise OSError("once more")
        return animal.upper()

    @flow
    def changed():
        return source().map(each) if mapped else source().next(broken)

    return changed


@pytest.mark.parametrize("kind", ["set", "frozenset", "dict", "deque"])
async def test_a_forced_map_goes_over_a_recorded_result_in_one_order(tmp_path, kind):
    seen = []
    again = ResumeOptions(from_stage="each", force=True)
    async with Engine(journal=tmp_path / "lokki.db", concurrency=1) as engine:
        run = engine.submit(changing(kind, False, seen))
        with pytest.raises(RunFailed, match="down"):
            await run.result()
        flow = changing(kind, True, seen)
        handle = await engine.resume(run.run_id, flow, again)
        with pytest.raises(RunFailed, match="once more"):
            await handle.result()
        handle = await engine.resume(run.run_id, flow)
        assert sorted(await handle.result()) == ["EMU", "HEN", "OX"]
    assert seen == [*seen[:2], seen[2], seen[2]]
    assert len({*seen}) == 3


@pytest.mark.parametrize("kind", ["text", "number", "table"])
async def test_a_forced_map_over_what_is_no_source_is_refused_as_in_a_new_run(tmp_path, kind):
    again = ResumeOptions(from_stage="each", force=True)
    async with Engine(journal=tmp_path / "lokki.db") as engine:
        run = engine.submit(changing(kind, False, []))
        with pytest.raises(RunFailed, match="down"):
            await run.result()
        handle = await engine.resume(run.run_id, changing(kind, True, []), again)
        with pytest.raises(RunFailed, match=r"TypeError: step 'source' returned .*\.map\(each\)"):
            await handle.result()
        assert engine.journal.run(run.run_id).status == "failed"
