"""Process steps give what thread steps give, however the program was started."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import textwrap

import pytest

UNITS = """
UNIT = "cm"
"""
KINDS = """
import decimal, functools, multiprocessing, pickle, sys, threading, typing, warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import units
from lokki import Engine, flow, main, step

units.UNIT = "mm"
warnings.filterwarnings("error", message="told")
decimal.getcontext().prec = 5
LOCK = threading.Lock()
Metres = typing.NewType("Metres", float)

@functools.lru_cache
def squared(n):
    return n * n

def helper(n):
    return squared(n)

@dataclass
class Node:
    value: int
    kind: type = Metres
    after: list["Node"] = field(default_factory=list)

    @functools.cached_property
    def doubled(self):
        return 2 * self.value

def seen(n, shown, spawn):
    try:
        warnings.warn("told")
    except UserWarning:
        warned = True
    with LOCK:
        spawned = spawn(n)
    node = pickle.loads(pickle.dumps(Node(n, after=[Node(1)])))
    assert type(node) is Node and node.kind is Metres
    return [units.UNIT, warned, spawned, squared(n), node.doubled, shown(n), sys.argv[-1],
            decimal.getcontext().prec]

@step
def begin():
    return [], Node(7)

def in_spawned(n):
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(helper, n).result()

def looks(pair, shown, spawn=helper):
    rows, node = pair
    assert type(node) is Node
    return [*rows, seen(3, shown, spawn)], node

@step
def thread(pair, shown):
    return looks(pair, shown)

@step(executor="process")
def process(pair, shown):
    return looks(pair, shown, in_spawned)

@step(timeout_seconds=60)
def timed(pair, shown):
    return looks(pair, shown)

def closing(offset):
    @step(executor="process")
    def closure(pair, shown):
        rows, node = looks(pair, shown)
        return rows, Node(node.value + offset)

    return closure

def plain(pair, shown):
    return looks(pair, shown)

renamed = step(executor="process")(plain)

@step
def end(pair):
    rows, node = pair
    assert type(node) is Node and node == Node(8)
    return rows

@flow
def kinds():
    show = {"shown": lambda n: f"<{n} {units.UNIT}>"}
    chain = begin().next(thread, **show)
    for each in (process, timed, closing(1), renamed):
        chain = chain.next(each, **show)
    return chain.next(end)
"""
RUN = """
if __name__ == "__main__":
    main(kinds)
"""
RUN_SYNC = """
if __name__ == "__main__":
    print(kinds.run_sync())
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with ``units.py``, and the file of flows in a package and outside of one."""
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path / "pkg"):
        folder.mkdir(exist_ok=True)
        (folder / "kinds.py").write_text(KINDS + RUN)
    (tmp_path / "pkg" / "__init__.py").touch()
    (tmp_path / "units.py").write_text(UNITS)
    (tmp_path / "synced.py").write_text(KINDS + RUN_SYNC)
    return tmp_path


def python(*words: object, **options):
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, check=False, **options
    )


@pytest.mark.parametrize(
    "command",
    [
        "kinds.py run",
        "synced.py",
        "-m pkg.kinds run",
        "-m lokki run kinds.py",
        "-m lokki run pkg.kinds",
        "-m lokki run pkg/kinds.py",
    ],
)
def test_all_kinds_of_steps_see_the_same(project, command):
    ended = python(*command.split())
    assert ended.returncode == 0, ended.stderr
    rows = ast.literal_eval(ended.stdout)
    argument = command.split()[-1]
    assert rows == [["mm", True, 9, 9, 6, "<3 mm>", argument, 5]] * 5, ended.stderr


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a script, given as its text, and give what it has printed."""
    monkeypatch.chdir(tmp_path)

    def ran(text: str, *options: str, code: int = 0):
        (tmp_path / "script.py").write_text(STEPS + textwrap.dedent(text))
        ended = python(*options, "script.py")
        assert ended.returncode == code, ended.stderr
        return ended.stdout if code == 0 else ended.stderr

    return ran


STEPS = """
from lokki import Engine, flow, main, step

process = step(executor="process")

def of(each, *values, **constants):
    @flow
    def calling():
        return begin().map(each, **constants)

    @step
    def begin():
        return list(values)

    return calling
"""


