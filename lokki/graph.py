"""What a flow is: an immutable list of stages. Everything else reads it, nothing changes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lokki.errors import DefinitionError

if TYPE_CHECKING:
    from lokki.chain import Step
    from lokki.decorators import Flow

R_co = TypeVar("R_co", covariant=True)

MOST_STAGES = 256


@dataclass(frozen=True, slots=True)
class StepCall:
    """One use of a step in a flow, with the constants bound to it in the chain.

    ``name`` is unique in its graph: the second use of ``clean`` is ``clean-2``. ``args`` is empty
    but for the first call of a flow, which has no input from a call before it.
    """

    step: Step[..., Any]
    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskStage:
    """A step that is called once, with the whole result of the stage before it."""

    call: StepCall

    @property
    def name(self) -> str:
        return self.call.name

    @property
    def calls(self) -> tuple[StepCall, ...]:
        return (self.call,)


@dataclass(frozen=True, slots=True)
class MapStage:
    """An inner chain that is run for each item of the stage before it.

    ``concurrency_limit``: most items at a time (None: the engine's limit). ``batch_size``: items
    handed out at a time (None: the engine decides). ``tolerated_failures``: how many items (int)
    or which share of them (float below 1) may fail without failing the run. ``direct_pass``: on
    AWS, one invocation runs the whole inner chain of an item.
    """

    inner: tuple[StepCall, ...]
    concurrency_limit: int | None = None
    batch_size: int | None = None
    tolerated_failures: int | float = 0
    direct_pass: bool = False

    @property
    def name(self) -> str:
        return self.inner[0].name

    @property
    def calls(self) -> tuple[StepCall, ...]:
        return self.inner

    def tolerates(self, failures: int, count: int) -> bool:
        """Whether the map may go on when ``failures`` of its ``count`` items have failed."""
        limit = self.tolerated_failures
        if isinstance(limit, float):
            return failures == 0 or failures / count <= limit
        return failures <= limit


Stage = TaskStage | MapStage


@dataclass(frozen=True)
class FlowGraph(Generic[R_co]):
    """A traced flow: its name, its stages, and the parameters that it was traced with.

    ``flow`` is the decorated function it came from, None for a graph built by hand.
    """

    name: str
    stages: tuple[Stage, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    flow: Flow[..., R_co] | None = None

    def __post_init__(self) -> None:
        if len(self.stages) > MOST_STAGES:
            raise DefinitionError(
                f"flow '{self.name}' has {len(self.stages)} stages, {MOST_STAGES} at most: "
                "put several steps into one, or split the flow"
            )
        steps: dict[str, Step[..., Any]] = {}
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

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    @property
    def calls(self) -> Iterator[StepCall]:
        """Every call of the graph, in chain order."""
        return (call for stage in self.stages for call in stage.calls)

    @property
    def shape(self) -> str:
        """The structure in one line: ``get_birds → map(flap_bird) → join_birds``."""
        return " → ".join(
            stage.name
            if isinstance(stage, TaskStage)
            else f"map({' → '.join(call.name for call in stage.inner)})"
            for stage in self.stages
        )

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the structure: stages and names, neither code nor bound values nor limits."""
        from hashlib import sha256

        return sha256(self.shape.encode()).hexdigest()[:16]
