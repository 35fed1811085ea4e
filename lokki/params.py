"""Flow parameters: one validator, made from the flow function's signature.

The command line (text), JSON (a file, HTTP, AWS) and Python calls all come through here, so that
a parameter means the same everywhere. Pure: nothing is read or written.

A value is looked at in one of three ways (``_Mode``): EXACT takes only what already is an
instance of the type, JSON also what JSON has to write differently (a list for a tuple, a string
for a date), TEXT also what a command line can say. We walk the types ourselves, since msgspec
refuses unions such as ``str | Path`` and enums of mixed values; it reads and writes durations.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import inspect
import math
import re
import types
import typing
from collections import abc
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Final, Literal, NewType, NoReturn, TypeVar, Union
from typing import get_args as _args
from typing import get_origin as _origin

from lokki.errors import DefinitionError, ParameterError

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

MISSING: Final[Any] = dataclasses.MISSING
"""The default of a parameter that has none."""

RESERVED: Final = frozenset({
    "help", "params", "on", "json", "concurrency", "processes", "log_level", "log_format",
    "run_id", "journal", "watch", "force",
})  # fmt: skip
"""Names that `lokki run` keeps for its own options."""


@dataclass(frozen=True, slots=True)
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
    def option(self) -> str:
        """The option's name at the terminal: ``--min-size`` for ``min_size``."""
        return "--" + self.name.replace("_", "-")

    @property
    def type_label(self) -> str:
        """The type in words for a terminal, None left out: ``int``, ``red|blue``, ``JSON list``."""
        return " or ".join(
            dict.fromkeys(_json_word(m) or _describe(m) for m in _choices(self.annotation))
        )


class Parameters:
    """The parameters of one flow, in the order of its signature.

    ``owner`` is the flow's name, for messages. Annotations given as strings are resolved on first
    need, so that a name imported under TYPE_CHECKING does not stop the flow's definition.

    Raises DefinitionError if the signature has ``*args``, ``**kwargs``, a positional-only
    parameter or a name in RESERVED.
    """

    def __init__(self, fn: Callable[..., Any], owner: str) -> None:
        self._fn = fn
        self._owner = owner
        self._signature = inspect.signature(fn)
        for parameter in self._signature.parameters.values():
            self._refuse_unusable(parameter)

    def _refuse_unusable(self, parameter: inspect.Parameter) -> None:
        name = parameter.name
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise DefinitionError(
                f"{self._owner}: a flow cannot take '{parameter}'; give each parameter a name"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise DefinitionError(
                f"{self._owner}: parameter '{name}' is positional-only, but a run is started with "
                "names; remove the '/'"
            )
        if name in RESERVED:
            raise DefinitionError(
                f"{self._owner}: parameter '{name}' has the name of an option of `lokki run`; "
                "choose another"
            )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._signature.parameters)

    def __len__(self) -> int:
        return len(self._signature.parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._resolved)

    @functools.cached_property
    def _resolved(self) -> tuple[Parameter, ...]:
        names = getattr(inspect.unwrap(self._fn), "__globals__", {})
        return tuple(
            Parameter(p.name, _resolve(p, names), MISSING if p.default is p.empty else p.default)
            for p in self._signature.parameters.values()
        )

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a Python call, validated, every default filled in.

        Raises ParameterError as `validate` does, also for too many positional arguments and for a
        parameter given twice; DefinitionError for an annotation that cannot be resolved.
        """
        positional = [
            p.name for p in self._signature.parameters.values() if p.kind is not p.KEYWORD_ONLY
        ]
        problems = [
            f"parameter '{name}' is given twice, by position and by name"
            for name in positional[: len(args)]
            if name in kwargs
        ]
        if len(args) > len(positional):
            problems.append(f"takes {len(positional)} positional arguments, not {len(args)}")
        given = dict(zip(positional, args, strict=False))
        return self._check({**given, **kwargs}, (), problems)

    def validate(self, values: Mapping[str, Any], *, text: Collection[str] = ()) -> dict[str, Any]:
        """Every value checked and converted, every default filled in (as it is, unchecked).

        ``text`` names the values that are strings of a command line or of the environment
        (default: none); the rest are JSON or Python values.

        Raises ParameterError with a line for every problem: a parameter that is unknown, missing
        or of the wrong type; DefinitionError if the annotation of a given parameter cannot be
        resolved.
        """
        return self._check(values, text, [])

    def _check(
        self, values: Mapping[str, Any], text: Collection[str], problems: list[str]
    ) -> dict[str, Any]:
        if not isinstance(values, abc.Mapping):
            raise ParameterError(
                f"{self._owner}: parameters must be an object of names and values, "
                f"not {_show(values)}"
            )
        problems += [self._unknown(name) for name in values if name not in self.names]
        checked: dict[str, Any] = {}
        for parameter in self:
            name = parameter.name
            if name in values:
                try:
                    checked[name] = self._value(parameter, values[name], as_text=name in text)
                except _Mismatch as mismatch:
                    problems.append(_sentence(parameter, mismatch))
            elif parameter.required:
                problems.append(f"parameter '{name}' ({parameter.type_label}) is missing")
            else:
                checked[name] = parameter.default
        if problems:
            raise ParameterError("\n".join(f"{self._owner}: {problem}" for problem in problems))
        return checked

    def _unknown(self, name: object) -> str:
        if near := difflib.get_close_matches(str(name), self.names, 1):
            return f"unknown parameter {_show(name)}; did you mean '{near[0]}'?"
        known = ", ".join(self.names)
        return f"unknown parameter {_show(name)}; " + (
            f"it takes {known}" if known else "it takes none"
        )

    def _value(self, parameter: Parameter, value: Any, *, as_text: bool) -> Any:
        mode = _Mode.TEXT if as_text and isinstance(value, str) else _Mode.JSON
        try:
            if isinstance(parameter.annotation, str):
                raise NameError(f"'{parameter.annotation}' is not known")
            return _convert(value, parameter.annotation, mode)
        except RecursionError:
            raise _Mismatch("is nested too deeply") from None
        except NameError as error:
            raise DefinitionError(
                f"{self._owner}: the annotation of parameter '{parameter.name}' cannot be resolved "
                f"({error}); import or define its names at the top of their module, outside "
                "`if TYPE_CHECKING:` and outside functions"
            ) from error

    def to_json(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values as JSON can hold them, to store or to show; `validate` reads them back.

        Dates, times and durations are ISO 8601, paths, UUIDs and decimals strings, enum members
        their value (their name if that is no string, number or boolean), sets sorted lists,
        dataclasses objects, floats that are not finite "inf", "-inf" and "nan". Anything else is
        its repr.
        """
        return {name: _storable(value) for name, value in values.items()}


