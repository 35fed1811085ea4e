"""Flows of `test_dask.py`; workers import them, so they import little."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import lokki
from lokki import Secret, flow, step

COUNT = 60


@step
def numbers(count: int = COUNT):
    return list(range(count))


@step(timeout_seconds=1, retry={"retries": 1, "delay": 0})
def slow(number):
    if number == 7 and lokki.current().attempt == 1:
        time.sleep(600)
    return number


@flow
def waiting():
    return numbers().map(slow)


@step
def endless(number, place):
    Path(place, str(os.getpid())).touch()
    time.sleep(600)


@flow
def hanging(place: str):
    return numbers().map(endless)


@step(executor="dask", resources={"fragile": 1}, retry={"retries": 1, "delay": 0})
def fragile(number):
    if number == 9 and lokki.current().attempt == 1:
        print("here it dies")
        time.sleep(600)
    return number


@flow
def breaking():
    return numbers().map(fragile)


@step(executor="dask")
def large(number):
    return bytes([number]) * 1_500_000


@step(executor="dask")
def orders(data, folder):
    """The size of the input, and how many inputs are in this folder meanwhile."""
    return len(data), len(list(Path(folder).glob("*/runs/*/orders.d/*")))


@flow
def storing(folder: str):
    return numbers(3).map(large).agg(all_of).map(orders, folder=folder)


@step
def all_of(values):
    return values


@step(executor="dask")
async def awaited(number):
    await asyncio.sleep(0)
    return number + 1, os.getpid()


@step
async def doubled(found):
    number, process = found
    await asyncio.sleep(0)
    return 2 * number, process


@flow
def awaiting():
    return numbers().map([awaited, doubled])


@step
def meeting(number, place, token: Secret[str]):
    Path(place, str(number)).touch()
    while len(list(Path(place).iterdir())) < 2:
        time.sleep(0.01)
    return number, len(token.value)


@flow
def secretive(place: str, token: Secret[str]):
    return numbers(2).map(meeting, place=place, token=token)


@step
def lazy(number):
    import never_imported_here  # noqa: F401 - it is nowhere

    return number


@flow
def importing():
    return numbers(1).map(lazy)


@step(executor="dask", resources={"leaving": 1})
def unfinished(number, gone):
    if number == 9:
        print("here it leaves")
        while not Path(gone).exists():
            time.sleep(0.01)
    return number


@flow
def leaving(gone: str):
    return numbers().map(unfinished)


@step
def short(number):
    time.sleep(0.01)
    return number


@flow
def striking():
    return numbers(200).map(short)


@step(executor="dask", resources={"unheard": 1})
def unheard(number):
    return number


@flow
def impossible():
    return numbers().map(unheard)


@step(executor="dask", resources={"older": 1})
def older(number):
    return number


@flow
def differing():
    return numbers().map(older)


@step(executor="dask")
def there(number):
    return number


@flow
def needing():
    return numbers().map(there)
