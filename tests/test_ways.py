"""Tracing a flow's body without its parameters: what goes through, and what needs a value."""

import enum
import inspect
import json
import math
import os
import pickle
from collections.abc import Callable, Iterable, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType

import pytest

from lokki import Secret, flow, step
from lokki.cli.render.words import as_options
from lokki.errors import DefinitionError, ParameterError


@step
def source(value=None, **constants):
    return [value]


@step
def work(item, **constants):
    return item


@step
def other(item):
    return item


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Size(NamedTuple):
    width: int
    height: int


@dataclass
class Settings:
    sizes: list[int]
    name: str = "x"
    inner: "Settings | None" = None
    more: dict[str, int] = field(default_factory=dict)

    def label(self):
        return self.name


Metres = NewType("Metres", float)


def shape_of(body):
    """The structure of a flow with this body, as a build has it."""
    return flow(body).outline().shape


def body_of(annotation, use):
    """A body with one parameter, ``n``, that binds what ``use`` makes of it."""

    def body(n):
        return source(use(n)).map(work, constant=use(n))

    body.__annotations__["n"] = annotation
    return body


THROUGH = [
    (int, lambda n: n * 2 + 3 - 1),
    (int, lambda n: 2**n // 3 % 5),
    (int, lambda n: -n + abs(n) - ~n),
    (int, lambda n: n << 1 | 3 & n ^ 1),
    (int, lambda n: divmod(n, 3)[0] + divmod(10, n)[1]),
    (int, lambda n: [round(n / 7, 2), math.floor(n), math.ceil(n), math.trunc(n)]),
    (int, lambda n: (n > 3, n == 4, n >= 5, n != 1)),
    (int, lambda n: f"{n:03d} of {n!r} and {n}"),
    (int, lambda n: "%s and %5s" % (n, n) + "{:>9}".format(n) + str(n)),  # noqa: UP031, UP032
    (int, lambda n: n.bit_length() + n.real),
    (int, lambda n: [1, 2] * n),
    (int, lambda n: sum([n, n])),
    (int, lambda n: isinstance(n, int) and not isinstance(n, str)),
    (float, lambda x: 1 / x if isinstance(x, float) else x.nothing),
    (Metres, lambda x: x * 2),
    (Annotated[int, "more"], lambda n: n.numerator + 1),
    (str, lambda s: s.upper()[1:].split(",")[0] + "x" + s),
    (str, lambda s: "a" + s),
    (list[str], lambda names: [names[0].upper(), names[-1] + "x", names[1:][0].strip()]),
    (list[Settings], lambda all_of: all_of[0].sizes[1] * 2),
    (dict[str, list[int]], lambda d: [d["a"][0] + 1, d.get("b", 3), d.items()]),
    (tuple[int, str], lambda pair: [pair[0] + 1, pair[1].upper(), len(pair), *pair]),
    (tuple[int, int], lambda pair: [a + b for a, b in [pair]]),
    (list[str], lambda names: [name.upper() for name in names]),
    (list[str], lambda names: [*names, *map(len, [names[:0]] * 0), *list(names), *sorted(names)]),
    (list[int], lambda numbers: [sum(numbers), any(n > 3 for n in numbers), 9 in numbers]),
    (Sequence[int], lambda numbers: max(numbers) - min(numbers)),
    (tuple[int, ...], lambda numbers: dict(enumerate(numbers))),
    (list[Settings], lambda all_of: [each.name.upper() for each in all_of if each.sizes]),
    (dict[str, int], lambda d: [key + "x" for key in d] + [value * 2 for value in d.values()]),
    (str, lambda s: [key.strip() + value for key, value in [s.split("=")]]),
    (str, lambda s: [letter + "x" for letter in s]),
    (Size, lambda size: [size.width * size.height, sum(size), len(size)]),
    (Path, lambda path: [path / "x", (path / "y").with_suffix(".z").name, "a" / path, path.parent]),
    (Path, lambda path: "there" if path else path.nothing),
    (date, lambda day: [day + timedelta(days=1), day.isoformat(), day.year - 1, f"{day:%Y}"]),
    (timedelta, lambda t: t.total_seconds() / 60),
    (Settings, lambda s: [s.sizes[0] * 2, s.name.upper(), s.label(), s.more["a"] + 1]),
    (Mode, lambda mode: [mode.value.upper(), {Mode.FAST: 1, Mode.SLOW: 2}[mode], mode.name]),
    (Mode, lambda mode: 1 if mode is Mode.FAST else 2),
    (Rights, lambda rights: 1 if Rights.READ in rights else 2),
    (Literal["a", "b"], lambda kind: {"a": 1, "b": 2}[kind]),
    (bool, lambda flag: 1 if flag is True else 2),
    (int | None, lambda n: 0 if n is None else n + 1),
    (int | str, lambda x: x + 1 if isinstance(x, int) else x.upper()),
    (bool | None, lambda flag: {True: 1, False: 2, None: 3}[flag]),
    (int, lambda n: max(n, 3) + min(4, n)),
    (int, lambda n: n or 5),
    (int, lambda n: 2 if n > 3 else 1),
    (int, lambda n: 1 if 3 < n < 9 and n not in (4, 5) else 2),
    (list[int], lambda xs: 1 if not xs or 3 in xs else 2),
    (Callable[[int], int], lambda f: f(3) + f(x=4)),
    (Any, lambda x: x.anything(1, y=2)["else"] @ x),
    ("Unknown", lambda x: x.anything + 1),
    (Iterable[int], lambda xs: 1 if xs else 2),
    (Settings, lambda s: [copy(s), deepcopy([s]), deepcopy({"a": s})["a"].name]),
    (Secret[str], lambda token: ["Bearer " + token.value, token.value[:3], f"{token.value}"]),
    (Secret[str] | None, lambda token: "" if token is None else token.value + "x"),
]


@pytest.mark.parametrize(("annotation", "use"), THROUGH, ids=range(len(THROUGH)))
def test_a_body_may_compute_with_a_parameter_that_has_no_value(annotation, use):
    assert shape_of(body_of(annotation, use)) == "source → map(work)"


def test_what_is_changed_in_a_parameter_changes_nothing():
    def body(names: list[str], settings: Settings):
        names.append("x")
        names[0] = "y"
        del names[1]
        settings.name = "z"
        names += ["q"]
        return source(names, name=settings.name)

    assert shape_of(body) == "source"


def test_a_parameter_with_a_default_has_its_value():
    def body(n: int, k: int = 3):
        chain = source(n * k)
        for _ in range(k):
            chain = chain.next(other)
        return chain

    assert shape_of(body) == "source → other → other-2 → other-3"


def test_a_value_that_is_given_is_used():
    @flow
    def body(n: int, m: int):
        chain = source(n * m)
        for _ in range(n):
            chain = chain.next(other)
        return chain

    assert body.outline({"n": 2}).shape == "source → other → other-2"
    assert body.outline({"n": 1}).params["n"] == 1


def test_a_body_may_refuse_values():
    def body(n: int, mode: Literal["a", "b"], names: list[str]):
        if n < 1:
            raise ValueError("n is positive")
        if not names:
            raise ParameterError("give a name")
        if mode == "a":
            return source(n).next(other)
        if mode == "b":
            return source(n * 2).next(other)
        return None

    assert shape_of(body) == "source → other"


def test_an_error_that_has_nothing_to_do_with_parameters_is_reported_as_it_is():
    def body(n: int):
        return source(n).next(1 / 0)

    with pytest.raises(ZeroDivisionError) as failed:
        shape_of(body)
    assert not hasattr(failed.value, "__notes__")

    def wrong(n: int):
        return source(n).map(work, concurrency_limit=-1)

    with pytest.raises(DefinitionError, match="concurrency_limit must be a whole number from 1"):
        shape_of(wrong)


def test_a_flow_in_a_body_takes_stand_ins():
    @flow
    def inner(n: int, token: Secret[str]):
        return source(n + 1, token=token.value)

    def body(n: int, token: Secret[str]):
        assert inner(n * 2, token).shape == "source"
        return inner.fn(n * 2, token).next(other)

    assert shape_of(body) == "source → other"


def test_what_all_objects_of_a_class_share_is_known():
    def body(day: date):
        return source(list(range(day.min.month)))

    assert shape_of(body) == "source"


def test_a_value_that_grows_is_no_trouble():
    def body(n: int):
        for _ in range(200):
            n = n + n
        return source(n)

    assert shape_of(body) == "source"


# What needs a value


NEEDING = [
    (int, lambda n: list(range(n)), "n is used as a count, an index or a file", "--n 5"),
    (int, lambda n: [1, 2, 3][n], "n is used as a count, an index or a file", "--n 5"),
    (int, lambda n: int(n / 2), "int(n / 2) is worked out", "--n 5"),
    (int, lambda n: math.sqrt(n + 1), "float(n + 1) is worked out", "--n 5"),
    (int, lambda n: {1: 2}[n], "n is used as a key", "--n 5"),
    (int, lambda n: n in {1, 2}, "n is used as a key", "--n 5"),
    (int, lambda n: date(n, 1, 1), "n is used as a count, an index or a file", "--n 5"),
    (int, lambda n: pickle.dumps(n), "n is pickled", "--n 5"),
    (list[str], lambda n: set(n), "n[0] is used as a key", """--n '["a", "b"]'"""),
    (dict[str, int], lambda n: {**n}, "n.keys()[0] is used as a key", None),
    (list[str], lambda n: len(n), "the length of n is asked for", None),
    (list[str], lambda n: 1 if len(n) > 10 else 2, "the length of n is asked for", None),
    (list[str], lambda n: list(reversed(n)), "n is looped over", None),
    (Path, lambda n: os.path.join(n, "x"), "n is used as a path", "--n text"),
    (str, lambda n: Path(n), "n is used as a path", "--n text"),
    (Path, lambda n: Path(n), "n is given to other code", "--n text"),
    (str, lambda n: os.stat(n), "n is used as a count, an index or a file", "--n text"),
    (Rights, lambda n: {Rights.READ: 1}[n], "n is used as a key", None),
]


@pytest.mark.parametrize(("annotation", "use", "why", "example"), NEEDING, ids=range(len(NEEDING)))
def test_what_needs_a_value_is_reported_with_parameter_line_and_example(
    annotation, use, why, example
):
    with pytest.raises(ParameterError) as needed:
        shape_of(body_of(annotation, use))
    place = f"{os.path.relpath(__file__)}:{inspect.getsourcelines(use)[1]}"
    told = f"{place}: the value of parameter 'n' is needed here, where {why}; give it, as in n="
    assert str(needed.value).startswith(told)
    assert example is None or needed.value.said(as_options).endswith(f" {example}")


def line_of(body, text):
    """The place of the only line of a function that has this text in it."""
    lines, first = inspect.getsourcelines(body)
    (found,) = (number for number, line in enumerate(lines, first) if text in line)
    return f"{os.path.relpath(__file__)}:{found}"


def by_comparison(n: int):
    if n > 3:  # here
        return source(n).next(work)
    return source(n)


def by_two_parameters(n: int, m: int):
    k = 1 if n > 1 else 2
    chain = source(k)
    return chain.next(work) if n * k > m else chain  # here


def by_each_item(names: list[str]):
    chain = source(names)
    for name in names:  # here
        chain = chain.next(work, name=name)
    return chain


def by_whether_there_is_one(names: list[str]):
    chain = source([name.upper() for name in names])
    if not names:
        return chain
    return chain.next(work, first=names[0])  # here


def by_item(names: list[str]):
    chain = source(names)
    if "long" in names:  # here
        chain = chain.next(work)
    return chain


def by_an_inner_link(n: int):
    chain = source(n).map(work)
    if n % 2 == 0:  # here
        chain = chain.next(other)
    return chain


def by_a_flag(flag: bool):
    chain = source(1)
    if flag:
        chain = chain.next(work)  # here
    return chain.next(other)


def by_a_member(mode: Mode):
    chain = source(mode)
    return {Mode.FAST: chain.next, Mode.SLOW: chain.map}[mode](work)  # here


def by_what_is_missing(n: int | None):
    chain = source(n)
    if n is not None:
        chain = chain.next(work, limit=n)  # here
    return chain


def by_an_option(flag: bool):
    limit = 3 if flag else 5
    return source().map(work, concurrency_limit=limit)  # here


def by_a_helper(n: int):
    return _one_of(n == 1)


def _one_of(first):
    return source() if first else source().next(work)  # here


def by_a_secret(token: Secret[str]):
    return source() if token.value == "x" else source().next(work)  # here


@pytest.mark.parametrize(
    ("body", "names", "asked", "example"),
    [
        (by_comparison, "parameter 'n' is", "n > 3", "give it, as in --n 5"),
        (by_two_parameters, "parameters 'n' and 'm' are", "n > m", "give them, as in --n 5 --m 5"),
        (by_each_item, "parameter 'names' is", "the length of names", """'["a", "b"]'"""),
        (by_whether_there_is_one, "parameter 'names' is", "the length of names", '"b"]\''),
        (by_item, "parameter 'names' is", "'long' in names", 'as in --names \'["a", "b"]\''),
        (by_an_inner_link, "parameter 'n' is", "(n % 2) == 0", "give it, as in --n 5"),
        (by_a_flag, "parameter 'flag' is", "flag", "give it, as in --flag"),
        (by_a_member, "parameter 'mode' is", "mode", "give it, as in --mode fast"),
        (by_what_is_missing, "parameter 'n' is", "n", "give it, as in --n 5"),
        (by_an_option, "parameter 'flag' is", "flag", "give it, as in --flag"),
        (by_a_helper, "parameter 'n' is", "n == 1", "give it, as in --n 5"),
        (
            by_a_secret,
            "parameter 'token' is",
            "token.value == 'x'",
            "depends on a secret in a step",
        ),
    ],
)
def test_a_structure_that_depends_on_a_parameter_is_refused(body, names, asked, example):
    if body is by_two_parameters:
        asked = "(n * 1) > m"
    with pytest.raises(ParameterError) as needed:
        shape_of(body)
    told = needed.value.said(as_options)
    asking = _one_of if body is by_a_helper else body
    assert told.startswith(f"{line_of(asking, '# here')}: the value")
    assert f" of {names} needed here, where the structure of the flow depends on {asked} (" in told
    assert told.endswith(example)


@pytest.mark.parametrize("option", ["concurrency_limit", "batch_size", "tolerated_failures"])
def test_an_option_of_a_map_needs_a_value(option):
    def body(n: int):
        return source().map(work, **{option: n}).agg(other)

    with pytest.raises(
        ParameterError, match=rf"'n' is needed here, where {option} of .map\(\) is n;"
    ):
        shape_of(body)
    assert flow(body).outline({"n": 3}).shape == "source → map(work) → other"


def ended_by_a_list(names: list[str]):
    while names:  # here
        names.pop()
    return source()


def ended_by_a_number(n: int):
    while n > 0:  # here
        n -= 1
    return source()


def asked_too_much(n: int):
    return source([i for i in range(40) if n > i])  # here


@pytest.mark.parametrize("body", [ended_by_a_list, ended_by_a_number, asked_too_much])
def test_a_body_that_would_never_end_needs_a_value(body):
    with pytest.raises(ParameterError, match=r"is needed here, where ") as needed:
        shape_of(body)
    assert needed.value.place == line_of(body, "# here")


def test_parameters_of_many_values_are_not_all_tried():
    def body(a: Mode, b: Mode, c: Mode, d: Mode, e: Mode, f: Mode, g: Mode, h: bool, i: bool):
        return source([a.value, b, c, d, e, f, g, 1 if h else 2, 3 if i else 4])

    assert shape_of(body) == "source"


# Errors of other code


def from_json(n: int):
    return source(json.dumps({"n": n}))  # json.dumps({"n": n})


def from_datetime(n: int, m: int):
    days = n + 1
    return source(m).next(work, until=timedelta(days=days))  # timedelta(days=days)


def from_a_text(n: list[str]):
    return source(", ".join(n))  # ", ".join(n)


def from_one_way(n: str, fast: bool):
    day = date.fromisoformat(n) if fast else None  # date.fromisoformat(n)
    return source(day)


@pytest.mark.parametrize("body", [from_json, from_datetime, from_a_text, from_one_way])
def test_code_that_takes_no_stand_in_needs_a_value(body):
    with pytest.raises(ParameterError, match=r"; give it, as in n=") as needed:
        shape_of(body)
    (line,) = (line for line in inspect.getsource(body).splitlines() if "#" in line)
    code = line.partition("  # ")[2]
    assert f": the value of parameter 'n' is needed here, where {code} raises TypeEr" in str(
        needed.value
    )
    assert needed.value.place == line_of(body, "# ")


def test_an_error_that_may_come_from_a_text_of_a_missing_value_says_so():
    def body(n: int):
        return source(float(str(n)))  # here

    with pytest.raises(ValueError, match="could not convert string to float: '<n>'") as failed:
        shape_of(body)
    told = f"{line_of(body, '# here')}: parameter 'n' has no value here; give it, as in n=5"
    assert failed.value.__notes__ == [told]


@pytest.mark.parametrize(
    ("annotation", "name"),
    [(list[int], "lenght"), (Path, "stemm"), (date, "yaer"), (Settings, "sizs"), (str, "uper")],
)
def test_what_no_value_would_have_is_reported(annotation, name):
    with pytest.raises(AttributeError, match=f"object has no attribute '{name}'"):
        shape_of(body_of(annotation, lambda value: getattr(value, name)))


@pytest.mark.parametrize(("annotation", "name"), [(int, "int"), (date, "date"), (float, "float")])
def test_what_no_value_would_give_items_of_is_reported(annotation, name):
    with pytest.raises(ParameterError, match=f"TypeError: '{name}' object is not iterable"):
        shape_of(body_of(annotation, lambda value: [*value]))


def test_a_stand_in_is_reported_in_the_words_of_the_body():
    seen = []

    def body(n: int, names: list[str]):
        seen.append(f"{n * 2 + 1} {names[0].upper()!r}")
        return source()

    shape_of(body)
    assert seen == ["<(n * 2) + 1> <names[0].upper()>"]


def test_a_graph_for_its_structure_is_that_of_every_value():
    @flow
    def body(n: int, mode: Mode, flag: bool):
        if n < 0:
            raise ValueError
        return source(n * 2 if flag else n).map(work, x=mode.value).agg(other)

    built = body.outline()
    for n, mode, flag in [(0, Mode.FAST, True), (9, Mode.SLOW, False)]:
        assert body(n, mode, flag).fingerprint == built.fingerprint
