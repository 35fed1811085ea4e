"""Flow parameters: what each kind of value becomes, and what is said when it does not fit."""

import contextlib
import enum
import json
import os
import subprocess
import sys
import types
import typing
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Protocol,
    Required,
    TypedDict,
    TypeVar,
    Union,
)

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec import Meta

from lokki.errors import DefinitionError, ParameterError
from lokki.params import MISSING, RESERVED, Parameter, Parameters


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Mixed(enum.Enum):
    WORD = "word"
    ONE = 1
    HALF = 0.5
    NOTHING = None
    PAIR = (1, 2)


class Truth(enum.Enum):
    YES = True


class Perm(enum.IntFlag):
    R = 4
    W = 2


class Grumpy(enum.Enum):
    A = 1

    @classmethod
    def _missing_(cls, value):
        raise RuntimeError("no")


@dataclass
class Point:
    x: int
    y: float = 0.0


@dataclass(frozen=True)
class Place:
    name: str
    at: Point
    tags: list[Path] = field(default_factory=list)
    size: int = field(init=False, default=0)

    def __post_init__(self):
        if not self.name:
            raise ValueError("a place has a name")


T = TypeVar("T")


@dataclass
class Box(Generic[T]):
    inside: T


class PointChild(Point):
    pass


class TypeAliasType:
    """Stands in for what `type X = …` makes, before Python 3.12."""

    __value__ = list[int]


@dataclass
class Tree:
    children: "list[Tree]"


@dataclass
class Broken:
    x: "NoSuchName"  # noqa: F821


class Conf(TypedDict, total=False):
    limit: Required[int]
    when: date
    note: Annotated[NotRequired[str], "free"]


class TextConf(TypedDict):
    limit: "Required[int]"
    when: "NotRequired[date]"


class Pair(NamedTuple):
    left: int
    right: date = date(2000, 1, 1)


class Empty(NamedTuple):
    pass


class Custom:
    def __repr__(self):
        return "Custom\n   ()"


class Child(Custom):
    pass


class HasArea(Protocol):
    def area(self) -> float: ...


class Unprintable:
    def __repr__(self):
        raise RuntimeError


UserId = NewType("UserId", int)


NOTHING = object()


def params(annotation=NOTHING, default=MISSING, name="it"):
    """The parameters of a flow with one parameter."""
    namespace = {"annotation": annotation, "default": default}
    head = name + ("" if annotation is NOTHING else ": annotation")
    head += "" if default is MISSING else " = default"
    exec(f"def fn({head}): ...", namespace)
    return Parameters(namespace["fn"], "birds")


def check(annotation, value, **options):
    return params(annotation).validate({"it": value}, **options)["it"]


def read(annotation, text):
    return check(annotation, text, text=["it"])


def problem(annotation, value, **options):
    with pytest.raises(ParameterError) as caught:
        check(annotation, value, **options)
    message = str(caught.value)
    assert message.startswith("birds: ")
    assert "$" not in message
    return message.removeprefix("birds: ")


def text_problem(annotation, text):
    return problem(annotation, text, text=["it"])


# The signature


def flow(
    limit: int, min_size: "float" = 1.5, *, colors: list[Color] = [], dry: bool | None = None
): ...


def test_parameters_in_order_of_the_signature():
    ps = Parameters(flow, "birds")
    assert ps.names == ("limit", "min_size", "colors", "dry")
    assert len(ps) == 4
    assert list(ps) == [
        Parameter("limit", int, MISSING),
        Parameter("min_size", float, 1.5),
        Parameter("colors", list[Color], []),
        Parameter("dry", bool | None, None),
    ]
    assert [p.required for p in ps] == [True, False, False, False]
    assert [p.is_flag for p in ps] == [False, False, False, True]
    assert [p.option for p in ps] == ["--limit", "--min-size", "--colors", "--dry"]


def test_a_none_default_makes_a_parameter_optional():
    ps = params(int, None)
    assert list(ps) == [Parameter("it", int | None, None)]
    assert ps.validate({}) == {"it": None}
    assert ps.validate({"it": None}) == {"it": None}
    assert ps.validate({"it": "null"}, text=["it"]) == {"it": None}
    assert next(iter(params(bool, None))).is_flag


