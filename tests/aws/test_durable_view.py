"""A durable execution as the run that it is: pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from lokki.aws.durable_history import operations
from lokki.aws.durable_view import Recorded, description, observation, outline_of
from lokki.aws.execution_view import execution_view
from lokki.model.failure import Failure
from lokki.model.structure import dumped, of_text
from lokki.runtime.event import OUTLINE

BEGIN = datetime(2026, 2, 3, 10, 0, tzinfo=UTC)


def happened(second, kind, name, result=None):
    details = {} if result is None else {"Result": {"Payload": json.dumps(result)}}
    return {
        "Id": name,
        "Name": name,
        "EventType": kind,
        "EventTimestamp": BEGIN + timedelta(seconds=second),
        f"{kind}Details": details,
    }


@pytest.mark.parametrize(
    ("tolerated", "failed", "within"), [(0, 1, 0), (1, 0, 1), (0.1, 1, 0), (0.2, 0, 1)]
)
def test_a_failed_item_of_a_running_map_is_tolerated_if_the_map_tolerates_it(
    tolerated, failed, within
):
    outline = {
        "structure": dumped(of_text("load → map(crunch)")),
        "called": [["load"], ["crunch"]],
        "tolerated": [0, tolerated],
    }
    done = operations(
        [
            happened(0, "StepStarted", OUTLINE),
            happened(0, "StepSucceeded", OUTLINE, json.dumps(outline)),
            happened(0, "ChainedInvokeStarted", "load"),
            happened(1, "ChainedInvokeSucceeded", "load", {"input": {"count": 5}}),
            happened(1, "ContextStarted", "crunch"),
            happened(1, "ChainedInvokeStarted", "crunch[0:2]"),
            happened(1, "ChainedInvokeStarted", "crunch[2:5]"),
            happened(2, "ChainedInvokeFailed", "crunch[0:2]"),
        ]
    )
    execution = {"DurableExecutionName": "r1", "Status": "RUNNING", "StartTimestamp": BEGIN}
    recorded = {"crunch": Recorded([Failure("crunch", 1, 1, "ValueError", "no", "")], 1)}
    seen = observation(description(execution), outline_of("crunching", done, "1"), done, recorded)
    crunch = execution_view(seen, BEGIN.timestamp() + 3).stages[1]
    counts = (crunch.total, crunch.succeeded, crunch.failed, crunch.tolerated)
    assert counts == (5, 1, failed, within)
    assert crunch.failures[0].tolerated == bool(within)
