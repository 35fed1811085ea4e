"""The queues of Batch jobs, and the hosts of those that a template makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lokki.builder.resources import (
    ComputeEnvironment,
    InstanceProfile,
    JobQueue,
    Resource,
    arn_of,
    managed_role,
    ref,
)
from lokki.builder.sizes import platform_of, sizes_of
from lokki.config import Config
from lokki.errors import ConfigError
from lokki.runtime.units import TaskUnit

GPU_QUEUE = "GpuJobQueue"
QUEUES = ("JobQueue", GPU_QUEUE)
"""What a state machine calls the queues of jobs without and with GPUs. Hosts with GPUs take only
such jobs (https://docs.aws.amazon.com/batch/latest/userguide/gpu-jobs.html)."""
_GPU_FAMILIES = {"x86_64": "g4dn, g5, g6", "arm64": "g5g"}
_HOST_POLICY = "service-role/AmazonEC2ContainerServiceforEC2Role"


def queue_of(unit: TaskUnit, config: Config) -> str:
    """Which of `QUEUES` the job of a unit waits in."""
    return GPU_QUEUE if sizes_of(unit, config).gpu else QUEUES[0]


def named_queue(queue: str, config: Config) -> str | None:
    """The configured one of `QUEUES`; a named queue on EC2 may have hosts with GPUs."""
    batch = config.batch
    if queue == GPU_QUEUE:
        return batch.gpu_job_queue or (batch.job_queue if batch.platform == "EC2" else None)
    return batch.job_queue


def queue_id(queue: str, config: Config) -> str:
    """The logical id of a queue that is made: hosts of another kind are another queue.

    Executions of an earlier deploy go on to submit jobs for those hosts.
    """
    return f"{_kind(queue, config)}{QUEUES[0]}"


def made_queues(
    jobs: Iterable[TaskUnit], config: Config, tags: Mapping[str, Any]
) -> Iterator[tuple[str, Resource]]:
    """The queues that jobs need and nobody names, with their hosts.

    Raises ConfigError if it is not configured where the hosts are.
    """
    hosts = {}
    for unit in jobs:
        queue = queue_of(unit, config)
        if named_queue(queue, config) is None:
            hosts[queue] = _hosts(unit, queue, config, tags)
    if any("InstanceRole" in each for each in hosts.values()):
        yield "HostRole", managed_role("ec2", _HOST_POLICY)
        yield "HostProfile", InstanceProfile(roles=[ref("HostRole")])
    for queue, resources in hosts.items():
        environment = f"{_kind(queue, config)}ComputeEnvironment"
        yield environment, ComputeEnvironment(compute_resources=resources, tags=tags)
        order = [{"Order": 1, "ComputeEnvironment": ref(environment)}]
        yield queue_id(queue, config), JobQueue(compute_environment_order=order, tags=tags)


def _kind(queue: str, config: Config) -> str:
    gpu = queue == GPU_QUEUE
    platform = "Gpu" if gpu else {"FARGATE": "", "EC2": "Ec2"}[config.batch.platform]
    return platform + "Spot" * config.batch.spot


def _hosts(unit: TaskUnit, queue: str, config: Config, tags: Mapping[str, Any]) -> dict[str, Any]:
    """https://docs.aws.amazon.com/batch/latest/APIReference/API_ComputeResource.html ."""
    batch = config.batch
    if batch.subnets is None or batch.security_groups is None:
        gpu, key = (" with a GPU", "gpu_job_queue") if queue == GPU_QUEUE else ("", "job_queue")
        raise ConfigError(
            f"step '{unit.name}' runs in AWS Batch{gpu}, which needs a queue: set batch.{key}, or "
            "batch.subnets and batch.security_groups to have one made"
        )
    network = {
        "MaxvCpus": batch.max_vcpus,
        "Subnets": listed(batch.subnets),
        "SecurityGroupIds": listed(batch.security_groups),
    }
    if platform_of(unit, config) == "FARGATE":
        return {"Type": "FARGATE_SPOT" if batch.spot else "FARGATE", **network}
    architecture = config.lambda_.architecture
    types = batch.instance_types or f"default_{architecture}"
    if queue == GPU_QUEUE:
        types = batch.gpu_instance_types or _GPU_FAMILIES[architecture]
    return {
        "Type": "SPOT" if batch.spot else "EC2",
        "AllocationStrategy": "SPOT_PRICE_CAPACITY_OPTIMIZED"
        if batch.spot
        else "BEST_FIT_PROGRESSIVE",
        "MinvCpus": 0,
        **network,
        "InstanceTypes": listed(types),
        "InstanceRole": arn_of("HostProfile"),
        "Tags": tags,
    }


def listed(text: str) -> list[str]:
    """The parts of a text with commas between them."""
    return [each.strip() for each in text.split(",") if each.strip()]