def _resolve(parameter: inspect.Parameter, names: dict[str, Any]) -> Any:
    if parameter.annotation is parameter.empty:
        return Any
    # One by one: with the whole function, one name that cannot be resolved would spoil them all.
    holder = types.SimpleNamespace(__annotations__={"it": parameter.annotation})
    try:
        annotation = typing.get_type_hints(holder, globalns=names, include_extras=True)["it"]
    except Exception:
        return str(parameter.annotation)
    return annotation if parameter.default is not None else Union[annotation, None]  # noqa: UP007


def _sentence(parameter: Parameter, mismatch: _Mismatch) -> str:
    hint = f"; write it as {parameter.option} '{mismatch.example}'" if mismatch.example else ""
    return f"parameter '{parameter.name}{mismatch.path}' {mismatch.reason}{hint}"


# Conversion


class _Mode(Enum):
    EXACT = "an instance of the type, unchanged"
    JSON = "also what stands for it in JSON"
    TEXT = "a string of a command line"


class _Mismatch(Exception):
    """The value, or what is found at ``path`` in it, does not fit."""

    def __init__(self, reason: str = "", value: Any = None, kind: Any = None) -> None:
        super().__init__(reason, value, kind)
        self.path = ""
        self.example = ""

    @property
    def reason(self) -> str:  # put into words late: a union drops most of its mismatches
        reason, value, kind = self.args
        return reason or f"must be {_describe(kind)}, not {_show(value)}"

    @property
    def specific(self) -> bool:
        """Whether there is more to say than that the value is not of the type."""
        return bool(self.path or self.example or self.args[0])

    def within(self, place: str) -> _Mismatch:
        self.path = place + self.path
        return self


_LISTS: Final = frozenset({list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable})
_SETS: Final = frozenset({set, frozenset, abc.Set, abc.MutableSet})
_ARRAYS: Final = _LISTS | _SETS | {tuple}
_OBJECTS: Final = frozenset({dict, abc.Mapping, abc.MutableMapping})
_PATH: Final = "path"
_TRUTH: Final = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


