"""Other settings of a flow, and what an execution would use with them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from lokki.builder.children import is_express, maps_of
from lokki.builder.concurrency import most_at_once
from lokki.builder.durable import is_durable
from lokki.builder.estimate import machine_estimate
from lokki.builder.estimate_durable import durable_estimate
from lokki.builder.sizes import is_batch, items_at_once, sizes_of
from lokki.builder.usage import Estimate
from lokki.config import Config
from lokki.errors import LokkiError
from lokki.graph import FlowGraph
from lokki.runtime.units import TaskUnit
from lokki.stages import MapStage

_BATCH_SECONDS = 10.0, 60.0
"""How long an invocation with several items should take, at least and at most."""
_MOST_ITEMS = 1_000  # of a batch
_SHORTEST = 0.001
_TIMEOUTS = (240, 120, 60, 30)
"""Values of lambda.timeout with which calls may fit into express executions."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A flow with other settings; ``settings`` is how they are written."""

    settings: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Refused:
    """Settings that a flow cannot have, and why."""

    settings: str
    why: str


def variants_of(
    graph: FlowGraph[Any], config: Config, items: int, seconds: float
) -> Iterator[Variant | Refused]:
    """The flow with the other target; with Step Functions, also with other settings of its maps.

    ``items`` and ``seconds`` are those of `estimate_of`, whose errors it raises for the settings
    that the flow has.
    """
    durable = is_durable(graph, config)
    if not durable:
        yield from _of_maps(graph, config, items, seconds)
    other, estimate = (
        ("stepfunctions", machine_estimate) if durable else ("durable", durable_estimate)
    )
    in_code = graph.flow is not None and graph.flow.target is not None
    settings = f'@flow(target="{other}")' if in_code else f'aws.target = "{other}"'
    try:
        yield Variant(settings, estimate(graph, config, items, seconds))
    except LokkiError as error:
        yield Refused(settings, str(error))
        return
    if durable:
        for each in _of_maps(graph, config, items, seconds):
            yield replace(each, settings=f"{settings}, {each.settings}")


def _of_maps(
    graph: FlowGraph[Any], config: Config, items: int, seconds: float
) -> Iterator[Variant]:
    """The flow with express executions, with batches, and with both, as far as it can have them."""
    flows = {"": graph}
    if (size := _batch_size(graph, config, items, seconds)) > 1:
        flows[f"batch_size={size}"] = _with_batches(graph, size)
    for batches, made in flows.items():
        for express, configured in {"": config, **_express(made, config, seconds)}.items():
            if settings := ", ".join(filter(None, (express, batches))):
                yield Variant(settings, machine_estimate(made, configured, items, seconds))


def _batch_size(graph: FlowGraph[Any], config: Config, items: int, seconds: float) -> int:
    """How many items an invocation may have; 1 where it makes no difference."""
    found = []
    for stage, inside in maps_of(graph):
        if _takes_batches(graph, stage, inside):
            calls = max(len(unit.calls) for unit in inside) * max(seconds, _SHORTEST)
            least, most = (int(each / calls) for each in _BATCH_SECONDS)
            share = ceil(items / most_at_once(stage, inside, config))
            found.append(min(max(share, least), most, _MOST_ITEMS, items))
    return min(found, default=1)


def _takes_batches(graph: FlowGraph[Any], stage: MapStage, inside: list[TaskUnit]) -> bool:
    """Whether it may have a ``batch_size``, and has none."""
    refused = stage is graph.stages[-1] and stage.tolerated_failures
    return not (stage.batch_size or refused or any(map(is_batch, inside)))


def _with_batches(graph: FlowGraph[Any], size: int) -> FlowGraph[Any]:
    smaller = [stage for stage, inside in maps_of(graph) if _takes_batches(graph, stage, inside)]
    stages = (
        replace(stage, batch_size=size)
        if isinstance(stage, MapStage) and stage in smaller
        else stage
        for stage in graph.stages
    )
    return replace(graph, stages=tuple(stages))


def _express(graph: FlowGraph[Any], config: Config, seconds: float) -> dict[str, Config]:
    """The settings with which all maps without jobs have express executions; none if they have."""
    maps = [inside for _, inside in maps_of(graph) if not any(map(is_batch, inside))]
    if config.aws.map == "express" or not maps:
        return {}
    own = config.lambda_.timeout
    for timeout in (own, *(each for each in _TIMEOUTS if each < own)):
        made = replace(
            config,
            aws=replace(config.aws, map="express"),
            lambda_=replace(config.lambda_, timeout=timeout),
        )
        if all(_fits(inside, made, seconds) for inside in maps):
            lower = f", lambda.timeout = {timeout}" if timeout != own else ""
            return {f'aws.map = "express"{lower}': made}
    return {}


def _fits(inside: list[TaskUnit], config: Config, seconds: float) -> bool:
    return is_express(inside, config) and all(
        seconds * len(unit.calls) * items_at_once(unit) <= sizes_of(unit, config).timeout_seconds
        for unit in inside
    )
