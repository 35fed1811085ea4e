"""The base of the model's types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")

TYPES: list[type] = []
"""The types of the model, of the modules that are imported."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def model(cls: type[T]) -> type[T]:
    """Make a class a type of the model: a frozen dataclass whose fields are passed by name.

    Its fields are those of its JSON. The string below a field describes it in OpenAPI; a field with
    a default may be missing in data from an older version.
    """
    cls.__pydantic_config__ = {"use_attribute_docstrings": True}  # type: ignore[attr-defined]
    made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
    TYPES.append(made)
    return made


class Example:
    """An example of a field's value, for OpenAPI: ``Annotated[str, Example("ValueError")]``."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __get_pydantic_json_schema__(self, core: Any, handler: Callable[[Any], Any]) -> Any:
        return handler(core) | {"examples": [self._value]}


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of a value of the model, for ``json.dumps(value, default=fields_of)``.

    Raises TypeError for any other value.
    """
    try:
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    except AttributeError:
        raise TypeError(f"{type(value).__name__} is not a type of the model") from None