def test_defaults_are_used_as_they_are():
    default = ["not a date"]
    assert params(date, default).validate({})["it"] is default


@pytest.mark.parametrize(
    ("annotation", "label"),
    [
        (int, "int"),
        (int | None, "int"),
        (int | str | None, "int or str"),
        (None, "None"),
        (Any, "any value"),
        (Color, "red|blue"),
        (Mixed, "word|ONE|HALF|NOTHING|PAIR"),
        (Literal["red", 2, None, Color.BLUE], "red|2|None|BLUE"),
        (list[int], "JSON list"),
        (list[int] | tuple[str] | None, "JSON list"),
        (Sequence[str], "JSON list"),
        (dict[str, int], "JSON object"),
        (Point, "JSON object"),
        (Conf, "JSON object"),
        (Pair, "JSON object"),
        (Broken, "JSON object"),
        (date, "date YYYY-MM-DD"),
        (datetime, "datetime YYYY-MM-DDTHH:MM:SS"),
        (time, "time HH:MM:SS"),
        (timedelta, "duration such as PT1H30M"),
        (Path, "path"),
        (Decimal, "decimal"),
        (uuid.UUID, "UUID"),
        (Annotated[int | None, Meta(ge=1)], "int"),
        (UserId, "int"),
        (Custom, "Custom"),
        ("NoSuchName", "NoSuchName"),
    ],
)
def test_type_label(annotation, label):
    (parameter,) = params(annotation)
    assert parameter.type_label == label


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("*args", r"cannot take '\*args'"),
        ("**kw", r"cannot take '\*\*kw'"),
        ("a, /", "parameter 'a' is positional-only"),
        *((name, f"parameter '{name}' has the name of an option") for name in sorted(RESERVED)),
    ],
)
def test_unusable_signatures(signature, message):
    namespace = {}
    exec(f"def fn({signature}): ...", namespace)
    with pytest.raises(DefinitionError, match=f"birds: .*{message}"):
        Parameters(namespace["fn"], "birds")


def test_an_annotation_that_cannot_be_resolved_harms_only_its_parameter():
    def fn(a: "int", b: "NoSuchName" = 1, c: "list[NoSuchName]" = 2): ...  # noqa: F821

    ps = Parameters(fn, "birds")
    assert [p.annotation for p in ps] == [int, "NoSuchName", "list[NoSuchName]"]
    assert ps.validate({"a": 1}) == {"a": 1, "b": 1, "c": 2}
    with pytest.raises(DefinitionError, match=r"birds: .*'b'.*NoSuchName.*TYPE_CHECKING"):
        ps.validate({"a": 1, "b": 2})


def test_a_field_that_cannot_be_resolved():
    assert check(Broken, broken := Broken(1)) is broken
    with pytest.raises(DefinitionError, match=r"birds: .*'it'.*NoSuchName"):
        check(Broken, {"x": 1})


def test_names_are_resolved_in_the_module_of_the_wrapped_function():
    import functools

    def plain(day: "date"): ...

    assert [p.annotation for p in Parameters(functools.wraps(plain)(lambda: 0), "birds")] == [date]


# Python calls


def test_bind_fills_in_defaults():
    ps = Parameters(flow, "birds")
    expected = {"limit": 3, "min_size": 2.0, "colors": [Color.RED], "dry": None}
    assert ps.bind((3, 2), {"colors": ["red"]}) == expected
    assert ps.bind((), {"limit": 3}) == {**expected, "min_size": 1.5, "colors": []}


def test_bind_reports_every_problem():
    with pytest.raises(ParameterError) as caught:
        Parameters(flow, "birds").bind((1, "x", []), {"limit": 1, "colour": 2, "dry": 3})
    assert str(caught.value).splitlines() == [
        "birds: parameter 'limit' is given twice, by position and by name",
        "birds: takes 2 positional arguments, not 3",
        "birds: unknown parameter 'colour'; did you mean 'colors'?",
        "birds: parameter 'min_size' must be float, not 'x'",
        "birds: parameter 'dry' must be bool or None, not 3",
    ]


# Problems


