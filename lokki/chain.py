"""The chains that a flow's body makes of steps. Immutable: a link returns a new chain."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from inspect import ismethod
from math import inf
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, overload

from lokki.errors import ChainAttributeError, ChainTypeError, DefinitionError
from lokki.numeric import number, whole
from lokki.rate import rate_of
from lokki.stages import MapStage, Stage, StepCall, TaskStage
from lokki.standin import refuse_stand_in
from lokki.steps import MAP_OPTIONS, OPTIONS, StepDefinition, input_and_names, no_method, running
from lokki.tracing import note
from lokki.wording import nearest

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
U = TypeVar("U")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


class Takes(Protocol[T_contra, Q, R_co]):
    """A step whose first argument accepts ``T`` and whose other arguments are ``Q``."""

    def __call__(self, first: T_contra, /, *args: Q.args, **kwargs: Q.kwargs) -> StepNode[R_co]: ...


class TakesFirst(Protocol[T_contra, R_co]):
    """A step whose first argument accepts ``T``; flow parameters supply the others."""

    def __call__(self, first: T_contra, /, *args: Any, **kwargs: Any) -> StepNode[R_co]: ...


class Step(StepDefinition[P, R]):
    """A function that a flow can call: what ``@step`` returns.

    ``fn`` is the plain function, for unit tests. ``name`` is its name. The options are
    as given to ``@step``. Immutable, and equal only to itself.
    """

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in ("next", "map", "agg"):
                own = vars(self)["name"]
                raise ChainAttributeError(
                    f"a step has no '{name}', but a chain has, and a call of the step begins one: "
                    f"write {own}().{name}(…)"
                )
            raise AttributeError(f"a step has no attribute '{name}'")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.fn, {option: getattr(self, option) for option in OPTIONS})

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> StepNode[R]:
        """Begin a chain with this step and record its arguments; nothing is called yet."""
        here = running.get()
        if here is not None:
            raise DefinitionError(
                f"step '{self.name}' is called inside step '{here[0].name}', where it would return "
                f"a chain, not a result: write {self.name}.fn(…) to call its function"
            )
        try:
            self.signature.bind_partial(*args, **kwargs)
        except TypeError as error:
            raise DefinitionError(f"step '{self.name}': {error}") from None
        _refuse_chains(self, args, kwargs)
        first = TaskStage(StepCall(self, self.name, args, dict(kwargs)))
        return StepNode((first,), None, f"{self.name}()")


def _rebuild(fn: Callable[..., Any], options: dict[str, Any]) -> Step[..., Any]:
    return Step(fn, **options)


class _Chain:
    """The stages so far: those of the chain ``before``, and what the link ``words`` added."""

    __slots__ = ("stages",)

    stages: tuple[Stage, ...]

    def __init__(self, stages: tuple[Stage, ...], before: _Chain | None, words: str) -> None:
        object.__setattr__(self, "stages", stages)
        note(self, before, words)

    def __setattr__(self, name: str, value: object = None) -> None:
        raise AttributeError("a chain is immutable; every link returns a new one")

    __delattr__ = __setattr__

    def __repr__(self) -> str:
        return f"<chain of {len(self.stages)} stages ending with {self.stages[-1].name}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(f"a chain has no {name}")
            raise ChainAttributeError(
                f"a chain has no '{name}'; it has next, map and, on an open map, agg; "
                + _no_result(self)
            )

        def __eq__(self, other: object) -> bool:
            if other is None or isinstance(other, _Chain):
                return self is other
            raise ChainTypeError(f"a chain cannot be compared: {_no_result(self)}")

        __hash__ = object.__hash__


def _no_result(chain: _Chain) -> str:
    name = chain.stages[-1].calls[-1].step.name
    return (
        f"step '{name}' has no result while the flow is described; write a step that does this "
        "with the result, and link it: .next(step), or .map(step) for each item of a list"
    )


def _refusing(use: str) -> Callable[..., Any]:
    def refuse(self: _Chain, *args: object) -> Any:
        raise ChainTypeError(f"a chain cannot be {use}: {_no_result(self)}")

    return refuse


_NO_USES = {
    "calculated with": "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor "
    "or radd rsub rmul rmatmul rtruediv rfloordiv rmod rdivmod rpow rlshift rrshift rand rxor ror "
    "neg pos abs invert round trunc floor ceil int float complex index",
    "compared": "lt le gt ge",
    "asked whether it is true": "bool",
    "looped over": "iter reversed",
    "looked into": "getitem len contains",
    "formatted": "format",
    "called": "call",
    "changed": "setitem delitem",
}
for _use, _names_of in _NO_USES.items():
    for _each in _names_of.split():
        setattr(_Chain, f"__{_each}__", _refusing(_use))


class StepNode(_Chain, Generic[R_co]):
    """A chain whose last call returns one value of type ``R``."""

    __slots__ = ()

    @overload
    def next(
        self: StepNode[T], step: Takes[T, Q, U], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> StepNode[U]: ...
    @overload
    def next(self: StepNode[T], step: TakesFirst[T, U], /) -> StepNode[U]: ...
    def next(self, step: Any, /, *args: Any, **kwargs: Any) -> StepNode[Any]:
        """Call ``step`` with the result so far. Keyword arguments are bound as constants."""
        stage = TaskStage(_linked("next", step, args, kwargs))
        return StepNode((*self.stages, stage), self, f".next({stage.name})")

    @overload
    def map(
        self: StepNode[Iterable[T]],
        step: Takes[T, Q, U],
        /,
        concurrency_limit: int | None = None,
        batch_size: int | None = None,
        tolerated_failures: float = 0,
        direct_pass: bool = False,
        rate_limit: str | None = None,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> MapBlock[U]: ...
    @overload
    def map(
        self: StepNode[Iterable[T]],
        step: TakesFirst[T, U],
        /,
        *,
        concurrency_limit: int | None = None,
        batch_size: int | None = None,
        tolerated_failures: float = 0,
        direct_pass: bool = False,
        rate_limit: str | None = None,
    ) -> MapBlock[U]: ...
    @overload
    def map(
        self: StepNode[Iterable[Any]],
        step: Sequence[Step[..., Any]],
        /,
        *,
        concurrency_limit: int | None = None,
        batch_size: int | None = None,
        tolerated_failures: float = 0,
        direct_pass: bool = False,
        rate_limit: str | None = None,
    ) -> MapBlock[Any]: ...
    def map(self, step: Any, /, *args: Any, **kwargs: Any) -> MapBlock[Any]:
        """Open a map: ``step`` is called for each item of the result so far.

        ``step`` may be a list, ``[b, c]``, which stands for ``.map(b).next(c)``.
        ``concurrency_limit``: most items at a time (default: the engine's limit).
        ``batch_size``: items handed out at a time (default: the engine decides).
        ``tolerated_failures``: how many items, or (a float below 1) what share of them, may fail
        without failing the run (default 0). ``direct_pass``: on AWS, one invocation runs an item's
        whole inner chain (default False). ``rate_limit``: how many items begin at most in a second,
        minute or hour, evenly: ``"50/s"``, ``"100/m"``, ``"1000/h"`` (default: any number). Other
        keyword arguments are bound as constants.
        """
        steps = list(step) if isinstance(step, list | tuple) else [step]
        options = {name: kwargs.pop(name) for name in _options_in(kwargs, steps)}
        if not steps:
            raise DefinitionError(".map([]) has no step: give at least one")
        if len(steps) > 1 and kwargs:
            raise DefinitionError(
                f".map([…], {next(iter(kwargs))}=…) does not say which step gets the constant; "
                "write .map(first, …).next(second, …)"
            )
        inner = tuple(_linked("map", each, args, kwargs) for each in steps)
        block = MapStage(inner, **_checked(options))
        names = ", ".join(call.name for call in inner)
        words = f".map({names})" if len(inner) == 1 else f".map([{names}])"
        return MapBlock((*self.stages, block), self, words)

    if not TYPE_CHECKING:

        def agg(self, step: Any, /, *args: Any, **kwargs: Any) -> Any:
            raise ChainTypeError(
                f".agg({_name(step)}) closes a map, but none is open; "
                f"write .map(…).agg({_name(step)}), or .next({_name(step)}) for a single value"
            )


class MapBlock(_Chain, Generic[R_co]):
    """An open map: a chain whose inner calls return one value of type ``R`` for each item."""

    __slots__ = ()

    @overload
    def next(
        self: MapBlock[T], step: Takes[T, Q, U], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> MapBlock[U]: ...
    @overload
    def next(self: MapBlock[T], step: TakesFirst[T, U], /) -> MapBlock[U]: ...
    def next(self, step: Any, /, *args: Any, **kwargs: Any) -> MapBlock[Any]:
        """Call ``step`` for each item, with the item's result so far."""
        return self._append("next", step, args, kwargs)

    @overload
    def map(
        self: MapBlock[T], step: Takes[T, Q, U], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> MapBlock[U]: ...
    @overload
    def map(self: MapBlock[T], step: TakesFirst[T, U], /) -> MapBlock[U]: ...
    def map(self, step: Any, /, *args: Any, **kwargs: Any) -> MapBlock[Any]:
        """The same as ``next``: the block is open already."""
        for option in MAP_OPTIONS:
            if option in kwargs:
                raise DefinitionError(
                    f"{option} belongs to the .map() that opens the block, "
                    f"not to .map({_name(step)}) inside it"
                )
        return self._append("map", step, args, kwargs)

    @overload
    def agg(
        self: MapBlock[T], step: Takes[list[T], Q, U], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> StepNode[U]: ...
    @overload
    def agg(self: MapBlock[T], step: TakesFirst[list[T], U], /) -> StepNode[U]: ...
    def agg(self, step: Any, /, *args: Any, **kwargs: Any) -> StepNode[Any]:
        """Close the map: ``step`` receives the list of results, in the order of the source."""
        stage = TaskStage(_linked("agg", step, args, kwargs))
        return StepNode((*self.stages, stage), self, f".agg({stage.name})")

    def _append(
        self, verb: str, step: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> MapBlock[Any]:
        *before, block = self.stages
        assert isinstance(block, MapStage)
        call = _linked(verb, step, args, kwargs)
        grown = replace(block, inner=(*block.inner, call))
        return MapBlock((*before, grown), self, f".{verb}({call.name})")


def _linked(verb: str, step: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> StepCall:
    """The call that ``.verb(step, *args, **kwargs)`` stands for, checked."""
    if isinstance(step, StepNode | MapBlock):
        nested = any(isinstance(stage, MapStage) for stage in step.stages)
        raise ChainTypeError(
            f".{verb}() got a chain with a map of its own, but maps do not nest: close this map "
            "with .agg() first, or do the inner loop inside a step"
            if nested
            else f".{verb}() takes the step itself, not a call of it: write "
            f".{verb}({step.stages[0].name}), without parentheses"
        )
    if isinstance(step, list | tuple):
        raise ChainTypeError(
            f".{verb}([…]): only the .map() that opens a block takes a list; link the steps one "
            "by one with .next()"
        )
    if ismethod(step):
        function: Any = step.__func__
        raise no_method("step", function.fn if isinstance(function, Step) else function)
    if not isinstance(step, Step):
        raise ChainTypeError(
            f".{verb}({_name(step)}) takes a step: decorate {_name(step)} with @step"
        )
    _refuse_chains(step, args, kwargs)
    if args:
        raise DefinitionError(
            f".{verb}({step.name}, {args[0]!r}): bind constants by name, "
            f"such as .{verb}({step.name}, factor={args[0]!r})"
        )
    names, takes_any = input_and_names(step)
    if names is None:
        raise DefinitionError(
            f"step '{step.name}' takes no argument, but .{verb}({step.name}) calls it with the "
            "previous result: give it a parameter"
        )
    for name in kwargs:
        if name == names[0]:
            raise DefinitionError(
                f".{verb}({step.name}, {name}=…): '{name}' is the step's input and comes from "
                "the previous call; bind another parameter"
            )
        if name not in names and not takes_any:
            known = f"it takes {', '.join(names[1:])}" if names[1:] else ""
            near = nearest(name, [*names[1:], *(MAP_OPTIONS if verb == "map" else ())])
            hint = f"did you mean '{near}'?" if near else known
            raise DefinitionError(
                f".{verb}({step.name}, {name}=…): step '{step.name}' takes no '{name}'"
                + (f"; {hint}" if hint else "")
            )
    return StepCall(step, step.name, (), dict(kwargs))


def _refuse_chains(step: Step[..., Any], args: Iterable[Any], kwargs: Mapping[str, Any]) -> None:
    if any(isinstance(value, _Chain) for value in (*args, *kwargs.values())):
        raise ChainTypeError(
            f"step '{step.name}' got a chain as an argument; "
            f"link it instead: first_step().next({step.name})"
        )


def _options_in(kwargs: Mapping[str, Any], steps: Sequence[Any]) -> list[str]:
    """The options of a map among its arguments: a step's own parameter 'rate_limit' is none."""
    names = [each.signature.parameters for each in steps if isinstance(each, Step)]
    return [
        option
        for option in MAP_OPTIONS
        if option in kwargs and not any(option in parameters for parameters in names)
    ]


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    for name, value in options.items():
        refuse_stand_in(value, f"{name} of .map() is {{}}")
    for name in ("concurrency_limit", "batch_size"):
        value = options.get(name)
        if value is not None and ((count := whole(value)) is None or count < 1):
            raise DefinitionError(f"{name} must be a whole number from 1, not {value!r}")
    tolerated = number(options.get("tolerated_failures", 0))
    if tolerated is None or not 0 <= tolerated <= (1 if isinstance(tolerated, float) else inf):
        raise DefinitionError(
            "tolerated_failures must be a number of items (5) or a share from 0.0 to 1.0 "
            f"(0.05), not {options['tolerated_failures']!r}"
        )
    if not isinstance(options.get("direct_pass", False), bool):
        raise DefinitionError(f"direct_pass must be True or False, not {options['direct_pass']!r}")
    counts = ("concurrency_limit", "batch_size", "tolerated_failures")
    numbers = {name: number(value) for name, value in options.items() if name in counts}
    rate = options.get("rate_limit")
    if rate is not None:
        try:
            rate = rate_of(rate)
        except ValueError as error:
            raise DefinitionError(f"rate_limit {error}") from None
    return {**options, **numbers, "rate_limit": rate}


def _name(thing: object) -> str:
    return getattr(thing, "__name__", None) or repr(thing)
