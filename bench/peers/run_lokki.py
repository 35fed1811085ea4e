"""This project: a step in threads, every item recorded durably before the result is given."""

import asyncio
import time
from pathlib import Path

import workload

from lokki import Engine, flow, step


@step
def source() -> list:
    return workload.source()


@step
def work(x):
    return workload.work(x)


@step
def total(values: list) -> int:
    return sum(values)


@flow
def peer_flow():
    return source().map(work).agg(total)


async def main() -> None:
    async with Engine(journal=Path("lokki.db"), concurrency=workload.CONCURRENCY) as engine:
        began = time.perf_counter()
        result = await engine.run(peer_flow)
        workload.tell(result, time.perf_counter() - began)


asyncio.run(main())
