"""A flow that the environment describes: a letter for each link of its chain.

``n`` is a step, ``m`` a map of one step and its aggregation, ``c`` one of two steps, ``d`` one with
``direct_pass``, ``b`` one with ``batch_size``; ``e`` is a map that ends the flow.
"""

from __future__ import annotations

import os

from lokki import current, flow, step

SPEC = os.environ.get("GENERATED_SPEC", "n")


@step
def begin(count: int):
    return [(number, f"item {number}") for number in range(count)]


@step
def turned(values):
    return values[::-1]


@step
def marked(value):
    return (*value, current().index) if isinstance(value, tuple) else value


@step
def spread(value):
    return {"value": value, "half": value[0] / 2}


@step
def gathered(values):
    return [tuple(each.values()) if isinstance(each, dict) else each for each in values]


@step
def firsts(values):
    return [each if isinstance(each[0], int) else (each[0][0], each[1]) for each in values]


@flow
def generated(count: int = 2):
    chain = begin()
    for letter in SPEC:
        match letter:
            case "n":
                chain = chain.next(turned)
            case "m":
                chain = chain.map(marked, concurrency_limit=2).agg(gathered)
            case "c":
                chain = chain.map(marked).next(spread).agg(gathered).next(firsts)
            case "d":
                chain = chain.map([marked, marked], direct_pass=True).agg(gathered)
            case "b":
                chain = chain.map(marked, batch_size=2).next(marked).agg(gathered)
            case "e":
                return chain.map(marked)
    return chain
