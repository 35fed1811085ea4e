"""What a flow is: a function that describes it, and the immutable list of stages that it returns.

Everything else reads these; nothing changes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from lokki.chain import MapBlock, StepNode
from lokki.errors import ChainTypeError, DefinitionError
from lokki.model import structure
from lokki.model.structure import Structure, text_of
from lokki.params import Parameters
from lokki.stages import MapStage, Stage, StepCall, TaskStage
from lokki.steps import StepDefinition, refuse_method, running
from lokki.tags import checked_tags
from lokki.target import check_target
from lokki.tracing import Link, kept, place_of_function, tracing
from lokki.ways import Ways

if TYPE_CHECKING:
    from lokki.schedule import Overlap
    from lokki.target import Target

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

MOST_STAGES = 256


@dataclass(frozen=True, repr=False)
class FlowGraph(Generic[R_co]):
    """A traced flow: its name, its stages, and the parameters that it was traced with.

    ``flow`` is the decorated function it comes from, None for a graph built by hand.
    """

    name: str
    stages: tuple[Stage, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    flow: FlowDefinition[..., R_co] | None = None

    def __post_init__(self) -> None:
        if len(self.stages) > MOST_STAGES:
            raise DefinitionError(
                f"flow '{self.name}' has {len(self.stages)} stages, but at most {MOST_STAGES} "
                "are possible: put several steps into one, or split the flow"
            )
        steps: dict[str, StepDefinition[..., Any]] = {}
        used: dict[str, int] = {}

        def named(call: StepCall) -> StepCall:
            step = call.step
            if steps.setdefault(step.name, step) is not step:
                raise DefinitionError(
                    f"flow '{self.name}' uses two different steps named '{step.name}' "
                    f"(from {steps[step.name].__module__} and {step.__module__}): rename one"
                )
            used[step.name] = used.get(step.name, 0) + 1
            count = used[step.name]
            return replace(call, name=step.name if count == 1 else f"{step.name}-{count}")

        object.__setattr__(
            self,
            "stages",
            tuple(
                replace(stage, call=named(stage.call))
                if isinstance(stage, TaskStage)
                else replace(stage, inner=tuple(named(call) for call in stage.inner))
                for stage in self.stages
            ),
        )

    def __repr__(self) -> str:
        name = self.name.replace("-", "_")
        how = f"; run it with {name}.run_sync(…) or await {name}.run(…)" if self.flow else ""
        return f"<flow {self.name}: {self.shape}{how}>"

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    @property
    def calls(self) -> Iterator[StepCall]:
        """Every call of the graph, in chain order."""
        return (call for stage in self.stages for call in stage.calls)

    @property
    def shape(self) -> str:
        """The structure in one line, for people: ``get_birds → map(flap_bird) → join_birds``."""
        return text_of(self.structure)

    @property
    def structure(self) -> Structure:
        """The structure as data."""
        return [
            structure.stage(
                "map" if isinstance(stage, MapStage) else "task",
                [call.name for call in stage.calls],
            )
            for stage in self.stages
        ]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the structure: stages and names, without code, bound values and limits."""
        from hashlib import sha256

        return sha256(self.shape.encode()).hexdigest()[:16]


