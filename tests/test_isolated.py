"""The `isolated` fixture of users' tests: a journal of the test's own, and no waits for retries."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import lokki
from lokki import RetryConfig, RetryLater, RunFailed, flow, step
from lokki.testing import isolated as isolated

HOUR = 3600


@step
def numbers():
    return range(3)


@pytest.fixture
def lines(isolated):
    """What the calls of a test have noted."""
    return isolated.with_name("calls")


def noted(file):
    return file.read_text().split()


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_retries_do_not_wait(lines, executor):
    @step(executor=executor, retry=RetryConfig(retries=2, delay=HOUR, max_delay=HOUR))
    def failing(number):
        with lines.open("a") as file:
            print(f"{number}:{lokki.current().attempt}", file=file)
        if number == 1:
            raise OSError("busy")
        return number

    @flow
    def trying():
        return numbers().map(failing, tolerated_failures=1)

    assert trying.run_sync() == [0, 2]
    assert sorted(noted(lines)) == ["0:1", "1:1", "1:2", "1:3", "2:1"]


def test_an_item_that_is_put_off_comes_again_at_once_until_its_time_is_over(lines):
    @step
    def busy(number):
        with lines.open("a") as file:
            print(number, file=file)
        if number == 1:
            raise RetryLater(HOUR, most=2.5 * HOUR)
        return number

    @flow
    def putting_off():
        return numbers().map(busy)

    with pytest.raises(RunFailed):
        putting_off.run_sync()
    assert noted(lines).count("1") == 3


def test_a_run_is_in_the_journal_of_the_test_also_for_other_processes(isolated):
    @flow
    def counting():
        return numbers()

    assert list(counting.run_sync()) == [0, 1, 2]
    shown = subprocess.check_output([sys.executable, "-m", "lokki", "runs", "--json"], text=True)
    assert [run["flow"] for run in json.loads(shown)["runs"]] == ["counting"]
    assert isolated.is_file()
