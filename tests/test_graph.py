import dataclasses

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokki import FlowGraph, MapStage, StepNode, TaskStage, flow, step
from lokki.errors import DefinitionError


@step
def a():
    return [1, 2]


@step
def b(value, factor=1):
    return value


@step
def c(value, factor=1):
    return value


def graph_of(chain, name="a-flow"):
    return FlowGraph(name, chain.stages)


def another_b():
    @step
    def b(value):
        return value

    return b


def test_a_graph_is_its_stages_in_order():
    graph = graph_of(a().map(b).next(c).agg(b).next(c))
    assert [type(stage) for stage in graph] == [TaskStage, MapStage, TaskStage, TaskStage]
    assert [call.step for call in graph.calls] == [a, b, c, b, c]
    assert tuple(graph) == graph.stages


def test_a_stage_knows_its_name_and_calls():
    task, block = graph_of(a().map(b).next(c))
    assert (task.name, [call.name for call in task.calls]) == ("a", ["a"])
    assert (block.name, [call.name for call in block.calls]) == ("b", ["b", "c"])


def test_the_uses_of_a_step_are_counted_inner_ones_included():
    graph = graph_of(a().map(b).next(c).next(b).agg(b).next(c))
    assert [call.name for call in graph.calls] == ["a", "b", "c", "b-2", "b-3", "c-2"]


def test_naming_leaves_the_chain_as_it_was():
    chain = a().next(b).next(b)
    assert [call.name for call in graph_of(chain).calls] == ["a", "b", "b-2"]
    assert [stage.name for stage in chain.stages] == ["a", "b", "b"]


def test_a_graph_of_another_graphs_stages_is_named_anew():
    stages = graph_of(a().next(b).next(b).next(b)).stages
    assert [stage.name for stage in FlowGraph("part", stages[2:])] == ["b", "b-2"]


@pytest.mark.parametrize("link", ["next", "map"])
def test_two_different_steps_of_one_name_are_refused(link):
    other = another_b()
    with pytest.raises(
        DefinitionError,
        match=rf"flow 'a-flow' uses two different steps named 'b' \(from {__name__} and .*: rename",
    ):
        graph_of(getattr(a().next(b), link)(other))


def test_two_different_steps_of_one_name_may_be_in_two_flows():
    assert graph_of(a().map(b)).shape == graph_of(a().map(another_b())).shape


def test_the_shape_is_one_line():
    assert graph_of(a()).shape == "a"
    assert graph_of(a().next(b)).shape == "a → b"
    assert graph_of(a().map(b)).shape == "a → map(b)"
    assert graph_of(a().map(b).next(c).agg(b)).shape == "a → map(b → c) → b-2"
    assert graph_of(a().map(b).agg(c).map(b).agg(c)).shape == "a → map(b) → c → map(b-2) → c-2"


@pytest.mark.parametrize(
    "same",
    [
        a().map(b, factor=3).agg(c),
        a().map(b, concurrency_limit=1, batch_size=2, tolerated_failures=3).agg(c),
        a().map(b, direct_pass=True).agg(c),
        a().map(b).agg(c, factor=4),
    ],
)
def test_constants_and_limits_do_not_change_the_fingerprint(same):
    assert graph_of(same).fingerprint == graph_of(a().map(b).agg(c)).fingerprint


def test_neither_the_code_nor_the_flow_changes_the_fingerprint():
    assert graph_of(a().map(another_b()), "x").fingerprint == graph_of(a().map(b)).fingerprint


def test_every_other_structure_has_another_fingerprint():
    chains = [
        a(),
        a().next(b),
        a().map(b),
        a().map(b).next(c),
        a().map(b).agg(c),
        a().next(b).next(c),
        a().next(c).next(b),
        a().map(c).agg(b),
        a().next(b).map(c),
    ]
    assert len({graph_of(chain).fingerprint for chain in chains}) == len(chains)


def test_the_fingerprint_is_the_same_on_every_machine_and_release():
    assert graph_of(a().map(b).agg(c)).fingerprint == "543b9fc9657cae52"


