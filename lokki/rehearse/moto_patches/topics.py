"""``AWS::SNS::TopicPolicy`` in CloudFormation, which nobody enforces here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lokki.rehearse.moto_patches.modules import add_resource, moto

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform


_models = moto("sns.models")
_Base: Any = moto("core.common_models").CloudFormationModel


def change(platform: Platform) -> None:
    add_resource(_TopicPolicy, _models)


class _TopicPolicy(_Base):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        self.physical_resource_id = name

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SNS::TopicPolicy"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
        **more: Any,
    ) -> _TopicPolicy:
        backend = _models.sns_backends[account_id][region_name]
        given = cloudformation_json["Properties"]
        for topic in given["Topics"]:
            backend.get_topic(topic).policy = json.dumps(given["PolicyDocument"])
        return cls(resource_name)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: _TopicPolicy,
        new_resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> _TopicPolicy:
        return cls.create_from_cloudformation_json(
            new_resource_name, cloudformation_json, account_id, region_name
        )

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        """It ends with its topic."""