def test_every_problem_has_a_line():
    with pytest.raises(ParameterError) as caught:
        Parameters(flow, "birds").validate({"limt": 1, "zzz": 2, 7: 8, "min_size": "abc"})
    assert str(caught.value).splitlines() == [
        "birds: unknown parameter 'limt'; did you mean 'limit'?",
        "birds: unknown parameter 'zzz'; it takes limit, min_size, colors, dry",
        "birds: unknown parameter 7; it takes limit, min_size, colors, dry",
        "birds: parameter 'limit' (int) is missing",
        "birds: parameter 'min_size' must be float, not 'abc'",
    ]


def test_a_flow_without_parameters():
    ps = Parameters(lambda: None, "birds")
    assert ps.validate({}) == {}
    with pytest.raises(ParameterError, match="birds: unknown parameter 'x'; it takes none"):
        ps.validate({"x": 1})


@pytest.mark.parametrize("values", [[], None, 3, "limit"])
def test_parameters_that_are_no_object(values):
    with pytest.raises(ParameterError, match="birds: parameters must be an object"):
        Parameters(flow, "birds").validate(values)


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (int, "5", "parameter 'it' must be int, not '5'"),
        (int, True, "parameter 'it' must be int, not True"),
        (int, 5.0, "parameter 'it' must be int, not 5.0"),
        (int, None, "parameter 'it' must be int, not None"),
        (float, True, "parameter 'it' must be float, not True"),
        (float, "1.5", "parameter 'it' must be float, not '1.5'"),
        (float, 10**400, "parameter 'it' must be float, not 1" + "0" * 58 + "…"),
        (bool, 1, "parameter 'it' must be bool, not 1"),
        (bool, "true", "parameter 'it' must be bool, not 'true'"),
        (str, 5, "parameter 'it' must be str, not 5"),
        (str, Custom(), "parameter 'it' must be str, not Custom ()"),
        (str, Unprintable(), "parameter 'it' must be str, not <Unprintable>"),
        (None, 0, "parameter 'it' must be None, not 0"),
        (Custom, 5, "parameter 'it' must be Custom, not 5"),
        (date, "soon", "parameter 'it' must be date YYYY-MM-DD, not 'soon'"),
        (date, datetime(2024, 1, 2), "parameter 'it' must be date YYYY-MM-DD, not datetime.d…"),
        (timedelta, 5, "parameter 'it' must be duration such as PT1H30M, not 5"),
        (timedelta, "5", "parameter 'it' must be duration such as PT1H30M, not '5'"),
        (Decimal, "x", "parameter 'it' must be decimal, not 'x'"),
        (Decimal, True, "parameter 'it' must be decimal, not True"),
        (uuid.UUID, "x", "parameter 'it' must be UUID, not 'x'"),
        (Path, 5, "parameter 'it' must be path, not 5"),
        (Color, "green", "parameter 'it' must be red|blue, not 'green'"),
        (Color, ["red"], "parameter 'it' must be red|blue, not ['red']"),
        (Mixed, True, "parameter 'it' must be word|ONE|HALF|NOTHING|PAIR, not True"),
        (Truth, 1, "parameter 'it' must be YES, not 1"),
        (Grumpy, 2, "parameter 'it' must be A, not 2"),
        (Literal["a", 1], True, "parameter 'it' must be a|1, not True"),
        (Literal[Color.RED], "blue", "parameter 'it' must be RED, not 'blue'"),
        (int | str, [], "parameter 'it' must be int or str, not []"),
        (list, "ab", "parameter 'it' must be list, not 'ab'"),
        (Sequence[str], "ab", "parameter 'it' must be Sequence[str], not 'ab'"),
        (list[int], {1}, "parameter 'it' must be list[int], not {1}"),
        (list[int], [1, 2, "x"], "parameter 'it[2]' must be int, not 'x'"),
        (list[list[int]], [[], [1, None]], "parameter 'it[1][1]' must be int, not None"),
        (set[int], 5, "parameter 'it' must be set[int], not 5"),
        (set, [[1]], "parameter 'it' must be set, not [[1]]"),
        (tuple[int, ...], [1, "x"], "parameter 'it[1]' must be int, not 'x'"),
        (tuple[int, ...], "x", "parameter 'it' must be tuple[int, ...], not 'x'"),
        (tuple[int, str], [1], "parameter 'it' must be tuple[int, str], not [1]"),
        (dict[str, int], [], "parameter 'it' must be dict[str, int], not []"),
        (dict[str, int], {"a": "b"}, "parameter 'it['a']' must be int, not 'b'"),
        (dict[int, str], {"a": "b"}, "parameter 'it' must have keys of type int, not 'a'"),
        (dict[int, str], {1.5: "b"}, "parameter 'it' must have keys of type int, not 1.5"),
        (dict[list[int], int], {"[1]": 1}, "parameter 'it' must be dict[list[int], int], not {…"),
        (Point, 5, "parameter 'it' must be Point, not 5"),
        (Point, {"x": "a"}, "parameter 'it.x' must be int, not 'a'"),
        (Point, {}, "parameter 'it.x' (int) is missing"),
        (Point, {"x": 1, "yy": 2}, "parameter 'it' has no field 'yy'; it has y"),
        (Point, {"x": 1, 5: 2}, "parameter 'it' has no field 5; it has x, y"),
        (Place, {"name": "a", "at": {}}, "parameter 'it.at.x' (int) is missing"),
        (Place, {"name": "a", "at": {"x": 1}, "size": 2}, "parameter 'it' has no field 'size'"),
        (
            Place,
            {"name": "", "at": {"x": 1}},
            "parameter 'it' cannot be made into Place: ValueError: a place has a name",
        ),
        (list[Point], [{"x": 1}, {"x": None}], "parameter 'it[1].x' must be int, not None"),
        (Conf, {"when": "2024-01-01"}, "parameter 'it.limit' (int) is missing"),
        (TextConf, {}, "parameter 'it.limit' (int) is missing"),
        (Conf, types.MappingProxyType({"limit": 1}), "parameter 'it' must be Conf, not mapping…"),
        (Pair, [1, "2000-01-01", 3], "parameter 'it' must be Pair, not [1, '2000-01-01', 3]"),
        (Pair, ["x"], "parameter 'it.left' must be int, not 'x'"),
        (Empty, [1], "parameter 'it' must be Empty, not [1]"),
        (list[int] | None, [None], "parameter 'it[0]' must be int, not None"),
        (list[int] | list[str], [1, "a"], "parameter 'it' must be list[int] or list[str], not [1…"),
        (Point | None, {"x": 1, "z": 2}, "parameter 'it' has no field 'z'; it has x, y"),
        (Callable[[int], str], 5, "parameter 'it' must be Callable[[<class 'int'>], str], not 5"),
        (TypeAliasType(), ["x"], "parameter 'it[0]' must be int, not 'x'"),
        (list[UserId], ["x"], "parameter 'it[0]' must be int, not 'x'"),
        (Annotated[int, Meta(gt=0)], 0, "parameter 'it' must be int > 0, not 0"),
        (Annotated[int, Meta(ge=1)], 0, "parameter 'it' must be int >= 1, not 0"),
        (Annotated[int | None, Meta(ge=1)], 0, "parameter 'it' must be int or None >= 1, not 0"),
        (Annotated[int, Meta(ge=1)] | None, 0, "parameter 'it' must be int >= 1, not 0"),
        (Annotated[float, Meta(lt=1)], 1, "parameter 'it' must be float < 1, not 1.0"),
        (Annotated[Decimal, Meta(le=1)], "2", "parameter 'it' must be decimal <= 1, not Decimal("),
        (Annotated[int, Meta(multiple_of=2)], 3, "parameter 'it' must be int and a multiple of 2"),
        (Annotated[str, Meta(min_length=2)], "a", "parameter 'it' must be str of length >= 2, not"),
        (Annotated[list, Meta(max_length=0)], [1], "parameter 'it' must be list of length <= 0, n"),
        (Annotated[str, Meta(pattern="^a")], "b", "parameter 'it' must be str matching '^a', not"),
        (
            Annotated[datetime, Meta(tz=True)],
            "2024-01-02",
            "parameter 'it' must be datetime YYYY-MM-DDTHH:MM:SS with time zone: True, not",
        ),
        (list[Annotated[int, Meta(ge=1)]], [1, 0], "parameter 'it[1]' must be int >= 1, not 0"),
    ],
)
def test_values_that_do_not_fit(annotation, value, message):
    assert problem(annotation, value).startswith(message.removesuffix("…"))


