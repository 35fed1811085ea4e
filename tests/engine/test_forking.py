"""Workers that are forked from a server: as new processes, and nothing is left behind."""

from __future__ import annotations

import ast
import os
import platform
import resource
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import serving
from serving import until

import lokki
from lokki import Engine, flow, step
from lokki.config import Config
from lokki.store.items import Items

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")

DESCRIPTION = """
import gc, os, signal, sys
from pathlib import Path

def described():
    status = Path("/proc/self/status").read_text().splitlines()
    wanted = ("Umask", "Uid", "Groups", "SigBlk", "SigIgn", "Cap", "Cpus_allowed", "NoNewPrivs")
    handlers = {each: signal.getsignal(each) for each in signal.valid_signals()}
    of_python = {signal.SIGINT: signal.default_int_handler}
    return {
        "environment": dict(os.environ),
        "folder": os.stat(".").st_ino,
        "status": [line for line in status if line.startswith(wanted)],
        "limits": Path("/proc/self/limits").read_text(),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "handlers": {int(each): str(handlers[each]).partition(" at ")[0] for each in handlers},
        "leads its session": os.getsid(0) == os.getpid() == os.getpgid(0),
        "stdin": os.path.realpath("/proc/self/fd/0"),
        "stdout": os.fstat(1).st_ino,
        "stderr": os.fstat(2).st_ino,
        "descriptors": [
            os.readlink(f"/proc/self/fd/{each}").partition(":")[0]
            for each in range(3, 500)
            if os.path.lexists(f"/proc/self/fd/{each}")
        ],
        "flags": str(sys.flags),
        "garbage": (gc.isenabled(), gc.get_threshold()),
        "warnings": sys.warnoptions,
        "stdout buffers lines": sys.stdout.line_buffering,
    }
"""
namespace = {}
exec(DESCRIPTION, namespace)
described = namespace["described"]


@step
def numbers(count=1):
    return list(range(count))


@step(executor="process")
def described_worker(number):
    exec(DESCRIPTION, found := {})
    return found["described"]()


@step(executor="process")
def parent(number):
    return os.getppid()


@flow
def describing():
    return numbers().map(described_worker)


@flow
def parents():
    return numbers().map(parent)


def spawned():
    """What a new interpreter is like that is started now as a worker was before."""
    code = f"{DESCRIPTION}\nprint(described())"
    done = subprocess.run(
        [sys.executable, *subprocess._args_from_interpreter_flags(), "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=dict(os.environ),
        text=True,
        start_new_session=True,
        check=True,
    )
    return ast.literal_eval(done.stdout)


def is_there(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def children():
    """This process's children: also those that other tests have left, which may end meanwhile."""
    return set(serving.children(os.getpid()))


def set_cores(cores):
    """Those of all threads: each hands its own on to what it starts."""
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), cores)


@pytest.fixture
def as_it_was():
    """Restores what the test changes in this process."""
    umask, limit = os.umask(0o022), resource.getrlimit(resource.RLIMIT_NOFILE)
    cores, stderr, folder = os.sched_getaffinity(0), os.dup(2), os.open(".", os.O_RDONLY)
    os.umask(umask)
    yield
    os.fchdir(folder)
    os.dup2(stderr, 2)
    os.close(folder)
    os.close(stderr)
    set_cores(cores)
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    os.umask(umask)


