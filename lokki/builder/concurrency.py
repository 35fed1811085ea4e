"""How many items of a map run at a time if its flow does not say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lokki.builder.queues import named_queue, queue_of
from lokki.builder.sizes import is_batch, sizes_of
from lokki.config import Config
from lokki.graph import FlowGraph
from lokki.runtime.units import TaskUnit
from lokki.stages import MapStage

MOST_CHILDREN = 10_000
"""Child executions of a map at a time
(https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html)."""
ACCOUNT_CONCURRENCY = 1_000
"""Functions at a time in an account without another quota
(https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html); new accounts have less.
"""
_MOST_JOBS = 1_000
_QUEUED = 2
"""Jobs in the queue for each one that runs: the next ones start without delay."""


def most_at_once(stage: MapStage, units: Iterable[TaskUnit], config: Config) -> int:
    """How many items of a map run at a time.

    By default, as many as the account has functions or the flow's own queue has CPUs for: what is
    refused beyond that is retried, and each retry costs a state transition and time. Raises
    ConfigError for a step that needs too much.
    """
    if stage.concurrency_limit:
        return min(stage.concurrency_limit, MOST_CHILDREN)
    return min(_jobs(unit, config) if is_batch(unit) else functions(config) for unit in units)


def depends_on_account(graph: FlowGraph[Any], config: Config) -> bool:
    """Whether a map is as wide as the account allows."""
    maps = [stage for stage in graph.stages if isinstance(stage, MapStage)]
    configured = config.lambda_.concurrency or config.lambda_.reserved_concurrency
    return not configured and not all(each.concurrency_limit for each in maps)


def functions(config: Config) -> int:
    """How many functions of a map run at a time: those that are reserved, or the account's.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
    """
    reserved, account = config.lambda_.reserved_concurrency, config.lambda_.concurrency
    return min(reserved or account or ACCOUNT_CONCURRENCY, MOST_CHILDREN)


def _jobs(unit: TaskUnit, config: Config) -> int:
    if named_queue(queue_of(unit, config), config) is not None:
        return _MOST_JOBS
    at_once = config.batch.max_vcpus / (sizes_of(unit, config).vcpu or 1)
    return min(max(1, int(_QUEUED * at_once)), _MOST_JOBS)
