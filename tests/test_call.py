"""Calling a step: the errors it raises, whatever they are, and the lines it leaves unfinished."""

from __future__ import annotations

import contextlib
import contextvars
import csv
import pickle

import pytest

from lokki import output
from lokki.call import BoundCall, call_step, capture, retried_as, running
from lokki.errors import DefinitionError, PayloadError, ResultError


def bound(function, *, exceptions=(), is_async=False):
    return BoundCall(
        invoke=function,
        name="work",
        run_id="run-1",
        flow="flow",
        params={},
        is_async=is_async,
        lane="thread",
        timeout=None,
        exceptions=exceptions,
        in_map=True,
    )


def failure_of(function, **options):
    call = bound(function, **options)
    with pytest.raises(BaseException) as raised:
        call_step(call, None, 3, 2)
    return capture(call, 3, 2, raised.value)


@pytest.fixture(autouse=True)
def _outside_a_call():
    yield
    running.set(None)


@contextlib.contextmanager
def recorded():
    """What the steps of the run print."""
    lines = []
    output.attach("run-1", lines.append)
    try:
        yield lines
    finally:
        output.detach("run-1")


def raise_it(error):
    raise error


# ---- errors --------------------------------------------------------------------------------------


def test_an_error_becomes_a_failure_with_the_frames_of_the_user_alone():
    failure = failure_of(lambda _: raise_it(KeyError("gone")), exceptions=(LookupError,))
    assert (failure.step, failure.index, failure.attempt) == ("work", 3, 2)
    assert (failure.type, failure.reason, failure.retryable) == ("KeyError", "'gone'", True)
    assert "raise_it(error)" in failure.traceback or "raise error" in failure.traceback
    assert "call.invoke" not in failure.traceback


def group(*errors):
    return ExceptionGroup("several", errors)


@pytest.mark.parametrize(
    ("error", "exceptions", "retryable", "name"),
    [
        (group(ConnectionError()), (ConnectionError,), True, "ConnectionError"),
        (group(BrokenPipeError(), TimeoutError()), (OSError,), True, "OSError"),
        (group(group(group(OSError()), OSError())), (OSError,), True, "OSError"),
        (group(OSError(), ValueError()), (OSError,), False, "ExceptionGroup"),
        (group(OSError(), group(OSError(), ValueError())), (OSError,), False, "ExceptionGroup"),
        (group(ValueError()), (ExceptionGroup,), True, "ExceptionGroup"),
        (group(group(ValueError())), (Exception,), True, "ExceptionGroup"),
        (group(group(ValueError()), OSError()), (ExceptionGroup, OSError), True, "ExceptionGroup"),
        (group(DefinitionError(), DefinitionError()), (Exception,), False, "DefinitionError"),
        (group(DefinitionError(), OSError()), (Exception,), True, "ExceptionGroup"),
        (BaseExceptionGroup("two", [KeyboardInterrupt()]), (OSError,), False, "BaseExceptionGroup"),
        (group(OSError()), (), False, "ExceptionGroup"),
    ],
)
def test_a_group_is_retried_when_every_error_in_it_is(error, exceptions, retryable, name):
    failure = failure_of(lambda _: raise_it(error), exceptions=exceptions)
    assert failure.retryable is retryable
    assert failure.type == type(error).__name__
    call = bound(None, exceptions=exceptions)
    assert retried_as(call, error, failure, left=True) == name


class ParameterError(Exception):
    """Has the name of lokki's error that is never retried."""


class Error(Exception):
    """Has the name of `csv.Error`, `shutil.Error` and others."""


@pytest.mark.parametrize(
    ("error", "exceptions", "left", "name"),
    [
        (ConnectionResetError(), (OSError,), True, "OSError"),
        (ConnectionResetError(), (OSError, ConnectionResetError), True, "ConnectionResetError"),
        (ConnectionResetError(), (OSError,), False, "ConnectionResetError"),
        (csv.Error(), (Error,), True, "_csv.Error"),
        (Error(), (Error,), True, "Error"),
        (csv.Error(), (OSError,), True, "Error"),
        (csv.Error(), (Exception,), True, "Error"),
        (DefinitionError(), (DefinitionError,), True, "lokki.errors.DefinitionError"),
        (ResultError("TypeError", "", retried=True), (PayloadError,), True, "PayloadError"),
        (ResultError("TypeError", ""), (Exception,), True, "ResultError"),
        (ResultError("TypeError", ""), (Exception,), False, "TypeError"),
        (ParameterError("mine"), (Exception,), True, "test_call.ParameterError"),
        (ParameterError("mine"), (ParameterError,), True, "ParameterError"),
    ],
)
def test_a_reader_of_names_retries_what_is_of_the_policys_classes(error, exceptions, left, name):
    failure = failure_of(lambda _: raise_it(error), exceptions=exceptions)
    call = bound(None, exceptions=exceptions)
    assert retried_as(call, error, failure, left=left) == name


