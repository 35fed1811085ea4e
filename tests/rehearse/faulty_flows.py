"""Flows with faults, which count the calls of their items by files in a folder."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from lokki import RetryLater, current, flow, show, step
from lokki.errors import WorkerDied


def called(what: str) -> int:
    """Note a call in the folder of the run; how many there have been with this one."""
    file = Path(current().params["folder"]) / what
    with file.open("a") as noted:
        noted.write(f"{current().attempt}\n")
    return len(file.read_text().splitlines())


@step
def counted(count: int):
    called("counted")
    return list(range(count))


@step
def summary(results):
    called("summary")
    failed = [(each.index, each.type, each.attempt) for each in current().failures]
    return results, failed


def kill(number: int, dead: int) -> int:
    if called(f"item-{number}") == 1 and number == dead:
        os.kill(os.getpid(), 9)
    return number


@step(retry={"retries": 1, "delay": 0, "exceptions": (WorkerDied,)})
def dies_once(number):
    return kill(number, 2)


@step
def dies(number):
    return kill(number, 2)


@flow
def death_retried(folder: str, count: int = 5):
    return counted().map(dies_once, batch_size=5).agg(summary)


@flow
def death(folder: str, count: int = 5):
    return counted().map(dies, batch_size=5).agg(summary)


@flow
def death_tolerated(folder: str, count: int = 5):
    return counted().map(dies, batch_size=5, tolerated_failures=1).agg(summary)


@step(retry={"retries": 2, "delay": 0})
def later_then_dies(number):
    """0 asks for a later try, 2 kills its process in its first call, 3 fails once."""
    calls = called(f"item-{number}")
    if number == 0 and calls < 3:
        raise RetryLater(1)
    if number == 2 and calls == 1:
        os.kill(os.getpid(), 9)
    if number == 3 and calls == 1:
        raise ValueError("once more")
    return number, current().attempt


@flow
def put_off(folder: str, count: int = 5):
    return counted().map(later_then_dies, batch_size=5).agg(summary)


@step
def noted(number):
    called(f"item-{number}")
    return number + 10


@step
def squared(number):
    called(f"second-{number}")
    return number**2


@flow
def whole(folder: str, count: int = 6):
    return counted().map(noted, batch_size=3).next(squared).agg(summary)


@flow
def crowded(folder: str, count: int = 1_000):
    inside = counted().map(noted, batch_size=1).next(squared).next(squared)
    return inside.agg(summary)


@step
def slow(number):
    called(f"item-{number}")
    time.sleep(0.7)
    return number


@flow
def out_of_time(folder: str, count: int = 6):
    return counted().map(slow, batch_size=6).agg(summary)


@step(retry={"retries": 3, "delay": 100})
def later(folder: str):
    calls = called("later")
    if calls in (1, 3):
        raise RetryLater(3_600)
    if calls == 2:
        raise OSError("once")
    return [calls, current().attempt]


@step
def passed(value):
    return value


@flow
def later_alone(folder: str):
    return later().next(passed)


class TooManyRequestsException(Exception):
    """As boto3 has one."""


@step
def refused(folder: str):
    called("refused")
    raise TooManyRequestsException("of another service")


@flow
def refused_elsewhere(folder: str):
    return refused()


@step
def odd(folder: str):
    called("odd")
    raise type("Ünicode error", (Exception,), {})("caf\udcff \0 ü" + "x" * 100_000)


@flow
def oddly_named(folder: str):
    return odd()


@step
def odd_fails(number):
    called(f"item-{number}")
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


@flow
def too_many(folder: str, count: int = 40):
    return counted().map(odd_fails, batch_size=2, tolerated_failures=3, concurrency_limit=2)


@flow
def skipping(folder: str, count: int = 6):
    mapped = counted().map(odd_fails, batch_size=3, tolerated_failures=0.5)
    return mapped.next(squared).next(noted).agg(summary)


@step
def large_items(count: int):
    return [str(number) * 6_000 for number in range(count)]


@step
def length(text):
    show(f"# {len(text)}")
    print(f"there are {len(text)}")
    return len(text)


@flow
def large(folder: str, count: int = 5):
    return large_items().map(length, batch_size=5).agg(summary)


@flow
def raising(folder: str):
    if "LOKKI_ORCHESTRATION" in os.environ:
        raise LookupError("this flow is not for these parameters")
    return later()


@flow
def echo(folder: str, text: str = ""):
    return counted(1).map(passed).agg(summary)


@flow
def narrow(folder: str, count: int = 6):
    return counted().map(noted, batch_size=1).agg(summary)


@step(job_type="batch")
def job_with_faults(number):
    """0 loses its host in its first call; in each call, 1 ends its process, and 2 fails."""
    calls = called(f"item-{number}")
    if number == 1 or (number == 0 and calls == 1):
        os.kill(os.getpid(), signal.SIGKILL if number else signal.SIGTERM)
    if number == 2:
        raise ValueError("never")
    return number


@step
def times_ten(number):
    called(f"noted-{number}")
    return number * 10


@flow
def job_faults(folder: str, count: int = 4):
    return counted().map(job_with_faults, tolerated_failures=2).next(times_ten).agg(summary)
