"""How much time a process leaves for the next item of a slice."""

from __future__ import annotations

import pytest

from lokki.runtime.slices import has_time, items_in


@pytest.mark.parametrize("timeout", [1, 3, 30, 900])
def test_a_process_has_time_for_more_than_one_short_item_whatever_its_timeout(timeout):
    item = timeout / 100
    assert has_time(timeout / 2, item, timeout)
    assert items_in(timeout, item) > 50
    assert not has_time(timeout / 2, timeout / 2, timeout)


def test_what_is_left_for_the_report_is_a_tenth_and_at_most_three_seconds():
    assert [has_time(0.31, 0.0, 3), has_time(0.29, 0.0, 3)] == [True, False]
    assert [has_time(3.01, 0.0, 900), has_time(2.99, 0.0, 900)] == [True, False]