def test_a_long_value_is_cut():
    message = problem(int, "x" * 1000)
    assert len(message) < 100
    assert message.endswith("x…")


def test_a_value_nested_too_deeply():
    value: dict[str, Any] = {"children": []}
    for _ in range(5000):
        value = {"children": [value]}
    assert problem(Tree, value) == "parameter 'it' is nested too deeply"
    assert text_problem(Tree, "[" * 200_000) == "parameter 'it' is nested too deeply"


# JSON and Python values


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, 5, 5),
        (float, 1, 1.0),
        (float, "inf", float("inf")),
        (date, "2024-01-02", date(2024, 1, 2)),
        (datetime, "2024-01-02T03:04:05Z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (time, "03:04", time(3, 4)),
        (timedelta, "PT90S", timedelta(seconds=90)),
        (Decimal, "1.50", Decimal("1.50")),
        (Decimal, 0.1, Decimal("0.1")),
        (Path, "a/b", Path("a/b")),
        (PurePosixPath, "a/b", PurePosixPath("a/b")),
        (Color, "red", Color.RED),
        (Color, "RED", Color.RED),
        (Mixed, 1, Mixed.ONE),
        (Mixed, None, Mixed.NOTHING),
        (Mixed, "PAIR", Mixed.PAIR),
        (Perm, 6, Perm.R | Perm.W),
        (Grumpy, "A", Grumpy.A),
        (Literal["a", 1, True], 1, 1),
        (Literal["a", 1, True], True, True),
        (Literal[Color.RED], "red", Color.RED),
        (Literal[Color.RED], Color.RED, Color.RED),
        (list[Path], ["a", Path("b")], [Path("a"), Path("b")]),
        (list[int], (1, 2), [1, 2]),
        (tuple, [1, "a"], (1, "a")),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[float, str], [1, "a"], (1.0, "a")),
        (typing.Tuple, [1], (1,)),  # noqa: UP006
        (set[int], [1, 1], {1}),
        (set[int], frozenset({1}), {1}),
        (frozenset[int], [1], frozenset({1})),
        (Set[date], ["2024-01-02"], {date(2024, 1, 2)}),
        (dict[int, Path], {"1": "a"}, {1: Path("a")}),
        (dict[Color, bool], {"red": True}, {Color.RED: True}),
        (dict[tuple[int, date], int], {'[1, "2024-01-02"]': 1}, {(1, date(2024, 1, 2)): 1}),
        (dict[int | None, int], {"null": 1}, {None: 1}),
        (Point, {"x": 1, "y": 2}, Point(1, 2.0)),
        (Place, {"name": "a", "at": {"x": 1}, "tags": ["t"]}, Place("a", Point(1), [Path("t")])),
        (Box[int], {"inside": "anything"}, Box("anything")),
        (Tree, {"children": [{"children": []}]}, Tree([Tree([])])),
        (Conf, {"limit": 1, "when": "2024-01-02"}, {"limit": 1, "when": date(2024, 1, 2)}),
        (TextConf, {"limit": 1}, {"limit": 1}),
        (Pair, [1], Pair(1)),
        (Pair, {"left": 1, "right": "2024-01-02"}, Pair(1, date(2024, 1, 2))),
        (Empty, [], Empty()),
        (UserId, 5, 5),
        (date | str, "2024-01-02", "2024-01-02"),
        (date | int, "2024-01-02", date(2024, 1, 2)),
        (float | int, 1, 1),
        (list[float] | list[int], [1], [1]),
        (list[Path] | Path, ["a"], [Path("a")]),
        (Annotated[int | None, Meta(ge=1)], None, None),
        (Annotated[int | str, Meta(ge=1), "a note"], "text", "text"),
        (Annotated[int, Meta(ge=1)], 1, 1),
    ],
)
def test_values_that_stand_for_another(annotation, value, expected):
    found = check(annotation, value)
    assert found == expected
    assert type(found) is type(expected)


