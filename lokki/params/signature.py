"""The parameters of a flow, made from the signature of its function.

The command line (text), JSON (a file, HTTP, AWS) and Python calls all go through here, so that a
parameter means the same everywhere.
"""

from __future__ import annotations

import functools
import inspect
import os
import types
import typing
from collections import abc
from typing import Any, Final, Union

from lokki.defaults import own
from lokki.deferred import signature, written
from lokki.errors import DefinitionError, ParameterError, ParameterProblem
from lokki.params.checking import adapter_of, check_secret, check_value, misfit
from lokki.params.kinds import kind_of
from lokki.params.parameter import MISSING, Parameter
from lokki.params.values import brief, is_default, to_json
from lokki.secret import HIDDEN, Secret, variable
from lokki.wording import Wording, nearest

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from pydantic import TypeAdapter


RESERVED: Final = frozenset({
    "help", "params", "on", "json", "concurrency", "processes", "log_level", "log_format",
    "run_id", "journal", "watch", "force",
})  # fmt: skip
"""Names that `lokki run` keeps for its own options."""
_MOST_UNKNOWN: Final = 10
"""How many unknown parameters are reported one by one, each with a suggestion."""


class Parameters:
    """The parameters of one flow, in the order of its signature.

    ``owner`` is the flow's name, for messages. String annotations are resolved when first needed,
    so that a name imported under TYPE_CHECKING does not prevent the flow's definition.

    Raises DefinitionError if the signature has ``*args``, ``**kwargs``, a positional-only
    parameter, a name in RESERVED, a ``no_x`` beside a flag ``x``, or a default that its annotation
    does not allow, as far as this can be checked without pydantic.
    """

    def __init__(self, fn: Callable[..., Any], owner: str) -> None:
        self._fn = fn
        self._owner = owner
        self._signature = signature(fn)
        self._adapters: dict[str, TypeAdapter[Any]] = {}
        for name, parameter in self._signature.parameters.items():
            reason = ""
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                reason = f"a flow cannot take '{parameter}'; give each parameter a name"
            elif parameter.kind is parameter.POSITIONAL_ONLY:
                reason = f"parameter '{name}' is positional-only, but runs name it: remove the '/'"
            elif name in RESERVED:
                reason = f"parameter '{name}' has the name of an option of `lokki run`; rename it"
            elif f"no_{name}" in self.names and self._resolve(parameter).is_flag:
                reason = f"parameter 'no_{name}' has the name that turns '{name}' off; rename it"
            else:
                reason = misfit(self._resolve(parameter))
            if reason:
                raise DefinitionError(f"{owner}: {reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        return Parameters, (self._fn, self._owner)  # pydantic's adapters cannot be pickled

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._signature.parameters)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._resolved)

    @property
    def secrets(self) -> list[Parameter]:
        """The secret ones without a default."""
        return [each for each in self if each.is_secret and each.required]

    @functools.cached_property
    def _resolved(self) -> tuple[Parameter, ...]:
        return tuple(map(self._resolve, self._signature.parameters.values()))

    def _resolve(self, parameter: inspect.Parameter) -> Parameter:
        annotation = parameter.annotation
        if annotation is parameter.empty:
            annotation = kind_of(parameter.default)
        names = getattr(inspect.unwrap(self._fn), "__globals__", {})
        # One by one: for the whole function, one unresolved name would spoil all.
        holder = types.SimpleNamespace(__annotations__={"it": annotation})
        try:
            annotation = typing.get_type_hints(holder, names, include_extras=True)["it"]
            if parameter.default is None:
                annotation = Union[annotation, None]  # noqa: UP007
        except Exception:
            annotation = written(self._fn, parameter)
        default = MISSING if parameter.default is parameter.empty else parameter.default
        return Parameter(parameter.name, annotation, default)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The validated values of a Python call, with defaults filled in.

        Raises ParameterError like `validate`, also for too many positional arguments and for a
        parameter given twice; DefinitionError for an annotation that cannot be used.
        """
        every = self._signature.parameters.values()
        positional = [p.name for p in every if p.kind is not p.KEYWORD_ONLY]
        given = dict(zip(positional, args, strict=False))
        twice = [name for name in given if name in kwargs]
        problems = [
            ParameterProblem(name, f"parameter '{name}' is given twice, by position and by name")
            for name in twice
        ]
        if len(args) > len(positional):
            text = f"takes {len(positional)} positional arguments, not {len(args)}"
            problems.append(ParameterProblem(None, text))
        return self._check({**given, **kwargs}, (), problems, {}, {})

    def validate(
        self,
        values: Mapping[str, Any],
        *,
        text: Collection[str] = (),
        checked: Mapping[str, Any] | None = None,
        origins: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The checked and converted values, with a separate copy of every default filled in.

        ``text`` names the values that are strings from a command line or the environment (default:
        none); the rest are JSON or Python values. ``checked`` are results of an earlier call, used
        as they are where ``values`` has none (default: none). ``origins`` says where values come
        from, for messages (default: nothing).

        Raises ParameterError with a line for every parameter that is unknown, missing or of the
        wrong type; DefinitionError if the annotation of a given one cannot be used.
        """
        if not isinstance(values, abc.Mapping):
            reason = f"parameters must be an object of names and values, not {brief(values)}"
            raise ParameterError.of([ParameterProblem(None, reason)], self._owner)
        return self._check(values, text, [], checked or {}, origins or {})

    def _check(
        self,
        values: Mapping[str, Any],
        text: Collection[str],
        problems: list[ParameterProblem],
        earlier: Mapping[str, Any],
        origins: Mapping[str, str],
    ) -> dict[str, Any]:
        def wrong(name: str, problem: str) -> None:
            text = Wording(f"{origins[name]}: ", problem) if name in origins else problem
            problems.append(ParameterProblem(str(name), text))

        unknown = [name for name in {**earlier, **values} if name not in self.names]
        for name in unknown[:_MOST_UNKNOWN]:
            near = nearest(str(name), self.names)
            known = f"it takes {', '.join(self.names) or 'none'}"
            hint = f"did you mean '{near}'?" if near else known
            wrong(name, f"unknown parameter {brief(name)}; {hint}")
        if len(unknown) > _MOST_UNKNOWN:
            more = f"and {len(unknown) - _MOST_UNKNOWN:,} more unknown parameters"
            problems.append(ParameterProblem(None, more))
        checked: dict[str, Any] = {}
        for parameter in self:
            name = parameter.name
            if name in values:
                try:
                    checked[name] = check_value(
                        parameter, values[name], name in text, self._adapter
                    )
                except ParameterError as error:
                    wrong(name, error.problems[0].message)
            elif name in earlier:
                checked[name] = earlier[name]
            elif parameter.is_secret and os.environ.get(variable(name)):
                try:
                    checked[name] = check_secret(parameter, os.environ[variable(name)])
                except ParameterError as error:
                    problems.extend(error.problems)
            elif parameter.is_secret and parameter.required:
                text = f"parameter '{name}' is a secret and missing: set {variable(name)}"
                problems.append(ParameterProblem(name, text))
            elif parameter.required:
                text = f"parameter '{name}' ({parameter.type_label}) is missing"
                problems.append(ParameterProblem(name, text))
            else:
                checked[name] = own(parameter.default)
        if problems:
            raise ParameterError.of(problems, self._owner)
        return checked

    def _adapter(self, parameter: Parameter) -> TypeAdapter[Any]:
        if parameter.name not in self._adapters:
            try:
                self._adapters[parameter.name] = adapter_of(parameter)
            except DefinitionError as error:
                raise DefinitionError(f"{self._owner}: {error}") from error.__cause__
        return self._adapters[parameter.name]

    def json_schema(self) -> dict[str, Any]:
        """The parameters, without secrets, as a JSON Schema (draft 2020-12) of an object."""
        properties, definitions = {}, {}
        for parameter in self:
            if parameter.is_secret:
                continue
            schema = self._schema(parameter)
            for name, each in schema.pop("$defs", {}).items():
                definitions[f"{parameter.name}.{name}"] = each
            if not parameter.required:
                schema["default"] = to_json(parameter.default)
            properties[parameter.name] = schema
        required = [each.name for each in self if each.required and not each.is_secret]
        whole: dict[str, Any] = {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }
        return whole | ({"$defs": definitions} if definitions else {})

    def _schema(self, parameter: Parameter) -> dict[str, Any]:
        """The schema of one; a type that JSON Schema cannot express allows anything."""
        from pydantic.errors import PydanticInvalidForJsonSchema

        if parameter.annotation is Any:
            return {}
        try:
            # Two parameters may have classes with the same name.
            return self._adapter(parameter).json_schema(
                ref_template=f"#/$defs/{parameter.name}.{{model}}"
            )
        except (DefinitionError, PydanticInvalidForJsonSchema):
            return {"description": parameter.type_label}

    def given(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Checked values that are neither defaults nor secrets, as JSON values."""
        return self.to_json(
            {
                each.name: values[each.name]
                for each in self
                if not each.is_secret and not is_default(values[each.name], each.default)
            }
        )

    def to_json(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values as JSON values, in pydantic's format, to store or to show.

        Dates, times and durations are ISO 8601, enum members their value, secrets ``***``.
        `validate` reads them back, except for secrets, the strings "NaN" and "Infinity", and the
        repr of unknown types.
        """
        return {
            name: HIDDEN if isinstance(value, Secret) else to_json(value)
            for name, value in values.items()
        }
