"""Calls steps: arguments, context and error capture. The only caller of users' functions."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from inspect import Parameter
from itertools import count
from types import AsyncGeneratorType, CoroutineType
from typing import Any, NamedTuple, TypeAlias

from lokki import forks
from lokki.defaults import fresh
from lokki.errors import (
    DefinitionError,
    LokkiError,
    PayloadError,
    ResultError,
    ValueUnreadable,
    name_of,
    never_retried,
    text_of,
)
from lokki.frames import cut, summarized
from lokki.graph import FlowGraph
from lokki.model.failure import Failure as Failure
from lokki.retry import RetryLater
from lokki.secret import redactable, redacted
from lokki.stages import StepCall
from lokki.steps import Lane, input_and_names, is_async_generator
from lokki.steps import running as running

_BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


class Caching(NamedTuple):
    """How results of a call are cached: see `lokki.caching`.

    ``prefix`` is a digest of all but the input. Results are kept for ``seconds``. ``looks``: stored
    results are used; otherwise they are replaced.
    """

    prefix: bytes
    seconds: float
    looks: bool


@dataclass(frozen=True, slots=True, eq=False)
class BoundCall:
    """A step as one run calls it: ``invoke(input)`` supplies all other arguments."""

    invoke: Callable[[Any], Any]
    name: str
    run_id: str
    flow: str
    params: Mapping[str, Any]
    is_async: bool
    lane: Lane
    timeout: float | None
    exceptions: tuple[type[BaseException], ...]
    in_map: bool
    failures: tuple[Failure, ...] = ()
    secrets: tuple[str, ...] = ()
    resources: Mapping[str, float] = field(default_factory=dict)
    caching: Caching | None = None
    previewed: Callable[[Any], None] | None = None


def bind(
    call: StepCall,
    *,
    run_id: str,
    flow: str,
    params: Mapping[str, Any],
    takes_input: bool,
    in_map: bool,
    failures: tuple[Failure, ...] = (),
    lane: Lane | None = None,
    caching: Caching | None = None,
    previewed: Callable[[Any], None] | None = None,
) -> BoundCall:
    """Fix a call's arguments for one run: see `arguments_of`.

    ``lane`` is the kind of lane that makes the call (default: that of the step). ``previewed``
    takes each result that is not of Python's own types, in the context of the call.
    """
    step = call.step
    args, kwargs = fresh(arguments_of(call, params, takes_input=takes_input))
    function = partial(_gathered, step.fn) if is_async_generator(step.fn) else step.fn
    if not takes_input:
        function = partial(_without_input, partial(function, *args, **kwargs))
    elif kwargs:
        function = partial(function, **kwargs)
    return BoundCall(
        invoke=function,
        name=call.name,
        run_id=run_id,
        flow=flow,
        params=params,
        is_async=step.is_async,
        lane=lane or step.lane,
        timeout=step.timeout_seconds,
        exceptions=step.retry.exceptions,
        in_map=in_map,
        failures=failures,
        secrets=redactable((*params.values(), *call.args, *call.kwargs.values())),
        resources=step.resources or {},
        caching=caching,
        previewed=previewed,
    )


def arguments_of(
    call: StepCall, params: Mapping[str, Any], *, takes_input: bool
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call besides its input: bound constants first, then flow parameters.

    A flow parameter reaches a step that declares its name or takes ``**kwargs``.
    """
    step = call.step
    names, takes_any = input_and_names(step)
    taken = set(list(step.signature.parameters)[: len(call.args)])
    if takes_input and names:
        taken.add(names[0])
    declared = {p.name for p in step.signature.parameters.values() if p.kind in _BY_NAME}
    kwargs = {
        name: value
        for name, value in params.items()
        if name not in taken and (takes_any or name in declared)
    }
    return call.args, {**kwargs, **call.kwargs}


def secrets_of(graph: FlowGraph[Any]) -> tuple[str, ...]:
    """What to redact of the secrets that a flow's calls receive."""
    calls = [call for stage in graph.stages for call in stage.calls]
    bound = [value for call in calls for value in (*call.args, *call.kwargs.values())]
    return redactable((*graph.params.values(), *bound))


def _without_input(function: Callable[[], Any], nothing: None) -> Any:
    return function()


