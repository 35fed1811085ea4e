"""The fork server starts while the engine is imported, in a program that will need it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from serving import until

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only"),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core has no time to spare"),
]

PROGRAM = """
import os, sys
from pathlib import Path
from time import sleep
from lokki import flow, step

def children():
    found = [each.read_text() for each in Path("/proc/self/task").glob("*/children")]
    return sorted(map(int, " ".join(found).split()))

@step
def numbers():
    return [1, 2]

@step(executor={executor!r})
def seen(number):
    return os.getppid(), os.environ.get("CHANGED")

@flow
def seeing():
    return numbers().map(seen)

def imported():
    return int(Path("imported").read_text().split()[0])

@step
def until_imported(words, change):
    while not Path("imported").exists():
        sleep(0.01)
    os.environ.update(change)
    return words

@step(executor={executor!r})
def worker(word):
    return os.getpid() if word == "begin" else os.environ.get("CHANGED")

@flow
def preparing():
    return until_imported(["begin"], {{}}).map(worker)

@flow
def changing():
    return until_imported(["begin", "end"], {{"CHANGED": "yes"}}).map(worker)

if __name__ == "__mp_main__":
    with Path("imported").open("a") as file:
        print(os.getpid(), file=file)
    if os.environ.get("BROKEN"):
        {{}}["missing"]

if __name__ == "__main__":
"""


def ran(tmp_path, body, *, executor="process", flags=("-W", "error")):
    """What a program prints whose main code is ``body``, and its exit code and stderr."""
    script = tmp_path / "program.py"
    main = "".join(f"    {line}\n" for line in body.strip().splitlines())
    script.write_text(PROGRAM.format(executor=executor) + main)
    done = subprocess.run(
        [sys.executable, *flags, script],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_workers_of_the_first_engine_come_from_the_server_that_was_started_ahead(tmp_path):
    printed = ran(
        tmp_path,
        """
assert children() == []
from lokki import Engine
[server] = children()
assert {parent for parent, _ in seeing.run_sync()} == {server}
""",
    )
    assert printed == []


@pytest.mark.usefixtures("journal")
def test_what_has_changed_since_then_holds_for_workers(tmp_path):
    printed = ran(
        tmp_path,
        """
from lokki import Engine
[ahead] = children()
os.environ["CHANGED"] = "yes"
[(server, changed), _] = seeing.run_sync()
print(changed, server == ahead, ahead in children())
""",
    )
    assert printed == ["yes False False"]


def test_a_server_that_nobody_needs_ends_with_its_program(tmp_path):
    [server] = ran(tmp_path, "from lokki import Engine; print(*children())")
    until(lambda: not Path("/proc", server).exists(), "the end of the server")


def test_a_forked_child_has_a_server_of_its_own(tmp_path):
    printed = ran(
        tmp_path,
        """
from lokki import Engine
[ahead] = children()
child = os.fork()
if not child:
    [(server, _), _] = seeing.run_sync()
    os._exit(server == ahead)
print(os.waitpid(child, 0)[1])
print({parent for parent, _ in seeing.run_sync()} == {ahead})
""",
        flags=(),
    )
    assert printed == ["0", "True"]


@pytest.mark.parametrize(
    ("executor", "body"),
    [
        ("thread", "from lokki import Engine"),
        ("process", "os.sched_setaffinity(0, {0})\nfrom lokki import Engine"),
        ("process", "sys.executable = None\nfrom lokki import Engine"),
        ("process", "sys.frozen = True\nfrom lokki import Engine"),
        (
            "process",
            "import lokki.loading, runpy\n"
            "with lokki.loading.importing('it'):\n"
            "    from lokki import Engine",
        ),
    ],
    ids=["not needed", "one core", "embedded", "one executable", "a command looks at the program"],
)
def test_no_server_is_started_where_it_is_of_no_use(tmp_path, executor, body):
    assert ran(tmp_path, f"{body}\nprint(children())", executor=executor) == ["[]"]


def test_a_process_of_the_program_starts_none(tmp_path):
    printed = ran(
        tmp_path,
        """
import multiprocessing
context = multiprocessing.get_context("spawn")
with context.Pool(1) as pool:
    print(pool.apply(eval, ("__import__('lokki').Engine and __import__('__main__').children()",)))
""",
        flags=(),
    )
    assert printed == ["[]"]


def test_a_worker_imports_the_program_while_the_first_step_runs(tmp_path):
    printed = ran(
        tmp_path,
        """
from lokki import Engine
print(preparing.run_sync()[0] == imported())
""",
    )
    assert printed == ["True"]


def test_a_prepared_worker_is_replaced_if_the_first_step_changes_what_workers_inherit(tmp_path):
    printed = ran(
        tmp_path,
        """
from lokki import Engine
found, *rest = changing.run_sync()
print(found == imported(), set(rest))
""",
    )
    assert printed == ["False {'yes'}"]


@pytest.mark.usefixtures("journal")
def test_what_fails_to_import_in_a_prepared_worker_is_imported_once(tmp_path):
    printed = ran(
        tmp_path,
        """
from lokki import Engine, RunFailed
os.environ["BROKEN"] = "yes"
try:
    preparing.run_sync()
except RunFailed as error:
    print(error.failure.reason)
print(len(Path("imported").read_text().split()))
""",
    )
    assert printed == [f"a worker process cannot import {tmp_path}/program.py: 'missing'", "1"]
