"""A flow's parameters as options, from the flow's JSON description: its code may be elsewhere."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from lokki.model.flow import Flow

_METAVARS = {
    "integer": "INT", "number": "FLOAT", "boolean": "BOOL", "string": "STR",
    "array": "JSON LIST", "object": "JSON OBJECT",
    "date": "YYYY-MM-DD", "date-time": "YYYY-MM-DDTHH:MM:SS", "duration": "PT1H30M",
    "path": "PATH", "uuid": "UUID", "binary": "BYTES",
}  # fmt: skip
"""Placeholders for values of a type, or of a string format, as in `Parameter.metavar`."""
_SWITCHES = {"true": True, "yes": True, "on": True, "1": True}
_SWITCHES |= {"false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, slots=True)
class SchemaParameter:
    """A parameter of a flow, as the JSON Schema of its parameters describes it."""

    name: str
    schemas: tuple[Mapping[str, Any], ...]
    required: bool
    default: Any
    is_secret: ClassVar[bool] = False

    @property
    def option(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def is_flag(self) -> bool:
        return self._types == {"boolean"}

    @property
    def _types(self) -> set[str | None]:
        return {each.get("type") for each in self.schemas} - {"null"}

    @property
    def metavar(self) -> str:
        words = [_metavar(each) for each in self.schemas if each.get("type") != "null"]
        return "|".join(dict.fromkeys(words))

    @property
    def default_text(self) -> str:
        """The default as typed; empty if there is none, or None."""
        if self.default is None:
            return ""
        if self.is_flag:
            return self.option if self.default else f"--no-{self.option[2:]}"
        text = self.default
        if not isinstance(text, str):
            text = json.dumps(text, ensure_ascii=False)
        return shlex.quote(text)

    def value(self, text: str) -> Any:
        """What is typed for it, as JSON; the flow's own check decides whether it is right."""
        if text.lower() in ("none", "null") and any(
            each.get("type") == "null" for each in self.schemas
        ):
            return None
        if self.is_flag:
            return _SWITCHES.get(text.lower(), text)
        if self._types == {"string"}:
            return text
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return text
        return text if isinstance(value, str) else value


def parameters(flow: Flow) -> Iterator[SchemaParameter]:
    """The parameters of a flow, without its secrets."""
    whole = flow.parameters
    required, definitions = whole["required"], whole.get("$defs", {})
    for name, schema in whole["properties"].items():
        members = schema.get("anyOf", [schema])
        schemas = tuple(_resolved(each, definitions) for each in members)
        yield SchemaParameter(name, schemas, name in required, schema.get("default"))


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    named: Mapping[str, Any] = definitions.get(schema.get("$ref", "").rpartition("/")[2], schema)
    return named


def _metavar(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "|".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    kind = str(schema.get("type"))
    return _METAVARS.get(schema.get("format", kind), _METAVARS.get(kind, "VALUE"))
