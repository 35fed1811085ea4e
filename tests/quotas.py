"""Simulates a map on AWS under the quotas of Lambda and Batch, which a rehearsal does not have.

One child execution an item, as many at a time as the map's ``MaxConcurrency`` allows. A call that
the service refuses is retried as the state's retrier says; a call that is accepted takes the same
time for each item. Time is simulated.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, Protocol

from lokki import FlowGraph, step
from lokki.builder.states import state_machine
from lokki.config import load

MOST_CHILDREN = 10_000
"""Child executions of a map at a time
(https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html)."""


STARTED_A_SECOND = 100.0
"""Child executions that a map starts, at most
(https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html)."""


class Service(Protocol):
    """What calls are made of, and what refuses them."""

    def accepts(self, now: float) -> bool:
        """Whether a call begins now; if it does, it takes its part of the quota."""
        ...

    def has_ended(self) -> None:
        """Take back what a call had of the quota."""
        ...


class Lambda:
    """A function in an account with a concurrency.

    It has a thousand environments at once, then another thousand in ten seconds
    (https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html).
    """

    BURST, A_SECOND = 1_000, 100.0

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._running = self._environments = 0
        self._growth, self._then = float(self.BURST), 0.0

    def accepts(self, now: float) -> bool:
        self._growth = min(self.BURST, self._growth + self.A_SECOND * (now - self._then))
        self._then = now
        if self._running >= self._concurrency:
            return False
        if self._running == self._environments:
            if self._growth < 1:
                return False
            self._growth -= 1
            self._environments += 1
        self._running += 1
        return True

    def has_ended(self) -> None:
        self._running -= 1


class Batch:
    """A queue: 50 submissions a second (https://repost.aws/knowledge-center/aws-batch-requests-error)."""

    A_SECOND = 50.0

    def __init__(self) -> None:
        self._left, self._then = self.A_SECOND, 0.0

    def accepts(self, now: float) -> bool:
        self._left = min(self.A_SECOND, self._left + self.A_SECOND * (now - self._then))
        self._then = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def has_ended(self) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """Items whose retries were used up, the seconds until the last end, and refused calls."""

    failed: int
    seconds: float
    refused: int


def simulate(
    items: int,
    seconds: float,
    service: Service,
    retrier: Mapping[str, Any],
    at_once: int | None = None,
) -> Outcome:
    """A map of calls of ``seconds`` whose state has this ``retrier``, in States Language."""
    chance = random.Random(0)
    waiting = iter(range(items))
    due: list[tuple[float, int, int]] = []  # when, the item, its refused calls (-1: the call ends)
    now, failed, refused, next_start = 0.0, 0, 0, 0.0

    def start(now: float) -> None:
        nonlocal next_start
        if (item := next(waiting, None)) is not None:
            at = max(now, next_start)
            heappush(due, (at, item, 0))
            next_start = at + 1 / STARTED_A_SECOND

    for _ in range(min(at_once or MOST_CHILDREN, MOST_CHILDREN)):
        start(now)
    while due:
        now, item, refusals = heappop(due)
        if refusals < 0:
            service.has_ended()
            start(now)
        elif service.accepts(now):
            heappush(due, (now + seconds, item, -1))
        elif refusals < retrier["MaxAttempts"]:
            refused += 1
            heappush(due, (now + chance.uniform(0, _wait(retrier, refusals)), item, refusals + 1))
        else:
            failed += 1
            start(now)
    return Outcome(failed, now, refused)


def _wait(retrier: Mapping[str, Any], retried: int) -> float:
    """The longest wait before a retry; with full jitter, any shorter one is as likely."""
    most = float(retrier.get("MaxDelaySeconds", 31_622_400))
    growth: float = min(most, retrier["BackoffRate"] ** min(retried, 60))
    return min(most, retrier["IntervalSeconds"] * growth)


def generated(of: Any, error: str, **settings: Any) -> tuple[Mapping[str, Any], int]:
    """What a map of a step is generated with: its retrier for an error, its ``MaxConcurrency``."""
    chain = _listed().map(of)
    machine = state_machine(FlowGraph("quotas", chain.stages), load(settings)).to_json()
    state = next(each for each in machine["States"].values() if each["Type"] == "Map")
    (inner,) = state["ItemProcessor"]["States"].values()
    return next(each for each in inner["Retry"] if error in each["ErrorEquals"]), state[
        "MaxConcurrency"
    ]


@step
def _listed() -> list[int]:
    return [1]
