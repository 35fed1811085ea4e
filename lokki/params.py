"""Flow parameters, made from the flow function's signature and checked by pydantic.

The command line (text), JSON (a file, HTTP, AWS) and Python calls all come through here, so that
a parameter means the same everywhere. pydantic is imported for the first value that has to be
converted: a flow that is given just what its annotations say runs without it.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import shlex
import sys
import types
import typing
from collections import abc
from contextlib import suppress
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NewType, Union, get_args, get_origin

from lokki.defaults import fits, own
from lokki.errors import DefinitionError, ParameterError
from lokki.numeric import json_whole
from lokki.secret import HIDDEN, Secret, variable
from lokki.standin import is_stand_in

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from pydantic import TypeAdapter

MISSING: Final[Any] = dataclasses.MISSING
"""The default of a parameter that has none."""

RESERVED: Final = frozenset({
    "help", "params", "on", "json", "concurrency", "processes", "log_level", "log_format",
    "run_id", "journal", "watch", "force",
})  # fmt: skip
"""Names that `lokki run` keeps for its own options."""
_MOST_UNKNOWN: Final = 10
"""Parameters that are told one by one, with what each might be."""
_MOST_ERRORS: Final = 1_000
"""Wrong parts of one value that are looked at, for what to say of it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a flow.

    ``annotation`` is Any when there is none, includes None when the default is None, and is still
    a string when its names cannot be resolved. ``default`` is MISSING when a value is required.
    """

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is MISSING

    @property
    def is_flag(self) -> bool:
        """True for ``bool`` and ``bool | None``."""
        return _choices(self.annotation) == [bool]

    @property
    def is_secret(self) -> bool:
        """True for ``Secret[…]`` and ``Secret[…] | None``: never shown, and no option."""
        return any((get_origin(kind) or kind) is Secret for kind in _choices(self.annotation))

    @property
    def option(self) -> str:
        """The option's name at the terminal: ``--min-size`` for ``min_size``."""
        return "--" + self.name.replace("_", "-")

    @property
    def type_label(self) -> str:
        """The type in words for a terminal, None left out: ``int``, ``red|blue``, ``JSON list``."""
        return " or ".join(dict.fromkeys(map(_label, _choices(self.annotation))))

    @property
    def metavar(self) -> str:
        """What stands for a value in the help: ``INT``, ``YYYY-MM-DD``, ``red|blue``."""
        return "|".join(dict.fromkeys(map(_metavar, _choices(self.annotation))))

    @property
    def example(self) -> str:
        """What may be typed for it at the terminal, the option included."""
        if self.is_flag:
            return self.option
        options = [text for kind in _choices(self.annotation) for text in _options(kind)]
        for text in (*options, *_EXAMPLES):
            with suppress(DefinitionError, ParameterError):
                check_value(self, text, True)
                return f"{self.option} {shlex.quote(text)}"
        return f"{self.option} {shlex.quote(self.metavar)}"

    @property
    def default_text(self) -> str:
        """The default as it would be typed at the terminal; empty when it is none."""
        if self.required or self.default is None:
            return ""
        if self.is_flag:
            return self.option if self.default else f"--no-{self.option[2:]}"
        return shlex.quote(_typed(self.default))


