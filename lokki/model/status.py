"""The statuses of runs and items."""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """What a run can be."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether a run with this status has ended."""
        return self in FINAL


FINAL = frozenset({RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED})
"""The statuses of runs that have ended."""


class ItemStatus(StrEnum):
    """What an item of a stage can be."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TOLERATED = "tolerated"
    CANCELLED = "cancelled"
    PAUSED = "paused"
