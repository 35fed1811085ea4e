"""What there is to invoke in a flow."""

from __future__ import annotations

import pytest

from lokki import FlowGraph, step
from lokki.errors import DefinitionError
from lokki.runtime.units import unit_of, units


@step
def source():
    return [1]


@step
def one(value):
    return value


@step
def other(value):
    return value


CHAIN = source().map(one).next(other).agg(one).map([one, other], direct_pass=True)
GRAPH = FlowGraph("a-flow", CHAIN.stages)


def test_every_call_has_its_place_and_those_of_a_direct_pass_have_one_together():
    told = [([call.name for call in unit.calls], unit.in_map, unit.mapped) for unit in units(GRAPH)]
    assert told == [
        (["source"], False, "one"),
        (["one"], True, None),
        (["other"], True, None),
        (["one-2"], False, "one-3"),
        (["one-3", "other-2"], True, None),
    ]


def test_a_place_knows_the_stage_before_it():
    assert unit_of(GRAPH, "source").source is None
    assert unit_of(GRAPH, "other").source is GRAPH.stages[0]
    assert unit_of(GRAPH, "one-2").source is GRAPH.stages[1]


@pytest.mark.parametrize("name", ["nothing", "other-2"])
def test_only_a_first_call_names_a_place(name):
    with pytest.raises(DefinitionError, match=f"flow 'a-flow' calls no step '{name}'"):
        unit_of(GRAPH, name)
