"""``AWS::Lambda::Alias``, which moto does not make by CloudFormation.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-lambda-alias.html
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lokki.rehearse.moto_patches.modules import add_resource, moto

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_models = moto("awslambda.models")
_Base: Any = moto("core.common_models").CloudFormationModel


def change(platform: Platform) -> None:
    add_resource(_Alias, _models)


class _Alias(_Base):  # type: ignore[misc]
    def __init__(self, arn: str) -> None:
        self.arn = arn

    @property
    def physical_resource_id(self) -> str:
        return self.arn

    @staticmethod
    def cloudformation_name_type() -> str:
        return "Name"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::Lambda::Alias"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "AliasArn"

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
    ) -> _Alias:
        given = cloudformation_json["Properties"]
        backend = _models.get_backend(account_id, region_name)
        made = backend.create_alias(
            given["Name"], given["FunctionName"], str(given["FunctionVersion"]), "", ""
        )
        return cls(made.arn)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: _Alias,
        new_resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> _Alias:
        given = cloudformation_json["Properties"]
        backend = _models.get_backend(account_id, region_name)
        backend.update_alias(
            given["Name"], given["FunctionName"], str(given["FunctionVersion"]), "", ""
        )
        return original_resource

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        function, alias = resource_name.split(":")[6:]
        with suppress(_models.UnknownFunctionException):
            _models.get_backend(account_id, region_name).delete_alias(alias, function)
