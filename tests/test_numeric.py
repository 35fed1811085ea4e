"""NumPy's numbers are taken where Python's are, and stay what Python's are."""

import json

import numpy as np
import pytest

from lokki import Engine, RetryConfig, flow, step
from lokki.errors import DefinitionError, ParameterError


@step
def numbers(count):
    return list(range(count))


@step
def double(number):
    return number * 2


@step
def total(numbers):
    return sum(numbers)


@flow
def summed(count: int = 3):
    return numbers(count).map(double).agg(total)


@pytest.fixture(autouse=True)
def own_journal(tmp_path, monkeypatch):
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", str(tmp_path / "lokki.db"))


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_a_whole_number_of_numpy_is_a_parameter(kind):
    graph = summed(count=kind(4))
    assert graph.params == {"count": 4}
    assert type(graph.params["count"]) is int
    assert summed.run_sync(count=kind(4)) == 12


def test_so_are_those_in_a_list_and_beside_none():
    @flow
    def of_lists(several: list[int], one: int | None = None):
        return total(several)

    params = of_lists(several=[np.int64(1), 2], one=np.int16(3)).params
    assert json.dumps(params) == '{"several": [1, 2], "one": 3}'


@pytest.mark.parametrize("value", [True, np.True_, np.float64(2.0), np.array(3)])
def test_what_is_no_whole_number_is_none(value):
    with pytest.raises(ParameterError, match="'count' must be a whole number"):
        summed(count=value)


def test_a_parameter_of_any_type_is_shown_as_the_number_that_it_is():
    @flow
    def of_any(value):
        return double(value)

    parameters = of_any.parameters
    assert parameters.to_json(of_any(np.int64(7)).params) == {"value": 7}


def test_a_retry_policy_takes_them():
    policy = RetryConfig(retries=np.int32(2), delay=np.float32(0.5), max_delay=np.int64(9))
    assert policy == RetryConfig(retries=2, delay=0.5, max_delay=9)
    assert {type(policy.retries), type(policy.delay)} == {int, float}
    assert [policy.wait(attempt) for attempt in (1, 2)] == [0.5, 1.0]


def test_a_step_takes_them():
    @step(timeout_seconds=np.float32(1.5), memory_mb=np.int64(512))
    def bounded(value):
        return value

    assert json.dumps([bounded.timeout_seconds, bounded.memory_mb]) == "[1.5, 512]"


def test_a_map_takes_them():
    @flow
    def mapped():
        block = numbers(6).map(
            double,
            concurrency_limit=np.int64(2),
            batch_size=np.int32(3),
            tolerated_failures=np.float32(0.25),
        )
        return block.agg(total)

    stage = mapped().stages[1]
    assert json.dumps([stage.concurrency_limit, stage.batch_size]) == "[2, 3]"
    assert type(stage.tolerated_failures) is float
    assert mapped.run_sync() == 30


@pytest.mark.parametrize("option", ["concurrency_limit", "batch_size"])
@pytest.mark.parametrize("value", [np.True_, np.float64(2.0), np.int64(0)])
def test_a_map_takes_no_others(option, value):
    with pytest.raises(DefinitionError, match=f"{option} must be a whole number from 1"):
        numbers(1).map(double, **{option: value})


def test_an_engine_takes_them():
    Engine(concurrency=np.int64(2), processes=np.int8(1))
    with pytest.raises(DefinitionError, match="concurrency must be a whole number from 1"):
        Engine(concurrency=np.True_)
