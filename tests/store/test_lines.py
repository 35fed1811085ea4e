"""Lines packed into rows of the journal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from journals import ask

from lokki.logging import rank
from lokki.store.lines import last_id, pack, row_of, unpack
from lokki.store.storable import storable

TIMES = st.floats(1.6e9, 1.9e9)
TEXTS = st.text(st.characters(), max_size=12)  # lone surrogates, too
LEVELS = st.sampled_from(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "NOTICE"])
ITEMS = st.none() | st.integers(0, 2**32 - 1)
LINES = st.lists(
    st.tuples(TIMES, TEXTS, ITEMS, st.integers(1, 9), LEVELS, TEXTS, TEXTS), min_size=1, max_size=20
)


@given(LINES, st.integers(1, 2**40))
def test_what_is_packed_is_unpacked(lines, row):
    count, first, _, _, _, _, text = pack(lines)
    found = list(unpack(row, first, count, text))
    assert [line[2:] for line in found] == [storable(line[1:]) for line in lines]
    for line, (at, *_) in zip(found, lines, strict=True):
        assert line.at == pytest.approx(at, abs=2e-6)
    ids = [line.id for line in found]
    assert ids == sorted(set(ids))
    assert {row_of(each) for each in ids} == {row}
    assert ids[-1] == last_id(row, count)


@given(LINES)
def test_a_row_tells_what_is_in_it(lines):
    count, first, last, gravest, least, most, text = pack(lines)
    items = [line[2] for line in lines if line[2] is not None]
    assert count == len(lines)
    assert (first, last) == (min(line[0] for line in lines), max(line[0] for line in lines))
    assert gravest == max(rank(line[4]) for line in lines)
    assert [least, most] == ([min(items), max(items)] if items else [None, None])
    assert text.encode(), "SQLite can store it"


@pytest.mark.parametrize(
    ("count", "length", "rows"), [(1_024, 9, 1), (1_025, 9, 2), (500, 10_000, 8)]
)
def test_a_row_has_so_many_lines_and_characters_at_most(record, journal, count, length, rows):
    record.run()
    record.lines("r1", *((1.0, "b", n, 1, "INFO", "stdout", "m" * length) for n in range(count)))
    assert [line.item for line in record.journal.history.lines("r1")] == list(range(count))
    assert ask(journal, "SELECT count(*) FROM logs") == [(rows,)]


def test_what_all_lines_have_is_reported_once():
    lines = [(float(n), "work", n, 1, "INFO", "stdout", f"line {n}") for n in range(1_024)]
    after, *others = json.loads(pack(lines)[-1])
    assert others == [
        "work",
        list(range(1_024)),
        1,
        "INFO",
        "stdout",
        [f"line {n}" for n in range(1_024)],
    ]
    assert after[-1] == 1_023_000_000
