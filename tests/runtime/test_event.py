"""What goes from state to state: events, and which values may be in them."""

from __future__ import annotations

import json
import os
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokki.errors import ParameterError
from lokki.runtime.event import (
    INLINE_BYTES,
    EventError,
    FlowContext,
    Item,
    LambdaEvent,
    execution_input,
    inline,
    is_secret,
    parse,
)

names = st.text(max_size=8)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=5)
    | st.dates()
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(names | st.integers(), inner, max_size=3)
        | st.frozensets(st.integers(), max_size=2)
    ),
    max_leaves=10,
)


def as_other_readers_have_it(text: str):
    """JSON as a reader has it whose numbers are doubles and whose whole numbers are ints."""

    def number(found: str):
        value = float(found)
        return int(value) if value.is_integer() else value

    return json.loads(text, parse_int=number, parse_float=number)


@given(values)
def test_what_is_inline_is_the_very_same_wherever_it_is_read(value):
    if inline(value):
        text = json.dumps(value)
        assert len(text) <= INLINE_BYTES
        for read in (json.loads, as_other_readers_have_it):
            assert repr(read(text)) == repr(value)
        assert not (isinstance(value, str) and value.startswith("s3://"))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        5,
        -5,
        2**53 - 1,
        0.5,
        "",
        "ä",
        "line\nbreak",
        [],
        [1, [None]],
        {"a": {"b": [0.5]}},
    ],
)
def test_plain_small_values_are_inline(value):
    assert inline(value)


@pytest.mark.parametrize(
    "value",
    [
        2**53,
        1.0,
        -0.0,
        float("nan"),
        float("inf"),
        "s3://other/x.pkl.gz",
        "\ud800",
        "\0",
        "x" * (INLINE_BYTES + 1),
        [0] * INLINE_BYTES,
        (1, 2),
        {1: 2},
        {"\ud800": 1},
        b"",
        date(2026, 1, 1),
        {1},
        type("Text", (str,), {})("x"),
        type("List", (list,), {})(),
        True.__class__,
    ],
    ids=repr,
)
def test_other_values_are_not(value):
    assert not inline(value)


def test_what_is_deep_is_not_inline():
    value = []
    for _ in range(10_000):
        value = [value]
    assert not inline(value)


# ---- events --------------------------------------------------------------------------------------

contexts = st.builds(
    FlowContext, st.text(), st.dictionaries(st.text(), st.integers()), st.booleans()
)
events = st.builds(LambdaEvent, contexts, st.integers(), st.none() | st.integers(0, 9)) | st.builds(
    LambdaEvent,
    contexts,
    batch=st.lists(
        st.builds(Item, st.integers(0, 9), st.integers())
        | st.builds(Item, st.integers(0, 9), stored=st.just(value=True))
    ).map(tuple),
)


@given(events)
def test_an_event_is_read_as_it_was_written(event):
    assert parse({**json.loads(json.dumps(event.to_json())), "attempt": 0}) == event


def test_an_event_of_many_items_is_as_large_as_a_state_may_return():
    event, few = LambdaEvent(FlowContext("r"), batch=()), (Item(0, "x" * 4_000),)
    assert event.returning(few).batch == few
    many = event.returning([Item(index, "x" * 20) for index in range(12_000)])
    assert many.items[-1] == Item(11_999, stored=True)
    assert len(json.dumps(many.to_json())) < 256 * 1024 - 920


def test_an_event_of_one_input_is_written_as_it_is_promised():
    event = LambdaEvent(FlowContext("r"), 5)
    assert event.to_json() == {"flow": {"run_id": "r", "params": {}}, "input": 5}


def test_tags_in_the_input_of_an_execution_are_no_parameters():
    flow = {"run_id": "r", "params": {"count": 1, "lokki:tags": ["nightly"]}}
    assert parse({"flow": flow, "input": 5}).flow == FlowContext("r", {"count": 1})


def test_the_span_above_a_run_is_passed_on_and_what_is_none_is_not():
    above = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for each in (above, f"{above}-0", 5, None):
        params = {"lokki:traceparent": each, "lokki:later": 1, "n": 1}
        found = parse({"flow": {"run_id": "r", "params": params}, "input": 5})
        assert found.flow == FlowContext("r", {"n": 1}, trace=above if each == above else None)
        assert parse(found.to_json()).flow == found.flow


def test_a_run_without_a_cache_says_so_to_each_state():
    given = {"flow": {"run_id": "r", "params": {"lokki:no_cache": True, "n": 1}}, "input": 5}
    found = parse(given)
    assert (found.flow.params, found.flow.no_cache) == ({"n": 1}, True)
    assert parse(found.to_json()).flow == found.flow


def test_parameters_that_leave_no_room_for_a_flows_own_are_refused_with_their_size():
    assert json.loads(execution_input({"text": "x" * 255_000})) == {"text": "x" * 255_000}
    with pytest.raises(ParameterError, match=r"take 262,134 bytes as JSON, .* at most 256,000"):
        execution_input({"text": "x" * (262_134 - len('{"text": ""}'))})


def test_parameters_are_counted_in_utf8_and_what_it_cannot_encode_is_refused():
    assert len(execution_input({"text": "ü" * 120_000}).encode()) == 240_012
    with pytest.raises(ParameterError, match=r"the character '\\udcff', which UTF-8 cannot encode"):
        execution_input({"name": os.fsdecode(b"caf\xff")})


def test_an_event_knows_how_often_its_state_has_been_entered_again():
    raw = {"flow": {"run_id": "a", "params": {}}, "input": 5, "attempt": 2, "redriven": 1}
    assert (parse(raw).retried, parse(raw).redriven) == (2, 1)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (5, 'the event must be an object, not int; an event looks like {"flow"'),
        ({}, "'flow' must be an object, not NoneType"),
        ({"flow": {}}, "'flow.run_id' of the event must be a text, not None"),
        ({"flow": {"run_id": "a", "params": []}}, "'flow.params' must be an object, not list"),
        ({"flow": {"run_id": "a"}, "index": -1}, "must be a number from 0, not -1"),
        ({"flow": {"run_id": "a"}, "attempt": True}, "must be a number from 0, not True"),
        ({"flow": {"run_id": "a"}, "items": 5}, "'items' of the event must be a list, not int"),
        ({"flow": {"run_id": "a"}, "items": ["5"]}, "an item must be an object, not str"),
        ({"flow": {"run_id": "a"}, "items": [-5]}, "must be a number from 0, not -5"),
    ],
)
def test_what_is_wrong_with_an_event_is_reported(raw, told):
    with pytest.raises(EventError) as caught:
        parse(raw)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("arn:aws:secretsmanager:eu-north-1:1:secret:token-AbCdEf", True),
        ("arn:aws:iam::1:role/x", False),
        ("a secretsmanager", False),
    ],
)
def test_a_secret_is_known_by_its_arn(value, expected):
    assert is_secret(value) is expected