class Context:
    """What a step may know of its call; see ``lokki.current()``.

    ``index`` is the item's index in the map's source (None outside a map); ``attempt`` counts
    from 1; ``failures``, in an aggregation, are the items that the map tolerated.
    """

    __slots__ = ("_call", "_index", "attempt")

    def __init__(self, call: BoundCall, index: int, attempt: int) -> None:
        self._call = call
        self._index = index
        self.attempt = attempt

    @property
    def run_id(self) -> str:
        return self._call.run_id

    @property
    def flow(self) -> str:
        return self._call.flow

    @property
    def step(self) -> str:
        return self._call.name

    @property
    def index(self) -> int | None:
        return self._index if self._call.in_map else None

    @property
    def params(self) -> Mapping[str, Any]:
        return self._call.params

    @property
    def failures(self) -> tuple[Failure, ...]:
        return self._call.failures

    @property
    def idempotency_key(self) -> str:
        """The same on every attempt and after every resume: run, step and index."""
        item = f"/{self._index}" if self._call.in_map else ""
        return f"{self._call.run_id}/{self._call.name}{item}"


Running: TypeAlias = list[Any]
"""The call that runs here: BoundCall, index, attempt, and the LineBuffer it last wrote to, or None.

One that has shown something, or started a thread, has a fifth: the numbers for what it shows. A
plain list, since every call makes one.
"""

# Results of these types are complete: nothing is left to read or await.
_PLAIN = frozenset({int, float, str, bytes, bool, type(None), list, tuple, dict, set})


def current() -> Context:
    """The context of the step that runs here: run id, step, index, attempt and more.

    Raises LokkiError outside a step's call.
    """
    here = running.get()
    if here is None:
        raise LokkiError("lokki.current() works only inside a step that a flow runs")
    return Context(here[0], here[1], here[2])


def numbers_of(here: Running) -> Iterator[int]:
    """The numbers for what a call shows, which its threads share."""
    if len(here) == 4:
        here.append(count())
    numbers: Iterator[int] = here[4]
    return numbers


def in_thread(here: Running) -> Running:
    """A call as it runs in a thread that it starts."""
    return [*here[:3], None, numbers_of(here)]


def call_step(call: BoundCall, value: Any, index: int, attempt: int) -> Any:
    """Call the user's function in a context of its own; for an async step, return its coroutine.

    Await that in the same context, by ``await_step`` or with ``awaited``. Whatever the function
    raises comes out unchanged; ``capture`` makes a Failure of it. A child that the function has
    forked never returns from here.
    """
    here: Running = [call, index, attempt, None]
    process = forks.count
    running.set(here)
    try:
        result = call.invoke(value)
        if call.is_async:
            return result
        if result.__class__ not in _PLAIN:
            result = _complete(call, result)
    except BaseException:
        if forks.count != process:
            forks.end_child()
        if here[3] is not None:
            here[3].end()
        raise
    if forks.count != process:
        forks.end_child()
    if here[3] is not None:
        here[3].end()
    return result


async def await_step(call: BoundCall, value: Any, index: int, attempt: int) -> Any:
    """Call an async step and await it; otherwise like ``call_step``."""
    process = forks.count
    try:
        result = awaited(call, await call_step(call, value, index, attempt))
    except BaseException:
        if forks.count != process:
            forks.end_child()
        end_lines()
        raise
    if forks.count != process:
        forks.end_child()
    return result


def awaited(call: BoundCall, result: Any) -> Any:
    """What an async step returns, given what it was awaited for; in the context of the call."""
    if result.__class__ not in _PLAIN:
        result = _complete(call, result)
    end_lines()
    return result


def end_lines() -> None:
    """Record the unfinished last line of the call; in the context of the call."""
    here = running.get()
    if here is not None and here[3] is not None:
        here[3].end()


def _complete(call: BoundCall, result: Any) -> Any:
    """The items of an iterator; raises DefinitionError for what still has to be awaited.

    The type decides what is an iterator. A file is none: its content is its value.
    """
    kind = type(result)
    if call.previewed is not None:
        call.previewed(result)
    for each in kind.__mro__:  # a lookup on the object might call its own code
        if "__next__" in each.__dict__:
            return list(result) if hasattr(kind, "__iter__") and not is_file(kind) else result
    if kind is CoroutineType:
        result.close()
        what, use = "a coroutine", "return await …"
    elif kind is AsyncGeneratorType:
        what, use = "an async generator", "return [item async for item in …]"
    else:
        return result
    where = (
        f"write '{use}'" if call.is_async else f"write the step as 'async def', with '{use}' in it"
    )
    raise DefinitionError(f"step '{call.name}' returned {what}, which nothing awaits: {where}")