@pytest.mark.parametrize("problem", [RuntimeError, SystemExit, RecursionError])
def test_an_error_whose_text_cannot_be_shown_is_reported_by_its_type(problem):
    class Bad(Exception):
        def __str__(self):
            raise problem("no text")

    failure = failure_of(lambda _: raise_it(Bad()))
    assert failure.reason == f"<Bad whose text cannot be shown: {problem.__name__}>"
    assert "raise error" in failure.traceback


def test_a_text_that_is_no_string_or_a_special_one():
    class Text(str):
        __slots__ = ()

    class NoString(Exception):
        def __str__(self):
            return 5

    class Special(Exception):
        def __str__(self):
            return Text("special")

    failure = failure_of(lambda _: raise_it(NoString()))
    assert failure.reason == "<NoString whose text cannot be shown: TypeError>"
    failure = failure_of(lambda _: raise_it(Special()))
    assert type(failure.reason) is str
    assert pickle.loads(pickle.dumps(failure)).reason == "special"


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_long_chains_of_causes(link):
    def chain(_):
        error = ValueError("first")
        for number in range(2000):
            later = ValueError(str(number))
            setattr(later, link, error)
            error = later
        raise error

    failure = failure_of(chain)
    assert failure.reason == "1999"
    assert "first" in failure.traceback
    assert "raise error" in failure.traceback


def test_notes_of_any_kind():
    class Note:
        def __str__(self):
            raise RuntimeError("no note")

        __repr__ = __str__

    class Secret(Exception):
        @property
        def __notes__(self):
            raise RuntimeError("secret")

    odd = ValueError("odd")
    odd.__notes__ = [Note(), 3, "a fine note"]
    assert "a fine note" in failure_of(lambda _: raise_it(odd)).traceback
    odder = ValueError("odder")
    odder.__notes__ = Note()
    assert failure_of(lambda _: raise_it(odder)).reason == "odder"
    failure = failure_of(lambda _: raise_it(Secret("text")))
    assert failure.reason == "text"
    assert "Secret" in failure.traceback  # 3.13 shows it, 3.11 cannot


def test_an_error_that_does_not_want_its_class_to_be_known():
    class Meta(type):
        def __instancecheck__(cls, instance):
            raise RuntimeError("do not ask")

    class Hidden(Exception, metaclass=Meta):
        pass

    failure = failure_of(lambda _: raise_it(ValueError("x")), exceptions=(Hidden,))
    assert (failure.reason, failure.retryable) == ("x", False)


def test_the_errors_of_a_group_show_the_frames_of_the_user_alone():
    inner = bound(lambda _: raise_it(KeyError("inner")))

    def group(_):
        try:
            call_step(inner, None, 0, 1)
        except KeyError as error:
            raise ExceptionGroup("several", [error, ValueError("plain")]) from None

    failure = failure_of(group)
    assert "KeyError: 'inner'" in failure.traceback
    assert "raise error" in failure.traceback
    assert "call.invoke" not in failure.traceback


def test_a_group_with_no_frames_but_in_its_errors_has_a_traceback():
    try:
        raise_it(KeyError("inner"))
    except KeyError as error:
        group = ExceptionGroup("several", [error])
    failure = capture(bound(len), 0, 1, group)
    assert "raise error" in failure.traceback
    assert capture(bound(len), 0, 1, TimeoutError("late")).traceback == ""


# ---- unfinished lines ----------------------------------------------------------------------------


def test_an_unfinished_line_is_recorded_when_the_step_returns():
    with recorded() as lines:
        call_step(bound(lambda _: print("part", end="")), None, 0, 1)
    assert [line[6] for line in lines] == ["part"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(1)])
def test_an_unfinished_line_of_a_step_that_fails_in_another_context(error):
    def fails(_):
        print("whole")
        print("part", end="")
        raise error

    with recorded() as lines, pytest.raises(type(error)):
        contextvars.copy_context().run(call_step, bound(fails), None, 4, 2)
    assert running.get() is None
    assert [line[1:] for line in lines] == [
        ("work", 4, 2, "INFO", "stdout", "whole"),
        ("work", 4, 2, "INFO", "stdout", "part"),
    ]


def test_an_unfinished_line_of_a_generator_that_fails():
    def items(_):
        print("part", end="")
        yield 1
        raise ValueError("x")

    with recorded() as lines:
        assert failure_of(items).reason == "x"
    assert [line[6] for line in lines] == ["part"]  # once


async def _fails(_):
    print("part", end="")
    raise ValueError("x")


@pytest.mark.asyncio
async def test_an_unfinished_line_of_an_async_step_that_fails():
    call = bound(_fails, is_async=True)
    with recorded() as lines:
        with pytest.raises(ValueError, match="x") as raised:
            await call_step(call, None, 0, 1)
        capture(call, 0, 1, raised.value)
    running.set(None)
    assert [line[6] for line in lines] == ["part"]
