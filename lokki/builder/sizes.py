"""The CPUs, memory and time of a step, from its options and the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from lokki.config import Config
from lokki.errors import ConfigError
from lokki.runtime.units import TaskUnit
from lokki.stages import MapStage

MOST_LAMBDA_SECONDS = 900
MOST_LAMBDA_MB = 10_240
_FARGATE = {  # MB of memory by number of CPUs: from, to, in steps of
    0.25: (512, 2048, 512),
    0.5: (1024, 4096, 1024),
    1: (2048, 8192, 1024),
    2: (4096, 16384, 1024),
    4: (8192, 30720, 1024),
    8: (16384, 61440, 4096),
    16: (32768, 122880, 8192),
}
"""https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html"""
_FARGATE_STORAGE_MB = 20 * 1024, 200 * 1024
"""What each job has, and at most
(https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-storage.html)."""
_LAMBDA_STORAGE_MB = 512, 10_240
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-ephemeral-storage.html"""
STORING_SECONDS = 10
"""How much longer than its step a function may take, to read its input and store its result."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """``vcpu`` is None in Lambda, which assigns CPU by memory.

    ``storage_mb`` is None where nothing says how much; ``paid_storage_mb`` is what is charged.
    """

    memory_mb: int
    timeout_seconds: int
    vcpu: float | None = None
    storage_mb: int | None = None
    gpu: int | None = None

    @property
    def paid_storage_mb(self) -> int:
        included = _LAMBDA_STORAGE_MB if self.vcpu is None else _FARGATE_STORAGE_MB
        return max(0, (self.storage_mb or 0) - included[0])


def is_batch(unit: TaskUnit) -> bool:
    """Whether a Batch job makes the calls, not a Lambda function."""
    return any(call.step.job_type == "batch" for call in unit.calls)


def batched(stage: MapStage) -> bool:
    """Whether an invocation gets several items of a map; a Batch job takes one."""
    return bool(stage.batch_size) and not any(call.step.job_type == "batch" for call in stage.inner)


def items_at_once(unit: TaskUnit) -> int:
    """How many items an invocation gets, at most."""
    stage = unit.stage
    return (stage.batch_size or 1) if isinstance(stage, MapStage) and batched(stage) else 1


def sizes_of(unit: TaskUnit, config: Config) -> Sizes:
    """The largest sizes that any of the calls needs, and the sum of their times for all items.

    Raises ConfigError if a Lambda function, or a job on Fargate, cannot have them.
    """
    steps = [call.step for call in unit.calls]
    memory = [step.memory_mb for step in steps if step.memory_mb is not None]
    storage = max((step.ephemeral_storage or 0 for step in steps), default=0) or None
    times = [step.timeout_seconds for step in steps]
    limited = ceil(sum(time for time in times if time)) + STORING_SECONDS if all(times) else None
    if is_batch(unit):
        vcpu = [step.vcpu for step in steps if step.vcpu is not None]
        job = Sizes(
            max(memory, default=config.batch.memory_mb),
            max(limited or config.batch.timeout_seconds, 60),
            max(vcpu, default=config.batch.vcpu),
            storage,
            max((step.gpu or 0 for step in steps), default=0) or None,
        )
        _check_job(unit, job, config)
        return job
    most = MOST_LAMBDA_SECONDS - STORING_SECONDS
    if limited is not None and limited > MOST_LAMBDA_SECONDS:
        raise ConfigError(
            f"step '{unit.name}' may take {limited - STORING_SECONDS} s, but at most {most} s in "
            "Lambda: give it job_type='batch', or a lower timeout_seconds"
        )
    if limited is not None and items_at_once(unit) > 1:
        of_all = (limited - STORING_SECONDS) * items_at_once(unit)
        limited = min(of_all + STORING_SECONDS, MOST_LAMBDA_SECONDS)
    sizes = Sizes(
        max(memory, default=config.lambda_.memory),
        limited or config.lambda_.timeout,
        storage_mb=storage or config.lambda_.ephemeral_storage,
    )
    if not 128 <= sizes.memory_mb <= MOST_LAMBDA_MB:
        raise ConfigError(
            f"step '{unit.name}' needs memory_mb={sizes.memory_mb}, but Lambda has 128 to "
            f"{MOST_LAMBDA_MB}: give it job_type='batch' for more"
        )
    least, largest = _LAMBDA_STORAGE_MB
    if sizes.storage_mb is not None and not least <= sizes.storage_mb <= largest:
        raise ConfigError(
            f"step '{unit.name}' needs ephemeral_storage={sizes.storage_mb}, but Lambda has "
            f"{least} to {largest}: give it job_type='batch' for more"
        )
    return sizes


def platform_of(unit: TaskUnit, config: Config) -> str:
    """What the job of a unit runs on; only EC2 has GPUs.

    https://docs.aws.amazon.com/batch/latest/userguide/gpu-jobs.html
    """
    return "EC2" if any(call.step.gpu for call in unit.calls) else config.batch.platform


def _check_job(unit: TaskUnit, job: Sizes, config: Config) -> None:
    if platform_of(unit, config) == "FARGATE":
        _check_fargate(unit, job)
        return
    # https://docs.aws.amazon.com/batch/latest/APIReference/API_ResourceRequirement.html
    if job.vcpu is not None and job.vcpu % 1:
        raise ConfigError(
            f"step '{unit.name}' needs vcpu={job.vcpu:g}, but a job on EC2 has a whole number: "
            f"write vcpu={ceil(job.vcpu)}"
        )
    if job.storage_mb is not None:
        raise ConfigError(
            f"step '{unit.name}' has ephemeral_storage, but a job on EC2 has the disk of its host: "
            "leave it out, and name a queue whose hosts have a large one"
        )


def _check_fargate(unit: TaskUnit, job: Sizes) -> None:
    asked = f"step '{unit.name}' needs vcpu={job.vcpu:g} and memory_mb={job.memory_mb}"
    if job.vcpu not in _FARGATE:
        known = ", ".join(f"{each:g}" for each in _FARGATE)
        raise ConfigError(f"{asked}, but Fargate has {known} CPUs")
    least, most, by = _FARGATE[job.vcpu]
    if not least <= job.memory_mb <= most or job.memory_mb % by:
        raise ConfigError(
            f"{asked}, but Fargate has {least} to {most} MB for these CPUs, in steps of {by}"
        )
    if (job.storage_mb or 0) > _FARGATE_STORAGE_MB[1]:
        raise ConfigError(
            f"step '{unit.name}' needs ephemeral_storage={job.storage_mb}, but Fargate has at most "
            f"{_FARGATE_STORAGE_MB[1]}"
        )