def is_file(kind: type) -> bool:
    """Whether objects of a type are files. The chunk readers of pandas have ``read``, too."""
    if issubclass(kind, io.IOBase) or hasattr(kind, "write"):
        return True
    return hasattr(kind, "read") and (hasattr(kind, "readline") or hasattr(kind, "seek"))


async def _gathered(function: Callable[..., AsyncIterator[Any]], *args: Any, **kwargs: Any) -> Any:
    return [item async for item in function(*args, **kwargs)]


def unstorable(call: BoundCall, error: Exception) -> ResultError:
    """The error of a result that cannot be pickled, read back or stored.

    Whether a value can be read back may differ by attempt: some steps return errors as values.
    """
    unreadable = isinstance(error, ValueUnreadable)
    why = f"cannot be {'read back' if unreadable else 'stored'}: {error}"
    return ResultError(
        "PayloadError", f"the result of step '{call.name}' {why}", retried=unreadable
    )


def capture(call: BoundCall, index: int, attempt: int, error: BaseException) -> Failure:
    """The Failure that stands for ``error``, with a traceback of the user's frames only.

    Never raises, however odd the error is. An error without any of the user's code (a timeout) has
    no traceback. A DefinitionError is not retried, since it would come again.
    """
    with suppress(Exception):
        end_lines()
    item = index if call.in_map else None
    if type(error) is ResultError:
        reason = redacted(str(error), call.secrets)
        cause = error.__cause__ if error.retried else None
        trace = redacted(_traceback(cause), call.secrets) if cause is not None else ""
        again = error.retried and _is_one_of(PayloadError(), call.exceptions)
        return Failure(call.name, item, attempt, error.kind, reason, trace, again)
    return Failure(
        call.name,
        item,
        attempt,
        redacted(name_of(error), call.secrets),
        redacted(text_of(error), call.secrets),
        redacted(_traceback(error), call.secrets),
        _is_one_of(error, call.exceptions) and not _is_one_of(error, (DefinitionError,)),
        _asked_for(error) if _is_one_of(error, (RetryLater,)) else None,
    )


def _asked_for(error: Any) -> tuple[float, float]:
    """The pause that a RetryLater asks for, and the longest time of all of them, in seconds."""
    return error.seconds, error.most


# What follows runs code of the user's exceptions, which may raise anything.


def _traceback(error: BaseException) -> str:
    try:
        shown = summarized(error)
        return "".join(shown.format()) if cut(shown) else ""
    except BaseException as problem:
        name, why = name_of(error), name_of(problem)
        return f"<{name} whose traceback cannot be shown: {why}>\n"


def retried_as(call: BoundCall, error: BaseException, failure: Failure, *, left: bool) -> str:
    """The name to raise an error under for a reader that retries the names of the policy's classes.

    So that it decides as `Failure.retryable` does: while attempts are ``left``, a retried error has
    such a name, if need be instead of its own; one that is not retried, and has such a name by
    chance, has its module before it: ``csv.Error``. A group that its members decide on has the name
    of one of them. Under a policy of Exception, which matches any name but `never_retried`, a
    result that cannot be used has one of these, and what is retried has its module before one.
    """
    while isinstance(error, BaseExceptionGroup) and _members_decide(call, error):
        error = error.exceptions[0]
    own = failure.type if isinstance(error, ResultError) else redacted(name_of(error), call.secrets)
    if Exception in call.exceptions:
        if left and not failure.retryable:
            return ResultError.__name__ if isinstance(error, ResultError) else own
        return f"{type(error).__module__}.{own}" if left and own in never_retried() else own
    named = {each.__name__: each for each in call.exceptions}
    if left and failure.retryable:
        decisive = PayloadError() if isinstance(error, ResultError) else error
        matching = [name for name, each in named.items() if _is_one_of(decisive, (each,))]
        return own if own in matching or not matching else matching[0]
    return own if failure.retryable or own not in named else f"{type(error).__module__}.{own}"


def _members_decide(call: BoundCall, group: BaseExceptionGroup[Any]) -> bool:
    """Whether a group is retried, or is not, for what is in it, not for its own class."""
    kinds = next(
        (kinds for kinds in ((DefinitionError,), call.exceptions) if _is_one_of(group, kinds)), None
    )
    return kinds is not None and not isinstance(group, kinds)


def _is_one_of(error: BaseException, exceptions: tuple[type[BaseException], ...]) -> bool:
    """Whether an error, or every error of a group, is of one of these classes."""
    try:
        if isinstance(error, exceptions):
            return True
        grouped = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        return bool(grouped) and all(_is_one_of(each, exceptions) for each in grouped)
    except BaseException:
        return False
