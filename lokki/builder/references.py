"""What the resources of a template refer to. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_IN_TEXT = re.compile(r"\$\{([A-Za-z0-9]+)(?:\.[^}]*)?\}")


def references(resource: Any) -> set[str]:
    """The logical ids and parameters that a resource, or a part of one, names."""
    return set(_named(resource))


def _named(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from _named(each)
    elif isinstance(value, Mapping):
        match value:
            case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), _]}:
                yield name
            case {"Fn::Sub": str(text)}:
                yield from _IN_TEXT.findall(text)
            case _:
                after = value.get("DependsOn", ())
                yield from [after] if isinstance(after, str) else after
                for each in value.values():
                    yield from _named(each)


def filled_in(value: Any, parameters: Mapping[str, str], conditions: Mapping[str, bool]) -> Any:
    """A part of a template without parameters and conditions: their values instead."""
    if isinstance(value, list):
        return [filled_in(each, parameters, conditions) for each in value]
    if not isinstance(value, Mapping):
        return value
    match value:
        case {"Ref": str(name)} if name in parameters:
            return parameters[name]
        case {"Fn::If": [str(name), yes, no]} if name in conditions:
            return filled_in(yes if conditions[name] else no, parameters, conditions)
        case {"Fn::Sub": str(text)}:
            for name, given in parameters.items():
                text = text.replace(f"${{{name}}}", given)
            return {"Fn::Sub": text} if "${" in text else text
    return {name: filled_in(each, parameters, conditions) for name, each in value.items()}


def closure(resources: Mapping[str, Any], roots: set[str]) -> set[str]:
    """These resources, and all that they refer to."""
    found: set[str] = set()
    left = roots & resources.keys()
    while left:
        found |= left
        left = {name for each in left for name in references(resources[each])} & resources.keys()
        left -= found
    return found


def dependency_order(resources: Mapping[str, Any]) -> list[str]:
    """Resources, each after those that it refers to."""
    order: dict[str, None] = {}

    def add(name: str) -> None:
        for each in sorted(references(resources[name]) & resources.keys() - order.keys()):
            add(each)
        order.setdefault(name)

    for name in resources:
        add(name)
    return list(order)