class IntChild(int):
    pass


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, IntChild(5)),
        (int, Perm.R),
        (Custom, Child()),
        (HasArea, Custom()),
        (Point, PointChild("as given")),
        ("5", "not a type"),
        (list[Path], [Path("a")]),
        (list[Color], [Color.RED]),
        (tuple[int, str], Pair(1, "x")),
        (Sequence[int], (1, 2)),
        (Sequence[int], range(5)),
        (Iterable[int], iter([1])),
        (dict[str, Point], {"a": Point("as given", 1)}),
        (Mapping[str, int], types.MappingProxyType({"a": 1})),
        (Point | dict, {"x": 1}),
        (Pair, Pair("as given", 1)),
        (datetime | date, datetime(2024, 1, 2)),
        (Path | str, "a"),
        (Callable[[int], str], str),
        (T, 5),
        (object, object()),
        (Any, object()),
        (Union[Any, None], object()),  # noqa: UP007
    ],
)
def test_instances_pass_unchanged(annotation, value):
    assert check(annotation, value) is value


def test_a_parameter_without_annotation_takes_anything():
    ps = params()
    assert [p.annotation for p in ps] == [Any]
    assert ps.validate({"it": "5"}) == {"it": "5"}
    assert ps.validate({"it": "5"}, text={"it"}) == {"it": 5}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")
