"""Flow parameters: what each kind of value becomes, and what is said when it does not fit."""

import contextlib
import dataclasses
import enum
import functools
import json
import os
import pickle
import subprocess
import sys
import threading
import uuid
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Protocol,
    TypeVar,
    Union,
)

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from lokki.cli.render.words import as_options
from lokki.errors import DefinitionError, ParameterError
from lokki.params import MISSING, RESERVED, Parameter, Parameters
from lokki.params.examples import example_of
from lokki.params.words import typed
from lokki.secret import Secret
from lokki.wording import Arguments


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.Enum):
    none = 0
    HIGH = 1


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

    def __post_init__(self):
        if not self.name:
            raise ValueError("a place has a name")


@dataclass
class Grim:
    x: int

    def __post_init__(self):
        raise RuntimeError("no")


@dataclass
class Tree:
    children: "list[Tree]"


@dataclass
class Broken:
    x: "NoSuchName"  # noqa: F821


class Conf(TypedDict):
    limit: int
    when: NotRequired[date]


class Pair(NamedTuple):
    left: int
    right: date = date(2000, 1, 1)


class Model(BaseModel):
    size: int


T = TypeVar("T")


@dataclass
class Box(Generic[T]):
    inside: T


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


def params(annotation=NOTHING, default=MISSING):
    """The parameters of a flow with one parameter."""
    namespace = {"annotation": annotation, "default": default}
    head = "it" if annotation is NOTHING else "it: annotation"
    exec(f"def fn({head}{'' if default is MISSING else ' = default'}): ...", namespace)
    return Parameters(namespace["fn"], "birds")


def check(annotation, value, **options):
    return params(annotation).validate({"it": value}, **options)["it"]


def read(annotation, text):
    return check(annotation, text, text=["it"])


def problem(annotation, value, **options):
    with pytest.raises(ParameterError) as caught:
        check(annotation, value, **options)
    message = str(caught.value)
    assert message.startswith("birds: parameter 'it")
    assert len(message.splitlines()) == 1
    return message.removeprefix("birds: parameter ")


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
    default = datetime(2026, 2, 3)
    assert params(date, default).validate({})["it"] is default


@pytest.mark.parametrize(
    ("annotation", "label"),
    [
        (int, "int"),
        (int | None, "int"),
        (int | str | None, "int or str"),
        (Annotated[int | None, Field(ge=1)], "int"),
        (Any, "any value"),
        (Color, "red|blue"),
        (Level, "none|HIGH"),
        (Literal["red", 2, None, Color.BLUE], "red|2|null|blue"),
        (list[int], "JSON list"),
        (list[int] | tuple[str] | None, "JSON list"),
        (Sequence[str], "JSON list"),
        (Iterable[str], "JSON list"),
        (dict[str, int], "JSON object"),
        (Point, "JSON object"),
        (Conf, "JSON object"),
        (Model, "JSON object"),
        (date, "date YYYY-MM-DD"),
        (datetime, "datetime YYYY-MM-DDTHH:MM:SS"),
        (timedelta, "duration such as PT1H30M"),
        (Path, "path"),
        (Custom, "Custom"),
        ("NoSuchName", "NoSuchName"),
    ],
)
def test_type_label(annotation, label):
    (parameter,) = params(annotation)
    assert parameter.type_label == label


