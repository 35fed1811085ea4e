"""Executes state machines that CloudFormation makes, and accepts definitions as objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lokki.rehearse.moto_patches.modules import moto

if TYPE_CHECKING:
    from lokki.rehearse.moto_patches.platform import Platform


_models = moto("stepfunctions.models")


def change(platform: Platform) -> None:
    executing = moto("stepfunctions.parser.models")
    _models.stepfunctions_backends = executing.stepfunctions_parser_backends
    for name in ("create_from_cloudformation_json", "update_from_cloudformation_json"):
        setattr(_models.StateMachine, name, classmethod(_filled_in(name)))


def _filled_in(name: str) -> Any:
    made = getattr(_models.StateMachine, name).__func__

    def make(cls: Any, *args: Any, **more: Any) -> Any:
        for each in (*args, *more.values()):
            if isinstance(each, dict) and "Properties" in each:
                each["Properties"]["DefinitionString"] = _definition(each["Properties"])
                each["Properties"].pop("Definition", None)
        return made(cls, *args, **more)

    return make


def _definition(properties: Mapping[str, Any]) -> str:
    text: str = properties.get("DefinitionString") or json.dumps(properties["Definition"])
    for name, value in (properties.get("DefinitionSubstitutions") or {}).items():
        text = text.replace(f"${{{name}}}", str(value))
    return text
