"""``AWS::SNS::TopicPolicy`` in CloudFormation, which nobody enforces here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from lokki.rehearse.moto_patches.modules import moto
from lokki.rehearse.moto_patches.resources import Resource, add_resource

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform

_models = moto("sns.models")


def change(platform: Platform) -> None:
    add_resource(_TopicPolicy, _models)


class _TopicPolicy(Resource):
    TYPE = "AWS::SNS::TopicPolicy"
    NAME = ""

    @classmethod
    def made(cls, name: str, given: Any, place: tuple[str, str]) -> Self:
        account, region = place
        for topic in given["Topics"]:
            policy = json.dumps(given["PolicyDocument"])
            _models.sns_backends[account][region].get_topic(topic).policy = policy
        return cls(name)

    def changed(self, name: str, given: Any, place: tuple[str, str]) -> Self:
        return self.made(name, given, place)

    @staticmethod
    def remove(name: str, place: tuple[str, str]) -> None:
        """It ends with its topic."""
