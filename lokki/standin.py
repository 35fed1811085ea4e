"""Stand-ins: what a flow's body computes with where a parameter has no value, as in a build.

An operation on one (arithmetic, comparison, item, attribute, call, formatting) returns another
stand-in, which can be bound as a constant. A flow that runs has none.
"""

from __future__ import annotations

import reprlib
import types
import typing
from collections import abc
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import (
    Annotated,
    Any,
    NamedTuple,
    NewType,
    Protocol,
    TypeGuard,
    get_args,
    get_origin,
)

from lokki.deferred import annotated
from lokki.errors import ParameterError

_RECORDS = ("__dataclass_fields__", "__pydantic_fields__", "_fields", "__total__")
_COMPLETE = ("builtins", "datetime", "decimal", "pathlib")
_LONGEST = 80


class ValueNeeded(ParameterError):
    """The body of a flow needs the value of a parameter without one."""


class _LengthNeeded(ValueNeeded, TypeError):
    """A TypeError too: `list`, which asks for a length, can do without one."""


class Asked(Protocol):
    """Answers the questions that a body asks about a stand-in."""

    def ask(self, text: str, names: tuple[str, ...]) -> bool: ...
    def count(self, text: str, names: tuple[str, ...]) -> int: ...
    def needs(self, names: tuple[str, ...], why: str) -> ValueNeeded: ...


class About(NamedTuple):
    """What is known of a stand-in: its parameters, how it was made, and its type, if known.

    ``kind`` is an annotation, or None.
    """

    asked: Asked
    names: tuple[str, ...]
    text: str
    kind: Any


class StandIn:
    """An unknown value. ``about(…)`` returns what is known of it."""

    __slots__ = ("_lokki_about",)

    def __init__(self, about: About) -> None:
        object.__setattr__(self, "_lokki_about", about)

    @property
    def __class__(self) -> type:
        """The annotated class, for ``isinstance``."""
        return class_of(about(self).kind) or StandIn

    @__class__.setter
    def __class__(self, value: type) -> None: ...

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        kind = about(self).kind
        if name.startswith("_") and _is_complete(class_of(kind)):
            raise _needed(self, "{} is given to other code")  # which would take it for the value
        return _shared(kind, name) or _made(f"{_said(self)}.{name}", _attribute(kind, name), self)

    def __setattr__(self, name: str, value: object) -> None:
        """Does nothing: what is read from it later is unknown, too."""

    __setitem__ = __setattr__
    __delattr__ = __delitem__ = lambda self, name: None

    def __getitem__(self, key: Any) -> Any:
        return _made(f"{_said(self)}[{_said(key)}]", _item(about(self).kind, key), self, key)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        arguments = [*map(_said, args), *(f"{name}={_said(each)}" for name, each in kwargs.items())]
        return _made(f"{_said(self)}({', '.join(arguments)})", None, self, *args, *kwargs.values())

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __contains__(self, item: Any) -> Any:
        return _made(f"{_said(item)} in {_said(self)}", None, self, item)

    def __round__(self, *digits: Any) -> Any:
        return _made(f"round({_said(self)})", None, self, *digits)

    def __bool__(self) -> bool:
        known, cls = about(self), class_of(about(self).kind)
        is_concrete = cls is not None and not getattr(cls, "__abstractmethods__", None)
        if is_concrete and not hasattr(cls, "__bool__") and not hasattr(cls, "__len__"):
            return True
        return known.asked.ask(known.text, known.names)

    def __iter__(self) -> Iterator[Any]:
        known = about(self)
        cls, kinds = class_of(known.kind), _members(known.kind)
        if cls and not (hasattr(cls, "__iter__") or hasattr(cls, "__getitem__")):
            raise TypeError(f"'{cls.__name__}' object is not iterable")
        if kinds is None:
            count = known.asked.count(known.text, known.names)
            kinds = [None if _is_mapping(cls) else _item(known.kind, 0)] * count
        return iter([_made(f"{_said(self)}[{i}]", kind, self) for i, kind in enumerate(kinds)])

    def __len__(self) -> int:
        kinds = _members(about(self).kind)
        if kinds is None:
            needed = _needed(self, "the length of {} is asked for")
            raise _LengthNeeded(str(needed), needed.problems)
        return len(kinds)

    def __repr__(self) -> str:
        return f"<{about(self).text}>"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self


def about(stand_in: StandIn) -> About:
    found: About = object.__getattribute__(stand_in, "_lokki_about")
    return found


def is_stand_in(value: object) -> TypeGuard[StandIn]:
    """Whether a value is a stand-in; ``isinstance`` sees the class that it stands for."""
    return type(value) is StandIn


def refuse_stand_in(value: object, why: str) -> None:
    """Raise the error that a value is needed where it is a stand-in; ``{}`` in ``why`` names it."""
    if type(value) is StandIn:
        raise _needed(value, why)


def _needed(stand_in: StandIn, why: str) -> ValueNeeded:
    known = about(stand_in)
    return known.asked.needs(known.names, why.format(known.text))


def _made(text: str, kind: Any, *sources: Any) -> StandIn:
    known = [about(each) for each in sources if type(each) is StandIn]
    names = tuple(dict.fromkeys(name for each in known for name in each.names))
    if len(text) > _LONGEST:  # `x = x + x`, again and again
        text = f"{text[:_LONGEST]}…{hash(text) & 0xFFFFFF:x}"
    return StandIn(About(known[0].asked, names, text, kind))