class Parameters:
    """The parameters of one flow, in the order of its signature.

    ``owner`` is the flow's name, for messages. Annotations given as strings are resolved on first
    need, so that a name imported under TYPE_CHECKING does not stop the flow's definition.

    Raises DefinitionError if the signature has ``*args``, ``**kwargs``, a positional-only
    parameter, a name in RESERVED, a ``no_x`` beside a flag ``x``, or a default that its annotation
    does not allow, as far as can be told without pydantic.
    """

    def __init__(self, fn: Callable[..., Any], owner: str) -> None:
        self._fn = fn
        self._owner = owner
        self._signature = inspect.signature(fn)
        self._adapters: dict[str, TypeAdapter[Any]] = {}
        for name, parameter in self._signature.parameters.items():
            reason = ""
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                reason = f"a flow cannot take '{parameter}'; give each parameter a name"
            elif parameter.kind is parameter.POSITIONAL_ONLY:
                reason = f"parameter '{name}' is positional-only; a run gives names: remove the '/'"
            elif name in RESERVED:
                reason = f"parameter '{name}' has the name of an option of `lokki run`; rename it"
            elif f"no_{name}" in self.names and self._resolve(parameter).is_flag:
                reason = f"parameter 'no_{name}' has the name of what turns '{name}' off; rename it"
            else:
                reason = _misfit(self._resolve(parameter))
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
        """Those that are secret and have no default."""
        return [each for each in self if each.is_secret and each.required]

    @functools.cached_property
    def _resolved(self) -> tuple[Parameter, ...]:
        return tuple(map(self._resolve, self._signature.parameters.values()))

    def _resolve(self, parameter: inspect.Parameter) -> Parameter:
        annotation = parameter.annotation
        if annotation is parameter.empty:
            annotation = _kind_of(parameter.default)
        names = getattr(inspect.unwrap(self._fn), "__globals__", {})
        # One by one: with the whole function, one name that cannot be resolved would spoil all.
        holder = types.SimpleNamespace(__annotations__={"it": annotation})
        try:
            annotation = typing.get_type_hints(holder, names, include_extras=True)["it"]
            if parameter.default is None:
                annotation = Union[annotation, None]  # noqa: UP007
        except Exception:
            annotation = str(annotation)
        default = MISSING if parameter.default is parameter.empty else parameter.default
        return Parameter(parameter.name, annotation, default)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a Python call, validated, every default filled in.

        Raises ParameterError as `validate` does, also for too many positional arguments and for a
        parameter given twice; DefinitionError for an annotation that cannot be used.
        """
        every = self._signature.parameters.values()
        positional = [p.name for p in every if p.kind is not p.KEYWORD_ONLY]
        given = dict(zip(positional, args, strict=False))
        twice = [name for name in given if name in kwargs]
        problems = [f"parameter '{name}' is given twice, by position and by name" for name in twice]
        if len(args) > len(positional):
            problems.append(f"takes {len(positional)} positional arguments, not {len(args)}")
        return self._check({**given, **kwargs}, (), problems, {}, {})

    def validate(
        self,
        values: Mapping[str, Any],
        *,
        text: Collection[str] = (),
        checked: Mapping[str, Any] | None = None,
        origins: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Every value checked and converted, every default filled in, as a copy of its own.

        ``text`` names the values that are strings of a command line or of the environment
        (default: none); the rest are JSON or Python values. ``checked`` are values that came out
        of an earlier call and are used as they are where ``values`` has none (default: none).
        ``origins`` tells of values where they come from, for messages (default: nothing).

        Raises ParameterError with a line for every problem: a parameter that is unknown, missing
        or of the wrong type; DefinitionError if the annotation of a given one cannot be used.
        """
        if not isinstance(values, abc.Mapping):
            reason = f"parameters must be an object of names and values, not {_show(values)}"
            raise ParameterError(f"{self._owner}: {reason}")
        return self._check(values, text, [], checked or {}, origins or {})

    def _check(
        self,
        values: Mapping[str, Any],
        text: Collection[str],
        problems: list[str],
        earlier: Mapping[str, Any],
        origins: Mapping[str, str],
    ) -> dict[str, Any]:
        def wrong(name: str, problem: object) -> None:
            problems.append(f"{origins[name]}: {problem}" if name in origins else str(problem))

        unknown = [name for name in {**earlier, **values} if name not in self.names]
        for name in unknown[:_MOST_UNKNOWN]:
            import difflib

            near = difflib.get_close_matches(str(name), self.names, 1)
            known = f"it takes {', '.join(self.names) or 'none'}"
            hint = f"did you mean '{near[0]}'?" if near else known
            wrong(name, f"unknown parameter {_show(name)}; {hint}")
        if len(unknown) > _MOST_UNKNOWN:
            problems.append(f"and {len(unknown) - _MOST_UNKNOWN:,} more unknown parameters")
        checked: dict[str, Any] = {}
        for parameter in self:
            name = parameter.name
            if name in values:
                try:
                    checked[name] = check_value(
                        parameter, values[name], name in text, self._adapter
                    )
                except ParameterError as error:
                    wrong(name, error)
            elif name in earlier:
                checked[name] = earlier[name]
            elif parameter.is_secret and os.environ.get(variable(name)):
                try:
                    checked[name] = _secret(parameter, os.environ[variable(name)])
                except ParameterError as error:
                    problems.append(str(error))
            elif parameter.is_secret and parameter.required:
                problems.append(f"parameter '{name}' is a secret and missing: set {variable(name)}")
            elif parameter.required:
                problems.append(f"parameter '{name}' ({parameter.type_label}) is missing")
            else:
                checked[name] = own(parameter.default)
        if problems:
            raise ParameterError("\n".join(f"{self._owner}: {problem}" for problem in problems))
        return checked

    def _adapter(self, parameter: Parameter) -> TypeAdapter[Any]:
        if parameter.name not in self._adapters:
            try:
                self._adapters[parameter.name] = _adapter(parameter)
            except DefinitionError as error:
                raise DefinitionError(f"{self._owner}: {error}") from error.__cause__
        return self._adapters[parameter.name]

    def json_schema(self) -> dict[str, Any]:
        """The parameters as a JSON Schema (draft 2020-12) of an object, secrets left out."""
        properties, definitions = {}, {}
        for parameter in self:
            if parameter.is_secret:
                continue
            schema = self._schema(parameter)
            for name, each in schema.pop("$defs", {}).items():
                definitions[f"{parameter.name}.{name}"] = each
            if not parameter.required:
                schema["default"] = _to_json(parameter.default)
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
        """The schema of one; of a type that JSON Schema has no words for, anything goes."""
        from pydantic.errors import PydanticInvalidForJsonSchema

        if parameter.annotation is Any:
            return {}
        try:
            # Two parameters may have classes of the same name.
            return self._adapter(parameter).json_schema(
                ref_template=f"#/$defs/{parameter.name}.{{model}}"
            )
        except (DefinitionError, PydanticInvalidForJsonSchema):
            return {"description": parameter.type_label}

    def given(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of checked values that are neither defaults nor secrets, as JSON can hold them."""
        return self.to_json(
            {
                each.name: values[each.name]
                for each in self
                if not each.is_secret and not _is_default(values[each.name], each.default)
            }
        )

    def to_json(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values as JSON can hold them, as pydantic writes them, to store or to show.

        Dates, times and durations are ISO 8601, enum members their value, secrets ``***``.
        `validate` reads them back, except for secrets, the strings "NaN" and "Infinity", and the
        repr of what is unknown.
        """
        return {
            name: HIDDEN if isinstance(value, Secret) else _to_json(value)
            for name, value in values.items()
        }


def _misfit(parameter: Parameter) -> str:
    """What is wrong with a default that is not as annotated; empty where nothing can be said."""
    name, kind, default = parameter.name, parameter.annotation, parameter.default
    if parameter.required:
        return ""
    if not fits(kind, default):
        given = "" if parameter.is_secret else f" {_show(default)}"
        return (
            f"parameter '{name}' is annotated as {inspect.formatannotation(kind)}, and its default"
            f"{given} ({type(default).__name__}) is not: change one of them"
        )
    if (
        get_origin(kind) is Annotated and "pydantic" in sys.modules
    ):  # it is its user who pays for it
        with suppress(DefinitionError):
            try:
                check_value(parameter, default, False)
            except ParameterError as error:
                return f"the default is refused: {error}"
    return ""


def _is_default(value: Any, default: Any) -> bool:
    """Whether a value is a default, or a copy of one that could be changed."""
    if value is default:
        return True
    copied = type(value) is type(default) and own(default) is not default
    return copied and bool(_to_json(value) == _to_json(default))


def _adapter(parameter: Parameter) -> TypeAdapter[Any]:
    from pydantic import ConfigDict, TypeAdapter

    name, kind = parameter.name, parameter.annotation
    wrap: Any = NewType  # pydantic takes no config for a bare dataclass or TypedDict
    config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")
    try:
        if isinstance(kind, str):
            raise NameError(f"'{kind}' is not known")
        adapter: TypeAdapter[Any] = TypeAdapter(wrap(name, kind), config=config)
        adapter.rebuild()  # raises what a name that cannot be resolved has left undone
    except Exception as error:  # pydantic's, or of the class's own code
        reason = str(error).partition("\n")[0]
        if isinstance(error, NameError):
            reason += "; import or define it at the top of its module, not if TYPE_CHECKING"
        raise DefinitionError(
            f"the annotation of parameter '{name}' cannot be used: {reason}"
        ) from error
    return adapter


def check_value(
    parameter: Parameter,
    value: Any,
    as_text: bool,
    adapter: Callable[[Parameter], TypeAdapter[Any]] = _adapter,
) -> Any:
    """A value as the parameter's annotation has it; ``as_text`` when it comes as a string.

    ``adapter`` gives what converts it, where that is needed. Raises ParameterError, which says
    what is allowed, DefinitionError if the annotation cannot be used.
    """
    kind = parameter.annotation
    if is_stand_in(value):
        return value
    if parameter.is_secret and value is not None:
        return _secret(parameter, value)
    if not isinstance(value, str):
        as_text = False
    # What needs no conversion must not import pydantic.
    members = list(get_args(kind)) if _is_union(kind) else [kind]
    if any(member is Any or member is object for member in members):
        return _loose(str(value)) if as_text else value
    if as_text and [m for m in members if m is not types.NoneType] == [str]:
        return value
    if not as_text and any(type(value) is member for member in members):
        return value
    return _convert(parameter, adapter(parameter), value, as_text)


def _secret(parameter: Parameter, value: Any) -> Secret[Any]:
    """The secret, checked as what it is a secret of; it is not told what was given."""
    given = value.value if isinstance(value, Secret) else value
    kinds = [get_args(kind) or (str,) for kind in _choices(parameter.annotation)]
    inner = Parameter(parameter.name, kinds[0][0], MISSING)
    try:
        return Secret(check_value(inner, given, isinstance(given, str)))
    except ParameterError:
        told = f"parameter '{parameter.name}' is a secret that must be {inner.type_label}"
        raise ParameterError(told) from None


def _convert(parameter: Parameter, adapter: TypeAdapter[Any], value: Any, as_text: bool) -> Any:
    from pydantic import ValidationError

    problem = ""
    for validate, source, read in _readings(adapter, value, as_text):
        try:
            found = validate(source)
            # pydantic would check the items of an Iterable only while it is used.
            return list(found) if type(found).__name__ == "ValidatorIterator" else found
        except Exception as error:  # pydantic's, or of the class's own code
            own = {"type": "", "loc": (), "msg": f"{type(error).__name__}: {error}", "input": read}
            every = error.errors() if isinstance(error, ValidationError) else [own]
            errors = every[:_MOST_ERRORS]
        as_json = any(e["type"] in ("needs_python_object", "json_invalid") for e in errors)
        if not problem or not as_json:  # else the reading before it has more to say
            problem = _sentence(parameter, read, errors, as_text)
    for kind in _choices(parameter.annotation) if isinstance(value, str) else ():
        named = {**_options(kind), **getattr(kind, "__members__", {})}
        if isinstance(named.get(value), Enum):
            return named[value]
    raise ParameterError(problem)


def _readings(
    adapter: TypeAdapter[Any], value: Any, as_text: bool
) -> Iterator[tuple[Callable[[Any], Any], Any, Any]]:
    """What may read the value, what it is to read, and this as a Python value."""
    import json

    if as_text:
        yield adapter.validate_strings, value, value
        value = None if value.strip().lower() in ("none", "null") else _loose(value)
    yield partial(adapter.validate_python, strict=True), value, value
    try:
        encoded = json.dumps(value, default=json_whole)
    except (TypeError, ValueError, RecursionError):  # it is not JSON
        return
    yield partial(adapter.validate_json, strict=True), encoded, value


def _loose(text: str) -> Any:
    """The text of a parameter of any type: JSON, unless it is a JSON string or none at all."""
    import json

    try:
        value = json.loads(text, parse_constant=int)  # int() refuses NaN, which is not JSON
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, str) else value