@pytest.mark.parametrize(
    ("annotation", "default", "metavar", "text", "example"),
    [
        (int, 3, "INT", "3", "--it 5"),
        (int | None, None, "INT", "", "--it 5"),
        (int | str, 3, "INT|STR", "3", "--it text"),
        (str, "", "STR", "''", "--it text"),
        (str, "a b", "STR", "'a b'", "--it text"),
        (bool, True, "BOOL", "--it", "--it"),
        (bool, False, "BOOL", "--no-it", "--it"),
        (Color, Color.RED, "red|blue", "red", "--it red"),
        (Level, Level.HIGH, "none|HIGH", "HIGH", "--it none"),
        (Literal["x", "y"], "y", "x|y", "y", "--it x"),
        (Literal[Color.BLUE, Level.HIGH], Color.BLUE, "blue|HIGH", "blue", "--it blue"),
        (date, date(2026, 1, 2), "YYYY-MM-DD", "2026-01-02", "--it 2026-02-03"),
        (timedelta, timedelta(hours=1), "PT1H30M", "PT1H", "--it PT1H30M"),
        (Path, Path("."), "PATH", ".", "--it text"),
        (list[int], [1], "JSON LIST", "'[1]'", "--it '[1, 2]'"),
        (dict[str, int], {"a": 1}, "JSON OBJECT", """'{"a": 1}'""", """--it '{"key": 5}'"""),
        (Annotated[int, Field(ge=9)], 9, "INT", "9", "--it INT"),
        ("NoSuchName", 3, "NOSUCHNAME", "3", "--it NOSUCHNAME"),
    ],
)
def test_what_the_help_shows(annotation, default, metavar, text, example):
    (parameter,) = params(annotation, default)
    typed = as_options(Arguments(it=example_of(parameter)))
    assert (parameter.metavar, parameter.default_text, typed) == (metavar, text, example)


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("*args", r"cannot take '\*args'"),
        ("**kw", r"cannot take '\*\*kw'"),
        ("a, /", "parameter 'a' is positional-only"),
        ("x: bool, no_x=1", "parameter 'no_x' has the name that turns 'x' off"),
        ("no_x, x: 'bool' = None", "parameter 'no_x' has the name that turns 'x' off"),
        *((name, f"parameter '{name}' has the name of an option") for name in sorted(RESERVED)),
    ],
)
def test_unusable_signatures(signature, message):
    namespace = {}
    exec(f"def fn({signature}): ...", namespace)
    with pytest.raises(DefinitionError, match=f"birds: .*{message}"):
        Parameters(namespace["fn"], "birds")


def test_a_no_of_what_is_no_flag():
    def fn(x: int, no_x: bool, y: "NoSuchName", no_y: bool): ...  # noqa: F821

    assert len(Parameters(fn, "birds")) == 4


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


def test_an_annotation_that_pydantic_refuses():
    with pytest.raises(DefinitionError, match=r"birds: the annotation of parameter 'it'"):
        check(HasArea, 5)


def test_names_are_resolved_in_the_module_of_the_wrapped_function():
    def plain(day: "date"): ...

    assert [p.annotation for p in Parameters(functools.wraps(plain)(lambda: 0), "birds")] == [date]


def test_parameters_can_be_pickled_after_use():
    ps = Parameters(flow, "birds")
    ps.validate({"limit": 1, "colors": ["red"]})
    copy = pickle.loads(pickle.dumps(ps))
    assert list(copy) == list(ps)


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
        "birds: parameter 'min_size' must be a valid number, not 'x'",
        "birds: parameter 'dry' must be true or false, not 3",
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
        "birds: parameter 'min_size' must be a valid number, not 'abc'",
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
        (int, "5", "'it' must be a whole number, not '5'"),
        (int, True, "'it' must be a whole number, not True"),
        (int, 5.0, "'it' must be a whole number, not 5.0"),
        (int, None, "'it' must be a whole number, not None"),
        (float, True, "'it' must be a valid number, not True"),
        (float, "1.5", "'it' must be a valid number, not '1.5'"),
        (bool, 1, "'it' must be true or false, not 1"),
        (bool, "true", "'it' must be true or false, not 'true'"),
        (str, 5, "'it' must be a valid string, not 5"),
        (str, Path("a"), "'it' must be a valid string, not PosixPath('a')"),
        (str, Custom(), "'it' must be a valid string, not Custom ()"),
        (str, Unprintable(), "'it' must be a valid string, not <Unprintable>"),
        (Custom, 5, "'it' must be an instance of Custom, not 5"),
        (date, "soon", "'it' must be a date (YYYY-MM-DD), not 'soon'"),
        (date, datetime(2024, 1, 2), "'it' must be a date (YYYY-MM-DD), not datetime.datetime("),
        (Decimal, "x", "'it' must be a valid decimal, not 'x'"),
        (uuid.UUID, "x", "'it' must be a valid UUID"),
        (Path, 5, "'it' must be a valid string, not 5"),
        (Color, "green", "'it' must be 'red' or 'blue', not 'green'"),
        (Color, ["red"], "'it' must be 'red' or 'blue', not ['red']"),
        (Grim, {"x": 1}, "'it': RuntimeError: no (given {'x': 1})"),
        (Literal["a", 1], 2, "'it' must be 'a' or 1, not 2"),
        (int | str, [], "'it' must be a whole number or must be a valid string, not []"),
        (list[int], {1}, "'it' must be a valid list, not {1}"),
        (list[int], "ab", "'it' must be a valid array, not 'ab'"),
        (list[int], [1, 2, "x"], "'it[2]' must be a whole number, not 'x'"),
        (list[Custom], [Custom(), 5], "'it[1]' must be an instance of Custom, not 5"),
        (list[list[int]], [[], [1, None]], "'it[1][1]' must be a whole number, not None"),
        (list[int | str], [5, []], "'it[1]' must be a whole number or must be a valid string"),
        (list[int] | None, [None], "'it[0]' must be a whole number, not None"),
        (list[int] | str, ["a"], "'it[0]' must be a whole number, not 'a'"),
        (Iterable[int], ["x"], "'it[0]' must be a whole number, not 'x'"),
        (tuple[int, ...], [1, "x"], "'it[1]' must be a whole number, not 'x'"),
        (tuple[int, str], [1], "'it[1]': Field required (given [1])"),
        (dict[str, int], {"a b": "c"}, "'it['a b']' must be a whole number, not 'c'"),
        (dict[int, str], {"a": "b"}, "'it.a' must be a whole number"),
        (Point, 5, "'it' must be an object, not 5"),
        (Point, {"x": "a"}, "'it.x' must be a whole number, not 'a'"),
        (Point, {"x": 1, "z": 2}, "'it.z': Unexpected keyword argument (given 2)"),
        (Point | int, {"x": "a"}, "'it.x' must be a whole number, not 'a'"),
        (Place, {"name": "a", "at": {}}, "'it.at.x': Field required (given {})"),
        (Place, {"name": "", "at": {"x": 1}}, "'it': Value error, a place has a name (given {"),
        (Conf, {"limit": 1, "z": 2}, "'it.z': Extra inputs are not permitted (given 2)"),
        (Model, {"size": "1"}, "'it.size' must be a whole number, not '1'"),
        (UserId, "x", "'it' must be a whole number, not 'x'"),
        (Annotated[int, Field(ge=1)], 0, "'it' must be greater than or equal to 1, not 0"),
        (Annotated[str, Field(min_length=2)], "a", "'it': String should have at least 2 char"),
    ],
)
def test_values_that_do_not_fit(annotation, value, message):
    assert problem(annotation, value)[: len(message)] == message


