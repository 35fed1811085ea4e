"""Errors cross processes: whatever lokki raises arrives by pickle and copy as what it is."""

import copy
import importlib
import inspect
import pickle
import pkgutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cloudpickle
import pytest

import lokki
from lokki import RunFailed, flow, step
from lokki.call import Failure
from lokki.errors import AwsError, DefinitionError, LokkiError, ParameterProblem, RunNotFound
from lokki.wording import Arguments, Wording

SAMPLES = {
    "Failure": Failure("work", 3, 1, "OSError", "gone", "Traceback", True),
    "tuple[Failure, ...]": (Failure("work", 3, 1, "OSError", "gone", "", False),),
    "BaseException | None": None,
    "BaseException": ValueError("unready"),
    "int": 3,
    "float": 3.0,
    "int | None": 3,
    "Sequence[ParameterProblem]": [ParameterProblem("count", "is missing")],
    "list[dict[str, Any]]": [{"name": "body", "message": "it is not JSON"}],
}
"""What an error's `__init__` is given, by annotation; anything else is given a text."""


def every_error():
    """The classes of errors that lokki and its server define."""
    import lokki_server

    for package in (lokki, lokki_server):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "rehearse" in module.name or module.name.endswith("__main__"):
                continue  # moto's own errors; programs
            for value in vars(importlib.import_module(module.name)).values():
                mine = getattr(value, "__module__", None) == module.name
                if mine and isinstance(value, type) and issubclass(value, BaseException):
                    yield value


def sample(kind):
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return kind(
        *(
            SAMPLES.get(str(each.annotation), f"{each.name} it is")
            for each in parameters
            if each.kind not in kinds
        )
    )


ERRORS = sorted(every_error(), key=lambda kind: (kind.__module__, kind.__name__))


def told(error):
    """All there is to an error."""
    return type(error), str(error), error.args, vars(error)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "sent",
    [lambda e, p=p: pickle.loads(pickle.dumps(e, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)]
    + [lambda e: cloudpickle.loads(cloudpickle.dumps(e)), copy.copy, copy.deepcopy],
)
def test_every_error_arrives_as_what_it_is(kind, sent):
    error = sample(kind)
    error.add_note("seen on a Monday")
    assert told(sent(error)) == told(error)
    assert sent(error) is not error


def test_the_errors_of_all_rooms_are_tried():
    assert {RunFailed, AwsError, RunNotFound} < set(ERRORS)
    assert len(ERRORS) > 20


class OwnError(LokkiError):
    """One that a user derives, with an `__init__` of its own."""

    def __init__(self, code, *, retry_at):
        super().__init__(f"refused with {code}")
        self.retry_at = retry_at


def test_an_error_that_is_derived_from_ours_arrives_too():
    error = OwnError(503, retry_at=9.5)
    assert told(pickle.loads(pickle.dumps(error))) == told(error)


def test_an_error_in_a_group_arrives():
    group = ExceptionGroup("both", [sample(RunFailed), DefinitionError("no chain")])
    arrived = pickle.loads(pickle.dumps(group))
    assert [told(each) for each in arrived.exceptions] == [told(each) for each in group.exceptions]


@step
def broken(item):
    raise ValueError(f"no reading of {item}")


@step
def numbers():
    return [1]


@flow
def failing():
    return numbers().map(broken)


def fail():
    return failing.run_sync()


def test_a_failed_run_in_another_process_is_a_failed_run():
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        with pytest.raises(RunFailed, match="step 'broken', item 0, attempt 1: ValueError") as seen:
            pool.submit(fail).result(60)
        assert pool.submit(int, "3").result(60) == 3  # the pool is whole
    assert (seen.value.step, seen.value.index, seen.value.type) == ("broken", 0, "ValueError")
    assert seen.value.reason == "no reading of 1"
    assert seen.value.run_id
    assert "raise ValueError" in seen.value.traceback


def test_an_error_names_arguments_in_the_words_of_who_reads_it():
    error = DefinitionError(
        Wording("no stage but 'clean': ", Arguments(force=True, from_stage="clean"), ", say")
    )
    error.place = "birds.py:12"
    for each in (error, pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert str(each) == "birds.py:12: no stage but 'clean': force=True, from_stage='clean', say"
        assert each.said(lambda arguments: "/".join(arguments.given)) == (
            "birds.py:12: no stage but 'clean': force/from_stage, say"
        )


def test_an_error_that_names_no_arguments_is_the_same_in_all_words():
    assert DefinitionError("no chain").said(str.upper) == "no chain"
    assert DefinitionError().said(str.upper) == ""
