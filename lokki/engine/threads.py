"""Calls functions in threads, from the event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")


async def in_thread(
    function: Callable[..., T], *args: Any, limiter: anyio.CapacityLimiter | None = None
) -> T:
    """Call what may be user code in a thread; whatever it raises comes out.

    A future could not carry everything: a GeneratorExit would close the coroutines waiting for it.
    """
    result, error = await anyio.to_thread.run_sync(_outcome, function, *args, limiter=limiter)
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def _outcome(function: Callable[..., T], *args: Any) -> tuple[T | None, BaseException | None]:
    try:
        return function(*args), None
    except BaseException as error:
        return None, error
