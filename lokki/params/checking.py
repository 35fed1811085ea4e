"""Checks a value against the annotation of its parameter, and converts it."""

from __future__ import annotations

import inspect
import sys
import types
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, NewType, get_args, get_origin

from lokki.defaults import fits
from lokki.errors import DefinitionError, ParameterError, ParameterProblem
from lokki.numeric import json_whole
from lokki.params.kinds import choices_of, is_union
from lokki.params.parameter import MISSING, Parameter
from lokki.params.values import brief
from lokki.params.words import named_values
from lokki.secret import Secret
from lokki.standin import is_stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic import TypeAdapter


_MOST_ERRORS: Final = 1_000
"""Most wrong parts of one value that are considered for its message."""


def misfit(parameter: Parameter) -> str:
    """What is wrong with a default that does not match its annotation; empty if unknown."""
    name, kind, default = parameter.name, parameter.annotation, parameter.default
    if parameter.required:
        return ""
    if not fits(kind, default):
        given = "" if parameter.is_secret else f" {brief(default)}"
        return (
            f"parameter '{name}' is annotated as {inspect.formatannotation(kind)}, but its default"
            f"{given} ({type(default).__name__}) is not: change one of them"
        )
    if (
        get_origin(kind) is Annotated and "pydantic" in sys.modules
    ):  # already imported, so the check costs nothing more
        with suppress(DefinitionError):
            try:
                check_value(parameter, default, False)
            except ParameterError as error:
                return f"the default is refused: {error}"
    return ""


def adapter_of(parameter: Parameter) -> TypeAdapter[Any]:
    from pydantic import ConfigDict, TypeAdapter

    name, kind = parameter.name, parameter.annotation
    wrap: Any = NewType  # pydantic takes no config for a bare dataclass or TypedDict
    config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")
    try:
        if isinstance(kind, str):
            raise NameError(f"'{kind}' is unknown")
        adapter: TypeAdapter[Any] = TypeAdapter(wrap(name, kind), config=config)
        adapter.rebuild()  # raises errors of unresolved names
    except Exception as error:  # pydantic's, or of the class's own code
        reason = str(error).partition("\n")[0]
        if isinstance(error, NameError):
            reason += "; import or define it at the top of its module, not under TYPE_CHECKING"
        raise DefinitionError(
            f"the annotation of parameter '{name}' cannot be used: {reason}"
        ) from error
    return adapter


def check_value(
    parameter: Parameter,
    value: Any,
    as_text: bool,
    adapter: Callable[[Parameter], TypeAdapter[Any]] = adapter_of,
) -> Any:
    """A value converted to the parameter's annotation; ``as_text`` if it comes as a string.

    ``adapter`` returns the converter, where one is needed. Raises ParameterError, which says what
    is allowed, DefinitionError if the annotation cannot be used.
    """
    kind = parameter.annotation
    if is_stand_in(value):
        return value
    if parameter.is_secret and value is not None:
        return check_secret(parameter, value)
    if not isinstance(value, str):
        as_text = False
    # A value that needs no conversion must not import pydantic.
    members = list(get_args(kind)) if is_union(kind) else [kind]
    if any(member is Any or member is object for member in members):
        return _loose(str(value)) if as_text else value
    if as_text and [m for m in members if m is not types.NoneType] == [str]:
        return value
    if not as_text and any(type(value) is member for member in members):
        return value
    return _convert(parameter, adapter(parameter), value, as_text)


def check_secret(parameter: Parameter, value: Any) -> Secret[Any]:
    """The secret, checked as the type that it wraps; the error does not show the value."""
    given = value.value if isinstance(value, Secret) else value
    kinds = [get_args(kind) or (str,) for kind in choices_of(parameter.annotation)]
    inner = Parameter(parameter.name, kinds[0][0], MISSING)
    try:
        return Secret(check_value(inner, given, isinstance(given, str)))
    except ParameterError:
        message = f"parameter '{parameter.name}' is a secret that must be {inner.type_label}"
        raise ParameterError.of([ParameterProblem(parameter.name, message)]) from None


def _convert(parameter: Parameter, adapter: TypeAdapter[Any], value: Any, as_text: bool) -> Any:
    from pydantic import ValidationError

    from lokki.params.problems import sentence

    problem = ""
    for validate, source, read in _readings(adapter, value, as_text):
        try:
            found = validate(source)
            # pydantic would check the items of an Iterable only during its use.
            return list(found) if type(found).__name__ == "ValidatorIterator" else found
        except Exception as error:  # pydantic's, or of the class's own code
            own = {"type": "", "loc": (), "msg": f"{type(error).__name__}: {error}", "input": read}
            every = error.errors() if isinstance(error, ValidationError) else [own]
            errors = every[:_MOST_ERRORS]
        as_json = any(e["type"] in ("needs_python_object", "json_invalid") for e in errors)
        if not problem or not as_json:  # otherwise the previous reading has more to say
            problem = sentence(parameter, read, errors, as_text)
    for kind in choices_of(parameter.annotation) if isinstance(value, str) else ():
        named = {**named_values(kind), **getattr(kind, "__members__", {})}
        if isinstance(named.get(value), Enum):
            return named[value]
    raise ParameterError.of([ParameterProblem(parameter.name, problem)])


def _readings(
    adapter: TypeAdapter[Any], value: Any, as_text: bool
) -> Iterator[tuple[Callable[[Any], Any], Any, Any]]:
    """Each way to read the value: the reader, its input, and that as a Python value."""
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
    """The value of a text for a parameter of any type: JSON, unless a JSON string or no JSON."""
    import json

    try:
        value = json.loads(text, parse_constant=int)  # int() refuses NaN, which is not JSON
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, str) else value