@pytest.mark.parametrize(
    ("limit", "failures", "count", "tolerated"),
    [
        (0, 0, 10, True),
        (0, 1, 10, False),
        (5, 5, 10, True),
        (5, 6, 10, False),
        (1, 1, 1, True),
        (1.0, 10, 10, True),
        (0.0, 0, 10, True),
        (0.0, 1, 10, False),
        (0.05, 5, 100, True),
        (0.05, 6, 100, False),
        (0.05, 1, 10, False),
        (0.5, 0, 0, True),
    ],
)
def test_tolerance_is_a_number_or_a_share(limit, failures, count, tolerated):
    (stage,) = a().map(b, tolerated_failures=limit).stages[1:]
    assert stage.tolerates(failures, count) is tolerated


@given(failures=st.integers(1, 1000), spared=st.integers(1, 1000))
def test_a_share_tolerates_exactly_that_share(failures, spared):
    count = failures + spared
    stage = MapStage((), tolerated_failures=failures / count)
    assert stage.tolerates(failures, count)
    assert not stage.tolerates(failures + 1, count)


def test_graphs_and_stages_are_immutable():
    graph = graph_of(a().map(b))
    for thing, name in [(graph, "name"), (graph.stages[0], "call"), (graph.stages[1], "inner")]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, None)


def test_a_graph_is_shown_with_its_chain_and_how_to_run_it():
    @flow
    def small_birds(count: int = 1):
        return a().map(b)

    how = "run it with small_birds.run_sync(…) or await small_birds.run(…)"
    assert repr(small_birds(2)) == f"<flow small-birds: a → map(b); {how}>"
    assert repr(FlowGraph("made", small_birds().stages)) == "<flow made: a → map(b)>"


def test_a_graph_can_be_pickled():
    @flow
    def birds(limit: int):
        return a().map(b, factor=limit).next(b).agg(c)

    graph = cloudpickle.loads(cloudpickle.dumps(birds(3)))
    assert graph.shape == "a → map(b → b-2) → c"
    assert graph.params == {"limit": 3}
    assert graph.flow(3).fingerprint == graph.fingerprint
    assert [call.kwargs for call in graph.calls] == [{}, {"factor": 3}, {}, {}]


# Every chain of legal links, against a model: a list of ("task", [name]) and ("map", [name, …]).

links = st.lists(
    st.tuples(st.sampled_from(["next", "map", "close"]), st.sampled_from([b, c])), max_size=12
)


def model_link(model, verb, name):
    """What a link adds to the model; `verb` is the method that is called on the chain."""
    *before, (kind, names) = model
    if kind == "map" and verb in ("next", "map"):
        return [*before, (kind, [*names, name])]
    return [*model, ("map" if verb == "map" else "task", [name])]


def counted(names):
    return [
        name if names[:place].count(name) == 0 else f"{name}-{names[:place].count(name) + 1}"
        for place, name in enumerate(names)
    ]


def flattened(chain):
    return [
        ("map" if isinstance(stage, MapStage) else "task", [call.step.name for call in stage.calls])
        for stage in chain.stages
    ]


@given(links)
def test_any_legal_links_give_the_graph_of_the_model(links):
    chain, model = a(), [("task", ["a"])]
    prefixes = [(chain, model)]
    for verb, linked in links:
        if verb == "close":
            verb = "next" if isinstance(chain, StepNode) else "agg"
        chain = getattr(chain, verb)(linked)
        model = model_link(model, verb, linked.name)
        prefixes.append((chain, model))
    for prefix, expected in prefixes:
        assert flattened(prefix) == expected
    names = [name for _, names in model for name in names]
    assert [call.name for call in graph_of(chain).calls] == counted(names)


def test_a_flow_of_too_many_stages_is_refused():
    stage = a().stages[0]
    assert len(FlowGraph("long", (stage,) * 256).stages) == 256
    with pytest.raises(DefinitionError, match="has 257 stages, but at most 256 are possible"):
        FlowGraph("long", (stage,) * 257)
