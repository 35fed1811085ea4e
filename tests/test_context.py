"""Contexts of calls: copies of the present one, each on its own."""

from __future__ import annotations

import contextvars
import decimal

from lokki.context import fresh_contexts, watched

place = contextvars.ContextVar("place", default="nowhere")


def test_each_copy_is_as_the_context_was_and_keeps_what_is_set_to_itself():
    def make():
        place.set("here")
        fresh = fresh_contexts()
        place.set("elsewhere")
        first = fresh()
        first.run(place.set, "first")
        return first.run(place.get), fresh().run(place.get), place.get()

    assert contextvars.Context().run(make) == ("first", "here", "elsewhere")


def test_a_decimal_context_that_is_changed_in_place_is_changed_in_its_copy_alone():
    def precision(value=None):
        if value is not None:
            decimal.getcontext().prec = value
        return decimal.getcontext().prec

    def make():
        precision(50)
        fresh = fresh_contexts()
        precision(7)
        return [fresh().run(precision, 3), fresh().run(precision), precision()]

    assert contextvars.Context().run(make) == [3, 50, 7]


def test_a_context_is_unchanged_until_a_variable_is_set_to_something_else():
    def look():
        place.set("here")
        unchanged = watched()
        seen = [unchanged()]
        place.set("there")
        seen.append(unchanged())
        place.set("here")
        return [*seen, unchanged()]

    assert contextvars.Context().run(look) == [True, False, True]


class Incomparable:
    def __eq__(self, other):
        raise ValueError("ambiguous, as of arrays")

    __hash__ = None


def test_what_cannot_be_compared_counts_as_changed():
    def look():
        place.set(Incomparable())
        unchanged = watched()
        seen = [unchanged()]
        place.set(Incomparable())
        return [*seen, unchanged()]

    assert contextvars.Context().run(look) == [True, False]


def test_a_decimal_context_counts_as_changed_since_it_may_be_in_place():
    def look():
        decimal.getcontext()
        return watched()()

    assert contextvars.Context().run(look) is False
