"""Schedules: ``AWS::Scheduler::Schedule`` in CloudFormation, and expressions that are refused.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html; no time ever comes here.
"""

from __future__ import annotations

import re
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, Self

from lokki.errors import DefinitionError
from lokki.rehearse.moto_patches.modules import moto
from lokki.rehearse.moto_patches.resources import Resource, add_resource
from lokki.schedule import parse

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_ONCE = re.compile(r"at\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\)")
_models = moto("scheduler.models")
_GROUP = "default"


def change(platform: Platform) -> None:
    backend = _models.EventBridgeSchedulerBackend
    for name in ("create_schedule", "update_schedule"):
        setattr(backend, name, _checked(getattr(backend, name)))
    add_resource(_Schedule, _models)


def _checked(method: Any) -> Any:
    position = signature(method)

    @wraps(method)
    def check(*args: Any, **more: Any) -> Any:
        expression = position.bind(*args, **more).arguments["schedule_expression"]
        try:
            if not _ONCE.fullmatch(expression):
                parse(expression)
        except DefinitionError:
            invalid = moto("scheduler.exceptions").ValidationException
            raise invalid(f"Invalid Schedule Expression {expression}.") from None
        return method(*args, **more)

    return check


class _Schedule(Resource):
    TYPE = "AWS::Scheduler::Schedule"

    @classmethod
    def made(cls, name: str, given: Any, place: tuple[str, str]) -> Self:
        made = _backend(place).create_schedule(
            given.get("Description", ""),
            given.get("EndDate"),
            given["FlexibleTimeWindow"],
            _GROUP,
            given.get("KmsKeyArn"),
            given.get("Name", name),
            given["ScheduleExpression"],
            given.get("ScheduleExpressionTimezone"),
            given.get("StartDate"),
            given.get("State", "ENABLED"),
            given["Target"],
            None,
        )
        return cls(made.name, made.arn)

    def changed(self, name: str, given: Any, place: tuple[str, str]) -> Self:
        self.remove(self.physical_resource_id, place)
        return self.made(name, given, place)

    @staticmethod
    def remove(name: str, place: tuple[str, str]) -> None:
        _backend(place).delete_schedule(_GROUP, name)


def _backend(place: tuple[str, str]) -> Any:
    account, region = place
    return _models.scheduler_backends[account][region]
