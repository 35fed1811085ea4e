"""Values as SQLite can store them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lokki.store.storable import storable


@given(
    st.lists(
        st.none() | st.integers() | st.binary() | st.text(st.characters(exclude_categories=["Cs"]))
    )
)
def test_what_sqlite_can_store_is_left(row):
    assert storable(tuple(row)) == tuple(row)


@given(st.text(st.characters()))
def test_any_text_becomes_one_that_has_all_that_utf_8_has(text):
    (stored,) = storable((text,))
    assert stored.encode().decode("utf-8") == stored
    assert storable(("gr\udcfc\xdf",)) == ("gr\\udcfc\xdf",)
