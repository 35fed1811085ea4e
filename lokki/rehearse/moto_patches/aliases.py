"""``AWS::Lambda::Alias``, which moto does not make by CloudFormation.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-lambda-alias.html
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from lokki.rehearse.moto_patches.modules import moto
from lokki.rehearse.moto_patches.resources import Resource, add_resource

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_models = moto("awslambda.models")


def change(platform: Platform) -> None:
    add_resource(_Alias, _models)


class _Alias(Resource):
    TYPE = "AWS::Lambda::Alias"
    ARN = "AliasArn"

    @classmethod
    def made(cls, name: str, given: Any, place: tuple[str, str]) -> Self:
        arn = _models.get_backend(*place).create_alias(*_about(given)).arn
        return cls(arn, arn)

    def changed(self, name: str, given: Any, place: tuple[str, str]) -> Self:
        _models.get_backend(*place).update_alias(*_about(given))
        return self

    @staticmethod
    def remove(name: str, place: tuple[str, str]) -> None:
        function, alias = name.split(":")[6:]
        with suppress(_models.UnknownFunctionException):
            _models.get_backend(*place).delete_alias(alias, function)


def _about(given: Any) -> tuple[str, ...]:
    """An alias with neither a description nor a second version."""
    return given["Name"], given["FunctionName"], str(given["FunctionVersion"]), "", ""