def _refuse(value: Any, kind: Any) -> NoReturn:
    raise _Mismatch("", value, kind)


def _convert(value: Any, kind: Any, mode: _Mode) -> Any:
    if type(value) is kind:
        return value
    kind = _unalias(kind)
    origin = _origin(kind)
    if _is_any(kind):
        return _loose(value) if mode is _Mode.TEXT else value
    if origin is Annotated:
        return _constrained(_convert(value, kind.__origin__, mode), kind)
    if _is_union(kind):
        return _union(value, kind, mode)
    if mode is _Mode.TEXT:
        return _from_text(value, kind)
    if origin is Literal:
        return _literal(value, kind, mode)
    cls = origin or kind
    if kind is types.NoneType:
        return value if value is None else _refuse(value, kind)
    if not isinstance(cls, type):
        return value
    if cls in _ARRAYS:
        return _array(value, kind, cls, mode)
    if cls in _OBJECTS:
        return _object(value, kind, cls, mode)
    if _is_record(cls):
        return _record(value, kind, cls, mode)
    return _scalar(value, kind, cls, mode)


def _union(value: Any, kind: Any, mode: _Mode) -> Any:
    """What already is an instance of a member stays; else the first member that can take it."""
    members = _args(kind)
    modes = (_Mode.EXACT, mode) if mode is _Mode.JSON else (mode,)
    if mode is _Mode.TEXT:
        members = tuple(sorted(members, key=_eagerness))
    failures: list[_Mismatch] = []
    for mode in modes:
        failures.clear()
        for member in members:
            try:
                return _convert(value, member, mode)
            except _Mismatch as failure:
                failures.append(failure)
    specific = [failure for failure in failures if failure.specific]
    if len(specific) == 1:
        raise specific[0]
    _refuse(value, kind)


def _eagerness(member: Any) -> int:
    """Any text is a str or a path, so these come late, and None comes last: `null` may be text."""
    member = _bare(member)
    if member is types.NoneType:
        return 2
    return int(_is_any(member) or member is str or _describe(member) == _PATH)


def _from_text(text: str, kind: Any) -> Any:
    cls = _origin(kind) or kind
    word = text.strip().lower()
    if cls is types.NoneType and word in ("null", "none"):
        return None
    if cls is bool and word in _TRUTH:
        return _TRUTH[word]
    if cls in (int, float):
        return _number(text, cls)
    if cls is Literal or (isinstance(cls, type) and issubclass(cls, Enum)):
        with contextlib.suppress(_Mismatch):
            return _convert(text, kind, _Mode.JSON)
        return _convert(_loose(text), kind, _Mode.JSON)
    if not _json_word(kind):
        return _convert(text, kind, _Mode.JSON)
    try:
        value = _parse(text)
    except ValueError:
        value = text
    try:
        return _convert(value, kind, _Mode.JSON)
    except _Mismatch as mismatch:
        if not mismatch.specific:
            mismatch.example = _example(kind)
        raise


def _number(text: str, cls: Any) -> Any:
    with contextlib.suppress(ValueError):
        if "_" not in text:  # for an `int | str`, 12_34 is a word
            return cls(text)
    _refuse(text, cls)


def _parse(text: str) -> Any:
    import json

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def _loose(text: str) -> Any:
    """The text of a parameter of any type: JSON, unless it is a JSON string or none at all."""
    try:
        value = _parse(text)
    except ValueError:
        return text
    return text if isinstance(value, str) else value


def _literal(value: Any, kind: Any, mode: _Mode) -> Any:
    for option in _args(kind):
        if isinstance(value, type(option)) and value == option and _same_truth(value, option):
            return option
        if (
            isinstance(option, Enum)
            and mode is _Mode.JSON
            and _member(value, type(option)) is option
        ):
            return option
    _refuse(value, kind)


def _member(value: Any, cls: type[Enum]) -> Enum | None:
    """The member with this value or, failing that, this name."""
    try:
        member = cls(value)
    except Exception:  # an enum's own _missing_ may raise anything
        return cls.__members__.get(value) if isinstance(value, str) else None
    return member if _same_truth(value, member.value) else None


