"""The history of a durable execution as operations. Pure.

https://docs.aws.amazon.com/lambda/latest/api/API_GetDurableExecutionHistory.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

Answer: TypeAlias = Mapping[str, Any]
"""An answer of AWS, or a part of one."""

_KIND = re.compile(r"(Step|Wait|ChainedInvoke|Context)(\w+)")
JOBS = "Jobs"
"""The kind of an operation that waits for Batch jobs."""
_WAITS_FOR = "WaitForCondition"
_ATTEMPT = re.compile(r"#\d+$")
_RANGE = re.compile(r"\[(\d+):(\d+)\]$")


@dataclass(frozen=True, slots=True)
class Operation:
    """What an execution has begun: a call, jobs, a wait, a map; and its end, if it has one.

    ``outcome`` is ``Succeeded``, ``Failed``, ``TimedOut``, ``Stopped`` or ``Cancelled``, None while
    it runs; ``error`` is the name and text of a failed one.
    """

    name: str
    kind: str
    parent: str | None
    started: datetime
    ended: datetime | None = None
    outcome: str | None = None
    result: Any = None
    error: tuple[str, str] | None = None

    @property
    def is_call(self) -> bool:
        """Whether it calls a function of a step, or submits its jobs."""
        return self.kind in ("ChainedInvoke", JOBS)

    @property
    def step(self) -> str:
        """The step that is called: its name without the range of items and the attempt."""
        return _RANGE.sub("", _ATTEMPT.sub("", self.name))

    @property
    def items(self) -> range | None:
        """The items of a slice."""
        found = _RANGE.search(_ATTEMPT.sub("", self.name))
        return range(int(found[1]), int(found[2])) if found else None


def operations(events: Iterable[Answer]) -> list[Operation]:
    """The operations in the order of their beginnings."""
    found: dict[str, Operation] = {}
    for event in events:
        matched = _KIND.fullmatch(event["EventType"])
        if matched is None:
            continue
        kind, what = matched.groups()
        if event.get("SubType") == _WAITS_FOR:
            kind = JOBS
        at = event["EventTimestamp"]
        key = event["Id"]
        if what == "Started" or key not in found:
            name, parent = event.get("Name", ""), event.get("ParentId")
            found.setdefault(key, Operation(name, kind, parent, at))
        if what == "Started":  # maybe again, after a look at jobs
            found[key] = replace(found[key], ended=None, outcome=None)
        else:
            details = event.get(f"{event['EventType']}Details", {})
            result = _result(details)
            if kind == JOBS and what == "Succeeded":
                result = json.loads(result or "{}")
                if "wait" in result or not result:
                    continue  # a look at jobs that are running
            found[key] = replace(
                found[key], ended=at, outcome=what, result=result, error=_error(details)
            )
    return list(found.values())


def _result(details: Answer) -> Any:
    payload = details.get("Result", {}).get("Payload")
    if not payload:
        return None
    try:
        return json.loads(payload)
    except ValueError:
        return payload


def _error(details: Answer) -> tuple[str, str] | None:
    error = details.get("Error", {}).get("Payload")
    return named_error(error) if error else None


def named_error(error: Answer) -> tuple[str, str]:
    """The name and text of an error object."""
    return str(error.get("ErrorType") or "Error"), str(error.get("ErrorMessage") or "")