def test_type_aliases():
    namespace = {}
    exec("type Json = None | int | list[Json]\ntype Few[T] = list[T]", namespace)
    assert check(namespace["Json"], [1, [None, 2]]) == [1, [None, 2]]
    assert problem(namespace["Json"], [[{}]]) == (
        "parameter 'it[0][0]' must be None or int or list[Json], not {}"
    )
    assert check(namespace["Few"][int], [1]) == [1]


# Text


@pytest.mark.parametrize(
    ("annotation", "text", "expected"),
    [
        (int, "50", 50),
        (int, "-1", -1),
        (float, "50", 50.0),
        (float, "1e3", 1000.0),
        (str, "50", "50"),
        (str, "null", "null"),
        (bool, "Yes", True),
        (bool, "0", False),
        (bool | None, "off", False),
        (bool | None, "none", None),
        (int | None, "5", 5),
        (int | None, "null", None),
        (str | None, "null", "null"),
        (Path | None, "none", Path("none")),
        (str | int, "5", 5),
        (str | int, "1_000", "1_000"),
        (Annotated[str, "note"] | None | int, "x", "x"),
        (date | str, "2024-01-02", date(2024, 1, 2)),
        (timedelta, "PT1H", timedelta(hours=1)),
        (Path, "a/b", Path("a/b")),
        (Decimal, "1.50", Decimal("1.50")),
        (Color, "red", Color.RED),
        (Color, "BLUE", Color.BLUE),
        (Mixed, "1", Mixed.ONE),
        (Mixed, "null", Mixed.NOTHING),
        (Literal["a", 1, True], "1", 1),
        (Literal["a", 1, True], "true", True),
        (Literal["a", 1], "a", "a"),
        (list[int], "[1, 2]", [1, 2]),
        (list[str] | None, "null", None),
        (list[str] | None, '["null"]', ["null"]),
        (set[date], '["2024-01-02"]', {date(2024, 1, 2)}),
        (dict[int, float], '{"1": 2}', {1: 2.0}),
        (Point, '{"x": 1}', Point(1)),
        (Conf, '{"limit": 1}', {"limit": 1}),
        (Pair, "[1]", Pair(1)),
        (Annotated[int, Meta(ge=1)], "5", 5),
        (UserId, "5", 5),
        (Any, "[1, null]", [1, None]),
        (Any, "true", True),
        (Any, "null", None),
        (Any, '"quoted"', '"quoted"'),
        (Any, "NaN", "NaN"),
        (Any, "word", "word"),
        (Any | None, "5", 5),
    ],
)
def test_text(annotation, text, expected):
    found = read(annotation, text)
    assert found == expected
    assert type(found) is type(expected)


def test_a_value_among_texts_that_is_no_text():
    assert check(list[int], [1], text=["it"]) == [1]


