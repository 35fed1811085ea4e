"""Notices of runs that end without success: EventBridge sends them to a topic of SNS. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lokki.builder.durable import is_durable
from lokki.builder.encryption import kms_key
from lokki.builder.resources import Resource, Rule, Topic, TopicPolicy, ref, sub
from lokki.config import Config
from lokki.errors import ConfigError
from lokki.graph import FlowGraph

_STATUSES = ("FAILED", "TIMED_OUT", "ABORTED")
_DURABLE_STATUSES = ("FAILED", "TIMED_OUT", "STOPPED")
_TOPIC = re.compile(r"arn:[\w-]+:sns:[a-z0-9-]+:\d{12}:[\w-]+")
_MAIL = re.compile(r"[^@\s:]+@[^@\s:]+\.[^@\s:.]+")
_TEXT = '"Run <run> of <flow> is <status>. `lokki show <run> --on aws` says why. Error: <error>"'
"""An execution that was aborted or timed out may have no error: the text ends there. Recorded:
``test_event_bridge_events_base``, and ``…input_template_string`` in tests/aws/services/events/
test_events_inputs.snapshot.json of https://github.com/localstack/localstack."""
_DURABLE_TEXT = '"Run <run> of <flow> is <status>. `lokki show <run> --on aws` says why."'
_DURABLE_FUNCTION = "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:"


def notice_resources(
    graph: FlowGraph[Any], config: Config, tags: list[dict[str, Any]]
) -> Iterator[tuple[str, Resource]]:
    """The rule for failed runs, and the topic if there is only an e-mail address.

    Raises ConfigError.
    """
    target = config.aws.notify
    if target is None:
        return
    topic: Any = target
    if _MAIL.fullmatch(target):
        topic = ref("FailureTopic")
        mail = {"Protocol": "email", "Endpoint": target}
        key = kms_key(config)
        yield "FailureTopic", Topic(subscription=[mail], kms_master_key_id=key, tags=tags)
        yield "FailureTopicPolicy", TopicPolicy(topics=[topic], policy_document=_published(topic))
    elif not _TOPIC.fullmatch(target):
        raise ConfigError(
            f"aws.notify: '{target}' is neither an e-mail address nor the ARN of a topic, such as "
            "arn:aws:sns:<region>:<account>:<name>"
        )
    pattern, paths, text = _of_durable() if is_durable(graph, config) else _of_machine()
    transformed = {"InputPathsMap": paths, "InputTemplate": text.replace("<flow>", graph.name)}
    yield (
        "FailureRule",
        Rule(
            description=f"Runs of {graph.name} that end without success",
            event_pattern=pattern,
            targets=[{"Id": "Topic", "Arn": topic, "InputTransformer": transformed}],
        ),
    )


def _of_machine() -> tuple[dict[str, Any], dict[str, str], str]:
    """The events of a state machine's executions, what a notice takes from them, and its text.

    Executions of maps have another state machine's ARN, so that nobody gets a notice for an item
    (https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html).
    """
    pattern = {
        "source": ["aws.states"],
        "detail-type": ["Step Functions Execution Status Change"],
        "detail": {"status": list(_STATUSES), "stateMachineArn": [ref("StateMachine")]},
    }
    paths = {"run": "$.detail.name", "status": "$.detail.status", "error": "$.detail.error"}
    return pattern, paths, _TEXT


def _of_durable() -> tuple[dict[str, Any], dict[str, str], str]:
    """The same of a durable function, whose events name the version, and no error.

    https://docs.aws.amazon.com/lambda/latest/dg/durable-monitoring.html
    """
    function = {"prefix": sub(f"{_DURABLE_FUNCTION}${{FlowName}}:")}
    pattern = {
        "source": ["aws.lambda"],
        "detail-type": ["Durable Execution Status Change"],
        "detail": {"status": list(_DURABLE_STATUSES), "functionArn": [function]},
    }
    paths = {"run": "$.detail.durableExecutionName", "status": "$.detail.status"}
    return pattern, paths, _DURABLE_TEXT


def _published(topic: Any) -> dict[str, Any]:
    """Let EventBridge publish.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html
    """
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": topic,
    }
    return {"Version": "2012-10-17", "Statement": [statement]}
