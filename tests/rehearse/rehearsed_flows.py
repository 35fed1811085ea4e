"""Flows of every kind, which are to give on AWS what they give here."""

from __future__ import annotations

import os
import signal
from datetime import date, timedelta

from lokki import Secret, current, flow, s3_objects, s3_rows, step


@step
def count_up(count: int):
    return list(range(count))


@step
def double(number):
    return number * 2


@step
def add(number, more: int = 1):
    return number + more


@step
def squared(number):
    return number**2


@step
def listed(values):
    return values


@step
def total(numbers):
    return sum(numbers)


@flow
def linear(count: int = 4):
    return count_up().next(listed).next(total).next(add, more=10)


@flow
def mapped(count: int = 3):
    return count_up().map(double).agg(total)


@flow
def three_inner(count: int = 4):
    return count_up().map(double).next(add, more=5).next(squared).agg(listed)


@flow
def two_maps(count: int = 3):
    return count_up().map(double).agg(listed).map(squared, concurrency_limit=2).agg(total).next(add)


@flow
def ends_with_map(count: int = 3):
    return count_up().map(double).next(squared)


@flow
def twice(count: int = 3):
    return count_up().next(listed).map(add).next(add, more=100).agg(listed).next(listed)


# ---- parameters ----------------------------------------------------------------------------------


@step
def days(first: date, count: int, names: tuple[str, ...] = ()):
    return [(first + timedelta(days=number), names) for number in range(count)]


@step
def told(day):
    when, names = day
    assert isinstance(when, date)
    assert isinstance(names, tuple)
    return {when: (names, b"\x00\xff", 1.0, {1, 2})}


@flow
def typed(first: date, count: int = 2, names: tuple[str, ...] = ("a", "b")):
    return days().map(told).agg(listed)


@step
def token_length(token: Secret[str]):
    return len(token.value)


@flow
def secretive(token: Secret[str]):
    return token_length()


# ---- retries and failures ------------------------------------------------------------------------


class Passing(Exception):
    """Is gone at the next attempt."""


class StillPassing(Passing):
    """A subclass is meant, too."""


@step(retry={"retries": 2, "delay": 1, "backoff": 1, "exceptions": (Passing,)})
def flaky(number):
    if current().attempt < 3:
        raise StillPassing(f"attempt {current().attempt}")
    return number, current().attempt


@step(retry={"retries": 5, "delay": 1, "exceptions": (Passing,)})
def fails(number):
    raise LookupError(f"no {number} in attempt {current().attempt}")


@flow
def retried(count: int = 2):
    return count_up().map(flaky).agg(listed)


@flow
def failing(count: int = 3):
    return count_up().map(double).next(fails).agg(listed)


@step
def odd_ones_out(number):
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number


@step
def with_failures(numbers):
    return numbers, [
        (each.step, each.index, each.type, each.reason, each.attempt) for each in current().failures
    ]


@flow
def tolerant(count: int = 6):
    return count_up().map(double, tolerated_failures=1).next(odd_one).next(add).agg(with_failures)


@step
def odd_one(number):
    if number == 4:
        raise ValueError(f"{number} is odd")
    return number


@flow
def tolerant_share(count: int = 10):
    return count_up().map(odd_ones_out, tolerated_failures=0.5).agg(with_failures)


@step(executor="process")
def wrong_then_dead(number):
    if number == 0:
        raise ValueError("0 is wrong")
    os._exit(9)


@flow
def too_many(count: int = 3):
    mapped = count_up().map(wrong_then_dead, tolerated_failures=1, concurrency_limit=1)
    return mapped.agg(with_failures)


# ---- several in one invocation -------------------------------------------------------------------


@step(retry={"retries": 2, "delay": 0.01, "exceptions": (Passing,)})
def soon(number):
    if current().attempt < 2:
        raise Passing(str(number))
    return number, current().attempt, current().index


@flow
def direct(count: int = 3):
    return count_up().map([double, soon], direct_pass=True).agg(listed)


@flow
def in_batches(count: int = 7):
    return count_up().map(double, batch_size=3).next(soon).agg(listed)


@step
def written_out(number):
    return "x" * 3_900 if number % 2 else (number,) * 900


@flow
def large_batches(count: int = 120):
    return count_up().map(written_out, batch_size=100).next(same).agg(listed)


@flow
def large_batches_at_the_end(count: int = 120):
    return count_up().map(written_out, batch_size=100)