def _same_truth(a: Any, b: Any) -> bool:
    """False for True and 1, which Python holds to be equal."""
    numbers = isinstance(a, (int, float)) and isinstance(b, (int, float))
    return not numbers or isinstance(a, bool) == isinstance(b, bool)


def _array(value: Any, kind: Any, cls: type, mode: _Mode) -> Any:
    fits = isinstance(value, cls) and not isinstance(value, (str, bytes, abc.Mapping))
    related = (list, tuple, set, frozenset) if cls in _SETS else (list, tuple)
    if not fits and (mode is _Mode.EXACT or not isinstance(value, related)):
        _refuse(value, kind)
    if not isinstance(value, (list, tuple, set, frozenset)):
        return value  # a range, a generator: its items cannot be seen without using them up
    kinds = _args(kind) or (Any, ...)
    if cls is not tuple or kinds[1:] == (...,):
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        _refuse(value, kind)
    items = []
    for position, (item, item_kind) in enumerate(zip(value, kinds, strict=True)):
        try:
            items.append(_convert(item, item_kind, mode))
        except _Mismatch as mismatch:
            raise mismatch.within(f"[{position}]") from None
    if fits and all(new is old for new, old in zip(items, value, strict=True)):
        return value
    build = cls if cls in (tuple, frozenset) else set if cls in _SETS else list
    try:
        return build(items)
    except TypeError:  # a list in a set
        _refuse(value, kind)


def _object(value: Any, kind: Any, cls: Any, mode: _Mode) -> Any:
    if not isinstance(value, cls):
        _refuse(value, kind)
    key_kind, item_kind = _args(kind) or (Any, Any)
    pairs = []
    for key, item in value.items():
        try:
            new = _convert(item, item_kind, mode)
        except _Mismatch as mismatch:
            raise mismatch.within(f"[{_show(key)}]") from None
        pairs.append((_key(key, key_kind, mode), new))
    same = all(a is c and b is d for (a, b), (c, d) in zip(pairs, value.items(), strict=True))
    try:
        return value if same else dict(pairs)
    except TypeError:  # a key that cannot be hashed
        _refuse(value, kind)


def _key(key: Any, kind: Any, mode: _Mode) -> Any:
    with contextlib.suppress(_Mismatch):
        return _convert(key, kind, mode)
    if isinstance(key, str) and mode is _Mode.JSON:  # JSON writes every key as a string
        with contextlib.suppress(_Mismatch):
            return _convert(key, kind, _Mode.TEXT)
    raise _Mismatch(f"must have keys of type {_describe(kind)}, not {_show(key)}")


def _is_record(cls: Any) -> bool:
    return isinstance(cls, type) and (
        dataclasses.is_dataclass(cls)
        or hasattr(cls, "__required_keys__")
        or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
    )


@functools.lru_cache(maxsize=256)
def _fields(cls: Any) -> dict[str, tuple[Any, bool]]:
    """Name to (type, required) of a dataclass, NamedTuple or TypedDict."""
    hints = typing.get_type_hints(cls, include_extras=True)
    if tuple in cls.__mro__:
        return {n: (hints.get(n, Any), n not in cls._field_defaults) for n in cls._fields}
    if dataclasses.is_dataclass(cls):
        return {
            f.name: (hints[f.name], f.default is MISSING and f.default_factory is MISSING)
            for f in dataclasses.fields(cls)
            if f.init
        }
    # With string annotations, __required_keys__ does not know of Required and NotRequired.
    marks = {typing.Required: True, typing.NotRequired: False}
    required = cls.__required_keys__
    return {
        n: (_unalias(hint), marks.get(_origin(hint), n in required)) for n, hint in hints.items()
    }


def _record(value: Any, kind: Any, cls: Any, mode: _Mode) -> Any:
    fields = _fields(cls)
    is_dict = issubclass(cls, dict)  # a TypedDict, which knows no isinstance
    if not is_dict and isinstance(value, cls):
        return value
    if issubclass(cls, tuple) and isinstance(value, (list, tuple)) and len(value) <= len(fields):
        value = dict(zip(fields, value, strict=False))
    if not isinstance(value, dict if is_dict else abc.Mapping) or (
        mode is _Mode.EXACT and not is_dict
    ):
        _refuse(value, kind)
    found = {}
    for name, item in value.items():
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, 1) or fields
            raise _Mismatch(f"has no field {_show(name)}; it has {', '.join(near)}")
        try:
            found[name] = _convert(item, fields[name][0], mode)
        except _Mismatch as mismatch:
            raise mismatch.within(f".{name}") from None
    for name, (field_kind, required) in fields.items():
        if required and name not in found:
            raise _Mismatch(f"({_describe(field_kind)}) is missing").within(f".{name}")
    if is_dict:
        return found
    try:
        return cls(**found)
    except Exception as error:  # the class's own checks may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise _Mismatch(f"cannot be made into {cls.__name__}: {reason}") from error


