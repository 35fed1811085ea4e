"""``@step`` and ``@flow``."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from lokki.chain import Executor, JobType, MapBlock, Step, StepNode, refuse_method, running
from lokki.errors import ChainTypeError, DefinitionError
from lokki.graph import FlowGraph, TaskStage
from lokki.params import Parameters
from lokki.tracing import Link, kept, tracing
from lokki.ways import Ways

if TYPE_CHECKING:
    from lokki.retry import RetryConfig
    from lokki.schedule import Overlap

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class StepDecorator(Protocol):
    """What ``@step(...)`` with options gives: the decorator itself."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Step[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, AsyncIterator[T] | Iterator[T]], /) -> Step[P, list[T]]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Step[P, R]: ...


@overload
def step(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Step[P, R]: ...
@overload
def step(fn: Callable[P, AsyncIterator[T] | Iterator[T]], /) -> Step[P, list[T]]: ...
@overload
def step(fn: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(
    *,
    retry: RetryConfig | Mapping[str, Any] | None = None,
    job_type: JobType = "lambda",
    vcpu: float | None = None,
    memory_mb: int | None = None,
    timeout_seconds: float | None = None,
    executor: Executor | None = None,
) -> StepDecorator: ...
def step(fn: Any = None, /, **options: Any) -> Any:
    """Make a function a step of flows; with options as ``@step(retry={"retries": 3})``.

    The function may be sync, async or a generator; an iterator that it returns is read to its end
    and becomes a list.

    ``retry``: a RetryConfig or its dict form (default: no retries). ``job_type``: "lambda"
    (default) or "batch", where it runs on AWS. ``vcpu``: CPUs of a Batch job. ``memory_mb``:
    memory in MiB on AWS. ``timeout_seconds``: longest duration of one call (default: none); a
    call over it fails with TimeoutError, and may be retried. ``executor``: "thread" or "process",
    where a local call runs (default: a thread; a process when there is a timeout; async functions
    run on the event loop).

    Raises DefinitionError when the options do not fit together.
    """
    known = ("retry", "job_type", "vcpu", "memory_mb", "timeout_seconds", "executor")
    for name in options:
        if name not in known:
            raise DefinitionError(f"@step has no option '{name}'; it has {', '.join(known)}")
    if fn is not None:
        return Step(fn, **options)
    return lambda function: Step(function, **options)


class Flow(Generic[P, R]):
    """A function that describes a flow: what ``@flow`` returns.

    Calling it gives the ``FlowGraph`` for these parameters, and runs nothing.
    """

    fn: Callable[P, StepNode[R] | MapBlock[Any]]
    name: str
    schedule: str | None
    timezone: str | None
    overlap: Overlap | None
    is_static: bool
    parameters: Parameters

    def __init__(
        self,
        fn: Callable[P, StepNode[R] | MapBlock[Any]],
        schedule: str | None = None,
        timezone: str | None = None,
        overlap: Overlap | None = None,
    ) -> None:
        if is_static := isinstance(fn, staticmethod):
            fn = fn.__func__
        function_name = getattr(fn, "__name__", None)
        if not callable(fn) or isinstance(fn, Step) or not isinstance(function_name, str):
            raise ChainTypeError(f"@flow wants a function, not {fn!r}")
        name = function_name.strip("_").replace("_", "-")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,59}", name):
            raise DefinitionError(
                f"flow '{name}': a flow needs a function with a name of ASCII letters, digits and "
                "'_', beginning with a letter (at most 60)"
            )
        if iscoroutinefunction(fn):
            raise DefinitionError(
                f"flow '{name}': its body describes the flow and waits for nothing; "
                "write it with def, not async def"
            )
        _check_schedule(name, schedule, timezone=timezone, overlap=overlap)
        vars(self).update(
            fn=fn,
            name=name,
            schedule=schedule,
            timezone=timezone,
            overlap=overlap,
            is_static=is_static,
            parameters=Parameters(fn, name),
            __wrapped__=fn,
            __name__=function_name,
            __qualname__=getattr(fn, "__qualname__", function_name),
            __module__=fn.__module__,
            __doc__=fn.__doc__,
        )

    def __setattr__(self, name: str, value: object = None) -> None:
        raise AttributeError(f"flow '{self.name}' is immutable; give options to @flow")

    __delattr__ = __setattr__

    def __repr__(self) -> str:
        return f"<flow {self.name}>"

    if not TYPE_CHECKING:

        def __get__(self, instance: object, owner: type | None = None) -> Any:
            refuse_method("flow", self, instance, owner)
            return self

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> FlowGraph[R]:
        """The graph of this flow for these parameters, which are checked first.

        Raises ParameterError for wrong parameters, DefinitionError for a chain that cannot work.
        """
        return self._trace(self.parameters.bind(args, kwargs))

    def trace(
        self, params: Mapping[str, Any], *, checked: Mapping[str, Any] | None = None
    ) -> FlowGraph[R]:
        """The same as calling the flow, with the parameters as a mapping of JSON or Python values.

        ``checked`` are parameters of another graph of this flow or of a recorded run, which
        ``params`` complete or replace; they are used as they are.

        Raises ParameterError for wrong parameters, DefinitionError for a chain that cannot work.
        """
        return self._trace(self.parameters.validate(params, checked=checked))

    def outline(self, given: Mapping[str, Any] | None = None) -> FlowGraph[R]:
        """The graph of this flow for its structure alone, whatever parameters it needs.

        ``given`` are checked values of parameters (default: none). The body is traced with
        stand-ins for required ones that have none: it may compute with them, and what it binds of
        them means nothing in this graph.

        Raises DefinitionError as calling the flow does, ParameterError where the body needs a value
        or the structure depends on one, and what the body raises.
        """
        given = given or {}
        ways = Ways([each for each in self.parameters if each.required and each.name not in given])
        return ways.explored(
            lambda: self._traced(self.parameters.validate({}, checked={**given, **ways.values()}))
        )

    def _trace(self, params: dict[str, Any]) -> FlowGraph[R]:
        return self._traced(params)[0]

    def _traced(self, params: dict[str, Any]) -> tuple[FlowGraph[R], list[Link]]:
        """The graph, and the links that have made its chain."""
        outside = running.set(None)  # a step may run another flow
        try:
            with tracing() as links:
                chain = cast(Any, self.fn)(**params)
        finally:
            running.reset(outside)
        if not isinstance(chain, StepNode | MapBlock):
            hint = f"call it: {chain.name}()" if isinstance(chain, Step) else "return the chain"
            raise ChainTypeError(
                f"flow '{self.name}' returned {type(chain).__name__}, not a chain of steps; "
                f"{hint}, such as: return get_items().map(work).agg(collect)"
            )
        chains = kept(links, chain, self.name)
        graph = FlowGraph(self.name, chain.stages, params, self)
        _check_arguments(graph)
        return graph, chains

    def run(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Run the flow in an engine of its own, durably, and return its result; await it.

        Raises ParameterError, DefinitionError, RunFailed, RunCancelled or JournalError.
        """
        from lokki.engine.engine import run_alone

        return run_alone(self(*args, **kwargs))

    def run_sync(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same as ``run``, blocking; works inside a running event loop (notebooks) too."""
        from lokki.engine.engine import run_blocking

        return run_blocking(self(*args, **kwargs))


def _check_schedule(
    name: str, schedule: str | None, *, timezone: str | None, overlap: str | None
) -> None:
    if schedule is None:
        for option, value in (("timezone", timezone), ("overlap", overlap)):
            if value is not None:
                raise DefinitionError(
                    f"flow '{name}': {option} is that of a schedule: give one, such as "
                    f"schedule='cron(0 9 * * ? *)', or leave {option} out"
                )
        return
    from lokki.schedule import check_overlap, parse  # few flows have one

    try:
        parse(schedule, timezone)
        check_overlap(overlap)
    except DefinitionError as error:
        raise DefinitionError(f"flow '{name}': {error}") from None


def _check_arguments(graph: FlowGraph[Any]) -> None:
    """Refuse a call that lacks an argument which neither the chain nor the flow gives it."""
    for position, call in enumerate(graph.calls):
        given = {*call.kwargs, *graph.params}
        first = position == 0 and isinstance(graph.stages[0], TaskStage)
        positions = len(call.args) if first else 1
        for index, parameter in enumerate(call.step.signature.parameters.values()):
            kind = parameter.kind
            optional = parameter.default is not parameter.empty or kind in (
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            )
            by_position = index < positions and kind is not parameter.KEYWORD_ONLY
            by_name = parameter.name in given and kind is not parameter.POSITIONAL_ONLY
            if not (optional or by_position or by_name):
                name, where = call.step.name, parameter.name
                raise DefinitionError(
                    f"flow '{graph.name}': step '{name}' needs '{where}': bind it in the chain "
                    f"({name}, {where}=…), give it a default, or make it a parameter of the flow"
                )


class FlowDecorator(Protocol):
    """What ``@flow(...)`` with options gives: the decorator itself."""

    @overload
    def __call__(self, fn: Callable[P, StepNode[R]], /) -> Flow[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, MapBlock[R]], /) -> Flow[P, list[R]]: ...


@overload
def flow(fn: Callable[P, StepNode[R]], /) -> Flow[P, R]: ...
@overload
def flow(fn: Callable[P, MapBlock[R]], /) -> Flow[P, list[R]]: ...
@overload
def flow(
    *, schedule: str | None = None, timezone: str | None = None, overlap: Overlap | None = None
) -> FlowDecorator: ...
def flow(
    fn: Any = None,
    /,
    *,
    schedule: str | None = None,
    timezone: str | None = None,
    overlap: Overlap | None = None,
) -> Any:
    """Make a function that returns a chain a flow, named after it (``birds_flow``: birds-flow).

    The body must be deterministic, and its structure the same for all parameters. ``schedule``:
    ``"rate(1 hour)"`` or ``"cron(0 9 * * ? *)"``, when the service or AWS starts it, as Amazon
    EventBridge Scheduler documents it
    (https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html). ``timezone``: a
    name of the IANA database such as ``"Europe/Helsinki"``, whose clock a ``cron(…)`` follows
    (default: UTC). ``overlap``: what the service does at a time of the schedule while an earlier
    scheduled run of the flow is queued or running: ``"skip"`` starts no run (default), ``"queue"``
    starts one that begins when the earlier ones have ended, ``"allow"`` starts one at once. On AWS
    runs may overlap always: a build refuses ``"skip"`` and ``"queue"``, and notes the default.

    Raises DefinitionError for a schedule that EventBridge Scheduler would refuse, that its
    documentation leaves open or that never happens, for an unknown time zone or overlap, and for a
    reserved parameter name.
    """
    if fn is not None:
        return Flow(fn, schedule, timezone, overlap)
    return lambda function: Flow(function, schedule, timezone, overlap)
