"""Failures that are alike."""

from __future__ import annotations

import json
import re
from traceback import format_exception

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokki.store.groups import folded, group, raised_at

TRACEBACK = """Traceback (most recent call last):
  File "/home/u/birds.py", line {line}, in flap
    wings(bird)
  File "/home/u/wings.py", line {line}, in wings
    raise ValueError(bird)
ValueError: {message}
"""
WORDS = st.text(st.characters(exclude_categories=["N", "Cs"]), max_size=20)
NUMBERS = st.integers(0) | st.floats(0, 1e15, allow_nan=False).map("{:f}".format)
ADDRESSES = st.integers(0, 2**64).map(hex)


def traceback(line: int = 7, message: str = "x") -> str:
    return TRACEBACK.format(line=line, message=message)


@given(WORDS, NUMBERS, WORDS, NUMBERS)
def test_messages_that_differ_in_their_numbers_are_alike(before, one, after, other):
    first, second = f"{before} {one} {after}", f"{before} {other} {after}"
    assert folded(first) == folded(second) == f"{before} N {after}"
    assert group("E", first, traceback()) == group("E", second, traceback())


@given(ADDRESSES, ADDRESSES)
def test_messages_that_differ_in_their_addresses_are_alike(one, other):
    assert folded(f"<Bird at {one}>") == folded(f"<Bird at {other}>") == "<Bird at N>"


@pytest.mark.parametrize(("one", "other"), [("10.0.0.3", "10.0.0.12"), ("1.2.3", "4.5")])
def test_messages_that_differ_in_their_versions_or_addresses_of_hosts_are_alike(one, other):
    assert folded(f"no route to {one}:80") == folded(f"no route to {other}:80")


@given(st.uuids(), st.uuids())
def test_messages_that_differ_in_the_ids_of_requests_are_alike(one, other):
    first, second = (f"RequestId: {each} Error: signal: killed" for each in (one, other))
    assert folded(first) == folded(second) == "RequestId: N Error: signal: killed"
    assert group("WorkerDied", first, "") == group("WorkerDied", second, "")


@given(st.text())
def test_folding_is_done_once(message):
    assert folded(folded(message)) == folded(message)


@given(st.text(), st.text(), st.text())
def test_a_group_has_a_short_name_whatever_the_error(kind, message, trace):
    assert re.fullmatch(r"[0-9a-f]{6}", group(kind, message, trace))


def test_a_group_is_named_the_same_in_every_process_and_version():
    assert group("ValueError", "no 5", traceback()) == "2858a6"


@pytest.mark.parametrize(
    "other",
    [
        ("KeyError", "no bird", traceback()),
        ("ValueError", "no wing", traceback()),
        ("ValueError", "no bird", traceback().replace("wings.py", "feet.py")),
        ("ValueError", "no bird", traceback().replace("in wings", "in feet")),
        ("ValueError", "no bird", ""),
    ],
)
def test_another_type_message_file_or_function_is_another_group(other):
    assert group("ValueError", "no bird", traceback()) != group(*other)


def test_editing_other_lines_leaves_the_group():
    assert group("E", "e", traceback(7)) == group("E", "e", traceback(99))


def test_the_place_is_the_innermost_frame():
    assert raised_at(traceback(7)) == ("/home/u/wings.py", 7, "wings")
    assert raised_at("ValueError: x\n") is None
    assert raised_at("") is None


LIBRARY = """  File "{file}", line 2, in load
    raise ValueError
"""
LIBRARIES = [
    "/opt/app/.venv/lib/python3.13/site-packages/requests/api.py",
    "/usr/lib/python3/dist-packages/yaml/__init__.py",
    "/usr/lib64/python3.12/json/decoder.py",
    "C:\\env\\Lib\\site-packages\\requests\\api.py",
    "<frozen runpy>",
    "pandas/_libs/parsers.pyx",
    json.__file__,
]


@pytest.mark.parametrize("file", LIBRARIES)
def test_the_place_is_of_the_users_own_code(file):
    library = LIBRARY.format(file=file)
    through = traceback(7).replace("ValueError: x", library + "ValueError: x")
    assert raised_at(through) == ("/home/u/wings.py", 7, "wings")
    assert group("E", "e", through) == group("E", "e", traceback(7))
    between = traceback(7).replace(
        '  File "/home/u/wings.py"', library + '  File "/home/u/wings.py"'
    )
    assert raised_at(between) == ("/home/u/wings.py", 7, "wings")
    caused = f"{traceback(7)}\nDuring handling of that:\n\n{through.replace('line 7', 'line 8')}"
    assert raised_at(caused) == ("/home/u/wings.py", 8, "wings")


def test_the_place_in_a_step_that_is_installed():
    own = "/x/lib/python3.13/site-packages/{}"
    trace = "Traceback (most recent call last):\n" + "".join(
        LIBRARY.format(file=own.format(file))
        for file in ("birds/flows.py", "birds/parts/wings.py", "requests/api.py")
    )
    assert raised_at(trace) == (own.format("birds/parts/wings.py"), 2, "load")


def test_the_place_in_a_group_of_exceptions_is_the_last_ones():
    def raising():
        raise ValueError

    def gathering():
        try:
            raising()
        except ValueError as error:
            raise ExceptionGroup("several", [error]) from None

    with pytest.raises(ExceptionGroup) as caught:
        gathering()
    told = "".join(format_exception(caught.value))
    assert raised_at(told) == (__file__, raising.__code__.co_firstlineno + 1, "raising")


def test_the_place_of_an_error_raised_from_another_is_the_last_ones():
    chained = traceback(7) + "\nDuring handling of the above exception:\n\n" + traceback(8)
    assert raised_at(chained) == ("/home/u/wings.py", 8, "wings")