def _scalar(value: Any, kind: Any, cls: type, mode: _Mode) -> Any:
    if _is_instance(value, cls):
        return value
    if mode is _Mode.JSON:
        found = _member(value, cls) if issubclass(cls, Enum) else _parsed(value, cls)
        if found is not None:
            return found
    _refuse(value, kind)


def _is_instance(value: Any, cls: type) -> bool:
    try:
        if not isinstance(value, cls):
            return False
    except TypeError:  # a Protocol that cannot be checked at run time
        return True
    from datetime import date, datetime

    # Python holds these to be instances; a flow that wants a day or a number does not.
    return not any(
        cls is wide and isinstance(value, narrow)
        for wide, narrow in ((int, bool), (date, datetime))
    )


def _parsed(value: Any, cls: type) -> Any:
    """The instance that the value stands for in JSON, or None."""
    _, accepted, parse = _forms().get(cls, ("", (), None))
    if parse is None or not isinstance(value, accepted) or isinstance(value, bool):
        return None
    try:
        return parse(value)
    except (ValueError, ArithmeticError):
        return None


@functools.cache
def _forms() -> dict[type, tuple[str, tuple[type, ...], Callable[[Any], Any] | None]]:
    """For the types that JSON does not know: name, what is accepted, how it is read."""
    import pathlib
    from datetime import date, datetime, time, timedelta
    from decimal import Decimal
    from uuid import UUID

    paths = (pathlib.Path, pathlib.PurePath, pathlib.PurePosixPath, pathlib.PureWindowsPath)
    return {
        float: ("float", (int, str), _parse_float),
        date: ("date YYYY-MM-DD", (str,), date.fromisoformat),
        datetime: ("datetime YYYY-MM-DDTHH:MM:SS", (str,), datetime.fromisoformat),
        time: ("time HH:MM:SS", (str,), time.fromisoformat),
        timedelta: ("duration such as PT1H30M", (str,), _parse_duration),
        Decimal: ("decimal", (str, int, float), lambda value: Decimal(str(value))),
        UUID: ("UUID", (str,), UUID),
        **{path: (_PATH, (str,), path) for path in paths},
    }


def _parse_float(value: Any) -> float:
    # JSON has no number for these; see `to_json`.
    if isinstance(value, str) and value not in ("inf", "-inf", "nan"):
        raise ValueError(value)
    return float(value)


def _parse_duration(value: str) -> Any:
    from datetime import timedelta

    import msgspec

    return msgspec.convert(value, timedelta)


def _constrained(value: Any, kind: Any) -> Any:
    import msgspec

    for meta in kind.__metadata__:
        if isinstance(meta, msgspec.Meta):
            for name, (words, holds) in _CONSTRAINTS.items():
                bound = getattr(meta, name)
                if bound is not None and not _holds(holds, value, bound):
                    expected = f"{_describe(kind)} {words.format(bound)}"
                    raise _Mismatch(f"must be {expected}, not {_show(value)}")
    return value


def _holds(test: Callable[[Any, Any], bool], value: Any, bound: Any) -> bool:
    try:
        return test(value, bound)
    except (TypeError, AttributeError):  # meant for another member of the union, None included
        return True


_CONSTRAINTS: Final[dict[str, tuple[str, Callable[[Any, Any], bool]]]] = {
    "gt": ("> {}", lambda value, bound: value > bound),
    "ge": (">= {}", lambda value, bound: value >= bound),
    "lt": ("< {}", lambda value, bound: value < bound),
    "le": ("<= {}", lambda value, bound: value <= bound),
    "multiple_of": ("and a multiple of {}", lambda value, bound: value % bound == 0),
    "min_length": ("of length >= {}", lambda value, bound: len(value) >= bound),
    "max_length": ("of length <= {}", lambda value, bound: len(value) <= bound),
    "pattern": ("matching {!r}", lambda value, bound: re.search(bound, value) is not None),
    "tz": ("with time zone: {}", lambda value, bound: (value.tzinfo is not None) == bound),
}