class FlowDefinition(Generic[P, R]):
    """A function that describes a flow, and what is known about it without parameters."""

    fn: Callable[P, StepNode[R] | MapBlock[Any]]
    name: str
    schedule: str | None
    timezone: str | None
    overlap: Overlap | None
    tags: tuple[str, ...]
    target: Target | None
    is_static: bool
    parameters: Parameters

    def __init__(
        self,
        fn: Callable[P, StepNode[R] | MapBlock[Any]],
        schedule: str | None = None,
        timezone: str | None = None,
        overlap: Overlap | None = None,
        tags: Iterable[str] = (),
        target: Target | None = None,
    ) -> None:
        if is_static := isinstance(fn, staticmethod):
            fn = fn.__func__
        function_name = getattr(fn, "__name__", None)
        if not callable(fn) or isinstance(fn, StepDefinition) or not isinstance(function_name, str):
            raise ChainTypeError(f"@flow takes a function, not {fn!r}")
        name = function_name.strip("_").replace("_", "-")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,59}", name):
            raise DefinitionError(
                f"flow '{name}': the function's name must consist of at most 60 ASCII letters, "
                "digits and '_', and begin with a letter"
            )
        if iscoroutinefunction(fn):
            raise DefinitionError(
                f"flow '{name}': its body only describes the flow and awaits nothing; "
                "write def, not async def"
            )
        _check_schedule(name, schedule, timezone=timezone, overlap=overlap)
        with _naming(name):
            check_target(target)
            tags = checked_tags(tags)
        vars(self).update(
            fn=fn,
            name=name,
            schedule=schedule,
            timezone=timezone,
            overlap=overlap,
            tags=tags,
            target=target,
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
        """The graph of this flow for these parameters, once they are checked.

        Raises ParameterError for wrong parameters, DefinitionError for a chain that cannot work.
        """
        return self._trace(self.parameters.bind(args, kwargs))

    def trace(
        self, params: Mapping[str, Any], *, checked: Mapping[str, Any] | None = None
    ) -> FlowGraph[R]:
        """The same as calling the flow, with the parameters as a mapping of JSON or Python values.

        ``checked`` are parameters of another graph of this flow or of a recorded run, used as they
        are; ``params`` adds to them or replaces them.

        Raises ParameterError for wrong parameters, DefinitionError for a chain that cannot work.
        """
        return self._trace(self.parameters.validate(params, checked=checked))

    def outline(self, given: Mapping[str, Any] | None = None) -> FlowGraph[R]:
        """The graph of this flow for its structure alone, whatever parameters it needs.

        ``given`` are checked values of parameters (default: none). The body is traced with
        stand-ins for required parameters without a value. It may compute with them; constants
        that it binds from them have no meaning in this graph.

        Raises DefinitionError as a call of the flow does, ParameterError where the body needs a
        value or the structure depends on one, and whatever the body raises.
        """
        given = given or {}
        ways = Ways([each for each in self.parameters if each.required and each.name not in given])
        return ways.explored(
            lambda: self._traced(self.parameters.validate({}, checked={**given, **ways.values()}))
        )

    def _trace(self, params: dict[str, Any]) -> FlowGraph[R]:
        return self._traced(params)[0]

    def _traced(self, params: dict[str, Any]) -> tuple[FlowGraph[R], list[Link]]:
        """The graph, and the links that made its chain."""
        outside = running.set(None)  # a step may run another flow
        try:
            with tracing() as links:
                chain = cast(Any, self.fn)(**params)
        finally:
            running.reset(outside)
        if not isinstance(chain, StepNode | MapBlock):
            hint = (
                f"call it: {chain.name}()"
                if isinstance(chain, StepDefinition)
                else "return the chain"
            )
            error = ChainTypeError(
                f"flow '{self.name}' returned {type(chain).__name__}, not a chain of steps; "
                f"{hint}, such as: return get_items().map(work).agg(collect)"
            )
            error.place = place_of_function(self.fn)
            raise error
        chains = kept(links, chain, self.name)
        graph = FlowGraph(self.name, chain.stages, params, self)
        _check_arguments(graph, chains)
        return graph, chains


def _check_schedule(
    name: str, schedule: str | None, *, timezone: str | None, overlap: str | None
) -> None:
    if schedule is None:
        for option, value in (("timezone", timezone), ("overlap", overlap)):
            if value is not None:
                raise DefinitionError(
                    f"flow '{name}': {option} needs a schedule: give one, such as "
                    f"schedule='cron(0 9 * * ? *)', or leave {option} out"
                )
        return
    from lokki.schedule import check_overlap, parse  # few flows have one

    with _naming(name):
        parse(schedule, timezone)
        check_overlap(overlap)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Within, a DefinitionError names the flow."""
    try:
        yield
    except DefinitionError as error:
        raise DefinitionError(f"flow '{name}': {error}") from None


def _check_arguments(graph: FlowGraph[Any], links: list[Link]) -> None:
    """Refuse a call with an argument that neither the chain nor the flow supplies."""
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
                error = DefinitionError(
                    f"flow '{graph.name}': step '{name}' needs '{where}': bind it in the chain "
                    f"({name}, {where}=…), give it a default, or make it a parameter of the flow"
                )
                error.place = _place_of_call(position, links)
                raise error


def _place_of_call(position: int, links: list[Link]) -> str:
    """The line of the link that added a call; ``links`` are those of its chain, in order."""
    for link in links:
        chain = cast("StepNode[Any] | MapBlock[Any]", link.chain)
        if sum(len(stage.calls) for stage in chain.stages) > position:
            return link.place
    return ""
