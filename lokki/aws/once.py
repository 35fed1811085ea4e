"""Makes concurrent equal requests only once, and keeps the answers for a while."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

_MOST_KEPT = 200


class Kept(OrderedDict[K, V]):
    """A dict that keeps only its 200 newest entries."""

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > _MOST_KEPT:
            self.popitem(last=False)


@dataclass(slots=True)
class _Answer:
    """The answer to a request, or its future; the request is repeated after ``until``."""

    asked: asyncio.Future[Any]
    until: float


class Once:
    """Makes a request once for all concurrent callers, and keeps the answer for a while."""

    def __init__(self) -> None:
        self._answers: Kept[tuple[object, ...], _Answer] = Kept()

    async def ask(
        self, key: tuple[object, ...], ask: Callable[[], Awaitable[T]], seconds: float
    ) -> T:
        """What ``ask`` returns; the same key asks again only after this many seconds."""
        answer = self._answers.get(key)
        if answer is None or (answer.asked.done() and monotonic() > answer.until):
            asked = asyncio.ensure_future(ask())
            answer = self._answers[key] = _Answer(asked, monotonic() + seconds)
        found: T = await asyncio.shield(answer.asked)
        return found

    def forget(self, part: object) -> None:
        """Drop the answers whose keys contain this part."""
        for key in [key for key in self._answers if part in key]:
            del self._answers[key]
