"""Contexts of calls: copies of the present one, each on its own."""

from __future__ import annotations

import contextvars
import decimal

import pytest

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


@pytest.mark.parametrize(
    "change",
    [
        lambda context: setattr(context, "prec", 3),
        lambda context: setattr(context, "rounding", decimal.ROUND_UP),
        lambda context: context.traps.update({decimal.Inexact: True}),
        lambda context: decimal.Decimal(1) / 3,
        lambda context: decimal.setcontext(decimal.Context(prec=3)),
    ],
)
def test_a_decimal_context_that_is_changed_in_place_is_a_change(change):
    def look():
        unchanged = watched()
        seen = [unchanged()]
        change(decimal.getcontext())
        return [*seen, unchanged()]

    def with_decimals():
        decimal.setcontext(decimal.Context())
        return look()

    assert contextvars.Context().run(with_decimals) == [True, False]
    assert contextvars.Context().run(look) == [True, False]