def test_a_long_value_is_cut():
    message = problem(int, "x" * 1000)
    assert len(message) < 120
    assert message.endswith("x…")


def test_a_value_nested_too_deeply():
    value: dict[str, Any] = {"children": []}
    for _ in range(5000):
        value = {"children": [value]}
    assert problem(Tree, value)
    assert problem(Tree, "[" * 200_000, text=["it"])


# JSON and Python values


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (float, 1, 1.0),
        (date, "2024-01-02", date(2024, 1, 2)),
        (datetime, "2024-01-02T03:04:05Z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (time, "03:04", time(3, 4)),
        (timedelta, "PT90S", timedelta(seconds=90)),
        (Decimal, "1.50", Decimal("1.50")),
        (Path, "a/b", Path("a/b")),
        (Color, "red", Color.RED),
        (Color, "RED", Color.RED),
        (Color | None, "RED", Color.RED),
        (Level, 1, Level.HIGH),
        (Perm, 6, Perm.R | Perm.W),
        (Grumpy, "A", Grumpy.A),
        (Literal["a", 1, True], 1, 1),
        (Literal["a", 1, True], True, True),
        (list[Path], ["a"], [Path("a")]),
        (list[int], (1, 2), [1, 2]),
        (Iterable[int], (1, 2), [1, 2]),
        (Iterable[Path], ["a"], [Path("a")]),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[float, str], [1, "a"], (1.0, "a")),
        (set[int], [1, 1], {1}),
        (frozenset[int], [1], frozenset({1})),
        (Set[date], ["2024-01-02"], frozenset({date(2024, 1, 2)})),
        (dict[int, Path], {"1": "a"}, {1: Path("a")}),
        (dict[Color, bool], {"red": True}, {Color.RED: True}),
        (Point, {"x": 1, "y": 2}, Point(1, 2.0)),
        (Place, {"name": "a", "at": {"x": 1}, "tags": ["t"]}, Place("a", Point(1), [Path("t")])),
        (Box[date], {"inside": "2024-01-02"}, Box(date(2024, 1, 2))),
        (Tree, {"children": [{"children": []}]}, Tree([Tree([])])),
        (Conf, {"limit": 1, "when": "2024-01-02"}, {"limit": 1, "when": date(2024, 1, 2)}),
        (Pair, [1], Pair(1)),
        (Pair, {"left": 1, "right": "2024-01-02"}, Pair(1, date(2024, 1, 2))),
        (Model, {"size": 1}, Model(size=1)),
        (UserId, 5, 5),
        (date | str, "2024-01-02", "2024-01-02"),
        (date | int, "2024-01-02", date(2024, 1, 2)),
        (list[Path] | Path, ["a"], [Path("a")]),
        (Annotated[int | None, Field(ge=1)], None, None),
    ],
)
def test_values_that_stand_for_another(annotation, value, expected):
    found = check(annotation, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Custom, Child()),
        (list[Path], [Path("a")]),
        (list[Color], [Color.RED]),
        (tuple[Path, float], (Path("a"), 1.0)),
        (Sequence[int], (1, 2)),
        (Mapping[str, int], {"a": 1}),
        (dict[str, Point], {"a": Point("as given", 1)}),
        (Conf, {"limit": 1, "when": date(2024, 1, 2)}),
        (Pair, Pair(1)),
        (Model, Model(size=1)),
        (Path | str, "a"),
        (T, 5),
        (object, object()),
        (Any, "5"),
        (Union[Any, None], NOTHING),  # noqa: UP007
    ],
)
def test_instances_pass(annotation, value):
    assert check(annotation, value) == value


