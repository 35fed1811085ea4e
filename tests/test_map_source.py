"""What a map goes over, and what is refused with what to write instead."""

from __future__ import annotations

import io
import mmap
from collections import Counter, OrderedDict, UserString, deque
from enum import StrEnum

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from lokki.call import BoundCall
from lokki.errors import ResultError
from lokki.map_source import listed_items

CALL = BoundCall(
    invoke=len,
    name="source",
    run_id="run-1",
    flow="flow",
    params={},
    is_async=False,
    lane="thread",
    timeout=None,
    exceptions=(Exception,),
    in_map=False,
)
FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})


class Word(StrEnum):
    EMU = "emu"


class Frame(pd.DataFrame):
    """As geopandas has it."""


class Interchanged:
    """A frame of a library that is not known here."""

    def __dataframe__(self):
        raise NotImplementedError

    def __iter__(self):
        return iter(["a", "b"])


class Failing:
    def __iter__(self):
        raise TypeError("my own")


@pytest.mark.parametrize(
    ("source", "items"),
    [
        ((1, 2), [1, 2]),
        (range(2), [0, 1]),
        ({"a": 1, "b": 2}, ["a", "b"]),
        (OrderedDict(b=1, a=2), ["b", "a"]),
        ({"a": 1}.items(), [("a", 1)]),
        (Counter("emu"), ["e", "m", "u"]),
        (deque("ab"), ["a", "b"]),
        (np.array([1, 2]), [1, 2]),
        (FRAME["a"], [1, 2]),
        (FRAME.columns, ["a", "b"]),
        (pl.Series([1, 2]), [1, 2]),
        (["a", b"b"], ["a", b"b"]),
        (Word, [Word.EMU]),
    ],
    ids=lambda each: type(each).__name__,
)
def test_iterables_are_gone_over_in_order(source, items):
    assert listed_items(CALL, source, "look") == items


def test_arrays_of_pyarrow_are_gone_over_by_their_values():
    for source in (pa.array([1, 2]), pa.chunked_array([[1], [2]])):
        assert [each.as_py() for each in listed_items(CALL, source, "look")] == [1, 2]


def test_a_set_is_gone_over_once_and_for_all():
    assert sorted(listed_items(CALL, {"ox", "emu"}, "look")) == ["emu", "ox"]


@pytest.mark.parametrize(
    ("source", "instead"),
    [
        ("emu", r"text\.splitlines\(\), json\.loads\(text\) or.*list\(text\)"),
        (Word.EMU, r"text\.splitlines\(\)"),
        (np.str_("emu"), r"text\.splitlines\(\)"),
        (UserString("emu"), r"text\.splitlines\(\)"),
        (b"emu", r"list\(data\)"),
        (bytearray(b"emu"), r"list\(data\)"),
        (memoryview(b"emu"), r"list\(data\)"),
        (mmap.mmap(-1, 3), r"list\(data\)"),
        (pa.py_buffer(b"emu"), r"list\(data\)"),
        (FRAME, r"frame\.to_dict\('records'\)"),
        (Frame(FRAME), r"frame\.to_dict\('records'\)"),
        (pl.DataFrame(FRAME.to_dict("list")), r"frame\.iter_rows\(named=True\)"),
        (pl.DataFrame({"a": [1]}).lazy(), r"frame\.collect\(\)\.to_dicts\(\)"),
        (pa.table({"a": [1]}), r"table\.to_pylist\(\).*table\.to_batches\(\)"),
        (pa.record_batch({"a": [1]}), r"batch\.to_pylist\(\)"),
        (Interchanged(), "a list of its rows"),
        (io.StringIO("a\nb"), r"list\(file\)"),
        (io.BytesIO(b"a\nb"), r"list\(file\)"),
    ],
    ids=lambda each: "" if isinstance(each, str) else type(each).__name__,
)
def test_what_would_be_gone_over_otherwise_than_meant_is_refused(source, instead):
    told = rf"step 'source' returned {type(source).__name__}, but \.map\(look\) needs .*{instead}"
    with pytest.raises(ResultError, match=told) as refused:
        listed_items(CALL, source, "look")
    assert refused.value.kind == "TypeError"


@pytest.mark.parametrize(
    "source", [5, None, np.array(5), object()], ids=["int", "None", "array", "object"]
)
def test_what_has_no_items_is_refused(source):
    with pytest.raises(ResultError, match=r"needs a list or another iterable$"):
        listed_items(CALL, source, "look")


def test_an_error_of_an_iterables_own_is_the_users():
    with pytest.raises(TypeError, match="my own"):
        listed_items(CALL, Failing(), "look")
    with pytest.raises(TypeError, match="NoneType"):
        listed_items(CALL, map(len, [None]), "look")
