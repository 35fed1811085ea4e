"""Flows that are deployed."""

from __future__ import annotations

import logging
import os
import sys
import time

from lokki import Secret, current, flow, show, step


@step
def get_names():
    return ["ann", "bob"]


@step(timeout_seconds=60)
def greet(name, greeting):
    return f"{greeting} {name}"


@step
def together(greetings):
    return ", ".join(greetings)


@flow
def greeting(word: str = "hello"):
    return get_names().map(greet, greeting=word).agg(together)


@step
def numbers(count):
    return list(range(count))


@step
def crunch(number, switch):
    """Some fail as long as there is a file of this name, which deployed functions can see."""
    print("crunching", number)
    if number % 3 == 1 and os.path.exists(switch):
        raise ValueError(f"cannot crunch {number}")
    return number * 2


@step
def pair(number):
    return (number, number)


@step
def total(pairs, hold):
    """Waits as long as there is a file of this name, which deployed functions can see."""
    while os.path.exists(hold):
        time.sleep(0.02)
    return [sum(first for first, _ in pairs), [each.index for each in current().failures]]


@flow
def crunching(count: int, switch: str = "/nowhere", hold: str = "/nowhere"):
    return numbers().map(crunch).next(pair).agg(total)


@flow
def tolerant(count: int, switch: str = "/nowhere", hold: str = "/nowhere"):
    return numbers().map(crunch, tolerated_failures=2).next(pair).agg(total)


@step(cache="1d")
def counted(count):
    return list(range(count))


@flow(target="durable")
def sliced(count: int, switch: str = "/nowhere", hold: str = "/nowhere"):
    return counted().map(crunch, batch_size=4).next(pair).agg(total)


@flow
def doubles(count: int, switch: str = "/nowhere"):
    return numbers().map(crunch)


@step
def linger(number, hold, marks):
    """Waits as long as there is a file of this name; marks that it has begun."""
    with open(marks, "a") as file:
        file.write("x")
    while os.path.exists(hold):
        time.sleep(0.02)
    return number


@flow
def lingering(count: int, hold: str, marks: str):
    return numbers().map(linger, concurrency_limit=1)


@step
def twin(number):
    print("twin of", number)
    return (number, number)


@step
def check(pair, switch, hold):
    """The first item waits, and the second fails, as long as there is a file of its name."""
    number, _ = pair
    print("check of", number)
    while number == 0 and os.path.exists(hold):
        time.sleep(0.02)
    if number == 1 and os.path.exists(switch):
        raise ValueError(f"cannot check {number}")
    return number


@step
def listed(numbers):
    return numbers


@flow
def checking(count: int, switch: str = "/nowhere", hold: str = "/nowhere"):
    return numbers().map(twin).next(check).agg(listed)


@step
def blob(size):
    return os.urandom(size)


@step
def length(data):
    show(f"**{len(data)}** bytes", "Size")
    return len(data)


@flow
def large(size: int):
    return blob().next(length)


@step
def tell(token):
    print("the token is", token.value)
    logging.getLogger("told").warning("it is %s", token.value)
    return 1


@step
def betray(one, token):
    raise ValueError(f"wrong token {token.value}")


@flow
def secretive(token: Secret[str]):
    return tell().next(betray)


@step(job_type="batch", vcpu=1, memory_mb=2048)
def weigh(number, switch, hold):
    print("weighing", number)
    if number == 1 and os.path.exists(switch):
        raise ValueError(f"cannot weigh {number}")
    while number and os.path.exists(hold):
        time.sleep(0.02)
    return number


@step
def heaviest(numbers):
    print("comparing")
    return max(numbers)


@flow
def weighing(count: int, switch: str = "/nowhere", hold: str = "/nowhere"):
    return numbers().map(weigh).agg(heaviest)


@step
def pairs_of(index):
    return [0, 1]


@step
def die(number):
    if number == 1:
        os._exit(3)


class _LastWords:
    """An output that ends its process when it learns that a step is complete."""

    def write(self, text):
        if '"step_complete"' in text:
            os._exit(3)
        return len(text)

    def flush(self): ...


@step
def gone_once_done(number):
    if number % 2:
        sys.stdout = _LastWords()


@flow
def done_and_gone():
    return numbers(4).map(gone_once_done, batch_size=2).agg(together)


@flow
def dying(index: int):
    """Its parameter has the name of what an item has, too."""
    return pairs_of().map(die)


@step
def fall(number, switch):
    """Some processes end as long as there is a file of this name."""
    print("falling", number)
    if number and os.path.exists(switch):
        os._exit(3)
    return number


@flow
def falling(count: int, switch: str = "/nowhere"):
    return numbers().map(fall).agg(heaviest)
