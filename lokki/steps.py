"""What a step is: a function and the options of its calls."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import cached_property
from inspect import (
    Parameter,
    Signature,
    isasyncgenfunction,
    iscoroutinefunction,
)
from math import inf
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar

from lokki.deferred import signature
from lokki.durations import seconds_of
from lokki.errors import ChainTypeError, DefinitionError
from lokki.numeric import number
from lokki.retry import RetryConfig

P = ParamSpec("P")
R = TypeVar("R")

JobType = Literal["lambda", "batch"]
Executor = Literal["thread", "process", "dask"]
Lane = Literal["thread", "process", "async", "dask"]
OPTIONS = (
    "retry",
    "job_type",
    "vcpu",
    "gpu",
    "memory_mb",
    "ephemeral_storage",
    "timeout_seconds",
    "executor",
    "resources",
    "limit",
    "cache",
    "cache_version",
)
"""The options of ``@step``."""
MAP_OPTIONS = (
    "concurrency_limit",
    "batch_size",
    "tolerated_failures",
    "direct_pass",
    "rate_limit",
)
_WHOLE = ("gpu", "memory_mb", "ephemeral_storage")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}")

lanes_defined: set[Lane] = set()
"""The lanes of all steps that this process has defined."""

running: ContextVar[list[Any] | None] = ContextVar("lokki_running", default=None)
"""The call of a step that runs here, its BoundCall first; see `lokki.call`."""


class StepDefinition(Generic[P, R]):
    """A function and how to call it: what is needed to run a step."""

    fn: Callable[P, Any]
    name: str
    retry: RetryConfig
    job_type: JobType
    vcpu: float | None
    gpu: int | None
    memory_mb: int | None
    ephemeral_storage: int | None
    timeout_seconds: float | None
    executor: Executor | None
    resources: Mapping[str, float] | None
    limit: str | None
    cache: str | None
    cache_version: int | str | None

    def __init__(
        self,
        fn: Callable[P, Any],
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
    ) -> None:
        if is_static := isinstance(fn, staticmethod):
            fn = fn.__func__
        name = getattr(fn, "__name__", None)
        if isinstance(fn, classmethod):
            raise no_method("step", fn.__func__)
        if isinstance(fn, StepDefinition) or not callable(fn) or not isinstance(name, str):
            raise ChainTypeError(f"@step takes a function, not {fn!r}")
        vars(self).update(
            fn=fn,
            name=name,
            retry=RetryConfig.of(retry),
            job_type=job_type,
            vcpu=vcpu,
            gpu=gpu,
            memory_mb=memory_mb,
            ephemeral_storage=ephemeral_storage,
            timeout_seconds=timeout_seconds,
            executor=executor,
            resources=resources,
            limit=limit,
            cache=cache,
            cache_version=cache_version,
            is_async=_is(iscoroutinefunction, fn) or is_async_generator(fn),
            is_static=is_static,
            __wrapped__=fn,
            __name__=name,
            __qualname__=getattr(fn, "__qualname__", name),
            __module__=getattr(fn, "__module__", None),
            __doc__=fn.__doc__,
        )
        self._check()
        lanes_defined.add(self.lane)

    is_async: bool
    is_static: bool

    def _check(self) -> None:
        def refuse(why: str) -> DefinitionError:
            return DefinitionError(f"step '{self.name}': {why}")

        if not _NAME.fullmatch(self.name):
            raise refuse(
                "the function's name must consist of at most 60 ASCII letters, digits and '_': "
                "write it with def"
            )
        if self.job_type not in ("lambda", "batch"):
            raise refuse(f"job_type must be 'lambda' or 'batch', not {self.job_type!r}")
        if self.executor not in (None, "thread", "process", "dask"):
            raise refuse(f"executor must be 'thread', 'process' or 'dask', not {self.executor!r}")
        if self.limit is not None and not (
            isinstance(self.limit, str) and _NAME.fullmatch(self.limit)
        ):
            raise refuse(
                f"limit must be the name of one of the [limits], such as 'openai', not "
                f"{self.limit!r}"
            )
        for option in ("vcpu", *_WHOLE, "timeout_seconds"):
            given = getattr(self, option)
            value = number(given)
            if given is not None and not (value is not None and 0 < value < inf):
                raise refuse(f"{option} must be a number above 0, not {given!r}")
            if option in _WHOLE and isinstance(value, float):
                raise refuse(f"{option} must be a whole number, not {value!r}")
            vars(self)[option] = value
        if self.vcpu is not None and self.job_type == "lambda":
            raise refuse(
                "vcpu is for job_type='batch'; Lambda assigns CPU by memory: set memory_mb"
            )
        if self.gpu is not None and self.job_type == "lambda":
            raise refuse("gpu is for job_type='batch'; Lambda has none")
        self._check_resources(refuse)
        self._check_cache(refuse)
        try:
            parameters = self.signature.parameters
        except (TypeError, ValueError):
            raise refuse("its signature is unknown; call it from a function of your own") from None
        for option in MAP_OPTIONS:
            if option in parameters and option != "rate_limit":  # which 0.1 did not have
                raise refuse(f"the parameter name '{option}' is reserved for .map(); rename it")
        if self.executor == "thread" and self.is_async:
            raise refuse("an async step runs on the event loop; leave out executor='thread'")
        if self.executor == "thread" and self.timeout_seconds is not None:
            raise refuse(
                "a thread cannot be stopped, so executor='thread' cannot keep timeout_seconds; "
                "leave executor out (a process is used) or use executor='process'"
            )

    def _check_resources(self, refuse: Callable[[str], DefinitionError]) -> None:
        if self.resources is None:
            return
        if self.executor != "dask":
            raise refuse("resources are those of Dask workers: add executor='dask'")
        if not isinstance(self.resources, Mapping):
            raise refuse(f"resources must be a dict like {{'GPU': 1}}, not {self.resources!r}")
        for name, given in self.resources.items():
            value = number(given)
            if not isinstance(name, str) or value is None or not 0 < value < inf:
                raise refuse(
                    "resources must be names and numbers above 0, like {'GPU': 1}, "
                    f"not {name!r}: {given!r}"
                )
        vars(self)["resources"] = dict(self.resources)

    def _check_cache(self, refuse: Callable[[str], DefinitionError]) -> None:
        if self.cache is None:
            if self.cache_version is not None:
                raise refuse("cache_version is for cached results: add cache='7d', say")
            return
        try:
            seconds_of(self.cache)
        except ValueError as error:
            raise refuse(f"cache {error}") from None
        if self.cache_version is not None and type(self.cache_version) not in (int, str):
            raise refuse(f"cache_version must be a number or a text, not {self.cache_version!r}")

    def __setattr__(self, name: str, value: object = None) -> None:
        raise AttributeError(f"step '{self.name}' is immutable; give options to @step")

    __delattr__ = __setattr__

    def __repr__(self) -> str:
        return f"<step {self.name}>"

    @property
    def lane(self) -> Lane:
        """Where a call of it runs without a cluster: a sync step with a timeout needs a process."""
        if self.executor == "dask":
            return "dask"
        if self.executor == "process" or (self.timeout_seconds and not self.is_async):
            return "process"
        return "async" if self.is_async else "thread"

    @cached_property
    def signature(self) -> Signature:
        return signature(self.fn)

    if not TYPE_CHECKING:

        def __get__(self, instance: object, owner: type | None = None) -> Any:
            refuse_method("step", self, instance, owner)
            return self


def refuse_method(kind: str, made: Any, instance: object, owner: type | None) -> None:
    """Refuse a step or flow that was decorated as a method, when Python binds it.

    A function that is looked up in the class itself is no method, unless its first parameter is
    ``self`` or ``cls``. Raises ChainTypeError.
    """
    fn, classes = made.fn, (owner or type(instance)).__mro__
    names = [f"{each.__qualname__}.{getattr(fn, '__name__', '')}" for each in classes]
    if made.is_static or getattr(fn, "__qualname__", "") not in names:
        return  # a step of a module may be an attribute of a class, too
    if instance is not None or next(iter(signature(fn).parameters), "") in ("self", "cls"):
        raise no_method(kind, fn)


def no_method(kind: str, fn: Callable[..., Any]) -> ChainTypeError:
    lacks = next(iter(signature(fn).parameters), "self")
    return ChainTypeError(
        f"{kind} '{fn.__name__}' is a method, but nothing supplies its '{lacks}': write it as a "
        f"function outside the class, or put @staticmethod above @{kind}; pass what it needs from "
        "the object in its input, as a constant or as a parameter of the flow"
    )


def is_async_generator(fn: object) -> bool:
    return _is(isasyncgenfunction, fn)


def _is(kind: Callable[[object], bool], fn: object) -> bool:
    """Whether a function, or the ``__call__`` of another callable object, is of a kind."""
    return kind(fn) or kind(type(fn).__call__)


def input_and_names(step: StepDefinition[..., Any]) -> tuple[list[str] | None, bool]:
    """The parameters that a step takes by name, its input first, and whether it takes any other.

    The input is the first positional parameter ('' for ``*args``); None instead of the list when
    there is none.
    """
    parameters = list(step.signature.parameters.values())
    takes_any = any(p.kind is Parameter.VAR_KEYWORD for p in parameters)
    first = parameters[0] if parameters else None
    if first is None or first.kind in (Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD):
        return None, takes_any
    rest = [
        p.name
        for p in parameters[1:]
        if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    ]
    return ["" if first.kind is Parameter.VAR_POSITIONAL else first.name, *rest], takes_any