def test_a_parameter_without_annotation_takes_anything():
    ps = params()
    assert [p.annotation for p in ps] == [Any]
    assert ps.validate({"it": "5"}) == {"it": "5"}
    assert ps.validate({"it": "5"}, text={"it"}) == {"it": 5}


@pytest.mark.parametrize(
    ("default", "text", "value"),
    [
        (7, "9", 9),
        (7.5, "9", 9.0),
        ("s", "9", "9"),
        ("s", "true", "true"),
        (True, "no", False),
        (b"", "ab", b"ab"),
        (["a"], "[9]", [9]),
        ((1, 2), "[9]", (9,)),
        ({}, '{"a": 9}', {"a": 9}),
        ({1}, "[9]", {9}),
        (date(2026, 1, 1), "2026-02-03", date(2026, 2, 3)),
        (timedelta(1), "PT1H", timedelta(hours=1)),
        (Decimal(1), "1.50", Decimal("1.50")),
        (uuid.UUID(int=1), str(uuid.UUID(int=2)), uuid.UUID(int=2)),
        (Path("."), "9", Path("9")),
        (Color.RED, "blue", Color.BLUE),
        (Point(1), '{"x": 9}', Point(9)),
        (None, "9", 9),
        (object(), "9", 9),
        (print, "9", 9),
        (Custom(), "[9]", [9]),
    ],
)
def test_a_parameter_without_annotation_is_of_its_defaults_type(default, text, value):
    ps = params(default=default)
    read = ps.validate({"it": text}, text={"it"})["it"]
    assert (read, type(read)) == (value, type(value))
    assert ps.validate({"it": value}) == {"it": value}
    assert ps.validate({})["it"] == default


