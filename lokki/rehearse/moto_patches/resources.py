"""Types of resources that moto's CloudFormation lacks."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from lokki.rehearse.moto_patches.modules import moto


class Resource:
    """One of them: a subclass makes, changes and removes it.

    ``TYPE`` is its type, ``NAME`` the property with its name, if it has any, ``ARN`` the attribute
    with its ARN. ``place`` is the account and region.
    """

    TYPE: ClassVar[str]
    NAME: ClassVar[str] = "Name"
    ARN: ClassVar[str] = "Arn"

    def __init__(self, name: str, arn: str = "") -> None:
        self.physical_resource_id = name
        self.arn = arn

    @classmethod
    def made(cls, name: str, given: Any, place: tuple[str, str]) -> Self:
        """Make one with the properties ``given``."""
        raise NotImplementedError

    def changed(self, name: str, given: Any, place: tuple[str, str]) -> Self:
        """What it is with other properties."""
        raise NotImplementedError

    @staticmethod
    def remove(name: str, place: tuple[str, str]) -> None:
        """Remove the one with this name on AWS."""
        raise NotImplementedError

    # ---- as moto asks for it ---------------------------------------------------------------------

    @classmethod
    def cloudformation_type(cls) -> str:
        return cls.TYPE

    @classmethod
    def cloudformation_name_type(cls) -> str:
        return cls.NAME

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == cls.ARN

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
    ) -> Self:
        return cls.made(resource_name, cloudformation_json["Properties"], (account_id, region_name))

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Self,
        new_resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> Self:
        given, place = cloudformation_json["Properties"], (account_id, region_name)
        return original_resource.changed(new_resource_name, given, place)

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        cls.remove(resource_name, (account_id, region_name))


def add_resource(kind: type[Resource], models: Any) -> None:
    """Have CloudFormation make resources of a type that moto's ``models`` of a service lack."""
    base = moto("core.common_models").CloudFormationModel
    made = {"__module__": models.__name__}  # moto finds the maker of a resource by it
    type(base)(kind.__name__, (kind, base), made)
    parsing = moto("cloudformation.parsing")
    for known in (parsing.get_model_list, parsing.get_model_map, parsing.get_name_type_map):
        known.cache_clear()
