"""Results as JSON: no class but Python's own is looked up, whatever a pickle says."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import os
import pickle
import tracemalloc
import uuid
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokki.backends.values import NotShown, item_texts, loaded, shown, shown_item
from lokki.store.codec import pack

FOREIGN = "a value that JSON cannot hold"

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"))
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda each: st.lists(each) | st.dictionaries(st.text(st.characters(codec="utf-8")), each),
    max_leaves=20,
)  # fmt: skip


@given(plain)
def test_json_is_shown_as_it_is(value):
    assert shown(pack(value)) == {"json": value}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ((1, (2,)), [1, [2]]),
        (range(3), [0, 1, 2]),
        ({1: {"a"}}, {"1": ["a"]}),
        (frozenset([1]), [1]),
        (b"abc", "YWJj"),
        (bytearray(b"abc"), "YWJj"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (1j, "1j"),
        (decimal.Decimal("2.50"), "2.50"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime.date(2026, 2, 3), "2026-02-03"),
        (datetime.datetime(2026, 2, 3, tzinfo=datetime.UTC), "2026-02-03T00:00:00+00:00"),
        (datetime.time(10, 30), "10:30:00"),
        (datetime.timedelta(minutes=2), 120.0),
        (2**200, 2**200),
        ("\ud800", "?"),
        ({"\ud800": 1}, {"?": 1}),
    ],
)
def test_what_json_has_other_words_for(value, told):
    assert shown(pack(value)) == {"json": told}
    json.dumps(shown(pack(value)), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.arange(3), [0, 1, 2]),
        (np.array([[1, 2], [3, 4]], ">i2"), [[1, 2], [3, 4]]),
        (np.array([[1, 2, 3], [4, 5, 6]], order="F"), [[1, 2, 3], [4, 5, 6]]),
        (np.arange(6).reshape(2, 3)[:, ::2], [[0, 2], [3, 5]]),
        (np.arange(24.0).reshape(2, 3, 4).transpose(), np.arange(24.0).reshape(2, 3, 4).T.tolist()),
        (np.array([0.1, np.nan], "f4"), [0.1, "nan"]),
        (np.array(["ab", "ü"]), ["ab", "ü"]),
        (np.array([True, False]), [True, False]),
        (np.array(7), 7),
        (np.zeros((2, 0)), []),
        ({"mean": np.float64(1.5), np.int64(3): np.bool_(True)}, {"mean": 1.5, "3": True}),
        ([np.str_("x"), np.zeros(1)], ["x", [0.0]]),
    ],
)
def test_arrays_and_numbers_of_numpy_are_shown(value, told):
    assert shown(pack(value)) == {"json": told}
    beside = [Own(), np.datetime64(1, "D")]
    assert shown_item(pack([value, *beside]), 0) == {"json": told}


class Lying:
    """Says of itself that it is an array."""

    def __init__(self, *said):
        self.said = said

    def __reduce__(self):
        return np._core.numeric._frombuffer, self.said


@pytest.mark.parametrize(
    "said",
    [
        (bytes(8), np.dtype("i8"), (1,) * 100_000, "C"),
        (bytes(8), np.dtype("i8"), (2,), "C"),
        (bytes(8), np.dtype("i8"), (10**12, 0), "C"),
        (bytes(8), np.dtype("U0"), (1,), "C"),
        (bytes(8), "i8", (1,), "C"),
        ("text", np.dtype("i8"), (1,), "C"),
    ],
)
def test_what_is_no_array_is_only_described(said):
    assert shown(pack(Lying(*said)))["type"] in (FOREIGN, "numpy.ndarray")


def test_an_array_is_not_printed_as_a_list():
    with pytest.raises(NotShown):
        loaded(pack(np.zeros(3)))


class Own:
    pass


class Trap:
    def __reduce__(self):
        return Path.touch, (Path("trap"),)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Own(), f"{Own.__module__}.Own"),
        ([{"a": Own()}], f"{Own.__module__}.Own"),
        (OrderedDict(a=1), "collections.OrderedDict"),
        (np.array([1], "M8[D]"), "numpy.ndarray"),
        (np.array([1, "a"], object), "numpy.ndarray"),
        (np.datetime64(1, "D"), "numpy.ndarray"),
        (Path("x"), "pathlib.PosixPath"),
        (len, "builtins.len"),
        (Own, f"{Own.__module__}.Own"),
        (ValueError("x"), "builtins.ValueError"),
    ],
)
def test_other_types_are_reported_by_name(value, kind):
    found = shown(pack(value))
    assert found["type"].startswith(kind)
    assert found["bytes"] > 0


def test_nothing_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert set(shown(pack(Trap()))) == {"type", "bytes"}
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["system", "eval", "exec", "getattr", "open", "__import__"])
def test_no_name_is_looked_up(name):
    module = "os" if name == "system" else "builtins"
    raw = b"\x80\x04c" + f"{module}\n{name}\n".encode() + b"(V1\ntR."
    assert "json" not in shown(raw)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(range(10**12), id="a long range"),
        pytest.param([list(range(1000))] * 1000, id="a list of one list"),
        pytest.param(1 << 20_000, id="a long number"),
    ],
)
def test_what_would_be_too_much_is_not_made(value):
    assert shown(pack(value)) == {"type": FOREIGN, "bytes": shown(pack(value))["bytes"]}


def test_values_that_hold_themselves_are_no_error():
    loop: list[object] = []
    loop.append(loop)
    deep: list[object] = []
    for _ in range(400):
        deep = [deep]
    assert shown(pack(loop))["type"] == FOREIGN
    assert shown(pack(deep))["type"] == FOREIGN


def test_a_large_value_is_reported():
    assert shown(pack("x" * 2_000_000))["type"] == "a large value"


def test_a_persistent_id_is_not_followed():
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return "secret" if value == 5 else None

    written = io.BytesIO()
    Pickler(written, 4).dump([5])
    assert "json" not in shown(written.getvalue())


@pytest.mark.parametrize("value", [bytes(100_000_000), [0] * 30_000_000, "x" * 50_000_000])
def test_of_a_large_value_its_size_is_reported_and_it_is_not_unpacked(value):
    packed, size = pack(value), len(pickle.dumps(value, 5))
    tracemalloc.start()
    try:
        assert shown(packed) == {"type": "a large value", "bytes": size}
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_no_more_is_unpacked_than_is_shown_whatever_length_is_reported():
    """Of more than 4 GiB, a gzip container tells the rest alone."""
    packed = pack(bytes(100_000_000))
    tracemalloc.start()
    try:
        told = shown(packed[:-4] + (40).to_bytes(4, "little"))
        assert told["type"] == "a large value"
        assert told["bytes"] > 1_000_000
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_the_largest_value_that_is_shown():
    text = "x" * (2_000_000 - len(pickle.dumps("x" * 1_000_000, 5)))
    assert len(pickle.dumps(text, 5)) == 1_000_000
    assert shown(pack(text)) == {"json": text}
    assert shown(pack(text + "x")) == {"type": "a large value", "bytes": 1_000_001}


def test_the_beginnings_of_items_are_texts():
    found = [{"bird": "wren"}, "é" * 200, OrderedDict(), list(range(2_000)), float("nan")]
    assert item_texts(pack(found), [0, 1, 2, 3, 4, 5]) == {
        0: '{"bird": "wren"}',
        1: f'"{"é" * 119}…',
        2: "collections.OrderedDict",
        3: "list",
        4: '"nan"',
    }
    assert item_texts(pack({1}), [0]) == {}
    assert item_texts(pack(["x" * 11_000_000]), [0]) == {}