def test_what_is_set_after_the_import_reaches_the_worker(run):
    told = run(
        """
        from argparse import Namespace
        UNIT, RATES, CLIENT, READY = "cm", {}, None, False

        def told(n):
            return [n, UNIT, RATES]

        @process
        def plain(n):
            return told(n)

        @process
        def parsed(n):
            return [n, args.factor]

        @process
        def connected(n):
            return [n, READY, CLIENT]

        @process
        def lazy(n):
            global READY
            first, READY = not READY, True
            return first

        if __name__ == "__main__":
            import sys
            UNIT = "mm"
            RATES["eur"] = 1.5
            args = Namespace(factor=3)

            @process
            def under(n):
                return [n, UNIT, args.factor]

            for each in (plain, parsed, under, connected):
                print(of(each, 1).run_sync())
            UNIT = "km"
            print(of(plain, 1).run_sync())
            READY, CLIENT = True, sys.stdout
            print(of(connected, 1).run_sync())
        """
    )
    assert [ast.literal_eval(line) for line in told.splitlines()] == [
        [[1, "mm", {"eur": 1.5}]],
        [[1, 3]],
        [[1, "mm", 3]],
        [[1, False, None]],
        [[1, "km", {"eur": 1.5}]],
        [[1, False, None]],
    ]


def test_what_is_set_reaches_a_step_whose_decorator_is_of_another_module(run, tmp_path):
    (tmp_path / "decorators.py").write_text(
        """
import functools

def twice(function):
    @functools.wraps(function)
    def wrapper(n):
        return [function(n), function(n)]
    return wrapper
"""
    )
    told = run(
        """
        import decorators
        UNIT = "cm"

        @process
        @decorators.twice
        def told(n):
            return f"{n} {UNIT}"

        if __name__ == "__main__":
            UNIT = "mm"
            print(of(told, 1).run_sync())
        """
    )
    assert told == "[['1 mm', '1 mm']]\n"


def test_a_worker_runs_the_script_once_whatever_its_steps_ask_for(run):
    told = run(
        """
        import asyncio
        open("imports", "a").write("x")

        @process
        def named(n):
            return __name__, len(open("imports").read())

        async def run():
            async with Engine(processes=1) as engine:
                return [await engine.run(of(named, 1)) for _ in range(2)]

        if __name__ == "__main__":
            print(asyncio.run(run()))
        """
    )
    assert ast.literal_eval(told) == [[("__mp_main__", 2)]] * 2


@pytest.mark.parametrize(
    "ending",
    [
        "print(of(told, 1, 2).run_sync())",
        "import asyncio; print(asyncio.run(of(told, 1, 2).run()))",
        "sys.argv.append('run'); main(of(told, 1, 2))",
    ],
)
def test_a_script_without_a_guard_runs_its_flow_once(run, ending):
    told = run(
        f"""
        import sys
        import threading
        LOCK = threading.Lock()
        open("imports", "a").write("x")

        @process
        def told(n):
            with LOCK:
                return [n, len(open("imports").read())]

        {ending}
        print("the end", file=sys.stderr)
        """
    )
    (one, imports), (two, later) = ast.literal_eval(told)
    assert (one, two) == (1, 2)
    assert {imports, later} <= {2, 3}


def test_flows_that_run_one_after_the_other_without_a_guard(run):
    told = run(
        """
        @process
        def one(n):
            return n + 1
        print(of(one, 1).run_sync())

        @process
        def two(n):
            return n + 2
        print(of(two, 1).run_sync())
        """
    )
    assert told == "[2]\n[3]\n"


def test_a_spawned_process_that_would_run_the_flow_again_is_reported(run):
    told = run(
        """
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        @step
        def pooled(n):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                return pool.submit(abs, n).result()

        print(of(pooled, 1).run_sync())
        """,
        code=1,
    )
    assert 'run it under:  if __name__ == "__main__":' in told


def test_an_error_of_the_import_is_the_calls_with_its_traceback(run):
    told = run(
        """
        import os

        if os.environ.setdefault("ENGINE", str(os.getpid())) != str(os.getpid()):
            {}["missing"]

        @process
        def never(n):
            return n

        if __name__ == "__main__":
            import sys
            sys.argv.append("run")
            main(of(never, 1))
        """,
        code=1,
    )
    assert "KeyError: a worker process cannot import " in told
    assert "script.py: 'missing'" in told
    assert '{}["missing"]' in told
    assert "lokki/engine" not in told


