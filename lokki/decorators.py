"""``@step`` and ``@flow``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from lokki.chain import MapBlock, Step, StepNode
from lokki.errors import DefinitionError
from lokki.graph import FlowDefinition
from lokki.retry import RETRY_OPTIONS, in_dict
from lokki.steps import OPTIONS, Executor, JobType
from lokki.tracing import here, place_of, placed
from lokki.wording import nearest

if TYPE_CHECKING:
    from lokki.resumption import ResumeOptions
    from lokki.retry import RetryConfig
    from lokki.schedule import Overlap
    from lokki.target import Target

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class StepDecorator(Protocol):
    """What ``@step(...)`` with options returns: the decorator."""

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
    gpu: int | None = None,
    memory_mb: int | None = None,
    ephemeral_storage: int | None = None,
    timeout_seconds: float | None = None,
    executor: Executor | None = None,
    resources: Mapping[str, float] | None = None,
    limit: str | None = None,
    cache: str | None = None,
    cache_version: int | str | None = None,
) -> StepDecorator: ...
def step(fn: Any = None, /, **options: Any) -> Any:
    """Make a function a step; with options: ``@step(retry={"retries": 3})``.

    The function may be sync, async or a generator. An iterator that it returns is read to its end
    and becomes a list.

    ``retry``: a RetryConfig or its dict form (default: no retries). ``job_type``: "lambda"
    (default) or "batch", where it runs on AWS. ``vcpu`` and ``gpu``: CPUs and GPUs of a Batch job
    (default: no GPU). ``memory_mb``: memory in MiB on AWS. ``ephemeral_storage``: MiB of disk on
    AWS, which are ``/tmp`` in Lambda (default: what a function or job always has).
    ``timeout_seconds``: longest duration of one call (default: none); a call over it fails with
    TimeoutError, and may be retried. ``executor``: "thread", "process" or "dask", where a call runs
    that is not on AWS (default: a thread; a process when there is a timeout; async functions run on
    the event loop; in a map, and with a cluster, sync functions run on Dask). ``resources``: what
    the Dask worker must have, such as ``{"GPU": 1}`` (default: nothing). ``limit``: the name of one
    of the ``[limits]`` of the configuration: a rate, or a number of calls at a time, that all runs
    with the same journal share (default: none). ``cache``: for how long a result stands for other
    calls with the same code, arguments and input, in any run: ``"90s"``, ``"30m"``, ``"2h"``,
    ``"7d"`` or ``"4w"`` (default: every call is made). ``cache_version``: another number or text
    has all results made again, after a change that is not in the function or its module, such as
    another version of a library.

    Raises DefinitionError when the options do not fit together.
    """
    place = place_of(*here())
    with placed(place):
        for name, value in options.items():
            if name not in OPTIONS:
                raise DefinitionError(f"@step has no option '{name}'; {_instead(name, value)}")

    def made(function: Any) -> Any:
        with placed(place):
            return Step(function, **options)

    return made if fn is None else made(fn)


def _instead(name: str, value: object) -> str:
    """What to write instead of an option that ``@step`` does not have."""
    if name in RETRY_OPTIONS:
        return in_dict(name, value)
    near = nearest(name, OPTIONS)
    return f"did you mean '{near}'?" if near else f"it has {', '.join(OPTIONS)}"


class Flow(FlowDefinition[P, R]):
    """A function that describes a flow: what ``@flow`` returns.

    A call returns the ``FlowGraph`` for these parameters and runs nothing.
    """

    def run(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Run the flow in an engine of its own, durably, and return its result; await it.

        Raises ParameterError, DefinitionError, RunFailed, RunCancelled or JournalError.
        """
        from lokki.alone import run_alone

        return run_alone(self(*args, **kwargs))

    def run_sync(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same as ``run``, blocking. Works inside a running event loop (a notebook), too."""
        from lokki.alone import run_alone
        from lokki.synchronous import blocking

        return blocking(run_alone(self(*args, **kwargs)))

    def resume(
        self,
        run_id: str,
        again: ResumeOptions | None = None,
        *,
        secrets: Mapping[str, Any] | None = None,
    ) -> Coroutine[Any, Any, R]:
        """Resume a run of this flow in an engine of its own, and return its result; await it.

        ``run_id`` is its id, the beginning of it, or ``last`` for the newest run of the flow. The
        others, and what is raised, are as for `Engine.resume` and `run`.
        """
        from lokki.alone import resume_alone

        return resume_alone(self, run_id, again, secrets)

    def resume_sync(
        self,
        run_id: str,
        again: ResumeOptions | None = None,
        *,
        secrets: Mapping[str, Any] | None = None,
    ) -> R:
        """The same as ``resume``, blocking, like ``run_sync``."""
        from lokki.synchronous import blocking

        return blocking(self.resume(run_id, again, secrets=secrets))


class FlowDecorator(Protocol):
    """What ``@flow(...)`` with options returns: the decorator."""

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
    *,
    schedule: str | None = None,
    timezone: str | None = None,
    overlap: Overlap | None = None,
    tags: Iterable[str] = (),
    target: Target | None = None,
) -> FlowDecorator: ...
def flow(
    fn: Any = None,
    /,
    *,
    schedule: str | None = None,
    timezone: str | None = None,
    overlap: Overlap | None = None,
    tags: Iterable[str] = (),
    target: Target | None = None,
) -> Any:
    """Make a flow of a function that returns a chain; ``birds_flow`` becomes birds-flow.

    The body must be deterministic, and its structure the same for all parameters. ``schedule``:
    when the service or AWS starts the flow, ``"rate(1 hour)"``, ``"cron(0 9 * * ? *)"`` or, for
    one run, ``"at(2030-01-31T09:00:00)"``, as Amazon EventBridge Scheduler documents it
    (https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html). ``timezone``: the
    IANA name of the time zone that a ``cron(…)`` or ``at(…)`` follows, such as
    ``"Europe/Helsinki"`` (default: UTC). ``overlap``: what the service does at a time of the
    schedule while an earlier scheduled run of the flow is queued or running. ``"skip"`` starts no
    run (default), ``"queue"`` starts one that waits for the earlier ones to end, ``"allow"`` starts
    one at once. On AWS, runs may always overlap: a build refuses ``"skip"`` and ``"queue"``, and
    notes the default. ``tags``: words that are recorded with each run, to find it by (default:
    none); a run may be given more. ``target``: what runs the flow on AWS, ``"stepfunctions"``, a
    state machine, or ``"durable"``, a durable function of Lambda (default: the configured
    ``aws.target``).

    Raises DefinitionError for a schedule that never happens, that EventBridge Scheduler would
    refuse or that its documentation leaves open, for an unknown time zone, overlap or target, for
    what is no tag, and for a reserved parameter name.
    """
    if fn is not None:
        return Flow(fn, schedule, timezone, overlap, tags, target)
    return lambda function: Flow(function, schedule, timezone, overlap, tags, target)
