"""What the configuration lets steps do, besides what the graph needs. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lokki.builder.resources import Statement
from lokki.config import Config
from lokki.errors import ConfigError

_POLICY = re.compile(r"arn:[\w-]+:iam::(aws|\d{12}):policy/\S+")
_ACTION = re.compile(r"\*|[a-z0-9-]+:[A-Za-z0-9*?]+")
_MEMBERS = ("Sid", "Effect", "Action", "Resource", "Condition")


def granted_policies(config: Config) -> list[str]:
    """The managed policies of the steps' role. Raises ConfigError."""
    arns = [each.strip() for each in (config.aws.policies or "").split(",") if each.strip()]
    for arn in arns:
        if not _POLICY.fullmatch(arn):
            raise ConfigError(
                f"aws.policies: '{arn}' is not the ARN of a policy, such as "
                "arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess"
            )
    if arns:
        _check_role(config, "aws.policies")
    return arns


def granted_statements(config: Config) -> list[Statement]:
    """The additional statements of the steps' role. Raises ConfigError."""
    if config.aws.statements:
        _check_role(config, "aws.statements")
    return [
        _statement(f"aws.statements, number {number}", each)
        for number, each in enumerate(config.aws.statements, 1)
    ]


def _check_role(config: Config, key: str) -> None:
    if config.aws.roles.lambda_ is not None:
        raise ConfigError(
            f"{key} is for the role that is made, but aws.roles.lambda names an existing one: give "
            "that one the permissions, or leave it out"
        )


def _statement(where: str, given: Mapping[str, Any]) -> Statement:
    for name in given:
        if name not in _MEMBERS:
            near = next((each for each in _MEMBERS if each.lower() == name.lower()), None)
            hint = f"write {near}" if near else f"a statement has {', '.join(_MEMBERS)}"
            raise ConfigError(f"{where}: unknown '{name}'; {hint}")
    effect = given.get("Effect", "Allow")
    if effect not in ("Allow", "Deny"):
        raise ConfigError(f'{where}: Effect must be "Allow" or "Deny"')
    actions, resources = (_texts(where, name, given) for name in ("Action", "Resource"))
    for action in actions:
        if not _ACTION.fullmatch(action):
            raise ConfigError(f"{where}: '{action}' is not an action such as dynamodb:GetItem")
    for resource in resources:
        if resource != "*" and not resource.startswith("arn:"):
            raise ConfigError(f"{where}: '{resource}' is neither an ARN nor *")
    sid = given.get("Sid")
    if sid is not None and not (isinstance(sid, str) and sid.isascii() and sid.isalnum()):
        raise ConfigError(f"{where}: Sid must consist of letters and digits")
    condition = given.get("Condition")
    if condition is not None and not (
        isinstance(condition, dict) and all(isinstance(each, dict) for each in condition.values())
    ):
        raise ConfigError(
            f'{where}: Condition must be such as {{StringEquals = {{"aws:SourceVpc" = "vpc-1"}}}}'
        )
    return Statement(
        sid=sid, effect=effect, action=actions, resource=resources, condition=condition
    )


def _texts(where: str, name: str, given: Mapping[str, Any]) -> tuple[str, ...]:
    value = given.get(name)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(each, str) for each in texts):
        raise ConfigError(f"{where}: {name} must be a text or a list of texts")
    return tuple(texts)