def test_steps_are_found_whatever_name_or_decorator_they_have(run):
    told = run(
        """
        import functools
        import threading
        LOCK = threading.RLock()

        def locked(function):
            @functools.wraps(function)
            def wrapper(*args):
                with LOCK:
                    return function(*args)
            return wrapper

        def adding(offset):
            lock = threading.Lock()
            def add(n):
                with lock, LOCK:
                    return n + offset
            return add

        @process
        @locked
        def wrapped(n):
            return n + 1

        @process
        @functools.lru_cache
        def cached(n):
            with LOCK:
                return n + 2

        three = process(adding(3))
        four = process(adding(4))

        def five(n):
            with LOCK:
                return n + 5
        five_step = process(five)

        class Sums:
            @staticmethod
            def six(n):
                with LOCK:
                    return n + 6
            @classmethod
            def seven(cls, n):
                with LOCK:
                    return cls.six(n) + 1
            def __init__(self, by):
                self.by = by
            def eight(self, n):
                with LOCK:
                    return n + self.by

        several = []
        for number in (9, 10):
            @process
            def same_name(n, number=number):
                with LOCK:
                    return n + number
            several.append(same_name)

        def recursive(limit):
            def inner(n):
                with LOCK:
                    pass
                return n if n >= limit else inner(n + 1)
            return inner

        if __name__ == "__main__":
            steps = [wrapped, cached, three, four, five_step, process(Sums.six)]
            steps += [process(Sums.seven), process(Sums(8).eight), *several, process(recursive(11))]
            each = process(recursive(12))
            for each in [*steps, each]:
                print(*of(each, 0).run_sync())
        """
    )
    assert told.split() == [str(number) for number in range(1, 12)] + ["12"]


def test_generators_of_random_numbers_are_each_workers_own(run):
    told = run(
        """
        import asyncio, os, random
        from pathlib import Path
        own = random.Random()

        @process
        def drawn(n):
            Path(str(n)).touch()
            while not Path(str(1 - n)).exists():
                pass
            return own.random(), random.random(), os.getpid()

        async def run():
            async with Engine(processes=2) as engine:
                return await engine.run(of(drawn, 0, 1))

        if __name__ == "__main__":
            print(asyncio.run(run()))
        """
    )
    first, second = ast.literal_eval(told)
    assert len({*first, *second}) == 6


def test_a_program_without_a_file_sends_functions_by_value(tmp_path):
    text = """
import functools, typing
UNIT = "mm"
Metres = typing.NewType("Metres", int)
@functools.lru_cache(maxsize=3)
def squared(n): return n * n
class Length:
    def __init__(self, n): self.n = n
    @functools.cached_property
    def doubled(self): return Metres(2 * self.n)
def told(n): return f"{n} {UNIT}"
@process
def begun(n): return Length(squared(n))
@process
def ended(length):
    assert type(length) is Length
    return told(length.doubled), Metres.__name__, squared.cache_parameters()["maxsize"]
@flow
def typed(): return begun(3).next(ended)
print(typed.run_sync())
"""
    ended = python("-c", STEPS + text, cwd=tmp_path)
    assert ended.stdout == "('18 mm', 'Metres', 3)\n", ended.stderr


def test_workers_have_the_options_of_the_interpreter(run):
    told = run(
        """
        @process
        def unchecked(n):
            assert False
            return n

        if __name__ == "__main__":
            print(of(unchecked, 1).run_sync())
        """,
        "-O",
    )
    assert told == "[1]\n"


def test_code_that_changes_while_a_run_goes_on_is_left_to_later_runs(run, tmp_path):
    (tmp_path / "units.py").write_text("def convert(n): return f'{n} cm'")
    told = run(
        """
        import os, signal
        from pathlib import Path
        import units

        def converted(n):
            return units.convert(n)

        @process
        def before(n):
            return [converted(n)]

        @step
        def changed(row):
            Path("units.py").write_text("def convert(n): return f'{n} inches'")
            Path("script.py").write_text("def converted(n): return 'changed'")
            return row

        @step(executor="process", retry={"retries": 1, "delay": 0})
        def after(row):
            import lokki
            if lokki.current().attempt == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return [*row, converted(2)]

        @flow
        def changing():
            return begin(1).next(before).next(changed).next(after)

        @step
        def begin(n):
            return n

        if __name__ == "__main__":
            print(changing.run_sync())
        """
    )
    assert ast.literal_eval(told) == ["1 cm", "2 cm"]


def test_code_that_changes_while_a_worker_starts_is_left_to_later_runs(run, tmp_path):
    (tmp_path / "units.py").write_text("def convert(n): return f'{n} cm'")
    (tmp_path / "editor.py").write_text(
        "import os, pathlib\n"
        "if 'BEGUN' in os.environ: pathlib.Path('units.py').write_text('def conv')\n"
    )
    told = run(
        """
        import os
        import editor  # in a worker, it writes half of the next module
        import units

        @process
        def converted(n):
            return units.convert(n)

        if __name__ == "__main__":
            os.environ["BEGUN"] = "1"
            print(of(converted, 1).run_sync())
        """
    )
    assert ast.literal_eval(told) == ["1 cm"]


