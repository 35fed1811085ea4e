"""Failures of a map's items that only Step Functions knows: of killed processes, and of quotas."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Set
from typing import TypeAlias

from lokki.aws.account import PAGE
from lokki.aws.execution_view import Answer
from lokki.builder.children import MOST_EXPRESS_SECONDS
from lokki.model.failure import Failure
from lokki.runtime.deaths import as_here

Ask: TypeAlias = Callable[..., Awaitable[Answer]]
"""Makes a request to Step Functions, by its name and with its arguments."""

_UNSUCCESSFUL = {"FAILED": "failed", "TIMED_OUT": "timedOut"}
"""The statuses of executions of failed items, and the counts of a map run with them."""
_MOST_UNREPORTED = 20
"""Most failed items whose executions are read: their processes ended without a report."""


def failed_items(map_run: Answer) -> int:
    """How many items of a map have failed, for Step Functions."""
    return sum(map_run["itemCounts"].get(counted, 0) for counted in _UNSUCCESSFUL.values())


async def unreported(
    ask: Ask, map_run: Answer, step: str, reported: Set[int], done: Set[int]
) -> list[Failure]:
    """The failures of a map's items that are neither ``reported`` by their steps nor ``done``.

    An execution that failed although all of its items have results is reported by the first.
    """
    children: list[Answer] = []
    for status, counted in _UNSUCCESSFUL.items():
        if map_run["itemCounts"].get(counted):
            answer = await ask(
                "list_executions",
                mapRunArn=map_run["mapRunArn"],
                statusFilter=status,
                maxResults=PAGE,
            )
            children += answer["executions"]
    found = []
    for child in children[:_MOST_UNREPORTED]:
        one = await ask("describe_execution", executionArn=child["executionArn"])
        kind, cause = as_here(*_end_of(one))
        given = json.loads(one["input"])
        indexes = [item["index"] for item in given.get("Items", [given])]
        if done >= set(indexes):
            cause = f"the results of its items are stored, but AWS reports: {cause or kind}"
            indexes = indexes[:1]
        else:
            indexes = [each for each in indexes if each not in done and each not in reported]
        found += [Failure(step, index, 1, kind, cause, "") for index in indexes]
    return found


def _end_of(child: Answer) -> tuple[str, str]:
    """What ended the execution of an item: AWS's name and text, or those of its time limit."""
    if child["status"] == "TIMED_OUT":
        return "States.Timeout", (
            f"an express execution has {MOST_EXPRESS_SECONDS} s, in which it also waits for a free "
            "function: resume the run for those that have no result, or deploy with "
            'aws.map = "standard", which has no such limit'
        )
    return child.get("error") or child["status"], child.get("cause") or ""