@pytest.mark.parametrize(
    ("default", "given", "message"),
    [
        (7, "abc", "must be a whole number, not 'abc'"),
        (7, 1.5, "must be a whole number, not 1.5"),
        (7, True, "must be a whole number, not True"),
        (7, None, "must be a whole number, not None"),
        ("s", 9, "must be a valid string, not 9"),
        (False, "maybe", "must be true or false, not 'maybe'"),
        ([], {"a": 1}, "must be a valid array, not {'a': 1}"),
        (date(2026, 1, 1), "soon", "must be a date (YYYY-MM-DD), not 'soon'"),
        (Color.RED, "green", "must be 'red' or 'blue', not 'green'"),
    ],
    ids=repr,
)
def test_what_does_not_fit_the_type_of_a_default(default, given, message):
    with pytest.raises(ParameterError) as caught:
        params(default=default).validate({"it": given})
    assert str(caught.value).endswith(f"parameter 'it' {message}")


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
        *((bool, word, True) for word in ("true", "Yes", "on", "1")),
        *((bool, word, False) for word in ("false", "No", "off", "0")),
        (bool | None, "none", None),
        (int | None, "5", 5),
        (int | None, "null", None),
        (int | None, "None", None),
        (str | None, "null", "null"),
        (Path | None, "none", Path("none")),
        (int | str, "x", "x"),
        (date | None, "2024-01-02", date(2024, 1, 2)),
        (datetime, "2024-01-02", datetime(2024, 1, 2)),
        (timedelta, "PT1H", timedelta(hours=1)),
        (Decimal, "1.50", Decimal("1.50")),
        (Color, "red", Color.RED),
        (Color, "BLUE", Color.BLUE),
        (Level, "1", Level.HIGH),
        (Level, "none", Level.none),
        (Literal["a", 1], "1", 1),
        (Literal["a", 1], "a", "a"),
        (Literal[Color.BLUE, Level.HIGH], "blue", Color.BLUE),
        (Literal[Color.BLUE, Level.HIGH], "HIGH", Level.HIGH),
        (list[int], "[1, 2]", [1, 2]),
        (list[str] | None, "null", None),
        (list[str] | None, '["null"]', ["null"]),
        (set[date], '["2024-01-02"]', {date(2024, 1, 2)}),
        (dict[int, float], '{"1": 2}', {1: 2.0}),
        (Point, '{"x": 1}', Point(1)),
        (Conf, '{"limit": 1}', {"limit": 1}),
        (Annotated[int, Field(ge=1)], "5", 5),
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
        (int, "abc", "must be a whole number, not 'abc'"),
        (int, "1.5", "must be a whole number, not 1.5"),
        (float, "x", "must be a valid number, not 'x'"),
        (bool, "maybe", "must be true or false, not 'maybe'"),
        (int | None, "x", "must be a whole number, not 'x'"),
        (Color, "green", "must be 'red' or 'blue', not 'green'"),
        (Level, "2", "must be 'none' or 'HIGH', not 2"),
        (Literal[Color.BLUE, 1, None], "x", "must be 'blue', 1 or None, not 'x'"),
        (Literal[Color.BLUE], "x", "must be 'blue', not 'x'"),
        (date, "yesterday", "must be a date (YYYY-MM-DD), not 'yesterday'"),
        (datetime, "x", "must be a date and time (YYYY-MM-DDTHH:MM:SS), not 'x'"),
        (timedelta, "x", "must be a duration (such as PT1H30M), not 'x'"),
        (Annotated[int, Field(ge=1)], "0", "must be greater than or equal to 1, not 0"),
        (Custom, "x", "must be an instance of Custom, not 'x'"),
        (list[str], "a,b", "must be a valid array, not 'a,b'; write it as it=['a', 'b']"),
        (list[int], "5", "must be a valid array, not 5; write it as it=[1, 2]"),
        (list[int] | None, "5", "must be a valid array, not 5; write it as it=[1, 2]"),
        (dict, "a", "must be an object, not 'a'; write it as it={'key': '…'}"),
    ],
)
def test_text_that_does_not_fit(annotation, text, message):
    assert problem(annotation, text, text=["it"]) == f"'it' {message}"


def test_what_to_write_instead_is_an_option_at_the_terminal():
    with pytest.raises(ParameterError) as wrong:
        check(list[str], "a,b", text=["it"], origins={"it": "here"})
    assert wrong.value.said(as_options) == (
        "birds: here: parameter 'it' must be a valid array, not 'a,b'; "
        """write it as --it '["a", "b"]'"""
    )


@pytest.mark.parametrize("annotation", [int, str, Color, Level, date, timedelta, Path, list[int]])
def test_an_example_is_taken_from_python_too(annotation):
    (parameter,) = params(annotation)
    assert check(annotation, example_of(parameter)) == check(
        annotation, typed(example_of(parameter)), text=["it"]
    )


def test_text_with_a_wrong_item():
    message = "'it[1]' must be a whole number, not 'x'"
    assert problem(list[int], '[1, "x"]', text=["it"]) == message


