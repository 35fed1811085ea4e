"""The events of a run, as the journal records them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lokki.store.sql import Connection
from lokki.store.storable import storable

REMOVING = "run_removing"
"""The event when the removal of a run begins: its payloads go first, its records last."""


def add_event(
    connection: Connection,
    run_id: str,
    now: float,
    kind: str,
    stage: int | None = None,
    detail: str | None = None,
) -> None:
    """Record an event of a run; ``stage`` is a position, ``detail`` JSON."""
    add_events(connection, [(run_id, now, kind, stage, detail)])


def add_events(connection: Connection, events: Sequence[tuple[Any, ...]]) -> None:
    """Record events, each as `add_event` does."""
    connection.insert("events", "run, at, kind, stage, detail", [*map(storable, events)])
