"""Estimates what Batch jobs use, and how long they take. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from lokki.builder import prices
from lokki.builder.sizes import platform_of, sizes_of
from lokki.builder.usage import Use
from lokki.config import Config
from lokki.runtime.units import TaskUnit

SUBMITTED = 50
"""Jobs that an account submits a second, at most
(https://repost.aws/knowledge-center/aws-batch-requests-error)."""


def add_jobs(use: Use, unit: TaskUnit, config: Config, count: int, seconds: float) -> None:
    """Add the jobs of a unit, each of whose calls takes so many seconds."""
    sizes, calls = sizes_of(unit, config), len(unit.calls)
    if platform_of(unit, config) == "EC2":
        use.host_seconds += count * calls * seconds * (sizes.vcpu or 0)
        return
    use.jobs += count
    charged = count * max(seconds * calls, prices.FARGATE_LEAST_SECONDS)
    use.vcpu_seconds += charged * (sizes.vcpu or 0)
    use.job_gb_seconds += charged * sizes.memory_mb / 1024
    use.storage["Batch"] += charged * sizes.paid_storage_mb / 1024


def seconds_of(units: Sequence[TaskUnit], count: int, at_once: int, seconds: float) -> float:
    """How long the jobs of consecutive units take at least, and their submissions."""
    calls = sum(len(unit.calls) for unit in units)
    return max(ceil(count / at_once) * calls * seconds, count * len(units) / SUBMITTED)