# Storing


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1, 2.5, None, "a"], [1, 2.5, None, "a"]),
        (float("inf"), "Infinity"),
        ([Path("a"), float("nan")], ["a", "NaN"]),
        (date(2024, 1, 2), "2024-01-02"),
        (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00Z"),
        (time(1, 2), "01:02:00"),
        (timedelta(seconds=90), "PT1M30S"),
        (Decimal("1.50"), "1.50"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Color.RED, "red"),
        (Perm.R | Perm.W, 6),
        ({1}, [1]),
        (Pair(1), [1, "2000-01-01"]),
        (Place("a", Point(1)), {"name": "a", "at": {"x": 1, "y": 0.0}, "tags": []}),
        (Model(size=1), {"size": 1}),
        ({1: date(2024, 1, 2)}, {"1": "2024-01-02"}),
        (Custom(), "Custom\n   ()"),
        ([Unprintable()], ["<Unprintable>"]),
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

words = st.text(st.characters(exclude_categories=["Cs"]))
floats = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = [
    (int, st.integers()),
    (float, floats),
    (bool, st.booleans()),
    (str, words),
    (date, st.dates()),
    (datetime, st.datetimes(timezones=st.none() | st.just(UTC))),
    (time, st.times()),
    (timedelta, st.timedeltas(timedelta(days=-9999), timedelta(days=9999))),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (uuid.UUID, st.uuids()),
    (Path, st.builds(Path, st.text("aé/. "))),
    (Color, st.sampled_from(Color)),
    (Level, st.sampled_from(Level)),
    (Literal["a", 1, None], st.sampled_from(["a", 1, None])),
]
points = st.builds(Point, st.integers(), floats)
RECORDS = [
    (Point, points),
    (Place, st.builds(Place, words.filter(bool), points, st.just([Path("a")]))),
    (Conf, st.fixed_dictionaries({"limit": st.integers()}, optional={"when": st.dates()})),
    (Pair, st.builds(Pair, st.integers(), st.dates())),
    (Model, st.builds(Model, size=st.integers())),
]


def nest(annotation, values):
    """The type, and values of it, inside of each other type."""
    return [
        (annotation, values),
        (list[annotation], st.lists(values, max_size=3)),
        (tuple[annotation, ...], st.lists(values, max_size=3).map(tuple)),
        (tuple[annotation, int], st.tuples(values, st.integers())),
        (dict[str, annotation], st.dictionaries(words, values, max_size=3)),
        (Union[annotation, None], values | st.none()),  # noqa: UP007
    ]


@st.composite
def typed_values(draw):
    annotation, values = draw(st.sampled_from(SCALARS + RECORDS))
    if draw(st.booleans()) and (annotation, values) in SCALARS:
        sets = [
            (set[annotation], st.sets(values, max_size=3)),
            (frozenset[annotation], st.frozensets(values, max_size=3)),
        ]
        annotation, values = draw(st.sampled_from(sets))
    for _ in range(draw(st.integers(0, 2))):
        annotation, values = draw(st.sampled_from(nest(annotation, values)))
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
    st.sampled_from(SCALARS[:4]).flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1])),
    st.booleans(),
)
def test_text_is_read_back(typed_value, optional):
    annotation, value = typed_value
    found = read(Union[annotation, None] if optional else annotation, str(value))  # noqa: UP007
    assert found == value
    assert type(found) is annotation