def _to_json(value: Any) -> Any:
    import json

    try:
        try:
            encoded = json.dumps(value, default=json_whole)
        except TypeError:
            from pydantic_core import to_jsonable_python

            encoded = json.dumps(to_jsonable_python(value, fallback=_repr))
        return json.loads(encoded, parse_constant=str)  # "Infinity": JSON has no number for it
    except Exception:
        return _repr(value)


_WRITTEN: Final = frozenset({
    "bool", "int", "float", "str", "bytes", "list", "tuple", "dict", "set", "frozenset",
    "date", "datetime", "time", "timedelta", "Decimal", "UUID",
})  # fmt: skip
"""Types of Python's own library whose values a text or JSON can give."""


def _kind_of(default: Any) -> Any:
    """What a parameter without annotation takes: values of its default's type, if it has one.

    Anything, where only Python can give such a value.
    """
    kind = type(default)
    if isinstance(default, Path):
        return Path  # each system has a class of its own
    of_python = kind.__module__ in ("builtins", "datetime", "decimal", "uuid")
    if isinstance(default, Enum) or (of_python and kind.__name__ in _WRITTEN):
        return kind
    return kind if dataclasses.is_dataclass(kind) else Any


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _choices(kind: Any) -> list[Any]:
    """The members of a union, None left out; of another type, itself."""
    if get_origin(kind) is Annotated:
        return _choices(kind.__origin__)
    if not _is_union(kind):
        return [kind]
    return [choice for m in get_args(kind) if m is not types.NoneType for choice in _choices(m)]


