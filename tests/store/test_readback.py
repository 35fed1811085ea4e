"""What is pickled is read back at once, unless it is known that it can be."""

from __future__ import annotations

import copyreg
import datetime
import decimal
import pickle
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokki.errors import PayloadError, ValueUnreadable
from lokki.store.codec import dumps_chunks
from lokki.store.readback import written


class Gone(Exception):
    def __init__(self, code, detail):
        super().__init__(f"{code}: {detail}")


class Loud:
    """Raises what it is given when it is read back."""

    def __init__(self, error):
        self.error = error

    def __setstate__(self, state):
        raise state["error"]


class Delegate:
    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Nameless(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Zone(datetime.tzinfo):
    def __init__(self, hours):
        self.hours = hours

    def utcoffset(self, dt):
        return datetime.timedelta(hours=self.hours)


@dataclass
class Counted:
    """How often it was read back."""

    name: str
    times = 0

    def __setstate__(self, state):
        vars(self).update(state)
        type(self).times += 1


@dataclass
class Report:
    errors: list


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
    | st.datetimes() | st.decimals(allow_nan=False) | st.uuids(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


@given(PLAIN, st.booleans())
def test_what_is_of_pythons_own_types_is_not_read_back(value, large):
    raw, copy = written(value, large=large)
    assert copy is None
    assert pickle.loads(b"".join(raw) if large else raw) == value


@pytest.mark.parametrize(
    "value",
    [
        np.arange(5),
        np.float32(1.5),
        {"a": [np.zeros((2, 2)), np.datetime64("2026-01-01")]},
        np.zeros(3, "i4,f8"),
        Path("/tmp"),
        [uuid.UUID(int=5), decimal.Decimal("1.5"), datetime.timedelta(1)],
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    ],
    ids=repr,
)
def test_known_types_are_not_read_back(value):
    assert written(value)[1] is None


@pytest.mark.parametrize("large", [False, True])
def test_other_types_are_read_back_once_and_the_copy_is_given(large):
    Counted.times = 0
    value = Counted("emu")
    _, copy = written(value, large=large)
    assert copy == (value,)
    assert copy[0] is not value
    assert Counted.times == 1


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Gone(3, "away"), r"type '.*\.Gone' cannot be unpickled: TypeError: .*'detail'"),
        ([1, {"a": (Gone(3, "away"),)}], r"type 'list' contains a '.*\.Gone', which cannot be "),
        (Report([None, Gone(1, "")]), r"Report' contains a '.*\.Gone', which cannot be unpickled"),
        (Delegate("a text"), r"type '.*\.Delegate' cannot be unpickled: RecursionError"),
        (Loud(SystemExit(3)), r"type '.*\.Loud' cannot be unpickled: SystemExit: 3"),
        (Loud(GeneratorExit()), r"type '.*\.Loud' cannot be unpickled: GeneratorExit"),
        (Loud(Nameless()), r"cannot be unpickled: Nameless: <Nameless whose text cannot be shown"),
        (
            datetime.datetime(2026, 1, 1, tzinfo=Zone(2)),
            r"type 'datetime.datetime' cannot be unpickled: TypeError: .*'hours'",
        ),
        (np.array([Gone(3, "away")]), r"type 'numpy.ndarray' cannot be unpickled: TypeError"),
    ],
    ids=lambda each: type(each).__name__ if not isinstance(each, str) else "",
)
def test_what_cannot_be_read_back_is_named(value, told, large):
    with pytest.raises(ValueUnreadable, match=told) as raised:
        written(value, large=large)
    assert raised.value.__cause__ is not None
    assert not isinstance(raised.value.__cause__, PayloadError)


def test_a_list_that_holds_itself_and_what_cannot_be_read_back():
    value = [1]
    value += [value, Gone(3, "away")]
    with pytest.raises(ValueUnreadable, match="type 'list'"):
        written(value)


def test_a_long_list_whose_last_item_cannot_be_read_back():
    with pytest.raises(ValueUnreadable, match="'detail'"):
        written([*range(5_000), Gone(3, "away")])


def test_references_by_extension_codes_are_seen():
    code = 240
    copyreg.add_extension(Gone.__module__, "Gone", code)
    try:
        with pytest.raises(ValueUnreadable, match="'detail'"):
            written(Gone(3, "away"))
    finally:
        copyreg.remove_extension(Gone.__module__, "Gone", code)


def test_large_bytes_are_neither_copied_nor_read_back():
    data = bytes(range(256)) * 4096  # holds the bytes of a reference, too
    parts, copy = written([data], large=True)
    assert copy is None
    assert any(part is data for part in parts)
    assert parts == dumps_chunks([data])