json_values = st.recursive(
    st.none()
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.text()
    | st.sampled_from(["red", "2024-01-02", "nan", "x", "limit"]),
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
    Grim,
    Tree,
    set,
    Box[int],
    Iterable[int],
    set[tuple[int, ...] | str],
    dict[tuple[int, int], Path | None],
    list[Point | int] | dict[str, Conf] | None,
    Annotated[int | str | list, Field(min_length=2)],
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
    told = str(caught.value)
    assert told.count("birds: unknown parameter ") == min(len(unknown), 10)
    assert ("more unknown parameters" in told) == (len(unknown) > 10)


# The import

WITHOUT_PYDANTIC = """
import sys
from lokki import flow, step

third_party = {"pydantic", "pydantic_core", "anyio", "click", "cloudpickle"}
assert not third_party & set(sys.modules), "import lokki is stdlib-only"

@step
def birds(): ...

@flow
def birds_flow():
    return birds()

@flow
def few_flow(limit: int, name: str | None = None, rest=None, share: float = 0.5):
    return birds()

for graph in [
    birds_flow(), few_flow(5), few_flow(limit=5, name="x", rest=[1], share=1.5),
    few_flow.trace({"limit": 5, "name": None}),
]:
    graph.flow.parameters.to_json(graph.params)
assert [p.type_label for p in few_flow.parameters] == ["int", "str", "any value", "float"]
few_flow.parameters.validate({"limit": 5, "name": "x", "rest": "[1]"}, text=["name", "rest"])
assert not third_party & set(sys.modules)

few_flow.parameters.validate({"limit": "5"}, text=["limit"])
assert "pydantic" in sys.modules
"""


def test_plain_values_do_without_pydantic():
    clean = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    subprocess.run([sys.executable, "-c", WITHOUT_PYDANTIC], env=clean, check=True)


def test_checked_values_are_used_as_they_are_and_completed():
    def birds(limit: int, label: str = "5", extra: int = 1):
        pass

    parameters = Parameters(birds, "birds")
    earlier = parameters.validate({"limit": 3})
    assert earlier == {"limit": 3, "label": "5", "extra": 1}
    assert parameters.validate({}, checked=earlier) == earlier
    assert parameters.validate({"extra": 2}, checked=earlier) == {**earlier, "extra": 2}
    with pytest.raises(ParameterError, match="unknown parameter 'gone'"):
        parameters.validate({}, checked={**earlier, "gone": 1})
    with pytest.raises(ParameterError, match=r"'limit' .* is missing"):
        parameters.validate({}, checked={"label": "a"})


# ---- JSON Schema ---------------------------------------------------------------------------------


class Shade(enum.Enum):
    LIGHT = "light"
    DARK = 2


@dataclass
class Crate:
    width: int
    shades: list[Shade] = field(default_factory=list)


class Unknowable:
    pass


def schema(fn):
    found = Parameters(fn, "f").json_schema()
    json.dumps(found, allow_nan=False)
    return found


def test_parameters_as_a_json_schema():
    def f(
        count: int,
        shade: Shade = Shade.DARK,
        size: Literal["s", "m"] | None = None,
        crates: list[Crate] = [],
        day: date = date(2026, 2, 3),
        wait: timedelta = timedelta(minutes=1),
        most: float = float("inf"),
    ):
        pass

    found = schema(f)
    assert (found["type"], found["additionalProperties"]) == ("object", False)
    assert found["required"] == ["count"]
    own = found["properties"]
    assert own["count"] == {"type": "integer"}
    assert (own["shade"]["enum"], own["shade"]["default"]) == (["light", 2], 2)
    assert own["size"]["anyOf"] == [{"enum": ["s", "m"], "type": "string"}, {"type": "null"}]
    assert own["size"]["default"] is None
    assert own["crates"]["items"] == {"$ref": "#/$defs/crates.Crate"}
    assert (own["day"]["format"], own["day"]["default"]) == ("date", "2026-02-03")
    assert (own["wait"]["format"], own["wait"]["default"]) == ("duration", "PT1M")
    assert own["most"]["default"] == "Infinity"
    assert set(found["$defs"]) == {"crates.Crate", "crates.Shade"}
    assert found["$defs"]["crates.Crate"]["required"] == ["width"]


def test_classes_of_one_name_are_told_apart_in_a_json_schema():
    first = dataclasses.make_dataclass("Box", [("width", int)])
    second = dataclasses.make_dataclass("Box", [("name", str)])
    second.__module__ = "elsewhere"

    def fn(one, other): ...

    fn.__annotations__ = {"one": list[first], "other": list[second]}
    found = schema(fn)
    fields = [
        found["properties"][name]["items"]["$ref"].rpartition("/")[2] for name in ("one", "other")
    ]
    assert [set(found["$defs"][field]["properties"]) for field in fields] == [{"width"}, {"name"}]


def test_what_a_json_schema_has_no_words_for_takes_anything():
    def f(a, b: Any = 1, c: Unknowable | None = None, d: "nosuch.Name" = 2):  # noqa: F821
        pass

    own = schema(f)["properties"]
    assert own["a"] == {}
    assert own["b"] == {"default": 1}
    assert set(own["c"]) == {"description", "default"}
    assert set(own["d"]) == {"description", "default"}


def test_secrets_are_no_part_of_a_json_schema():
    def f(count: int, password: Secret[str], other: Secret[str] = Secret("hush")):
        pass

    found = schema(f)
    assert (list(found["properties"]), found["required"]) == (["count"], ["count"])
    assert "hush" not in json.dumps(found)


def test_a_flow_without_parameters_takes_an_empty_object():
    def f():
        pass

    found = schema(f)
    assert (found["properties"], found["required"]) == ({}, [])
    assert "$defs" not in found


# Defaults


def with_default(annotation, default):
    def fn(it):
        """A flow's body."""

    fn.__annotations__["it"] = annotation
    fn.__defaults__ = (default,)
    return Parameters(fn, "birds")


class Speaks(Protocol):
    def speak(self): ...


class Pair(TypedDict):
    one: int


Size = NewType("Size", int)
Item = TypeVar("Item")


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (int, "5"),
        ("int", "5"),
        (int, 5.0),
        (int, True),
        (float, "0.5"),
        (float, False),
        (str, 5),
        (bool, 1),
        (bytes, "x"),
        (int | str, 0.5),
        (int | None, "x"),
        (list, ()),
        (list[int], [1, "2"]),
        (list[list[int]], [[1], ["2"]]),
        (tuple[int, str], (1, 2)),
        (tuple[int, str], (1,)),
        (tuple[int, ...], (1, "2")),
        (dict[str, int], {"a": "b"}),
        (dict[str, int], {1: 1}),
        (set[str], {1}),
        (Sequence[int], ["a"]),
        (Mapping[str, int], []),
        (Literal["a", "b"], "c"),
        (Literal[1], True),
        (Color, "red"),
        (Path, "data"),
        (date, "2026-02-03"),
        (timedelta, 5),
        (Decimal, 1),
        (Point, {"x": 1}),
        (Pair, []),
        (Size, "big"),
        (Annotated[int, "metres"], "5"),
        (Annotated[int, Field(gt=0)], 0),
        (type, 3),
    ],
)
def test_a_default_that_is_not_as_annotated_is_refused_where_it_is_defined(annotation, default):
    with pytest.raises(DefinitionError, match=r"^birds: .*parameter 'it' ") as refused:
        with_default(annotation, default)
    assert repr(default) in str(refused.value)


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (int, 5),
        (int, None),
        (int, Level.HIGH.value),
        (float, 1),
        (complex, 1.5),
        (str, ""),
        (Perm, Perm.R),
        (int, Perm.R),
        (list[int], []),
        (list[Any], [1, "2"]),
        (Sequence[str], "abc"),
        (Iterable[int], range(3)),
        (Mapping[str, int], {"a": 1}),
        (tuple[int, ...], (1, 2)),
        (tuple[int, str], (1, "2")),
        (Literal["a", Color.RED], Color.RED),
        (date, datetime(2026, 2, 3)),
        (Point, Point(1)),
        (Speaks, 3),
        (Pair, {"one": 1}),
        (Size, 3),
        (Item, 3),
        ("Missing", 3),
        ("list[Missing]", 3),
        (Any, 3),
        (object, 3),
        (type[int], bool),
        (Annotated[int, Field(gt=0)], 1),
        (Secret[str], Secret("x")),
    ],
)
def test_a_default_that_may_be_as_annotated_is_kept(annotation, default):
    assert with_default(annotation, default).bind((), {}) == {"it": default}