@pytest.mark.asyncio
@pytest.mark.usefixtures("as_it_was")
async def test_a_worker_is_as_if_it_were_started_anew_at_that_moment(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def change():
        monkeypatch.setenv("CHANGED", "yes")
        monkeypatch.delenv("FIRST")
        os.umask(0o077)
        os.chdir(tmp_path)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
        set_cores({min(os.sched_getaffinity(0))})
        with (tmp_path / "stderr").open("w") as file:
            os.dup2(file.fileno(), 2)

    monkeypatch.setenv("FIRST", "yes")
    config = Config(local=replace(Config().local, worker_calls=1))
    async with Engine(processes=1, journal=tmp_path / "j.db", config=config) as engine:
        for prepare in (lambda: None, change):
            prepare()
            [found] = await engine.run(describing)
            fresh = spawned()
            threads = [name for name in found["environment"] if name.endswith("_THREADS")]
            for name in set(threads) - set(fresh["environment"]):
                del found["environment"][name]
            assert sorted(found.pop("descriptors")) == ["/memfd", "socket"]
            assert found.pop("stdout") == found["stderr"] == os.fstat(2).st_ino
            del fresh["descriptors"], fresh["stdout"]
            assert found == fresh
            [server] = await engine.run(parents)
            assert server != os.getpid()


@pytest.mark.asyncio
async def test_workers_are_forked_from_one_server_which_ends_with_the_engine():
    before, descriptors = children(), len(os.listdir("/proc/self/fd"))
    config = Config(local=replace(Config().local, worker_calls=1))
    async with Engine(processes=2, config=config) as engine:
        [server] = await engine.run(parents)
        former = signal.signal(signal.SIGUSR1, lambda *_: None)
        assert await engine.run(parents) == [server]
        signal.signal(signal.SIGUSR1, former)
        assert children() - before == {server}
        assert os.getsid(server) == server  # Ctrl-C does not reach it
        assert b"forkserver" in Path(f"/proc/{server}/cmdline").read_bytes()
    assert children() <= before
    assert not os.path.exists(f"/proc/{server}")
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.asyncio
async def test_an_engine_without_process_steps_has_no_server():
    @flow
    def counting():
        return numbers()

    before = children()
    async with Engine() as engine:
        await engine.run(counting)
        assert children() <= before


@pytest.mark.asyncio
async def test_an_engine_that_is_told_of_processes_prepares_for_them(tmp_path):
    before = children()
    async with Engine(processes=1) as engine:
        [server] = children() - before
        assert await engine.run(parents) == [server]
    (tmp_path / "file").touch()
    with pytest.raises(lokki.JournalError):
        async with Engine(processes=1, journal=tmp_path / "file" / "lokki.db"):
            pass
    assert children() <= before


@pytest.mark.asyncio
async def test_a_server_that_is_killed_ends_no_worker_and_is_replaced(tmp_path):
    @step(executor="process", retry={"retries": 1, "delay": 0})
    def killing(number):
        with (tmp_path / "calls").open("a") as file:
            print(number, os.getpid(), os.getppid(), file=file)
        if number == 1:
            os.kill(os.getppid(), signal.SIGKILL)
        if number == 2 and lokki.current().attempt == 1:
            os._exit(3)
        return number

    @flow
    def going_on():
        return numbers(4).map(killing, batch_size=1)

    before = children()
    async with Engine(processes=1) as engine:
        handle = engine.submit(going_on)
        assert await handle.result() == [0, 1, 2, 3]
        stage = engine.journal.history.stage(handle.run_id, 1)
        [attempt] = Items(engine.journal.read).attempts(stage, 2)
        assert attempt.message.endswith("ended, as did the process that had started it")
    calls = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    begun, later = calls[:3], calls[3:]
    assert [number for number, _, _ in begun] == ["0", "1", "2"]
    assert sorted(number for number, _, _ in later) == ["2", "3"]
    [(worker, _)] = {(worker, server) for _, worker, server in begun[:2]}
    assert begun[2][1] == worker  # it goes on
    [(another, server)] = {(worker, server) for _, worker, server in later}
    assert another != worker
    assert server not in {begun[0][2], str(os.getpid())}
    assert children() <= before


@pytest.mark.asyncio
async def test_a_worker_that_was_left_by_its_server_is_still_cancelled_and_killed(tmp_path):
    @step(executor="process", timeout_seconds=1)
    def sleeping(number):
        os.kill(os.getppid(), signal.SIGKILL)
        child = subprocess.Popen(["sleep", "600"])
        (tmp_path / "pids").write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)

    @flow
    def timing():
        return numbers().map(sleeping)

    async with Engine(processes=1) as engine:
        with pytest.raises(lokki.RunFailed, match="longer than 1 s"):
            await engine.run(timing)
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        until(lambda pid=pid: not is_there(pid), "its end")


@pytest.mark.asyncio
async def test_a_worker_ends_as_an_interpreter_does(tmp_path):
    @step(executor="process")
    def leaving(number):
        import atexit

        atexit.register((tmp_path / "ended").touch)

    @flow
    def ending():
        return numbers().map(leaving)

    async with Engine(processes=1) as engine:
        await engine.run(ending)
        assert not (tmp_path / "ended").exists()
    assert (tmp_path / "ended").exists()


@pytest.mark.asyncio
async def test_the_server_ends_with_the_last_idle_worker():
    config = Config(local=replace(Config().local, worker_idle=1))
    before = children()
    async with Engine(processes=1, config=config) as engine:
        [server] = await engine.run(parents)
        until(lambda: children() <= before, "the end of the server")
        [other] = await engine.run(parents)
    assert server != other