# Words


_LABELS: Final = {
    "Any": "any value", "object": "any value", "Path": "path", "date": "date YYYY-MM-DD",
    "datetime": "datetime YYYY-MM-DDTHH:MM:SS", "timedelta": "duration such as PT1H30M",
}  # fmt: skip
_REASONS: Final = {  # for what pydantic's messages begin with
    "a valid boolean": "true or false",
    "a valid integer": "a whole number",
    "a valid datetime": "a date and time (YYYY-MM-DDTHH:MM:SS)",
    "a valid date": "a date (YYYY-MM-DD)",
    "a valid duration": "a duration (such as PT1H30M)",
    "a valid timedelta": "a duration (such as PT1H30M)",
}
_EXAMPLES: Final = (
    "text", "2026-02-03T10:30:00", "2026-02-03", "PT1H30M", '["a", "b"]', "[1, 2]",
    '{"key": "text"}', '{"key": 5}', "5", "0.5",
)  # fmt: skip
"""Texts of which the first that a parameter takes stands for its values."""


def _typed(value: Any) -> str:
    """A value as it is typed at the terminal."""
    import json

    if isinstance(value, Enum):
        return value.value if isinstance(value.value, str) else value.name
    plain = _to_json(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _options(kind: Any) -> dict[str, Any]:
    """The values of an enum or a Literal by how they are typed; none of another type."""
    cls = get_origin(kind) or kind
    values = get_args(kind) if cls is Literal else cls if isinstance(cls, type(Enum)) else ()
    return {_typed(value): value for value in values}


def _metavar(kind: Any) -> str:
    label = _label(kind)
    if _options(kind):
        return label
    return (label.split()[-1] if label in _LABELS.values() else label).upper()


def _label(kind: Any) -> str:
    if options := _options(kind):
        return "|".join(options)
    cls = get_origin(kind) or kind
    if isinstance(cls, type) and not issubclass(cls, (str, bytes)):
        if issubclass(cls, (abc.Sequence, abc.Set)) or cls in (abc.Iterable, abc.Collection):
            return "JSON list"
        records = ("__dataclass_fields__", "__pydantic_fields__")
        if issubclass(cls, abc.Mapping) or any(hasattr(cls, mark) for mark in records):
            return "JSON object"
    name = getattr(cls, "__name__", str(cls))
    return _LABELS.get(name, name)


def _sentence(parameter: Parameter, value: Any, errors: list[Any], as_text: bool) -> str:
    places = [_place(error, value) for error in errors]
    deepest = max(places, key=len)  # of a union, the member that has most to say
    there = [error for error, place in zip(errors, places, strict=True) if place == deepest]
    where = "".join(f".{p}" if str(p).isidentifier() else f"[{p!r}]" for p in deepest)
    allowed = "" if deepest else _allowed(parameter)
    reason = " or ".join(dict.fromkeys(_reason(error, allowed) for error in there))
    shown = _show(there[0]["input"])
    told = f" {reason}, not {shown}" if "must be" in reason else f": {reason} (given {shown})"
    kind = next((c for c in _choices(parameter.annotation) if _label(c).startswith("JSON ")), None)
    if as_text and kind is not None and not deepest:
        items = "[1, 2]" if get_args(kind)[:1] in ((int,), (float,)) else '["a", "b"]'
        example = items if _label(kind) == "JSON list" else '{"key": …}'
        told += f"; write it as {parameter.option} '{example}'"
    return f"parameter '{parameter.name}{where}'{told}"


def _reason(error: Any, allowed: str) -> str:
    if allowed and error["type"] in ("enum", "literal_error"):
        return f"must be {allowed}"
    told: str = error["msg"].replace("Input should be", "must be")
    return next(
        (f"must be {our}" for its, our in _REASONS.items() if told.startswith(f"must be {its}")),
        told,
    )


def _allowed(parameter: Parameter) -> str:
    """The values of a parameter that is an enum or a Literal, in words; empty for another one."""
    choices = [each for kind in _choices(parameter.annotation) for each in _options(kind).items()]
    shown = [repr(text if isinstance(value, Enum) else value) for text, value in choices]
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if shown[1:] else shown)


def _place(error: Any, value: Any) -> tuple[int | str, ...]:
    """Where in the value; pydantic's ``loc`` also names the members of unions that it tried."""
    place: list[int | str] = []
    for part in error["loc"]:
        is_key = isinstance(value, abc.Mapping) and part in value
        if is_key or (isinstance(value, (list, tuple)) and part in range(len(value))):
            value = value[part]
            place.append(part)
    return (*place, error["loc"][-1]) if error["type"] == "missing" else tuple(place)


def _show(value: object) -> str:
    text = " ".join(_repr(value).split())
    return text if len(text) <= 60 else text[:59] + "…"


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
