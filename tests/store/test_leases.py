"""Who owns a run, and whether it is still at work."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest

from lokki import RunOwned
from lokki.store.leases import host_and_process, is_alive, new_owner, refuse_worked_on, working

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


OWNER = "import time; from lokki.store.leases import new_owner; print(new_owner(), flush=True)"


@contextmanager
def owning(*before: str):
    """A process that has a journal open, and the owner that it is."""
    command = [*before, sys.executable, "-c", f"{OWNER}; time.sleep(600)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_process_whose_number_was_given_to_another_is_dead_at_once():
    with owning() as owner:
        assert is_alive(owner, 130.0, 100.0)
        host, pid, named = owner.rsplit(":", 2)
        system, began, rest = named.split("-")
        assert not is_alive(f"{host}:{pid}:{system}-{int(began) - 1}-{rest}", 130.0, 100.0)
    assert not is_alive(owner, 130.0, 100.0)


def test_of_a_process_in_another_container_of_the_same_name_nobody_knows(opened, record):
    apart = ["unshare", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"]).returncode:
        pytest.skip("this system lets nobody have processes of their own")
    with owning(*apart) as owner:
        host, pid = host_and_process(owner)
        assert host == HERE
        assert is_alive(owner, 130.0, 100.0), f"whatever process {pid} is here"
        run = replace(opened.run(record.run("r1", at=100.0)), owner=owner)
        with pytest.raises(RunOwned, match=r"if it is gone, in 9 s"):
            refuse_worked_on(run, 121.5)
    assert is_alive(owner, 130.0, 100.0)
    assert not is_alive(owner, 130.0, 130.0)


def test_who_is_at_work_on_a_run_is_told_with_how_to_stop_it(opened, record):
    record.run("r1", at=100.0)
    refuse_worked_on(opened.run("r1"), 130.0)
    told = (
        rf"run by process {os.getpid()} on {HERE}; wait for its end or stop it .lokki cancel r1.,"
    )
    with pytest.raises(RunOwned, match=told):
        refuse_worked_on(opened.run("r1"), 129.0)


def test_of_an_owner_elsewhere_it_is_told_when_its_lease_ends(opened, record):
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
