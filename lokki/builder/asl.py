"""The parts of Amazon States Language in use, as values (https://states-language.net/spec).

A field whose name ends in ``.$`` is a path or an intrinsic function; see `Paths`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from lokki.builder.document import Document

Paths: TypeAlias = Mapping[str, Any]
"""A payload template: the value of a name that ends in ``.$`` is a path."""


@dataclass(frozen=True, kw_only=True)
class Retrier(Document):
    """When a failed state is entered again; ``max_attempts`` counts only retries."""

    error_equals: tuple[str, ...]
    interval_seconds: int
    max_attempts: int
    backoff_rate: float
    max_delay_seconds: int | None = None
    jitter_strategy: str | None = None


@dataclass(frozen=True, kw_only=True)
class Pass(Document):
    """Makes its output from its input."""

    TAG: ClassVar = {"Type": "Pass"}

    parameters: Paths
    next: str | None = None
    end: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Task(Document):
    """Calls a service."""

    TAG: ClassVar = {"Type": "Task"}

    resource: str
    parameters: Paths
    result_selector: Paths | None = None
    result_path: str | None = None
    output_path: str | None = None
    timeout_seconds: int | None = None
    retry: tuple[Retrier, ...] = ()
    next: str | None = None
    end: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Reader(Document):
    """Where the items of a map are."""

    resource: str
    reader_config: Paths
    parameters: Paths


@dataclass(frozen=True, kw_only=True)
class Writer(Document):
    """Where the results of a map's child executions are written."""

    resource: str
    parameters: Paths


@dataclass(frozen=True, kw_only=True)
class Processor(Document):
    """The states that each item of a map goes through."""

    start_at: str
    states: Mapping[str, State]
    processor_config: Paths


@dataclass(frozen=True, kw_only=True)
class Batcher(Document):
    """How many items of a map a child execution gets; ``batch_input`` goes with them."""

    max_items_per_batch: int
    max_input_bytes_per_batch: int
    batch_input: Paths


@dataclass(frozen=True, kw_only=True)
class DistributedMap(Document):
    """Runs a separate execution for each item."""

    TAG: ClassVar = {"Type": "Map"}

    label: str
    item_reader: Reader
    item_selector: Paths
    item_batcher: Batcher | None = None
    item_processor: Processor
    result_writer: Writer
    result_selector: Paths
    max_concurrency: int | None = None
    tolerated_failure_count: int | None = None
    tolerated_failure_percentage: int | None = None
    retry: tuple[Retrier, ...] | None = None
    next: str | None = None
    end: bool | None = None


State: TypeAlias = Pass | Task | DistributedMap


@dataclass(frozen=True, kw_only=True)
class StateMachine(Document):
    """A whole document."""

    comment: str
    start_at: str
    states: Mapping[str, State]