@pytest.mark.asyncio
async def test_a_server_with_another_thread_is_not_forked(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    async with Engine(processes=1) as engine:
        assert await engine.run(parents) == [os.getpid()]


def test_a_run_alone_leaves_no_process():
    before = children()
    [server] = parents.run_sync()
    assert server not in {os.getpid(), *children()}
    assert children() <= before


def test_a_child_of_the_engine_keeps_no_server(tmp_path):
    text = """
    import os, time
    from lokki import flow, step
    from lokki.engine import forking

    forking._END_SECONDS = 600

    @step
    def forked():
        child = os.fork()
        if child == 0:
            os.close(1)
            time.sleep(45)
        return [child]

    @step(executor="process")
    def parent(child):
        return child, os.getppid()

    @flow
    def parents():
        return forked().map(parent)

    if __name__ == "__main__":
        [(child, server)] = parents.run_sync()
        os.kill(child, 0)
        print(child, os.path.exists(f"/proc/{server}"))
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "LOKKI_LOCAL_JOURNAL": str(tmp_path / "j.db")},
        stdout=subprocess.PIPE,
        text=True,
        timeout=40,
    )
    child, is_there = done.stdout.split()
    os.kill(int(child), signal.SIGKILL)
    assert is_there == "False"


SCRIPT = """
import os, time
from lokki import flow, step

@step
def numbers():
    return [0, 1]

@step(executor="process")
def waiting(number):
    print(os.getpid(), os.getppid(), flush=True)
    time.sleep(600)

@flow
def hanging():
    return numbers().map(waiting)

if __name__ == "__main__":
    hanging.run_sync()
"""


def run_program(folder, text):
    """Run a program with its journal in a folder."""
    (folder / "program.py").write_text(textwrap.dedent(text))
    return subprocess.run(
        [sys.executable, "program.py"],
        cwd=folder,
        env={**os.environ, "LOKKI_LOCAL_JOURNAL": str(folder / "j.db")},
        capture_output=True,
        text=True,
    )


def test_how_a_worker_ended_is_known_even_if_the_engine_ignores_ends(tmp_path):
    text = """
    import os, signal
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    from lokki import flow, step

    @step(executor="process")
    def leaving():
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
        os._exit(3)

    @flow
    def ended():
        return leaving()

    if __name__ == "__main__":
        ended.run_sync()
    """
    done = run_program(tmp_path, text)
    assert "WorkerDied: the worker process exited with code 3" in done.stderr


@pytest.mark.skipif(platform.machine() != "x86_64", reason="calls the kernel by a number")
def test_signals_of_the_c_library_start_no_second_server(tmp_path):
    """`uv run` ignores one of them; the C library handles it from its second thread on."""
    text = """
    import asyncio, ctypes, os, struct, sys
    from pathlib import Path
    from lokki import Engine, flow, step

    @step(executor="process")
    def parent():
        return os.getppid()

    @flow
    def parents():
        return parent()

    def ignore(signal):
        SIG_IGN, RT_SIGACTION = 1, 13
        action = struct.pack("QQQQ", SIG_IGN, 0, 0, 0)
        assert ctypes.CDLL(None).syscall(RT_SIGACTION, signal, action, None, 8) == 0

    async def main():
        async with Engine(processes=1) as engine:
            await asyncio.to_thread(int)
            [server] = {
                child
                for task in Path("/proc/self/task").iterdir()
                for child in (task / "children").read_text().split()
            }
            assert await engine.run(parents) == int(server)

    if __name__ == "__main__":
        if "ignoring" not in sys.argv:
            ignore(33)
            os.execv(sys.executable, [sys.executable, __file__, "ignoring"])
        asyncio.run(main())
    """
    done = run_program(tmp_path, text)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_engine_that_is_killed_leaves_no_process(tmp_path):
    (tmp_path / "hanging.py").write_text(textwrap.dedent(SCRIPT))
    environment = {**os.environ, "LOKKI_LOCAL_JOURNAL": str(tmp_path / "j.db")}
    with subprocess.Popen(
        [sys.executable, "hanging.py"],
        cwd=tmp_path,
        env=environment | {"LOKKI_LOCAL_PROCESSES": "2"},
        stderr=subprocess.PIPE,
        text=True,
    ) as engine:
        pids = [int(each) for _ in range(2) for each in engine.stderr.readline().split()]
        assert len(set(pids)) == 3
        assert engine.pid not in pids
        engine.kill()
        engine.wait()
        for pid in pids:
            until(lambda pid=pid: not is_there(pid), f"the end of {pid} of {pids}")
