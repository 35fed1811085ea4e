"""Flows as state machines: which states there are, how they are linked, when they are retried."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokki import FlowGraph, MapStage, RetryConfig, step
from lokki.builder.states import INIT, error_names, names_of, retriers, state_machine
from lokki.errors import LokkiError


@step
def get_items():
    return [1, 2]


@step
def clean(value):
    return value


@step
def cleaN(value):
    return value


@step
def work(value):
    return value


@step
def joined(values):
    return values


STEPS = (clean, cleaN, work)


@st.composite
def graphs(draw):
    """Flows of any structure."""
    chain = get_items()
    for kind in draw(st.lists(st.sampled_from(["next", "map"]), max_size=4)):
        if kind == "next":
            chain = chain.next(draw(st.sampled_from(STEPS)))
            continue
        first, *later = draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=3))
        chain = chain.map(
            first,
            concurrency_limit=draw(st.none() | st.integers(1, 100)),
            tolerated_failures=draw(st.integers(0, 5) | st.floats(0.01, 0.99)),
        )
        for each in later:
            chain = chain.next(each)
        chain = chain.agg(joined)
    if draw(st.booleans()):
        chain = chain.map(work)
    return FlowGraph("any-flow", chain.stages)


def walked(machine):
    """The names of the states from the first to the last, each of which comes once."""
    name, seen = machine["StartAt"], []
    while True:
        seen.append(name)
        state = machine["States"][name]
        if state.get("End"):
            assert "Next" not in state
            break
        name = state["Next"]
    assert len(seen) == len(set(seen))
    assert set(seen) == set(machine["States"])
    return seen


def machine_of(chain, name="a-flow"):
    graph = FlowGraph(name, chain.stages)
    return json.loads(json.dumps(state_machine(graph).to_json()))


@given(graphs())
def test_every_flow_is_a_walk_through_all_of_its_states(graph):
    machine = json.loads(json.dumps(state_machine(graph).to_json()))
    begin, *states = walked(machine)
    assert begin == INIT
    assert len(states) == len(graph.stages)
    every = set(machine["States"])
    for stage, name in zip(graph.stages, states, strict=True):
        state = machine["States"][name]
        inner = state.get("ItemProcessor")
        assert (state["Type"] == "Map") == (inner is not None) == isinstance(stage, MapStage)
        if inner is not None:
            assert len(walked(inner)) == len(stage.calls)
            assert not every & set(inner["States"]), "names are those of a whole document"
            every |= set(inner["States"])
            assert state.get("MaxConcurrency") == stage.concurrency_limit
    assert all(len(name) <= 80 and name.isascii() for name in every)


def test_names_are_in_pascal_case_and_no_two_are_alike():
    chain = get_items().next(clean).next(cleaN).next(clean)
    names = names_of(FlowGraph("f", chain.stages))
    assert names.calls == {
        "get_items": "GetItems",
        "clean": "Clean",
        "cleaN": "CleaN",
        "clean-2": "Clean2",
    }


def test_a_step_may_have_the_name_of_another_state():
    @step
    def init_flow():
        return [1]

    @step
    def map_work(value):
        return value

    chain = init_flow().next(map_work).map(work)
    names = names_of(FlowGraph("f", chain.stages))
    assert names.calls == {"init_flow": "InitFlow2", "map_work": "MapWork", "work": "Work"}
    assert names.maps == {"work": "MapWork2"}


def test_the_labels_of_maps_are_short_and_each_maps_own():
    first, second = (step(_named("a" * 59 + end)) for end in "xy")
    chain = get_items().map(first).agg(joined).map(second)
    labels = names_of(FlowGraph("f", chain.stages)).labels.values()
    assert all(len(label) <= 40 for label in labels)
    assert len(set(labels)) == 2


def _named(name):
    def fn(value=None):
        return value

    fn.__name__ = fn.__qualname__ = name
    return fn


def test_a_map_reads_the_items_that_the_step_before_has_listed():
    state = machine_of(get_items().map(work, concurrency_limit=7).agg(joined))["States"]["MapWork"]
    assert state["ItemReader"]["Parameters"] == {
        "Bucket": "${S3Bucket}",
        "Key.$": "$.input.manifest",
    }
    assert state["ItemSelector"] == {
        "flow": {"run_id.$": "$$.Execution.Name", "params.$": "$$.Execution.Input"},
        "index.$": "$$.Map.Item.Index",
        "input.$": "$$.Map.Item.Value.input",
    }
    assert state["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED"
    assert state["MaxConcurrency"] == 7
    assert "a-flow/runs/{}/work/" in state["ResultWriter"]["Parameters"]["Prefix.$"]
    assert state["ResultSelector"]["input"] == {"map": "work"}
    assert state["Next"] == "Joined"


@pytest.mark.parametrize(
    ("tolerated", "count", "percentage"),
    [(0, None, None), (3, 3, None), (0.25, None, 25.0)],
)
def test_tolerated_failures(tolerated, count, percentage):
    chain = get_items().map(work, tolerated_failures=tolerated)
    state = machine_of(chain)["States"]["MapWork"]
    assert state.get("ToleratedFailureCount") == count
    assert state.get("ToleratedFailurePercentage") == percentage


# ---- retries -------------------------------------------------------------------------------------


def own_retrier(**policy):
    """The retrier of a step's own policy; None without one."""
    found = [each.to_json() for each in retriers(step(retry=policy)(_named("retried")))]
    assert "Lambda.TooManyRequestsException" in found[0]["ErrorEquals"]
    return found[1] if len(found) == 2 else None


def test_a_step_without_retries_is_retried_for_lambdas_own_failures_alone():
    assert own_retrier() is None
    assert own_retrier(retries=0, delay=5) is None


def test_a_policy_means_the_same_as_locally():
    policy = {"retries": 3, "delay": 2, "backoff": 3, "max_delay": 30}
    assert own_retrier(**policy, exceptions=(_Worse,)) == {
        "ErrorEquals": ["_Worse"],
        "IntervalSeconds": 2,
        "MaxAttempts": 3,
        "BackoffRate": 3,
        "MaxDelaySeconds": 30,
    }


def test_waits_are_whole_seconds_from_one():
    found = own_retrier(retries=1, delay=0.01, backoff=0.5, max_delay=0.5)
    assert (found["IntervalSeconds"], found["BackoffRate"], found["MaxDelaySeconds"]) == (1, 1.0, 2)


class _Trouble(LookupError):
    pass


class _Worse(_Trouble):
    pass


def test_the_names_of_subclasses_are_named():
    assert {"_Trouble", "_Worse", "LookupError", "KeyError"} <= set(error_names((LookupError,)))
    assert error_names((_Trouble,)) == ("_Trouble", "_Worse")
    assert "ZeroDivisionError" not in error_names((LookupError,))


@pytest.mark.parametrize("kinds", [(Exception,), (BaseException,), (KeyError, Exception)])
def test_every_exception_is_every_failure(kinds):
    assert error_names(kinds) == ("States.TaskFailed", "States.Timeout")


def test_a_retry_config_is_taken_as_it_is():
    policy = RetryConfig(retries=2, exceptions=(LokkiError,))
    _, found = retriers(step(retry=policy)(_named("retried")))
    assert found.max_attempts == 2
    assert "RunFailed" in found.error_equals