@pytest.mark.parametrize(
    ("annotation", "text", "message"),
    [
        (int, "abc", "must be int, not 'abc'"),
        (int, "1_000", "must be int, not '1_000'"),
        (int, "1.0", "must be int, not '1.0'"),
        (float, "x", "must be float, not 'x'"),
        (bool, "maybe", "must be bool, not 'maybe'"),
        (None, "x", "must be None, not 'x'"),
        (int | None, "x", "must be int or None, not 'x'"),
        (Color, "green", "must be red|blue, not 'green'"),
        (Color, "5", "must be red|blue, not 5"),
        (Annotated[int, Meta(ge=1)], "0", "must be int >= 1, not 0"),
        (Custom, "x", "must be Custom, not 'x'"),
        (list[str], "a,b", """must be list[str], not 'a,b'; write it as --it '["a", "b"]'"""),
        (list[int], "5", "must be list[int], not 5; write it as --it '[1, 2]'"),
        (
            list[int] | None,
            "5",
            "must be list[int], not 5; write it as --it '[1, 2]'",
        ),
        (dict, "a", """must be dict, not 'a'; write it as --it '{"key": …}'"""),
        (Point, "a", """must be Point, not 'a'; write it as --it '{"x": …, "y": …}'"""),
    ],
)
def test_text_that_does_not_fit(annotation, text, message):
    assert text_problem(annotation, text) == f"parameter 'it' {message}"


def test_text_with_a_wrong_item():
    assert text_problem(list[int], '[1, "x"]') == "parameter 'it[1]' must be int, not 'x'"


# Storing


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (date(2024, 1, 2), "2024-01-02"),
        (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00+00:00"),
        (time(1, 2), "01:02:00"),
        (timedelta(seconds=90), "PT90S"),
        (Path("a/b"), "a/b"),
        (Decimal("1.50"), "1.50"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Color.RED, "red"),
        (Perm.R | Perm.W, 6),
        (Mixed.PAIR, "PAIR"),
        (Mixed.NOTHING, "NOTHING"),
        ({3, 20, 1}, [1, 3, 20]),
        (frozenset({"a", None}), ["a", None]),
        ((1, [date(2024, 1, 2)]), [1, ["2024-01-02"]]),
        (Pair(1), [1, "2000-01-01"]),
        (Place("a", Point(1)), {"name": "a", "at": {"x": 1, "y": 0.0}, "tags": []}),
        (
            {1: 2, True and "a": 3, None: 4, (1, "b"): 5, Color.RED: 6, 0.5: 7},
            {"1": 2, "a": 3, "null": 4, '[1, "b"]': 5, "red": 6, "0.5": 7},
        ),
        (Custom(), "Custom\n   ()"),
        (Unprintable(), "<Unprintable>"),
        (Point, repr(Point)),
    ],
)
def test_to_json(value, expected):
    assert params().to_json({"it": value}) == {"it": expected}


def test_to_json_of_a_value_that_holds_itself():
    value = []
    value.append(value)
    assert params().to_json({"it": value}) == {"it": "[[...]]"}


# Properties

# The first draw of a text on a machine builds a table of characters, which takes seconds.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

numbers = st.integers() | st.floats(allow_nan=False) | st.booleans()
SCALARS = [
    (int, st.integers()),
    (float, st.floats(allow_nan=False)),
    (bool, st.booleans()),
    (str, st.text()),
    (date, st.dates()),
    (datetime, st.datetimes(timezones=st.none() | st.just(UTC))),
    (time, st.times()),
    (timedelta, st.timedeltas()),
    (Decimal, st.decimals(allow_nan=False)),
    (uuid.UUID, st.uuids()),
    (Path, st.builds(Path, st.text("aé/. "))),
    (Color, st.sampled_from(Color)),
    (Mixed, st.sampled_from(Mixed)),
    (Perm, st.sampled_from([Perm.R, Perm.R | Perm.W])),
    (Literal["a", 1, True, None], st.sampled_from(["a", 1, True, None])),
]
points = st.builds(Point, st.integers(), st.floats(allow_nan=False))
RECORDS = [
    (Point, points),
    (Place, st.builds(Place, st.text(min_size=1), points, st.just([Path("a")]))),
    (Conf, st.fixed_dictionaries({"limit": st.integers()}, optional={"when": st.dates()})),
    (Pair, st.builds(Pair, st.integers(), st.dates())),
]


