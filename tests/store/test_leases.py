"""Who owns a run, and whether it is still at work."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest
from serving import until

from lokki import RunOwned
from lokki.store.leases import is_alive, refuse_worked_on
from lokki.store.owners import host_and_process, new_owner, working

HERE = socket.gethostname()


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_an_owner_tells_where_it_is_and_is_unique():
    owner = new_owner()
    assert host_and_process(owner) == (HERE, os.getpid())
    assert owner != new_owner()


def test_a_host_may_have_colons():
    assert host_and_process("fe80::1:42:abcd") == ("fe80::1", 42)


@pytest.mark.parametrize("leased_until", [99.0, 100.0])
@pytest.mark.parametrize("host", [HERE, "elsewhere"])
def test_nobody_is_alive_when_the_lease_is_over(host, leased_until):
    assert not is_alive(f"{host}:{os.getppid()}:abcd", leased_until, 100.0)
    assert is_alive(f"{host}:{os.getppid()}:abcd", 100.1, 100.0)


def test_a_process_that_has_ended_is_dead_at_once_but_elsewhere_nobody_knows():
    pid = ended_process()
    assert not is_alive(f"{HERE}:{pid}:abcd", 130.0, 100.0)
    assert is_alive(f"elsewhere:{pid}:abcd", 130.0, 100.0)


def test_a_process_of_another_user_is_alive():
    assert is_alive(f"{HERE}:1:abcd", 130.0, 100.0)


NAMED = "from lokki.store.owners import new_owner; print(new_owner(), flush=True)"
AT_WORK = """
import os, sys
from lokki.store.journal import Journal
opened = Journal(os.environ["LOKKI_LOCAL_JOURNAL"])
print(opened.owner, flush=True)
"""
APART = ["unshare", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]


@contextmanager
def owning(*before: str, code: str = NAMED):
    """A process that is an owner: itself, and which."""
    command = [*before, sys.executable, "-c", f"{code}\nimport time; time.sleep(600)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.fixture
def apart() -> list[str]:
    """What starts a command in a namespace of processes of its own, as a container has."""
    if shutil.which("unshare") is None or subprocess.run([*APART, "true"]).returncode:
        pytest.skip("this system lets nobody have processes of their own")
    return APART


def test_a_process_whose_number_was_given_to_another_is_dead_at_once():
    with owning() as (_, owner):
        assert is_alive(owner, 130.0, 100.0)
        host, pid, named = owner.rsplit(":", 2)
        system, began, rest = named.split("-")
        assert not is_alive(f"{host}:{pid}:{system}-{int(began) - 1}-{rest}", 130.0, 100.0)
    assert not is_alive(owner, 130.0, 100.0)


def test_of_a_process_in_another_container_of_the_same_name_nobody_knows(opened, record, apart):
    with owning(*apart) as (_, owner):
        host, pid = host_and_process(owner)
        assert host == HERE
        assert is_alive(owner, 130.0, 100.0), f"whatever process {pid} is here"
        run = replace(opened.run(record.run("r1", at=100.0)), owner=owner)
        with pytest.raises(RunOwned, match=r"if it is gone, in 9 s"):
            refuse_worked_on(run, 121.5)
    assert is_alive(owner, 130.0, 100.0)
    assert not is_alive(owner, 130.0, 130.0)


@pytest.mark.sqlite
def test_an_owner_that_cannot_give_a_sign_of_life_is_alive_until_its_process_ends(opened):
    with owning(code=AT_WORK) as (process, owner):
        assert is_alive(owner, 100.0, 999.0), "whatever its lease"
        process.kill()
        process.wait()
        assert not is_alive(owner, 100.0, 999.0)


@pytest.mark.sqlite
def test_an_owner_in_another_container_is_alive_until_its_process_ends(opened, record, apart):
    with owning(*apart, code=AT_WORK) as (process, owner):
        run = replace(opened.run(record.run("r1", at=100.0)), owner=owner)
        with pytest.raises(RunOwned, match=r"then resume$"):
            refuse_worked_on(run, 999.0)
        process.kill()
        until(lambda: not is_alive(owner, 100.0, 999.0), "the end of the container's process")


@pytest.mark.sqlite
def test_a_process_that_was_stopped_keeps_its_runs_for_as_long_as_its_lease(opened):
    with owning(code=AT_WORK) as (process, owner):
        process.send_signal(signal.SIGSTOP)
        until(lambda: not is_alive(owner, 100.0, 999.0), "its stop")
        assert is_alive(owner, 130.0, 100.0)
        process.send_signal(signal.SIGCONT)
        until(lambda: is_alive(owner, 100.0, 999.0), "that it goes on")


@pytest.mark.sqlite
def test_an_owner_that_has_closed_its_journal_is_no_more_alive_than_its_lease(opened):
    with owning(code=f"{AT_WORK}\nopened.close(); print('closed', flush=True)") as (process, owner):
        assert process.stdout is not None
        assert process.stdout.readline() == "closed\n"
        assert not is_alive(owner, 100.0, 999.0)


@pytest.mark.sqlite
def test_a_forked_child_keeps_no_owner_alive(opened):
    fork = "child = os.fork()\nif child: print(child, flush=True)"
    with owning(code=AT_WORK + fork) as (process, owner):
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            assert is_alive(owner, 100.0, 999.0)
            process.kill()
            process.wait()
            assert not is_alive(owner, 100.0, 999.0)
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.sqlite
def test_journals_of_one_process_do_not_give_up_each_others_signs_of_life(opened):
    more = f"""{AT_WORK}
second = Journal(opened.path)
print(second.owner, flush=True)
second.close()
print("closed", flush=True)
"""
    with owning(code=more) as (process, first):
        assert process.stdout is not None
        second = process.stdout.readline().strip()
        assert process.stdout.readline() == "closed\n"
        assert is_alive(first, 100.0, 999.0)
        assert not is_alive(second, 100.0, 999.0)


def test_who_is_at_work_on_a_run_is_reported_with_how_to_stop_it(opened, record):
    record.run("r1", at=100.0)
    refuse_worked_on(opened.run("r1"), 130.0)
    told = (
        rf"run by process {os.getpid()} on {HERE}; wait for its end or stop it .lokki cancel r1.,"
    )
    with pytest.raises(RunOwned, match=told):
        refuse_worked_on(opened.run("r1"), 129.0)


def test_of_an_owner_elsewhere_it_is_reported_when_its_lease_ends(opened, record):
    run = replace(opened.run(record.run("r1", at=100.0)), owner="elsewhere:7:abcd")
    with pytest.raises(
        RunOwned, match=r"process 7 on elsewhere; .*, then resume; if it is gone, in 9 s"
    ):
        refuse_worked_on(run, 121.5)


def test_a_journal_of_this_process_is_alive_while_it_is_at_work(opened):
    assert is_alive(opened.owner, 130.0, 100.0)
    assert not is_alive(new_owner(), 130.0, 100.0)
    opened.close()
    assert not is_alive(opened.owner, 130.0, 100.0)
    assert opened.owner not in working
