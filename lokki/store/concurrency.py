"""Does something for many things, several at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

T = TypeVar("T")


async def for_each(things: Iterable[T], do: Callable[[T], Awaitable[None]], most: int) -> None:
    """Await ``do`` for each thing, of at most ``most`` at a time.

    The first Exception ends it: nothing more begins, what has begun is awaited, then it is raised.
    """
    failed: list[Exception] = []
    left = iter(things)

    async def lane() -> None:
        for thing in left:
            if failed:
                return
            try:
                await do(thing)
            except Exception as error:
                failed.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(most):
            group.start_soon(lane)
    if failed:
        raise failed[0]
