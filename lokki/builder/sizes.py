"""What a step is given of processors, memory and time, by its options and the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from lokki.config import Config
from lokki.errors import ConfigError
from lokki.runtime.place import Place

MOST_LAMBDA_SECONDS = 900
MOST_LAMBDA_MB = 10_240
STORING_SECONDS = 10
"""How much longer than its step a function may take: to read what it is given, and to store."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """``vcpu`` is None in Lambda, which gives processors with memory."""

    memory_mb: int
    timeout_seconds: int
    vcpu: float | None = None


def is_batch(place: Place) -> bool:
    """Whether a Batch job makes the calls; else a Lambda function does."""
    return any(call.step.job_type == "batch" for call in place.calls)


def sizes_of(place: Place, config: Config) -> Sizes:
    """The largest that any of a place's calls asks for; their times added up.

    Raises ConfigError when a Lambda function cannot have it.
    """
    steps = [call.step for call in place.calls]
    memory = [step.memory_mb for step in steps if step.memory_mb is not None]
    times = [step.timeout_seconds for step in steps]
    limited = ceil(sum(time for time in times if time)) + STORING_SECONDS if all(times) else None
    if is_batch(place):
        vcpu = [step.vcpu for step in steps if step.vcpu is not None]
        return Sizes(
            max(memory, default=config.batch.memory_mb),
            max(limited or config.batch.timeout_seconds, 60),
            max(vcpu, default=config.batch.vcpu),
        )
    most = MOST_LAMBDA_SECONDS - STORING_SECONDS
    if limited is not None and limited > MOST_LAMBDA_SECONDS:
        raise ConfigError(
            f"step '{place.name}' may take {limited - STORING_SECONDS} s, and {most} s at most in "
            "Lambda: give it job_type='batch', or a lower timeout_seconds"
        )
    sizes = Sizes(max(memory, default=config.lambda_.memory), limited or config.lambda_.timeout)
    if not 128 <= sizes.memory_mb <= MOST_LAMBDA_MB:
        raise ConfigError(
            f"step '{place.name}' asks for memory_mb={sizes.memory_mb}, and Lambda gives 128 to "
            f"{MOST_LAMBDA_MB}: give it job_type='batch' for more"
        )
    return sizes