def test_a_worker_has_the_code_that_the_engine_has_imported(run, tmp_path):
    (tmp_path / "units.py").write_text("def convert(n): return f'{n} cm'")
    told = run(
        """
        import os
        from pathlib import Path
        import units

        @process
        def converted(n):
            return units.convert(n)

        if __name__ == "__main__":
            before = of(converted, 1).run_sync()
            Path("units.py").write_text("def convert(n): return f'{n} inches'")
            print(before + of(converted, 2).run_sync())
        """
    )
    assert ast.literal_eval(told) == ["1 cm", "2 cm"]


def test_a_worker_passes_over_finders_that_find_nothing(run):
    told = run(
        """
        import sys

        class Old:
            "A finder of Python 3.3: later versions pass over it, or ask it in the old way."
            def find_module(self, name, path=None):
                return None

        sys.meta_path.append(Old())

        @process
        def without(n):
            try:
                import nothing_of_this_name
            except ImportError as error:
                return error.name

        if __name__ == "__main__":
            print(of(without, 1).run_sync())
        """
    )
    assert told == "['nothing_of_this_name']\n"


def test_a_worker_of_former_code_runs_no_later_code(run, tmp_path):
    (tmp_path / "units.py").write_text("def convert(n): return f'{n} cm'")
    told = run(
        """
        import asyncio, importlib, os, sys
        from pathlib import Path
        import units

        @process
        def converted(n):
            return units.convert(n), os.getpid()

        async def run():
            async with Engine(processes=1) as engine:
                rows = []
                for text in ("cm", "cm", "inches"):
                    if text != "cm":
                        Path("units.py").write_text(f"def convert(n): return f'{{n}} {text}'")
                        importlib.reload(units)
                    rows += await engine.run(of(converted, 1))
                return rows

        if __name__ == "__main__":
            print(asyncio.run(run()))
        """
    )
    (one, first), (two, second), (three, third) = ast.literal_eval(told)
    assert (one, two, three) == ("1 cm", "1 cm", "1 inches")
    assert first == second != third


PLUGIN = """
import random, threading
from dataclasses import dataclass
from lokki import flow, step

LOCK = threading.Lock()
LIMIT = [1]

@dataclass
class Row:
    n: int

@step(executor="process")
def made(n):
    with LOCK:
        return Row(n), LIMIT

@step(executor="process")
def read(pair):
    row, limit = pair
    assert type(row) is Row  # rewritten by no pytest in the worker
    return row, limit, __name__

@flow
def plugged():
    return made(1).next(read)
"""


def loaded(file, name):
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_a_module_is_imported_from_its_file_if_its_name_is_no_path(tmp_path):
    file = tmp_path / "my-plugin.py"
    file.write_text(PLUGIN)
    module = loaded(file, "a_plugin")
    try:
        module.LIMIT.append(2)
        assert module.plugged.run_sync() == (module.Row(1), [1, 2], "a_plugin")
    finally:
        del sys.modules["a_plugin"]


def test_another_module_of_the_same_name_on_the_path_is_not_taken(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "twofold.py").write_text(PLUGIN.replace("(n), LIMIT", "(n), 'other'"))
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    (tmp_path / "twofold.py").write_text(PLUGIN)
    module = loaded(tmp_path / "twofold.py", "twofold")
    try:
        assert module.plugged.run_sync() == (module.Row(1), [1], "twofold")
    finally:
        del sys.modules["twofold"]


def test_a_function_whose_code_is_not_the_workers_is_sent_by_value(tmp_path):
    file = tmp_path / "edited.py"
    file.write_text(PLUGIN.replace("with LOCK:", "if n:"))
    module = loaded(file, "edited")
    try:
        file.write_text("import time\ntime.sleep(0)\n" + PLUGIN.replace("with LOCK:", "if not n:"))
        assert module.plugged.run_sync() == (module.Row(1), [1], "edited")
    finally:
        del sys.modules["edited"]


def test_a_step_in_a_worker_may_run_a_flow_with_process_steps(run):
    told = run(
        """
        import threading
        LOCK = threading.Lock()

        @process
        def inner(n):
            with LOCK:
                return n + 1

        @process
        def outer(n):
            return of(inner, n, n).run_sync()

        if __name__ == "__main__":
            print(of(outer, 1).run_sync())
        """
    )
    assert told == "[[2, 2]]\n"


def test_a_package_that_is_started_runs_its_main_module_in_workers(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "units.py").write_text(UNITS)
    (tmp_path / "app" / "__main__.py").write_text(
        "import threading\nfrom . import units\nunits.UNIT = 'mm'\nLOCK = threading.Lock()\n"
        + STEPS
        + "@process\ndef told(n):\n    with LOCK: return units.UNIT\nmain(of(told, 1))"
    )
    ended = python("-m", "app", "run", cwd=tmp_path)
    assert ended.stdout == "['mm']\n", ended.stderr