# Types


def _unalias(kind: Any) -> Any:
    """What a NewType, a `type X = …`, a Required[…] or a NotRequired[…] stands for."""
    while True:
        origin = _origin(kind)
        if isinstance(kind, NewType):
            kind = kind.__supertype__
        elif type(origin or kind).__name__ == "TypeAliasType":
            kind = (origin or kind).__value__
        elif origin in _QUALIFIERS:
            kind = _args(kind)[0]
        else:
            return kind


_QUALIFIERS: Final = (
    typing.Required,
    typing.NotRequired,
    getattr(typing, "ReadOnly", typing.Required),
)


def _bare(kind: Any) -> Any:
    kind = _unalias(kind)
    return _bare(kind.__origin__) if _origin(kind) is Annotated else kind


def _choices(kind: Any) -> list[Any]:
    """The members of a union, None left out; of another type, itself."""
    kind = _bare(kind)
    if not _is_union(kind):
        return [kind]
    return [choice for m in _args(kind) if m is not types.NoneType for choice in _choices(m)]


def _is_union(kind: Any) -> bool:
    return _origin(kind) in (Union, types.UnionType)


def _is_any(kind: Any) -> bool:
    return kind is Any or kind is object or isinstance(kind, TypeVar)


# Words


def _describe(kind: Any) -> str:
    origin = _origin(kind)
    cls = origin or kind
    if _is_any(kind):
        return "any value"
    if kind is None or kind is types.NoneType:
        return "None"
    if origin is Annotated:
        return _describe(kind.__origin__)
    if _is_union(kind):
        return " or ".join(dict.fromkeys(map(_describe, _args(kind))))
    if origin is Literal:
        return "|".join(str(o.name if isinstance(o, Enum) else o) for o in _args(kind))
    if not isinstance(cls, type):
        return str(getattr(kind, "__name__", kind))
    if issubclass(cls, Enum):
        return "|".join(m.value if isinstance(m.value, str) else str(m.name) for m in cls)
    if form := _forms().get(cls):
        return form[0]
    inner = ", ".join("..." if arg is ... else _describe(arg) for arg in _args(kind))
    return f"{cls.__name__}[{inner}]" if inner else cls.__name__


def _json_word(kind: Any) -> str:
    """How a command line writes a value of this type, if that is JSON; else nothing."""
    cls = _origin(kind) or kind
    if not isinstance(cls, type):
        return ""
    if cls in _ARRAYS:
        return "JSON list"
    return "JSON object" if cls in _OBJECTS or _is_record(cls) else ""


def _example(kind: Any) -> str:
    cls = _origin(kind) or kind
    if cls in _ARRAYS:
        return "[1, 2]" if _args(kind)[:1] in ((int,), (float,)) else '["a", "b"]'
    names = _fields(cls) if _is_record(cls) else ("key",)
    return "{" + ", ".join(f'"{name}": …' for name in names) + "}"


def _show(value: object) -> str:
    text = re.sub(r"\s*\n\s*", " ", _repr(value))
    return text if len(text) <= 60 else text[:59] + "…"


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


# Storing


def _storable(value: Any) -> Any:
    try:
        return _plain(value)
    except RecursionError:
        return _repr(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        plain = _plain(value.value)
        # By name also if the value is None, which a `Color | None` would read back as None.
        return plain if plain is value.value and plain is not None else value.name
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(float(value))
    if isinstance(value, abc.Mapping):
        return {_plain_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, abc.Set):
        return _in_order([_plain(item) for item in value])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {f.name: _plain(getattr(value, f.name)) for f in fields if f.init}
    return _as_string(value)


def _plain_key(key: Any) -> str:
    import json

    plain = _plain(key)
    return plain if isinstance(plain, str) else json.dumps(plain)


def _in_order(items: list[Any]) -> list[Any]:
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=repr)


def _as_string(value: Any) -> str:
    from datetime import date, time, timedelta
    from decimal import Decimal
    from pathlib import PurePath
    from uuid import UUID

    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        import msgspec

        return str(msgspec.to_builtins(value))
    return str(value) if isinstance(value, (Decimal, PurePath, UUID)) else _repr(value)