def _said(value: Any) -> str:
    if type(value) is not StandIn:
        return reprlib.repr(value)
    text = about(value).text
    return f"({text})" if " " in text else text


# ---- operators -----------------------------------------------------------------------------------

_BINARY = {
    "add": "+", "sub": "-", "mul": "*", "matmul": "@", "truediv": "/", "floordiv": "//",
    "mod": "%", "pow": "**", "lshift": "<<", "rshift": ">>", "and": "&", "xor": "^", "or": "|",
}  # fmt: skip
_COMPARED = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_UNARY = {
    "neg": "-{}", "pos": "+{}", "invert": "~{}", "abs": "abs({})", "trunc": "trunc({})",
    "floor": "floor({})", "ceil": "ceil({})",
}  # fmt: skip
_NEEDING = {
    "int": "int({}) is worked out", "float": "float({}) is worked out",
    "complex": "complex({}) is worked out", "bytes": "bytes({}) is worked out",
    "index": "{} is used as a count, an index or a file", "hash": "{} is used as a key",
    "fspath": "{} is used as a path", "reversed": "{} is looped over", "reduce": "{} is pickled",
}  # fmt: skip


def _binary(sign: str, *, swapped: bool = False) -> Callable[[Any, Any], Any]:
    def operate(self: Any, other: Any, *more: Any) -> Any:
        left, right = (other, self) if swapped else (self, other)
        return _made(f"{_said(left)} {sign} {_said(right)}", None, left, right)

    return operate


def _unary(form: str) -> Callable[[Any], Any]:
    return lambda self: _made(form.format(_said(self)), None, self)


def _needing(why: str) -> Callable[..., Any]:
    def refuse(self: StandIn, *args: Any) -> Any:
        raise _needed(self, why)

    return refuse


for _name, _sign in {**_BINARY, **_COMPARED}.items():
    setattr(StandIn, f"__{_name}__", _binary(_sign))
for _name, _sign in _BINARY.items():
    setattr(StandIn, f"__r{_name}__", _binary(_sign, swapped=True))
for _name, _sign in _UNARY.items():
    setattr(StandIn, f"__{_name}__", _unary(_sign))
for _name, _sign in _NEEDING.items():
    setattr(StandIn, f"__{_name}__", _needing(_sign))


# ---- what an annotation says --------------------------------------------------------------------


def class_of(kind: Any) -> type | None:
    """The class of an annotation's values; None if it names none."""
    while get_origin(kind) is Annotated or isinstance(kind, NewType):
        kind = kind.__supertype__ if isinstance(kind, NewType) else kind.__origin__
    cls = get_origin(kind) or kind
    if not isinstance(cls, type) or cls in (object, type, types.UnionType, Any):
        return None
    return None if getattr(cls, "_is_protocol", False) else cls


def _attribute(kind: Any, name: str) -> Any:
    """The annotation of an attribute, if any. Raises AttributeError for an unknown attribute."""
    cls = class_of(kind)
    if cls is None:
        return None
    is_record = any(hasattr(cls, mark) for mark in _RECORDS)
    hints = _hints(cls) if is_record else {}
    if not (name in hints or hasattr(cls, name)) and (is_record or _is_complete(cls)):
        raise AttributeError(f"'{cls.__name__}' object has no attribute '{name}'")
    return hints.get(name)


def _shared(kind: Any, name: str) -> Any:
    """An attribute that all objects of a class share, such as ``date.max``; None for others."""
    cls = class_of(kind)
    bases = cls.__mro__ if cls is not None and _is_complete(cls) else ()
    found = next((vars(base)[name] for base in bases if name in vars(base)), None)
    return None if hasattr(found, "__get__") else found


def _is_complete(cls: type | None) -> bool:
    """Whether objects of a class have only the attributes of the class."""
    return cls is not None and cls.__module__.partition(".")[0] in _COMPLETE


def _hints(cls: type) -> dict[str, Any]:
    with suppress(Exception):  # an unknown name, or any error of an annotation's code
        return typing.get_type_hints(cls)
    return dict.fromkeys(annotated(cls))


def _item(kind: Any, key: Any) -> Any:
    """The annotation of an item, None if there is none."""
    cls, args, members = class_of(kind), get_args(kind), _members(kind)
    if isinstance(key, slice):
        return kind
    if cls is None:
        return None
    if members is not None and type(key) is int and -len(members) <= key < len(members):
        return members[key]
    if hasattr(cls, "__total__"):
        return _hints(cls).get(key) if type(key) is str else None
    if issubclass(cls, str):
        return str
    if _is_mapping(cls):
        return args[1] if len(args) == 2 else None
    return args[0] if args and issubclass(cls, abc.Sequence) else None


def _is_mapping(cls: type | None) -> bool:
    return cls is not None and issubclass(cls, abc.Mapping)


def _members(kind: Any) -> list[Any] | None:
    """The annotations of the items of a tuple of known length."""
    cls, args = class_of(kind), get_args(kind)
    if cls is None or not issubclass(cls, tuple):
        return None
    if fields := getattr(cls, "_fields", None):
        return [_hints(cls).get(name) for name in fields]
    return None if not args or args[-1] is Ellipsis else list(args)
