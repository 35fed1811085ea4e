import math
import pickle
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokki.errors import DefinitionError
from lokki.retry import RetryConfig

seconds = st.floats(0, 1e6)


def test_the_default_never_retries():
    policy = RetryConfig()
    assert (policy.retries, policy.delay, policy.backoff, policy.max_delay) == (0, 1.0, 2.0, 60.0)
    assert policy.exceptions == (Exception,)


@pytest.mark.parametrize("value", [-1, 1.0, True, "3", None, math.nan, math.inf])
def test_retries_must_be_a_whole_number(value):
    with pytest.raises(DefinitionError, match="retries must be a whole number from 0, not"):
        RetryConfig(retries=value)


@pytest.mark.parametrize("name", ["delay", "backoff", "max_delay"])
@pytest.mark.parametrize("value", [-0.5, -1, True, "1", None, math.nan, math.inf, -math.inf])
def test_seconds_and_backoff_must_be_finite_numbers(name, value):
    with pytest.raises(DefinitionError, match=f"{name} must be a number of at least 0, not"):
        RetryConfig(**{name: value})


@pytest.mark.parametrize("name", ["delay", "backoff", "max_delay"])
@pytest.mark.parametrize("value", [0, 0.0, 3, 0.25])
def test_zero_whole_and_broken_numbers_are_accepted(name, value):
    assert getattr(RetryConfig(**{name: value}), name) == value


@pytest.mark.parametrize("exceptions", [(OSError, ValueError), [OSError, ValueError]])
def test_exceptions_become_a_tuple(exceptions):
    assert RetryConfig(exceptions=exceptions).exceptions == (OSError, ValueError)


def test_one_exception_class_needs_no_tuple():
    assert RetryConfig(exceptions=OSError).exceptions == (OSError,)


@pytest.mark.parametrize("exceptions", ["OSError", (OSError, int), [OSError()], None, {OSError}])
def test_what_is_no_exception_class_is_refused(exceptions):
    with pytest.raises(DefinitionError, match=r"give exception classes, such as exceptions=\("):
        RetryConfig(exceptions=exceptions)


def test_of_nothing_is_the_default():
    assert RetryConfig.of(None) == RetryConfig()


def test_of_a_policy_is_the_policy():
    policy = RetryConfig(retries=3)
    assert RetryConfig.of(policy) is policy


@pytest.mark.parametrize("mapping", [dict, MappingProxyType])
def test_of_a_mapping_is_the_policy_it_describes(mapping):
    form = {"retries": 3, "delay": 0.5, "backoff": 1, "max_delay": 9, "exceptions": [OSError]}
    assert RetryConfig.of(mapping(form)) == RetryConfig(
        retries=3, delay=0.5, backoff=1, max_delay=9, exceptions=(OSError,)
    )


@pytest.mark.parametrize("value", [3, True, "retries", [("retries", 3)]])
def test_of_anything_else_is_refused(value):
    with pytest.raises(DefinitionError, match=r"a RetryConfig or a dict such as \{'retries': 3\}"):
        RetryConfig.of(value)


@pytest.mark.parametrize("key", ["xyz", 3])
def test_of_an_unknown_key_names_the_known_ones(key):
    with pytest.raises(
        DefinitionError, match=f"no {key!r}; it has retries, delay, backoff, max_delay, exc"
    ):
        RetryConfig.of({"retries": 1, key: 2})


def test_of_a_mapping_with_a_bad_value_is_refused():
    with pytest.raises(DefinitionError, match="retries must be a whole number from 0, not -1"):
        RetryConfig.of({"retries": -1})


def test_it_is_immutable_hashable_and_picklable():
    policy = RetryConfig(retries=3, exceptions=[OSError])
    with pytest.raises(AttributeError):
        policy.retries = 4
    assert {policy, pickle.loads(pickle.dumps(policy))} == {policy}


def test_waits_grow_to_the_longest():
    policy = RetryConfig(retries=9, delay=1, backoff=3, max_delay=10)
    assert [policy.wait(attempt) for attempt in range(1, 6)] == [1, 3, 9, 10, 10]


def test_without_backoff_every_wait_is_the_same():
    policy = RetryConfig(delay=2.5, backoff=1)
    assert [policy.wait(attempt) for attempt in (1, 2, 50)] == [2.5, 2.5, 2.5]


def test_after_very_many_attempts_the_wait_is_the_longest():
    assert RetryConfig(delay=1e-300, max_delay=7.0).wait(100_000) == 7.0


def test_without_delay_no_attempt_waits_however_many_there_were():
    assert RetryConfig(delay=0).wait(100_000) == 0


@given(delay=seconds, backoff=seconds, max_delay=seconds, attempt=st.integers(1, 10_000))
def test_a_wait_is_never_above_the_longest(delay, backoff, max_delay, attempt):
    policy = RetryConfig(delay=delay, backoff=backoff, max_delay=max_delay)
    assert 0 <= policy.wait(attempt) <= max_delay