@flow
def batches_of_large_items(count: int = 120):
    return count_up().map(written_out).agg(listed).map(same, batch_size=100).agg(listed)


@flow
def tolerant_batches(count: int = 7):
    return count_up().map(odd_ones_out, batch_size=3, tolerated_failures=3).agg(with_failures)


@flow
def intolerant_batches(count: int = 7):
    return count_up().map(odd_ones_out, batch_size=3, tolerated_failures=2).agg(with_failures)


# ---- Batch ---------------------------------------------------------------------------------------


@step(job_type="batch", vcpu=1, memory_mb=2048)
def heavy_list(count: int):
    return list(range(count))


@step(job_type="batch", retry={"retries": 1, "delay": 0.01, "exceptions": (Passing,)})
def heavy(number):
    if current().attempt < 2:
        raise StillPassing("once more")
    return number + 0.5


@step(job_type="batch")
def heavy_total(numbers):
    return sum(numbers), len(numbers)


@flow
def batch_chain(count: int = 2):
    return heavy_list().map(add).agg(heavy_total).next(listed)


@flow
def batch_in_map(count: int = 2):
    return count_up().map(double).next(heavy).next(add).agg(listed)


@step(job_type="batch", gpu=1, retry={"retries": 1, "delay": 0.01, "exceptions": (Passing,)})
def reclaimed(marks: str):
    """Fails in its third call, and loses its host in all others before the fifth."""
    with open(marks, "a") as file:
        file.write("x")
    began = os.stat(marks).st_size
    if began == 3:
        raise Passing("once more")
    if began < 5:
        os.kill(os.getpid(), signal.SIGTERM)
    return began, current().attempt


@flow
def on_spot(marks: str):
    return reclaimed()


@step(job_type="batch")
def heavy_failure():
    raise RuntimeError("the job is done for")


@flow
def batch_failing():
    return heavy_failure()


# ---- hard cases ----------------------------------------------------------------------------------


@step
def addresses():
    return ["s3://other/x.pkl.gz", "s3://lokki-rehearsal/hard/runs/x/y/output.pkl.gz", "plain"]


@step
def same(value):
    return value


@flow
def urls():
    return addresses().map(same).agg(listed)


@step
def large_items(count: int, size: int):
    return [bytes([65 + number]) * size for number in range(count)]


@step
def length_and_first(data):
    return len(data), data[:1], data


@step
def lengths(found):
    return [(length, first, len(data)) for length, first, data in found]


@flow
def large(count: int = 2, size: int = 5_000_000):
    return large_items().map(length_and_first).agg(lengths)


@step
async def waited(number):
    return number + 0.25


@step
def generated(count: int):
    yield from range(count)


@flow
def async_and_generator(count: int = 3):
    return generated().map(waited).agg(listed)


@step(timeout_seconds=1)
def forever(number):
    while True:
        pass


@flow
def timed_out():
    return count_up(1).map(forever).agg(listed)


@step(retry={"retries": 1, "delay": 1}, executor="process")
def dies_once(number):
    if current().attempt == 1:
        os._exit(9)
    return number


@flow
def dying(count: int = 2):
    return count_up().map(dies_once).agg(listed)


@flow
def of_another_shape(more: bool = False):
    chain = count_up(2)
    return chain.next(listed).next(total) if more else chain.next(total)


@flow(schedule="cron(0 9 * * ? *)", timezone="Europe/Helsinki")
def scheduled(count: int = 2):
    return count_up().next(total)


@step
def not_a_list():
    return 5


@flow
def unmappable():
    return not_a_list().map(double)


@step
def unpicklable():
    return (each for each in [1]).gi_frame


@flow
def unstorable():
    return unpicklable()


@step
def text_of(text: str):
    return text


@flow
def echoed(text: str = ""):
    return text_of()


@step
def much(size: int):
    return "x" * size


@step
def length(text):
    return len(text)


@flow
def grown(size: int = 10):
    return much().next(same).next(length)


@flow
def three_pages(count: int = 210):
    """Where S3 lists a hundred keys a page, rather than a thousand."""
    return count_up().map(double, batch_size=50).agg(total)


# ---- sources in S3 -------------------------------------------------------------------------------


@step
def size_of(item):
    return item["size"]


@step
def said_in(row):
    return row["says"]


@flow
def objects_in_s3():
    return s3_objects("s3://in-the-rehearsal/birds").map(size_of).agg(total)


@flow
def rows_in_s3():
    return s3_rows("s3://in-the-rehearsal/8.csv").map(said_in)
