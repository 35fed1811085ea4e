"""The schedule of a flow, and the times at which it could start no run. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from lokki.builder.durable import is_durable
from lokki.builder.encryption import key_statements, kms_key
from lokki.builder.resources import Queue, Resource, Schedule, Statement, arn_of, ref, role
from lokki.config import Config
from lokki.errors import ConfigError
from lokki.graph import FlowGraph
from lokki.runtime.event import TAGS

_STARTED = {
    False: ("states:StartExecution", "StateMachine"),
    True: ("lambda:InvokeFunction", "Live"),
}
"""What a schedule does, and to which resource, by whether a durable function runs the flow."""
_NEW = "new"
_QUEUE = re.compile(r"arn:[\w-]+:sqs:[a-z0-9-]+:\d{12}:[\w-]+")
_KEPT_SECONDS = 14 * 24 * 60 * 60


def schedule_resources(
    graph: FlowGraph[Any], config: Config, tags: list[dict[str, Any]]
) -> Iterator[tuple[str, Resource]]:
    """A flow's schedule, its role, and the queue of the times at which it could start no run.

    Its runs have the flow's tags.
    https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html . Raises
    ConfigError.
    """
    flow, settings = graph.flow, config.aws.schedule
    if flow is None or flow.schedule is None:
        return
    starts, started = _STARTED[is_durable(graph, config)]
    may = [Statement(action=(starts,), resource=(ref(started),))]
    queue = _queue(config)
    if settings.dead_letter_queue == _NEW:
        yield (
            "DeadLetters",
            Queue(
                message_retention_period=_KEPT_SECONDS,
                kms_master_key_id=kms_key(config),
                tags=tags,
            ),
        )
        may += key_statements(config)
    if queue is not None:
        may.append(Statement(action=("sqs:SendMessage",), resource=(queue,)))
    yield "ScheduleRole", role("scheduler.amazonaws.com", "start", may)
    retries = {
        "MaximumRetryAttempts": settings.retries,
        "MaximumEventAgeInSeconds": settings.max_age,
    }
    retry = {name: value for name, value in retries.items() if value is not None}
    yield (
        "Schedule",
        Schedule(
            description=f"Starts {graph.name}",
            schedule_expression=flow.schedule,
            schedule_expression_timezone=flow.timezone,
            flexible_time_window={"Mode": "OFF"},
            target={
                "Arn": ref(started),
                "RoleArn": arn_of("ScheduleRole"),
                "Input": json.dumps({TAGS: flow.tags} if flow.tags else {}),
                **({"RetryPolicy": retry} if retry else {}),
                **({"DeadLetterConfig": {"Arn": queue}} if queue is not None else {}),
            },
        ),
    )


def _queue(config: Config) -> Any:
    """The ARN of the queue, if there is one."""
    given = config.aws.schedule.dead_letter_queue
    if given == _NEW:
        return arn_of("DeadLetters")
    if given is not None and not _QUEUE.fullmatch(given):
        raise ConfigError(
            f"aws.schedule.dead_letter_queue: '{given}' is not the ARN of a standard SQS queue: "
            'write arn:aws:sqs:<region>:<account>:<name>, or "new" to have one made'
        )
    return given
