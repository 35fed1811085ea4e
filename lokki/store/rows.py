"""The journal's rows as values, and their keys."""

from __future__ import annotations

from dataclasses import dataclass

from lokki.model.structure import StageKind
from lokki.store.sql import Connection


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as the journal has it; times are seconds since the epoch."""

    number: int
    id: str
    flow: str
    source: str | None
    fingerprint: str
    structure: str  # JSON
    status: str
    params: bytes
    params_json: str
    created: float
    started: float | None
    finished: float | None
    error: str | None
    owner: str | None
    leased_until: float | None
    started_by: str | None = None  # the command line, say
    cancel_requested: float | None = None
    params_ref: str | None = None  # reference to the payload of large parameters
    pause_requested: float | None = None
    tuned_stage: int | None = None  # position of the map whose concurrency was changed
    concurrency: int | None = None  # what it was changed to
    no_cache: int = 0  # whether its steps do not reuse results
    tags: str = "[]"  # JSON


@dataclass(frozen=True, slots=True)
class StageRow:
    """A stage as the journal has it."""

    id: int
    run: str
    position: int
    name: str
    kind: StageKind
    started: float
    finished: float | None
    total: int
    succeeded: int = 0
    failed: int = 0
    tolerated: int = 0
    retrying: int = 0
    updated: float | None = None  # time of the latest outcome
    reused: int = 0  # of the succeeded ones, those whose result was reused


INDEX_MASK = (1 << 32) - 1
"""The bits of an item's key for its index; the rest is its stage."""


def stage_id(run_number: int, position: int) -> int:
    """The key of a run's stage; a flow has at most 256."""
    return run_number << 8 | position


def position_of(stage: int) -> int:
    """The position of the stage with this key."""
    return stage & 255


def item_range(stage: int) -> tuple[int, int]:
    """The first and last possible keys of a stage's items."""
    return stage << 32, stage << 32 | INDEX_MASK


def run_range(run_number: int) -> tuple[int, int]:
    """The first and last possible keys of a run's items."""
    return stage_id(run_number, 0) << 32, stage_id(run_number, 255) << 32 | INDEX_MASK


def delete_items(connection: Connection, first: int, last: int) -> None:
    """Delete the items whose keys are in a range, and their failures."""
    connection.execute("DELETE FROM failures WHERE item BETWEEN ? AND ?", (first, last))
    connection.execute("DELETE FROM items WHERE id BETWEEN ? AND ?", (first, last))
    connection.execute("DELETE FROM spans WHERE id BETWEEN ? AND ?", (first, last))
