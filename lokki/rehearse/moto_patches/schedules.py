"""Schedules: ``AWS::Scheduler::Schedule`` in CloudFormation, and expressions that are refused.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html; no time ever comes here.
"""

from __future__ import annotations

import re
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any

from lokki.errors import DefinitionError
from lokki.rehearse.moto_patches.modules import add_resource, moto
from lokki.schedule import parse

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_ONCE = re.compile(r"at\(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\)")
_models = moto("scheduler.models")
_Base: Any = moto("core.common_models").CloudFormationModel


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


class _Schedule(_Base):  # type: ignore[misc]
    def __init__(self, name: str, group: str, arn: str) -> None:
        self.name, self.group, self.arn = name, group, arn

    @property
    def physical_resource_id(self) -> str:
        return self.name

    @staticmethod
    def cloudformation_name_type() -> str:
        return "Name"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::Scheduler::Schedule"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "Arn"

    def get_cfn_attribute(self, attribute_name: str) -> str:
        return self.arn

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
        **more: Any,
    ) -> _Schedule:
        given = cloudformation_json["Properties"]
        group = given.get("GroupName", "default")
        made = _models.scheduler_backends[account_id][region_name].create_schedule(
            given.get("Description", ""),
            given.get("EndDate"),
            given["FlexibleTimeWindow"],
            group,
            given.get("KmsKeyArn"),
            given.get("Name", resource_name),
            given["ScheduleExpression"],
            given.get("ScheduleExpressionTimezone"),
            given.get("StartDate"),
            given.get("State", "ENABLED"),
            given["Target"],
            None,
        )
        return cls(made.name, group, made.arn)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: _Schedule,
        new_resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> _Schedule:
        backend = _models.scheduler_backends[account_id][region_name]
        backend.delete_schedule(original_resource.group, original_resource.name)
        return cls.create_from_cloudformation_json(
            new_resource_name, cloudformation_json, account_id, region_name
        )

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        backend = _models.scheduler_backends[account_id][region_name]
        backend.delete_schedule("default", resource_name)
