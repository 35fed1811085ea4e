"""The stages of a chain: calls of steps, one after the other or for each item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lokki.rate import Rate
from lokki.steps import StepDefinition


@dataclass(frozen=True, slots=True)
class StepCall:
    """One use of a step in a flow, with the constants bound to it in the chain.

    ``name`` is unique in its graph: the second use of ``clean`` is ``clean-2``. ``args`` is empty
    except for the first call of a flow, which has no input from another call.
    """

    step: StepDefinition[..., Any]
    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskStage:
    """A step that is called once, with the whole result of the previous stage."""

    call: StepCall

    @property
    def name(self) -> str:
        return self.call.name

    @property
    def calls(self) -> tuple[StepCall, ...]:
        return (self.call,)


@dataclass(frozen=True, slots=True)
class MapStage:
    """An inner chain that runs for each item of the previous stage.

    ``concurrency_limit``: most items at a time (None: the engine's limit). ``batch_size``: items
    handed out at a time (None: the engine decides). ``tolerated_failures``: how many items (int)
    or what share of them (float below 1) may fail without failing the run. ``direct_pass``: on
    AWS, one invocation runs the whole inner chain of an item. ``rate_limit``: how many items begin
    at most in a second, minute or hour (None: any number).
    """

    inner: tuple[StepCall, ...]
    concurrency_limit: int | None = None
    batch_size: int | None = None
    tolerated_failures: int | float = 0
    direct_pass: bool = False
    rate_limit: Rate | None = None

    @property
    def name(self) -> str:
        return self.inner[0].name

    @property
    def calls(self) -> tuple[StepCall, ...]:
        return self.inner

    def tolerates(self, failures: int, count: int) -> bool:
        """Whether the map may continue when ``failures`` of its ``count`` items have failed."""
        return tolerates(self.tolerated_failures, failures, count)


def tolerates(limit: int | float, failures: int, count: int) -> bool:
    """Whether so many failures, of ``count`` items, are within a limit as a number or a part."""
    if isinstance(limit, float):
        return failures == 0 or failures / count <= limit
    return failures <= limit


Stage = TaskStage | MapStage