def nest(draw, annotation, values):
    """The type, and values of it, inside of another type."""
    shape = draw(st.sampled_from(["list", "tuple", "pair", "set", "dict", "optional", "as it is"]))
    if shape == "list":
        return list[annotation], st.lists(values, max_size=3)
    if shape == "tuple":
        return tuple[annotation, ...], st.lists(values, max_size=3).map(tuple)
    if shape == "pair":
        return tuple[annotation, int], st.tuples(values, st.integers())
    if shape == "dict":
        return dict[str, annotation], st.dictionaries(st.text(), values, max_size=3)
    if shape == "optional":
        return Union[annotation, None], values | st.none()  # noqa: UP007
    return annotation, values


@st.composite
def typed_values(draw):
    annotation, values = draw(st.sampled_from(SCALARS + RECORDS))
    if (annotation, values) in SCALARS and draw(st.booleans()):
        annotation, values = draw(
            st.sampled_from(
                [
                    (set[annotation], st.sets(values, max_size=3)),
                    (frozenset[annotation], st.frozensets(values, max_size=3)),
                    (dict[annotation, int], st.dictionaries(values, st.integers(), max_size=3)),
                ]
            )
        )
    for _ in range(draw(st.integers(0, 2))):
        annotation, values = nest(draw, annotation, values)
    return annotation, draw(values)


@patient
@given(typed_values())
def test_what_is_stored_is_read_back(typed_value):
    annotation, value = typed_value
    ps = params(annotation)
    stored = json.loads(json.dumps(ps.to_json({"it": value}), allow_nan=False))
    assert ps.validate(stored) == {"it": value}


@patient
@given(typed_values())
def test_a_valid_value_passes_as_it_is(typed_value):
    annotation, value = typed_value
    found = check(annotation, value)
    assert found == value
    assert type(found) is type(value)


@patient
@given(
    st.sampled_from(SCALARS[:5]).flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1])),
    st.booleans(),
)
def test_text_is_read_back(typed_value, optional):
    annotation, value = typed_value
    found = read(Union[annotation, None] if optional else annotation, str(value))  # noqa: UP007
    assert found == value
    assert type(found) is annotation


json_values = st.recursive(
    st.none() | numbers | st.text() | st.sampled_from(["red", "2024-01-02", "nan", "x", "limit"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text() | st.sampled_from(["x", "y", "limit", "left"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
ANNOTATIONS = [annotation for annotation, _ in SCALARS + RECORDS] + [
    Any,
    None,
    Custom,
    Grumpy,
    Tree,
    set,
    Box[int],
    set[tuple[int, ...] | str],
    dict[tuple[int, int], Path | None],
    list[Point | int] | dict[str, Conf] | None,
    Annotated[int | str | list, Meta(min_length=2)],
    Annotated[int | str | list, Meta(ge=1)],
    Annotated[str | datetime, Meta(pattern="x", tz=True)],
]


@patient
@given(st.sampled_from(ANNOTATIONS), json_values, st.booleans())
def test_only_parameter_errors_are_raised(annotation, value, as_text):
    ps = params(annotation)
    if as_text and not isinstance(value, str):
        value = json.dumps(value)
    with contextlib.suppress(ParameterError):
        found = ps.validate({"it": value}, text=["it"] if as_text else [])
        json.dumps(ps.to_json(found), allow_nan=False)


@patient
@given(st.dictionaries(st.text(), json_values, min_size=1))
def test_unknown_names_are_always_refused(values):
    ps = Parameters(flow, "birds")
    unknown = values.keys() - set(ps.names)
    assume(unknown)
    with pytest.raises(ParameterError) as caught:
        ps.validate({"limit": "none", **values})
    assert str(caught.value).count("birds: unknown parameter ") == len(unknown)


# The import


def test_the_import_is_light():
    code = "import sys, lokki.params; print(*sys.modules)"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    ran = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, check=True)
    assert b"lokki.params" in ran.stdout.split()
    assert b"msgspec" not in ran.stdout.split()
