"""Spans: items in a row that succeeded, recorded together and read one by one."""

import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journals import EVERY_ITEM

from lokki import PayloadError
from lokki.store.codec import dumps, unpack
from lokki.store.items import Items, outputs
from lokki.store.outcomes import Outcomes
from lokki.store.records import Opening
from lokki.store.rows import StageRow, stage_id
from lokki.store.span_rows import spans
from lokki.store.spans import Span, are_plain, is_plain

PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
VALUES = PLAIN | st.text(max_size=20) | st.binary(max_size=20) | st.lists(PLAIN, max_size=3)
PARTS = st.lists(
    st.tuples(st.integers(0, 3), st.booleans(), st.lists(VALUES, min_size=1, max_size=6)),
    max_size=6,
)
"""Neighbouring items: how many before them have no record, whether they are a span, results."""


@pytest.fixture
def stage(record) -> StageRow:
    record.run("r1")
    writer = record.journal.own("r1", lambda error: None)
    row = StageRow(stage_id(1, 0), "r1", 0, "work", "map", 5.0, None, 1000)
    writer.add(Opening(row))
    record.journal.flush("r1").result()
    return row


def write(record, stage, parts):
    """Record what `PARTS` are; the results by index."""
    record.journal.commits.call(
        "", lambda c: [c.execute(f"DELETE FROM {table}") for table in ("items", "spans")]
    ).result()
    outcomes, written, index = Outcomes(stage.id), {}, 0
    for gap, together, values in parts:
        index += gap
        packed = [value if is_plain(value) else (dumps(value),) for value in values]
        ends = [10.0 * (index + place + 1) for place in range(len(values))]
        if together:
            outcomes.spans.append(Span.of(index, 10.0 * index, ends, packed))
        else:
            outcomes.items += [
                (stage.id << 32 | place, "succeeded", 0, 1, 10.0 * place, end, dumps(value), None)
                for place, (value, end) in enumerate(zip(values, ends, strict=True), index)
            ]
        written.update(enumerate(values, index))
        index += len(values)
    writer = record.journal.own("r1", lambda error: None)
    writer.add(outcomes)
    record.journal.flush("r1").result()
    return written


@given(parts=PARTS, after=st.integers(-1, 30), limit=st.integers(1, 8))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_items_are_read_alike_in_spans_and_in_rows(record, stage, parts, after, limit):
    written = write(record, stage, parts)
    journal, items = record.journal, Items(record.journal.read)
    assert {index: unpack(data) for index, data, _ in outputs(journal.read, stage.id)} == written
    page = items.page(stage, after=after, limit=limit)
    assert [item.index for item in page] == [i for i in sorted(written) if i > after][:limit]
    assert page == items.page(stage, after=after, limit=limit, statuses=["succeeded", "failed"])
    assert items.page(stage, statuses=["failed"]) == []
    assert all(item.duration == 10.0 and item.attempts == 1 for item in page)
    for item in page:
        assert items.find(stage, item.index) == item
        data, ref = items.output(stage, item.index)
        assert (unpack(data), ref) == (written[item.index], None)
    for index in {*range(35)} - written.keys():
        assert items.find(stage, index) is items.output(stage, index) is None
    seen = journal.read(f"SELECT id & 4294967295 FROM {EVERY_ITEM} ORDER BY id")
    assert [index for (index,) in seen] == sorted(written)


def test_many_spans_are_read_from_the_one_with_the_item_on(record, stage):
    writer = record.journal.own("r1", lambda error: None)
    each = [Span.of(first, 0.0, [1.0] * 3, [first] * 3) for first in range(0, 900, 3)]
    writer.add(Outcomes(stage.id, spans=each))
    record.journal.flush("r1").result()
    for after in (-1, 0, 1, 2, 3, 500, 899):
        found = list(spans(record.journal.read, stage.id, after))
        assert found == [span for span in each if span.indices[-1] > after]


def test_a_success_takes_the_place_of_what_was_recorded_before(record):
    before = {0: "cancelled", 1: "failed", 2: "failed"}
    stage = record.stage(record.run(), before, 4)
    writer = record.journal.own("r1", lambda error: None)
    writer.add(Outcomes(stage.id, (2, 1, 0, 0), [Span.of(0, 1.0, [2.0, 3.0], [5, 6])]))
    record.journal.flush("r1").result()
    page = Items(record.journal.read).page(stage)
    assert [(item.index, item.status) for item in page] == [
        (0, "succeeded"), (1, "succeeded"), (2, "failed"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "results",
    [
        b"\x80\x05]", b"", pickle.dumps([1, 2], 5), pickle.dumps({1: 2}, 5),
        pickle.dumps([Span], 5), b"\x80\x05" + b"x" * 50,
    ],
)  # fmt: skip
def test_damaged_results_are_reported_and_call_nothing(results):
    span = Span.of(0, 0.0, [1.0], [1])._replace(results=results)
    with pytest.raises(PayloadError, match="stored data is damaged"):
        span.entries()


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, "x" * 513, b"x" * 513, 1j, (), [], {}])
def test_what_is_large_or_may_change_is_not_plain(value):
    assert not is_plain(value)


PLAIN = st.integers(-(2**63), 2**63 - 1) | st.text(max_size=9) | st.binary(max_size=9)
ANY = PLAIN | st.none() | st.booleans() | st.floats() | st.integers() | st.just("x" * 513)


@given(st.lists(PLAIN) | st.lists(st.integers()) | st.lists(ANY) | st.lists(st.just("x" * 513)))
def test_values_are_plain_if_each_is(values):
    assert are_plain(values) == all(map(is_plain, values))


class Unhashable(type):
    __hash__ = None


def test_a_value_whose_type_has_no_hash_is_not_plain():
    value = Unhashable("Odd", (), {})()
    assert not is_plain(value)
    assert not are_plain([value])


class Number(int):
    pass


def test_a_value_of_a_class_of_its_own_is_not_plain():
    assert not is_plain(Number(5))
    assert is_plain(5)