def test_a_secret_that_is_none_is_not_reported():
    with pytest.raises(DefinitionError, match=r"Secret\[str\], but its default \(str\) is not"):
        with_default(Secret[str], "hush-hush")
    with pytest.raises(DefinitionError) as refused:
        with_default(Secret[int], Secret("hush-hush"))
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "default",
    [
        [1],
        {"a": [1]},
        {1},
        bytearray(b"a"),
        ([1], 2),
        [[{"a": [1]}]],
        Point(1),
        Place("a", Point(1)),
    ]
    + [deque([1]), OrderedDict(a=[1])],
)
def test_every_run_has_its_own_copy_of_a_default(default):
    parameters = with_default(Any, default)
    one, other = (parameters.validate({})["it"] for _ in range(2))
    assert one == other == default
    assert one is not other
    assert default is not one
    assert type(one) is type(default)
    assert parameters.given({"it": one}) == {}


def test_every_run_has_its_own_copy_of_an_array():
    default = np.zeros(2)
    parameters = with_default(Any, default)
    parameters.validate({})["it"][0] = 1
    assert parameters.validate({})["it"].tolist() == default.tolist() == [0, 0]


def test_a_default_that_cannot_be_changed_or_copied_is_shared():
    itself = [1]
    itself.append(itself)
    for default in (5, "text", (1, "a"), Path("a"), Color.RED, len, itself, threading.Lock()):
        assert with_default(Any, default).validate({})["it"] is default


def test_what_is_given_is_not_taken_for_a_default():
    assert with_default(list[int], [1]).given({"it": [2]}) == {"it": [2]}
    assert with_default(Any, [1]).given({"it": (1,)}) == {"it": [1]}
    assert with_default(int, 5).given({"it": 5}) == {}


def birds(count: int, day: date, limit: int = 5):
    pass


def test_an_error_names_each_parameter_that_is_wrong():
    with pytest.raises(ParameterError) as caught:
        Parameters(birds, "birds").validate({"limit": "it's parameter 'x'", "day": 3, "colour": 1})
    problems = caught.value.problems
    assert [each.name for each in problems] == ["colour", "count", "day", "limit"]
    assert caught.value.name == "colour"
    assert [f"birds: {each.message}" for each in problems] == str(caught.value).splitlines()


def test_an_error_that_is_of_no_parameter_names_none():
    with pytest.raises(ParameterError, match="takes 3 positional arguments, not 4") as caught:
        Parameters(birds, "birds").bind((1, date(2026, 1, 1), 5, 6), {})
    assert caught.value.name is None
